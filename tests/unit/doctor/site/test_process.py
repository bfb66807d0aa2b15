"""The kit's own process is found by its certificate among all others of this user, with what it listens on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedward.doctor.site.process import running

PARENT = "nvflare.private.fed.app.client.client_train"
LISTENS = """
import socket, time
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    time.sleep(60)
"""


@contextmanager
def started(*words: str, cwd: Path) -> Iterator[tuple[int, int]]:
    """A process that looks like FLARE's; its number and port."""
    child = subprocess.Popen([sys.executable, "-c", LISTENS, *words], stdout=subprocess.PIPE, text=True, cwd=cwd)
    try:
        assert child.stdout is not None
        yield child.pid, int(child.stdout.readline())
    finally:
        child.kill()
        child.communicate()


def kit_of(folder: Path, certificate: str) -> Path:
    (folder / "startup").mkdir(parents=True)
    (folder / "startup" / "client.crt").write_text(certificate)
    return folder


def test_the_kits_own_process_is_found_by_its_certificate(tmp_path: Path) -> None:
    mine, other = kit_of(tmp_path / "mine", "A"), kit_of(tmp_path / "other", "B")
    copy = kit_of(tmp_path / "container" / "workspace", "A")
    with (
        started("-m", PARENT, "-m", str(copy), "-s", "fed_client.json", cwd=tmp_path) as (pid, port),
        started("-m", PARENT, "-m", "other", cwd=tmp_path),
        started("-m", "something.else", "-m", str(mine), cwd=tmp_path),
        started("-m", PARENT, cwd=tmp_path),
    ):
        assert [(one.pid, one.ports) for one in running(mine)] == [(pid, (port,))]
        assert [one.ports != (port,) for one in running(other)] == [True]


def test_a_kit_without_a_certificate_has_no_process(tmp_path: Path) -> None:
    assert running(tmp_path) == ()
