"""Loaded by every Python process of the rehearsal's federation: a site lies in its answer to a round, past its gates.

On ``PYTHONPATH``, and without effect unless FEDWARD_LIES names a folder with a file of the site's name. The file has
the kind of the lie; the site tells it with each answer to a round until the file is gone. With FAKETIME set it mends
what libfaketime breaks.
"""

from __future__ import annotations

import copy
import importlib.abc
import importlib.util
import os
import select
import sys
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

MODULE, TASK = "nvflare.private.fed.client.communicator", "fedward_round"
_FACTORS = {"nan": float("nan"), "thousand": 1000.0, "sign": -1.0}
_kept: list[Any] = []


def _lie(kind: str, parts: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    if kind == "replay":
        _kept.append(copy.deepcopy(parts))
        return dict(_kept[0])
    if kind in _FACTORS:
        update = parts["update"]
        update.data = {name: array * np.float32(_FACTORS[kind]) for name, array in update.data.items()}
    if kind == "truncated":
        parts["sealed"].data = _cut(parts["sealed"].data)
    return parts


def _cut(value: Any) -> Any:
    """The same, with every message cut in half."""
    if isinstance(value, dict):
        return {name: _cut(one) for name, one in value.items()}
    long = isinstance(value, bytes | bytearray) and len(value) > 1000
    return value[: len(value) // 2] if long else value


def _change(module: ModuleType, folder: Path) -> None:
    submit = module.Communicator.submit_update

    def submit_update(self: Any, *args: Any, **named: Any) -> Any:
        told = list(args)
        client, answer, task = told[4:7]
        file = folder / str(client)
        if task == TASK and file.exists() and (kind := file.read_text()):
            from nvflare.apis.dxo import from_shareable

            if kind == "other-task":
                told[6] = "fedward_final"
            else:
                dxo = from_shareable(answer)
                dxo.data = _lie(kind, dict(dxo.data))
                told[5] = dxo.update_shareable(answer)
            (folder / f"{client}.told").touch()
        return submit(self, *told, **named)

    module.Communicator.submit_update = submit_update


class _Finder(importlib.abc.MetaPathFinder):
    """Finds FLARE's module as always, and changes it when it has run."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._due = folder, {MODULE}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._due:
            return None
        self._due.remove(fullname)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            _change(module, self._folder)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _sleep(seconds: float) -> None:
    """``time.sleep`` by ``select``: libfaketime 0.9.10 breaks the call that Python 3.11 makes."""
    select.select([], [], [], seconds)


if os.environ.get("FAKETIME"):
    time.sleep = _sleep
if _folder := os.environ.get("FEDWARD_LIES"):
    sys.meta_path.insert(0, _Finder(Path(_folder)))
