"""A server's answer to a download, held to plain names before FLARE's console writes, moves or deletes anything.

FLARE 2.9 takes the names of the files, of the folder for them and of the folder that it fetched from the answer, and
puts them behind the person's own folder as they are: ``../`` and absolute names lead anywhere on the person's machine.
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
    """Have every answer of the server to this session pass ``is_plain``; one that does not becomes an error."""
    execute: Callable[..., dict[str, Any]] = api.server_execute

    def held(*args: Any, **more: Any) -> dict[str, Any]:
        answer = execute(*args, **more)
        if is_plain(answer.get(ResultKey.META)):
            return answer
        return {ResultKey.STATUS: APIStatus.ERROR_RUNTIME, ResultKey.DETAILS: REFUSED}

    api.server_execute = held


def is_plain(meta: object) -> bool:
    """Whether what an answer says beside its text names files below the folder of the download alone.

    Args:
        meta: as it came; None and a table that names no files are plain. A server names no folder of this machine.
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
    """Whether a file of that name lies below the folder that it is joined to; FLARE splits at spaces and quotes."""
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
