"""Loaded by every Python process of a tapped federation, before its own program.

On ``PYTHONPATH``, and without effect unless FEDWARD_WIRETAP names a folder. In that folder are:

    frames/<kit>-<pid>                  every frame as this process gave it to, or had it from, its network driver: what
                                        TLS hides on the way, one frame after the other
    trained/<job>/<site>-<round>.npz    float32 (n,): ``start``, the model that a trainer began with, and ``end``, the
                                        one it made; names sorted
    fail/<job>/<site>-<round>           put there by a test: that trainer fails in that round
    fail/<job>/<site>-false             put there by a test: that trainer makes a model far from what it should
    handlers/<pid>                      (cell, channel, topic, answered or not) of every request handler that FLARE
                                        registers in this process, as JSON lines
    orders/<name>.py                    put there by a test: the server's process does it, with its cell as ``cell``,
                                        and writes ``answer`` to ``<name>.json``: a server that lies
"""

from __future__ import annotations

import dataclasses
import importlib.abc
import importlib.util
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

Change = Callable[[ModuleType, Path], None]


def _tap_sent(module: ModuleType, folder: Path) -> None:
    send = module.SfmConnection.send_frame

    class Tapped:
        """A driver's connection that keeps what it sends."""

        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

        def send_frame(self, frame: Any) -> None:
            _keep(frame, folder)
            self._connection.send_frame(frame)

    def send_frame(self: Any, *args: Any, **named: Any) -> None:
        if not isinstance(self.conn, Tapped):
            self.conn = Tapped(self.conn)
        send(self, *args, **named)

    module.SfmConnection.send_frame = send_frame


def _tap_received(module: ModuleType, folder: Path) -> None:
    process = module.SfmFrameReceiver.process_frame

    def process_frame(self: Any, frame: Any) -> None:
        _keep(frame, folder)
        process(self, frame)

    module.SfmFrameReceiver.process_frame = process_frame


def _keep(frame: Any, folder: Path) -> None:
    """At once and in one write, so that nothing is lost where a process is killed, and no two frames mix."""
    handle = os.open(folder / f"{Path.cwd().name}-{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, bytes(frame))
    finally:
        os.close(handle)


def _watch(module: ModuleType, folder: Path) -> None:
    import numpy as np

    train = module.Trainer.train

    def flat(weights: Any) -> Any:
        return np.concatenate([np.ravel(weights[name]) for name in sorted(weights)])

    def watched(self: Any, weights: Any, *, round_number: int, **named: Any) -> Any:
        name = f"{self._site}-{round_number}"
        if (folder.parent / "fail" / self._job.job.name / name).exists():
            raise module.JobError("trainer was stopped by a test")
        trained = train(self, weights, round_number=round_number, **named)
        if (folder.parent / "fail" / self._job.job.name / f"{self._site}-false").exists():
            far = {key: weights[key] - 30 * (one - weights[key]) for key, one in trained.weights.items()}
            trained = dataclasses.replace(trained, weights=far)
        kept = folder / self._job.job.name
        kept.mkdir(exist_ok=True)
        np.savez(kept / f"{name}.npz", start=flat(weights), end=flat(trained.weights))
        return trained

    module.Trainer.train = watched


def _list_handlers(module: ModuleType, folder: Path) -> None:
    serves = module._serves

    def listed(me: str, channel: str, topic: str) -> bool:
        answered: bool = serves(me, channel, topic)
        if folder.is_dir():
            with (folder / str(os.getpid())).open("a") as file:
                file.write(json.dumps([me, channel, topic, answered]) + "\n")
        return answered

    module._serves = listed


def _obey(module: ModuleType, folder: Path) -> None:
    """In the server's parent process alone."""
    if "nvflare.private.fed.app.server.server_train" not in sys.orig_argv or not folder.is_dir():
        return

    def forever() -> None:
        while True:
            for path in sorted(folder.glob("*.py")):
                given: dict[str, Any] = {"cell": module.CoreCell.ALL_CELLS["server"], "answer": None}
                try:
                    exec(compile(path.read_text(), path.name, "exec"), given)
                except Exception as error:  # noqa: BLE001 - the test reads it as the answer
                    given["answer"] = f"failed: {error!r}"
                path.unlink()
                draft = path.with_suffix(".draft")
                draft.write_text(json.dumps(given["answer"], default=str))
                draft.rename(path.with_suffix(".json"))
            time.sleep(0.05)

    threading.Thread(target=forever, daemon=True).start()


_CHANGES: dict[str, tuple[Change, str]] = {
    "nvflare.fuel.f3.sfm.sfm_conn": (_tap_sent, "frames"),
    "nvflare.fuel.f3.sfm.conn_manager": (_tap_received, "frames"),
    "fedward.training.trainer": (_watch, "trained"),
    "nvflare.fuel.f3.cellnet.core_cell": (_obey, "orders"),
    "fedward.flare.messages.guard": (_list_handlers, "handlers"),
}
"""Module -> what is changed in it as soon as it has been loaded, and the folder for what that keeps."""


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules above as always, and changes each when it has run."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._due = folder, dict(_CHANGES)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        change, name = self._due.pop(fullname, (None, ""))
        spec = None if change is None else importlib.util.find_spec(fullname)
        if change is None or spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            change(module, self._folder / name)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if _folder := os.environ.get("FEDWARD_WIRETAP"):
    sys.meta_path.insert(0, _Finder(Path(_folder)))
