"""Run the dashboard as a separate process beside another program; it ends with that program."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.error import URLError

from fedward.errors import FederationError
from fedward.screen import UTF8_CHILD

START_S, STOP_S = 30.0, 3.0


class BackgroundDashboard:
    """Running dashboard; it stops on leaving ``with``, and by itself when the process that started it is gone.

    Attributes:
        url: address, such as ``http://127.0.0.1:8600``.
    """

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process, self.url = process, url

    def stop(self) -> None:
        """Stop the process and wait for its end; a second call does nothing."""
        _end(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_background(store: Path, *, port: int = 0) -> BackgroundDashboard:
    """Start the dashboard on loopback and wait until it answers.

    Args:
        store: path of the store; it need not exist yet.
        port: 0 takes a free one.

    Raises:
        FederationError: it did not start; its last line of output is the reason.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "fedward.dashboard.background_child", str(store), str(port)],
            stdin=subprocess.PIPE,  # the child ends when this pipe does
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches only the program that started it
            env={**os.environ, **UTF8_CHILD, "PYTHONUNBUFFERED": "1"},
        )
        try:
            url = _first_line(process, START_S).removeprefix("dashboard ").strip()
            if not url.startswith("http") or not _answers(url):
                errors.seek(0)
                why = (errors.read().strip().splitlines() or ["no reason given"])[-1]
                raise FederationError("the dashboard did not start", where=store, value=why)
        except BaseException:
            _end(process)
            raise
    return BackgroundDashboard(process, url)


def _first_line(process: subprocess.Popen[str], timeout_s: float) -> str:
    lines: queue.Queue[str] = queue.Queue()

    def read(stream: IO[str]) -> None:
        lines.put(stream.readline())

    if process.stdout is not None:
        threading.Thread(target=read, args=(process.stdout,), daemon=True).start()
    try:
        return lines.get(timeout=timeout_s)
    except queue.Empty:
        return ""


def _answers(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy's loopback is another machine
    try:
        with direct.open(f"{url}/healthz", timeout=STOP_S) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _end(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
