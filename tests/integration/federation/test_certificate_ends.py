"""Real kits whose certificates end: who does not start, who is put out, and a server that a console restarts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from fedward.demo.federate import LEAD, await_sites, federation_of
from fedward.errors import FederationError
from fedward.flare.admin_session import console
from fedward.flare.kits.central import Kits, certificate_file, provision
from fedward.flare.kits.start_script import RESTART
from fedward.flare.listener.absence import absent_reason
from fedward.flare.local_federation import LocalFederation, free_port
from fedward.metrics.store import STORE_FILE
from fedward.provisioning.authority import read_authority, read_pem, reissue
from fedward.provisioning.participants import Kind
from fedward.provisioning.validity import NOT_VALID
from fedward.settings import FederationSpec

pytestmark = pytest.mark.integration

DAY = timedelta(days=1)
SOON_S = 60.0


@dataclass(frozen=True)
class Made:
    """Kits of two hospitals, and the folder of their authority."""

    spec: FederationSpec
    kits: Kits
    state: Path

    def certify(self, name: str, kind: Kind, *, ends: datetime, days: int = 2) -> Path:
        """Put a certificate that ends then into a kit, and return the kit."""
        kit = {Kind.server: self.kits.server, Kind.site: self.kits.sites.get(name), Kind.person: None}[kind]
        kit = kit or self.kits.people[name]
        path = certificate_file(kit, kind)
        new = reissue(read_pem(path), authority=read_authority(self.state), days=days, now=ends - days * DAY)
        path.write_bytes(new.public_bytes(Encoding.PEM))
        return kit


@pytest.fixture
def made(tmp_path: Path) -> Made:
    spec = federation_of(["north", "south"], port=free_port())
    kits = provision(spec, tmp_path)
    return Made(spec, kits, tmp_path / spec.name / "state")


Services = list[subprocess.Popen[bytes]]


@pytest.fixture
def services() -> Iterator[Services]:
    """Services that a test started; all of their processes are stopped at its end."""
    running: Services = []
    yield running
    for one in running:
        one.terminate()
        one.wait(timeout=30)


def start(kit: Path) -> subprocess.Popen[bytes]:
    """Start a kit as its systemd unit does; its errors go to ``errors.log``."""
    with (kit / "console.log").open("ab") as console_log, (kit / "errors.log").open("ab") as errors:
        return subprocess.Popen(
            ["bash", str(kit / "startup" / "sub_start.sh"), "--once"],
            cwd=kit,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=console_log,
            stderr=errors,
        )


def until(condition: Callable[[], bool], *, within_s: float = SOON_S) -> float:
    """Seconds until a condition holds."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < within_s, "it does not come"
        time.sleep(0.1)
    return time.monotonic() - begin


@pytest.mark.parametrize(("name", "kind"), [("localhost", Kind.server), ("north", Kind.site)])
@pytest.mark.parametrize(
    ("ends", "says"),
    [(-timedelta(minutes=1), "has expired: '"), (2 * DAY + timedelta(hours=1), "is not valid yet: 'from ")],
)
def test_a_service_with_a_certificate_that_is_not_valid_does_not_start(
    made: Made, services: Services, name: str, kind: Kind, ends: timedelta, says: str
) -> None:
    kit = made.certify(name, kind, ends=datetime.now(UTC) + ends)
    services.append(service := start(kit))
    assert service.wait(timeout=SOON_S) == NOT_VALID
    errors = (kit / "errors.log").read_text(encoding="utf-8")
    (line,) = [line for line in errors.splitlines() if line.startswith("fedward: ")]
    file = "server.crt" if kind is Kind.server else "client.crt"
    assert f"{kind} does not start: {kit}/startup/{file}: {kind}'s certificate {says}" in line
    assert "Traceback" not in errors
    assert line.removeprefix("fedward: ") in (kit / "log.txt").read_text(encoding="utf-8")


def test_a_person_is_told_of_the_certificate_and_not_of_tls(made: Made) -> None:
    kit = made.certify(LEAD, Kind.person, ends=datetime.now(UTC) - DAY)
    with pytest.raises(FederationError, match="person's certificate has expired: ") as caught, console(kit):
        pass
    assert f"`fedward federation renew {LEAD}`" in str(caught.value)


def test_a_hospital_is_put_out_when_its_certificate_ends_and_comes_back_with_a_renewed_one(made: Made) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=30)
    made.certify("north", Kind.site, ends=ends)
    server_log = made.kits.server / "console.log"
    with LocalFederation(made.spec, made.kits, threads=1) as federation, console(made.kits.people[LEAD]) as session:
        await_sites(federation, session, made.kits, made.spec)
        assert "site's certificate ends within a day" in (made.kits.sites["north"] / "log.txt").read_text()
        until(lambda: session.connected() == {"south"})
        late_s = (datetime.now(UTC) - ends).total_seconds()
        print(f"signed out {late_s:.1f} s after the certificate's end")
        assert 0.0 < late_s < 10.0
        assert "certificate of 'north' has expired: its connection is cut" in server_log.read_text()
        assert "certificate of 'south'" not in server_log.read_text()
        store = made.kits.server / STORE_FILE
        until(lambda: absent_reason(store, "north", time.time()) == f"its certificate ended on {ends:%Y-%m-%d}")
        assert absent_reason(store, "south", time.time()) is None
        made.certify("north", Kind.site, ends=datetime.now(UTC) + 90 * DAY, days=91)
        print(f"back after {until(lambda: session.connected() == {'north', 'south'}):.1f} s, without a restart")
        until(lambda: absent_reason(store, "north", time.time()) is None)


def test_restart_in_the_console_ends_the_server_so_that_it_is_started_again(made: Made, services: Services) -> None:
    """With hospitals connected: they are asked first, answer nothing, and connect to the server that is back."""
    lead = made.kits.people[LEAD]
    for kit in (made.kits.server, *made.kits.sites.values()):
        services.append(start(kit))
    server = services[0]
    with console(lead, timeout_s=SOON_S) as session:
        until(lambda: session.connected() == {"north", "south"})
        for command in ("restart client", "shutdown client", "shutdown server", "shutdown all"):
            session.does(command)
        time.sleep(5)
        assert [one.poll() for one in services] == [None] * 3, "no site obeys, and no server while they are there"
        assert session.connected() == {"north", "south"}
        assert session.does("restart server")
    until(lambda: server.poll() is not None)
    assert server.returncode == RESTART
    services[0] = start(made.kits.server)
    with console(lead, timeout_s=SOON_S) as session:
        until(lambda: session.connected() == {"north", "south"})


def test_shutdown_in_the_console_leaves_the_server_down(made: Made, services: Services) -> None:
    services.append(start(made.kits.server))
    with console(made.kits.people[LEAD], timeout_s=SOON_S) as session:
        assert session.does("shutdown server")
    until(lambda: services[0].poll() is not None)
    assert services[0].returncode == 0
