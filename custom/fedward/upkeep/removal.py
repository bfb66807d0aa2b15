"""Remove files and folders from a kit: all of them or none, even after a kill.

1. A folder ``.upkeep-moving`` with the list of what goes; each is renamed into it.
2. ``.upkeep-moving`` is renamed to ``.upkeep-removed``. This decides.
3. ``.upkeep-removed`` is deleted.

Before 2 everything is put back, at once or by the next call; after 2 the next call finishes.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fedward.errors import FederationError
from fedward.files import sync, write_atomic

MOVING, REMOVED = ".upkeep-moving", ".upkeep-removed"
_LIST = "list.json"


@contextmanager
def only_one(kit: Path) -> Iterator[None]:
    """Hold the kit's lock: one command at a time may change a kit's files.

    Raises:
        FederationError: another command is changing the kit, or there is none.
    """
    try:
        handle = os.open(kit, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise FederationError("no kit is here", where=kit, value=error.strerror) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        remedy = "try again when it ends"
        raise FederationError("another command is changing the kit", where=kit, remedy=remedy) from None
    finally:
        os.close(handle)


def settle(kit: Path) -> None:
    """Finish a removal that was decided and interrupted; put back what an undecided one had moved.

    Raises:
        FederationError: something new is in the place of what was moved, or the disk cannot be written.
    """
    try:
        _put_back(kit)
        if (kit / REMOVED).is_dir():
            shutil.rmtree(kit / REMOVED)
    except OSError as error:
        raise _unwritable(kit, error) from None


def remove(kit: Path, paths: Sequence[str], *, goes: Callable[[str], bool] = lambda path: True) -> None:
    """Remove these paths; call it with the lock held, after ``settle``.

    Args:
        paths: below the kit, as POSIX paths; none is above another.
        goes: called right before a path is moved; False leaves it where it is.

    Raises:
        FederationError: one cannot be moved. Everything is in its place then.
    """
    moving = kit / MOVING
    try:
        try:
            moving.mkdir(mode=0o700)
            write_atomic(moving / _LIST, json.dumps(list(paths)))
            for number, path in enumerate(paths):
                if goes(path):
                    (kit / path).rename(moving / str(number))
            sync(moving)
            moving.rename(kit / REMOVED)
            sync(kit)
        except BaseException:  # Ctrl-C too
            _put_back(kit)
            raise
        shutil.rmtree(kit / REMOVED)
    except OSError as error:
        raise _unwritable(kit, error) from None


def _put_back(kit: Path) -> None:
    moving = kit / MOVING
    if not moving.is_dir():
        return
    listed = moving / _LIST
    paths = json.loads(listed.read_bytes()) if listed.is_file() else []
    for number, path in enumerate(paths):
        moved, place = moving / str(number), kit / path
        if not os.path.lexists(moved):
            continue
        if os.path.lexists(place):
            remedy = f"look at both, and move {moved} back or away"
            raise FederationError("something new is in the place of what was to be removed", where=place, remedy=remedy)
        place.parent.mkdir(parents=True, exist_ok=True)
        moved.rename(place)
    shutil.rmtree(moving)


def _unwritable(kit: Path, error: OSError) -> FederationError:
    remedy = "let this user change the kit's folder"
    if error.errno == errno.EXDEV:
        remedy = "remove it by hand: it is on another disk than the kit"
    return FederationError("cannot be changed", where=error.filename or kit, value=error.strerror, remedy=remedy)
