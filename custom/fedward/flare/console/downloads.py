"""Check the names in a server's answer to a download before FLARE's console writes, moves or deletes anything.

FLARE 2.9 takes the names of the files, of the folder for them and of the fetched folder from the answer, and appends
them unchecked to the person's own folder: ``../`` and absolute names lead anywhere on the person's machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from nvflare.fuel.hci.client.api import AdminAPI, ResultKey
from nvflare.fuel.hci.client.api_status import APIStatus
from nvflare.fuel.hci.proto import MetaKey

REFUSED = "server answers a download with a name that leads elsewhere on this machine"
_WORD = re.compile(r"[0-9A-Za-z_-]{1,100}")
_CELL = re.compile(r"[0-9A-Za-z_.-]{1,300}")
_LONGEST = 1000


def hold(api: AdminAPI) -> None:
    """Check every answer of the server to this session with ``is_plain``; an answer that fails becomes an error."""
    execute: Callable[..., dict[str, Any]] = api.server_execute

    def held(*args: Any, **more: Any) -> dict[str, Any]:
        answer = execute(*args, **more)
        if is_plain(answer.get(ResultKey.META)):
            return answer
        return {ResultKey.STATUS: APIStatus.ERROR_RUNTIME, ResultKey.DETAILS: REFUSED}

    api.server_execute = held


def is_plain(meta: object) -> bool:
    """True if an answer's metadata names only files below the folder of the download.

    Args:
        meta: metadata as received; None and a table that names no files pass. A server names no folder of this machine.
    """
    if not isinstance(meta, Mapping):
        return meta is None
    if meta.get(MetaKey.LOCATION) is not None:
        return False
    files = meta.get(MetaKey.FILES)
    if not files:
        return files is None or files == []
    return (
        isinstance(files, list)
        and _is(_WORD, meta.get(MetaKey.TX_ID))
        and _is(_CELL, meta.get(MetaKey.SOURCE_FQCN))
        and all(
            isinstance(one, list | tuple) and len(one) == 2 and _below(one[0]) and _is(_WORD, one[1]) for one in files
        )
    )


def _is(form: re.Pattern[str], word: object) -> bool:
    return type(word) is str and form.fullmatch(word) is not None


def _below(name: object) -> bool:
    """True if a file of that name is below the folder to which it is joined; FLARE splits at spaces and quotes."""
    if (
        type(name) is not str
        or not name
        or len(name) > _LONGEST
        or not name.isprintable()
        or set(name) & set("\\\"' ~")
    ):
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.parts != ()
