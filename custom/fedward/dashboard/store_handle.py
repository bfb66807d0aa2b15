"""Open the store that the service shows; it may appear after the service starts and may be replaced meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

from fedward.errors import StoreError
from fedward.metrics.store import STORE_FILE, Store

_REMEDY = f"name the server's {STORE_FILE} or its kit folder"


class StoreHandle:
    """Handle that returns the open store at ``path``, or None while no file is there. Any thread may use it."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()
        self._store: Store | None = None
        self._file: tuple[int, int] | None = None

    def __call__(self) -> Store | None:
        """Return the current store.

        Raises:
            StoreError: the file belongs to another program, or is a store of another format.
        """
        with self._lock:
            found = self._found()
            if found != self._file:
                self._let_go()
                self._store = None if found is None else Store.open(self.path)
                self._file = found
            return self._store

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._store is not None:
            self._store.close()
        self._store = self._file = None

    def _found(self) -> tuple[int, int] | None:
        try:
            state = self.path.stat()
        except OSError:
            return None
        return state.st_dev, state.st_ino


def store_at(place: Path) -> Path:
    """Return the path of a store: the given file, or ``metrics.db`` in the given kit folder of a server.

    Raises:
        StoreError: there is neither, nor a server's kit or another file's folder in which a first job could create one;
            or the file is no store.
    """
    path = place / STORE_FILE if place.is_dir() else place
    if not path.parent.is_dir():
        raise StoreError("no such folder", where=path.parent, remedy=_REMEDY)
    if not path.exists() and not (_is_kit(place) if place.is_dir() else path.suffix == Path(STORE_FILE).suffix):
        raise StoreError("neither a store nor a server's kit", where=place, remedy=_REMEDY)
    if path.exists():
        Store.open(path).close()
    return path


def _is_kit(folder: Path) -> bool:
    """True if the folder is a server's kit, or this user may not look: its service may hide ``startup/``."""
    try:
        return (folder / "startup" / "fed_server.json").is_file()
    except PermissionError:
        return True
