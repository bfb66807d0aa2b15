"""Load torch and MONAI in the background while a job's process starts, without the parts that no job uses.

MONAI imports all of its modules, and with them SciPy's signal processing, scikit-learn and readers of image files. It
treats these as optional. No reviewed transform, network, loss or measure needs these; to MONAI they are absent here.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from types import ModuleType

OPTIONAL = ("nibabel", "PIL", "pydicom", "scipy.signal", "sklearn")
"""Libraries that MONAI uses if it finds them, and no job needs through MONAI."""

_log = logging.getLogger(__name__)
_loading: threading.Thread | None = None


def begin() -> None:
    """Begin to load the libraries in another thread; later calls do nothing."""
    global _loading
    if _loading is None:
        _loading = threading.Thread(target=_load, name="load libraries")
        _loading.start()


def ready() -> None:
    """Wait until what ``begin`` loads is there; return at once if it was never called."""
    if _loading is not None:
        _loading.join()


@contextmanager
def without(libraries: Sequence[str]) -> Iterator[None]:
    """Let this thread's imports of libraries fail inside, as if they were not installed; all other threads find them.

    A library that is loaded already stays visible.

    Args:
        libraries: names, each of which hides its submodules too.
    """
    finder = _Absent(libraries)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Absent(MetaPathFinder):
    def __init__(self, libraries: Sequence[str]) -> None:
        self._libraries, self._thread = tuple(libraries), threading.get_ident()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        hidden = any(name == one or name.startswith(f"{one}.") for one in self._libraries)
        if hidden and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name} is not used here", name=name)


def _load() -> None:
    try:
        import torch  # noqa: F401

        with without(OPTIONAL):
            import monai  # noqa: F401
    except ImportError:
        _log.exception("a library cannot be loaded; the first task that needs it says so")
