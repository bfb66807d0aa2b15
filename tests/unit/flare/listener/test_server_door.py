"""Check the listener's parts that need no running server: the lowest TLS version, and where it changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from fedward.errors import FederationError
from fedward.flare.listener.server_door import ServerDoor, connection_guard_of
from fedward.flare.listener.tls13 import CIPHERS, VARIABLE
from fedward.flare.messages import guard as message_guard
from fedward.flare.messages.guard import JOB_PROCESSES, MessageGuard
from fedward.flare.supervisor import job_reactions, single_process, waits
from fedward.provisioning.crl import CRL_FILE, make_crl
from tests.support.authority import authority, key_pem, pem

AUTHORITY = authority()
PROVE = """
import sys
from pathlib import Path
from fedward.errors import FedwardError
from fedward.flare.listener.tls13 import ServerFiles, prove_floor
try:
    prove_floor(ServerFiles.of(Path(sys.argv[1])))
except FedwardError as error:
    sys.exit(str(error))
"""
BEGIN_AGAIN = f"""
import os, sys
from fedward.flare.listener.tls13 import set_floor
print(os.getpid(), os.environ.get("{VARIABLE}"), sys.argv[1:], flush=True)
set_floor()
"""


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """Write the files of a server's kit that its listener reads."""
    startup, local = tmp_path / "startup", tmp_path / "local"
    startup.mkdir()
    local.mkdir()
    (startup / "rootCA.pem").write_bytes(pem(AUTHORITY.root))
    (startup / "server.crt").write_bytes(pem(AUTHORITY.issue("localhost", server_only=True)))
    (startup / "server.key").write_bytes(key_pem())
    listens(tmp_path)
    crl = make_crl(root=AUTHORITY.root, key=AUTHORITY.key, revoked={3: datetime.now(UTC)}, number=1)
    (local / CRL_FILE).write_bytes(crl)
    return tmp_path


def listens(kit: Path, *, scheme: str = "grpc", security: str = "mtls") -> None:
    server = {"service": {"target": "localhost:1", "scheme": scheme}, "connection_security": security}
    (kit / "startup" / "fed_server.json").write_text(json.dumps({"servers": [server]}))


def python(code: str, *words: object, ciphers: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if ciphers is not None:
        environment[VARIABLE] = ciphers
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("ciphers", [CIPHERS, None, "ECDHE-RSA-AES256-GCM-SHA384"])
def test_the_floor_is_proven_only_where_tls_1_2_is_refused(kit: Path, ciphers: str | None) -> None:
    done = python(PROVE, kit / "startup", ciphers=ciphers)
    assert done.returncode == (0 if ciphers == CIPHERS else 1), done.stderr
    assert ("gRPC still takes TLS 1.2" in done.stderr) == (ciphers != CIPHERS)


def test_a_certificate_and_a_key_that_cannot_serve_prove_nothing(kit: Path) -> None:
    (kit / "startup" / "server.key").write_text("no key")
    done = python(PROVE, kit / "startup", ciphers=CIPHERS)
    assert done.returncode == 1
    assert "server.crt" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_process_begins_again_once_with_its_arguments_where_the_environment_lacks_the_floor() -> None:
    done = python(BEGIN_AGAIN, "a", "b c", ciphers="HIGH")
    first, second = done.stdout.splitlines()
    assert first.split()[0] == second.split()[0]  # the same process: whoever started it still knows it
    assert first.endswith("HIGH ['a', 'b c']")
    assert second.endswith(f"{CIPHERS} ['a', 'b c']")


@pytest.mark.parametrize(
    ("scheme", "security"), [("tcp", "mtls"), ("agrpc", "mtls"), ("http", "mtls"), ("grpc", "tls"), ("grpc", "clear")]
)
def test_another_way_to_listen_is_refused(kit: Path, scheme: str, security: str) -> None:
    listens(kit, scheme=scheme, security=security)
    with pytest.raises(FederationError, match="without Fedward's door"):
        connection_guard_of(kit)


def test_a_kit_that_does_not_say_how_it_listens_is_refused(kit: Path) -> None:
    (kit / "startup" / "fed_server.json").write_text("[]")
    with pytest.raises(FederationError, match="does not say"):
        connection_guard_of(kit)


@pytest.mark.parametrize("process", sorted(JOB_PROCESSES))
def test_in_the_process_of_a_job_it_guards_messages_alone(
    process: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guards: list[MessageGuard] = []
    held: list[Path] = []
    monkeypatch.setattr(message_guard, "install", guards.append)
    monkeypatch.setattr(job_reactions, "install", lambda: None)
    monkeypatch.setattr(waits, "set_waits", lambda: None)
    monkeypatch.setattr(single_process, "hold", held.append)
    main = ModuleType("__main__")
    main.__spec__ = ModuleSpec(process, None)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    ServerDoor()
    assert VARIABLE not in os.environ
    assert [type(guard) for guard in guards] == [MessageGuard]
    assert held == [tmp_path]


def test_in_the_process_of_a_job_nothing_starts_without_the_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(guard: MessageGuard) -> None:
        raise FederationError("messages are to be guarded before the first cell is opened, and once")

    main = ModuleType("__main__")
    main.__spec__ = ModuleSpec(min(JOB_PROCESSES), None)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(message_guard, "install", broken)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="does not start"):
        ServerDoor()


def test_anywhere_else_it_ends_the_process_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, CIPHERS)
    with pytest.raises(SystemExit) as caught:
        ServerDoor()
    assert str(caught.value).startswith("fedward: server does not start: ")
    assert "\n" not in str(caught.value)


def test_the_processes_of_a_job_are_flares() -> None:
    from importlib.util import find_spec

    assert all(find_spec(name) is not None for name in JOB_PROCESSES)
    assert find_spec("nvflare.private.fed.app.server.server_train") is not None
