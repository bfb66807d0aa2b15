"""A real archive for tests: Orthanc in a network namespace of its own, and commands that run beside it.

Orthanc listens on every address whatever its settings say. In a namespace that has a loopback and nothing else, nobody
but the test can reach it, and its ports are free.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from tests.conftest import ROOT
from tests.support.packages import needs

DICOM_PORT, HTTP_PORT, OWN_PORT, CLOSED_PORT = 4242, 8042, 11112, 4243
USER, PASSWORD = "reader", "from-the-test"
_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_UPLOAD = """
import base64, json, pathlib, sys, urllib.request
authorization = "Basic " + base64.b64encode(sys.argv[2].encode()).decode()
for path in sorted(pathlib.Path(sys.argv[1]).rglob("*.dcm")):
    request = urllib.request.Request("http://127.0.0.1:8042/instances", path.read_bytes())
    request.add_header("Authorization", authorization)
    assert json.load(urllib.request.urlopen(request))["Status"] == "Success"
"""


@dataclass
class Orthanc:
    """An archive that is up.

    Attributes:
        namespace: where it runs.
        folder: its settings, storage and log.
        process: itself; another one after ``restart``.
    """

    namespace: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers on both ports."""
        log = (self.folder / "orthanc.log").open("ab")
        command = [*self._inside(), _program("Orthanc"), str(self.folder / "orthanc.json")]
        self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        log.close()
        for port in (DICOM_PORT, HTTP_PORT):
            probe = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1).close()"
            deadline = time.monotonic() + 30
            while self.run([sys.executable, "-c", probe]).returncode:
                assert time.monotonic() < deadline and self.process.poll() is None, "Orthanc did not start"
                time.sleep(0.1)

    def stop(self) -> None:
        """Stop it and wait for its end."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def store(self, datasets: Sequence[Dataset]) -> None:
        """Put data sets into it."""
        folder = self.folder / "upload"
        folder.mkdir()
        for number, dataset in enumerate(datasets):
            dataset.save_as(folder / f"{number:04}.dcm", enforce_file_format=True)
        self.run([sys.executable, "-c", _UPLOAD, str(folder), f"{USER}:{PASSWORD}"]).check_returncode()
        shutil.rmtree(folder)

    def run(self, command: Sequence[str | Path], *, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command beside it to its end."""
        return subprocess.run(
            [*self._inside(), *map(str, command)], capture_output=True, text=True, timeout=timeout_s, env=environment()
        )

    def begin(self, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        """Begin a command beside it; ``ip netns exec`` becomes the command, so that a signal reaches it."""
        return subprocess.Popen(
            [*self._inside(), *map(str, command)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment(),
        )

    def _inside(self) -> list[str]:
        return [_program("ip"), "netns", "exec", self.namespace]


def _program(name: str) -> str:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or name


def environment() -> dict[str, str]:
    """A child's environment: one thread for each library, this repository's package."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "custom"), "COLUMNS": "200"}


@contextmanager
def namespace(name: str) -> Iterator[str]:
    """A network namespace with a loopback and nothing else; skips where it cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a network namespace for Orthanc")
    ip = _program("ip")
    if subprocess.run([ip, "netns", "add", name], capture_output=True).returncode:
        pytest.skip("no network namespace can be made here")
    try:
        subprocess.run([ip, "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run([ip, "netns", "del", name], check=True)


@contextmanager
def orthanc(folder: Path, **settings: Any) -> Iterator[Orthanc]:
    """An empty archive, up until the end of the ``with``; it knows FEDWARD at ``OWN_PORT`` of its own loopback."""
    needs("orthanc", "orthanc-dicomweb", "iproute2")
    with namespace(f"fedward-pacs-{os.getpid()}-{folder.name[-8:]}") as name:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "orthanc.json").write_text(json.dumps({**_settings(folder), **settings}))
        archive = Orthanc(name, folder)
        try:
            archive.start()
            yield archive
        finally:
            archive.stop()


def _settings(folder: Path) -> Mapping[str, Any]:
    known: dict[str, Any] = {"AET": "FEDWARD", "Host": "127.0.0.1", "Port": OWN_PORT}
    known |= {f"Allow{verb}": True for verb in ("Echo", "Find", "Get", "Move", "Store")}
    return {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomPort": DICOM_PORT,
        "HttpPort": HTTP_PORT,
        "DicomAet": "ORTHANC",
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowEcho": False,
        "DicomModalities": {"fedward": known},
        "RegisteredUsers": {USER: PASSWORD},
        "AuthenticationEnabled": True,
        "RemoteAccessAllowed": True,
        "Plugins": [str(_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
