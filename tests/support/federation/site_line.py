"""The line between the victim and the server: a process that passes everything on, and may be cut or slow."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from fedward.flare.local_federation import free_port
from tests.conftest import ROOT

FREE_MBIT_S = 10_000.0


class Line:
    """Line of one site, free of delay until it is made slow."""

    def __init__(self) -> None:
        self._port, self._target = free_port(), 0
        self._process: subprocess.Popen[str] | None = None

    def lay(self, kit: Path) -> None:
        """Have a site's kit connect through this line."""
        path = kit / "startup" / "fed_client.json"
        content = json.loads(path.read_text())
        service = content["servers"][0]["service"]
        host, port = service["target"].rsplit(":", 1)
        self._target = int(port)
        service["target"] = f"{host}:{self._port}"
        path.write_text(json.dumps(content))
        self.set()

    def set(self, *, mbit_s: float = FREE_MBIT_S, round_trip_ms: float = 0.0, stall_s: float = 0.0) -> None:
        """Replace the line: connections on the old one break."""
        self._lay("slow_line", mbit_s, round_trip_ms, stall_s, 1)

    def lose(self, percent: float) -> None:
        """Replace the line by one that loses so many of its packets; as root."""
        self._lay("lossy_line", percent)

    def _lay(self, kind: str, *numbers: float) -> None:
        self.close()
        words = [str(number) for number in (self._port, self._target, *numbers)]
        command = [sys.executable, "-m", f"tests.support.federation.{kind}", *words]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None and self._process.stdout.readline() == "ready\n"

    def cut(self, seconds: float) -> None:
        """Pass nothing for so long; neither end is told."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None
