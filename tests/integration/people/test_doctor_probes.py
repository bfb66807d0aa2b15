"""Send both doctors' probes to a running federation: kits of today refuse them, and a kit without a gate is found."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedward.doctor.checks import CHECKS
from fedward.doctor.context import Case
from fedward.doctor.probes.server import SERVER_CHECKS
from fedward.doctor.run import Heard, examine
from fedward.doctor.server_context import signed_out, visited
from fedward.flare.kits.central import Kits
from fedward.flare.kits.hardening import SERVER_DOOR, SITE_DOOR
from fedward.flare.probes.requests import off_the_list
from tests.integration.conftest import DemoHospital, Running, started
from tests.support.federation.doctor_site import said

pytestmark = pytest.mark.integration

FEDWARD = [sys.executable, "-c", "from fedward.cli import main; main()"]
PROBES = [check for check in CHECKS if check.name in ("site-door", "messages", "job-form")]
DOORS = {"between-participants", "server-messages", "origins", "commands", "submissions"}


def person(running: Running) -> Path:
    return next(iter(running.kits.people.values()))


def at_the_server(running: Running) -> tuple[Heard, ...]:
    case = visited(person(running))
    with signed_out(case):
        return examine(case, checks=SERVER_CHECKS)


def at_a_site(running: Running, site: str) -> tuple[Heard, ...]:
    kit = running.kits.sites[site]
    return examine(Case(kit=kit, site_toml=kit / "local" / "site.toml"), checks=PROBES)


def files(running: Running) -> dict[Path, int]:
    """Everything in all kits but logs and what FLARE's processes write for themselves."""
    kits = [running.kits.server, person(running), *running.kits.sites.values()]
    found = (
        path for kit in kits for folder in ("startup", "local", "storage", "transfer") for path in kit.glob(folder)
    )
    return {path: path.stat().st_mtime_ns for folder in found for path in folder.rglob("*") if path.is_file()}


def test_every_probe_of_a_closed_server_passes_and_leaves_nothing(running: Running) -> None:
    before = files(running), running.session.connected(), len(running.federation.processes())
    heard = at_the_server(running)
    assert said(heard, "fail", "warn", "skip") == {}
    assert {one.check.name for one in heard} >= DOORS
    assert (files(running), running.session.connected(), len(running.federation.processes())) == before
    running.federation.check()


def test_every_probe_of_a_closed_site_passes_and_leaves_nothing(running: Running) -> None:
    for site in running.kits.sites:
        before = files(running), running.session.connected(), len(running.federation.processes())
        heard = at_a_site(running, site)
        assert said(heard, "fail", "warn", "skip") == {}
        (found,) = said(heard, "pass")["messages"]
        assert found.value is not None and all(one.what in found.value for one in off_the_list(site))
        assert (files(running), running.session.connected(), len(running.federation.processes())) == before
    running.federation.check()


def typed(*words: str) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run([*FEDWARD, *words], capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, json.loads(done.stdout), done.stderr


def test_the_command_says_so_in_time_and_says_nothing_private(running: Running) -> None:
    start = time.monotonic()
    code, answer, errors = typed("federation", "doctor", "--kit", str(person(running)), "--format", "json")
    assert (code, answer["result"], errors) == (0, "pass", "")
    assert time.monotonic() - start < 60
    server = running.spec.server
    assert (answer["site"], answer["server"]) == (None, f"{server.host}:{server.port}")
    for secret in (person(running) / "startup").glob("*.key"):
        assert secret.read_text().splitlines()[1] not in json.dumps(answer)


def test_a_folder_that_is_no_persons_kit_is_told_so(running: Running) -> None:
    kit = min(running.kits.sites.values())
    code, answer, errors = typed("federation", "doctor", "--kit", str(kit), "--format", "json")
    assert code == 4 and "not a person's kit" in answer["error"] and errors.count("\n") == 1


def test_ctrl_c_stops_it_while_it_waits_for_a_server_that_says_nothing(running: Running, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        kit = moved(person(running), tmp_path / person(running).name, silent.getsockname()[1])
        words = [*FEDWARD, "federation", "doctor", "--kit", str(kit)]
        child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            links = [silent.accept()[0] for _ in ("port", "tls")]
            child.send_signal(signal.SIGINT)
            out, errors = child.communicate(timeout=30)
        finally:
            child.kill()
            child.wait()
        for link in links:
            link.close()
    assert (child.returncode, out, errors) == (130, "", "fedward: stopped\n")


def moved(kit: Path, to: Path, port: int) -> Path:
    """A copy of a person's kit whose server is elsewhere."""
    import shutil

    shutil.copytree(kit, to)
    path = to / "startup" / "fed_admin.json"
    content = json.loads(path.read_text())
    content["admin"]["port"] = port
    path.write_text(json.dumps(content))
    return to


# kits without their gates ----------------------------------------------------------------------------------------


def _without_doors(kits: Kits) -> None:
    """Remove the gates at the server and at one hospital: as kits were before they had gates."""
    for kit in (kits.server, min(kits.sites.values())):
        path = kit / "local" / "resources.json"
        content = json.loads(path.read_text())
        content["components"] = [one for one in content["components"] if one not in (SERVER_DOOR, SITE_DOOR)]
        path.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def ajar(hospitals: list[DemoHospital], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(hospitals, tmp_path_factory.mktemp("ajar"), prepare=_without_doors) as up:
        yield up


def test_a_server_without_its_door_fails_each_probe_and_keeps_no_job(ajar: Running) -> None:
    failed = said(at_the_server(ajar), "fail")
    assert set(failed) == DOORS
    assert all(finding.remedy for findings in failed.values() for finding in findings)
    unknown = [finding.value for found in failed.values() for finding in found if "cannot be shown" in finding.what]
    assert unknown in ([], ["cells"]), "which asks every hospital, and those with a door do not answer"
    assert {finding.value for finding in failed["commands"]} == {"cells", "peers server"}
    assert [finding.what for finding in failed["submissions"]] == [
        "a job that has one file more is taken",
        "a job that names another class is taken",
    ]
    assert ajar.session._session.list_jobs() == []


def test_a_site_without_its_door_fails_and_one_with_it_passes(ajar: Running) -> None:
    open_, *shut = sorted(ajar.kits.sites)
    failed = said(at_a_site(ajar, open_), "fail")
    assert set(failed) == {"site-door", "messages"}
    assert {finding.value for finding in failed["messages"]} == {one.what for one in off_the_list(open_)}
    assert "kit anew" in (failed["site-door"][0].remedy or "")
    for site in shut:
        assert said(at_a_site(ajar, site), "fail", "warn", "skip") == {}
