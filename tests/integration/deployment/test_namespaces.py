"""Hospitals in networks of their own, from which one port of one machine can be reached and which nobody reaches.

The server, every hospital and the data scientist have a network namespace each, with a router between them and a
firewall at each that lets nothing into a hospital. Four hospitals reach the server directly; a fifth reaches only its
own web proxy and cannot even look up the server's name. An encrypted job runs from its submission to its download.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fedward.demo.keys import share_key
from fedward.dicom.synthetic.hospital import HOSPITALS
from fedward.flare.export import export_job
from fedward.flare.job_context import SITE_FILE
from fedward.flare.kits.central import Kits, provision
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.settings import FederationSpec, Hospital, JobSpec, Person, Server, parse
from tests.conftest import ROOT, tiny_job_content
from tests.integration.conftest import index_all, small_hospitals
from tests.support.federation.namespaces import STRAY, Machine, machines, needs_namespaces
from tests.support.federation.placed import SERVER, Placed
from tests.support.rehearsal import rehearsal

pytestmark = [pytest.mark.integration, rehearsal("runs a federation in networks of their own")]

PORT, OTHER_PORT, PROXY_PORT, IDLE_PORT = 8443, 8444, 3128, 9000
JOB_S = 600.0
HOST, LEAD, PROXY, BEHIND = "server.fedward.test", "lead@research.test", "proxy", "quay-clinic"
MORE = tuple(replace(HOSPITALS[number], site=site) for number, site in enumerate(("west-house", BEHIND)))
SITES = sorted(one.site for one in (*HOSPITALS, *MORE))
MACHINES = (SERVER, *SITES, PROXY, LEAD)
ONLY = dict.fromkeys((*SITES, PROXY, LEAD), (SERVER, PORT)) | {BEHIND: (PROXY, PROXY_PORT)}
"""The one machine and port that each may connect to."""
OPEN = {SERVER: PORT, PROXY: PROXY_PORT}
"""Machines that accept connections, and their ports: the server from anyone, the proxy from its own hospital."""


def tiny() -> JobSpec:
    content = tiny_job_content()
    content["federation"] |= {"min_sites": len(SITES), "local_baseline": False}
    content["encryption"] = {"scheme": "aes-ctr"}
    return parse(JobSpec, content, where="tiny")


def rules(name: str, there: dict[str, Machine]) -> Iterator[str]:
    """Yield the rules by which a machine's firewall accepts packets.

    The server may send anything: its outgoing packets are counted, and the hospitals' own firewalls stop them.
    """
    if name in OPEN:
        source = f"-s {there[BEHIND].address}" if name == PROXY else ""
        yield f"-A INPUT -p tcp {source} --dport {OPEN[name]} -m comment --comment door -j ACCEPT"
        yield f"-A OUTPUT -p tcp --sport {OPEN[name]} -m conntrack --ctstate ESTABLISHED -j ACCEPT"
    if name in ONLY:
        other, port = there[ONLY[name][0]].address, ONLY[name][1]
        yield f"-A OUTPUT -p tcp -d {other} --dport {port} -m comment --comment out -j ACCEPT"
        yield f"-A INPUT -p tcp -s {other} --sport {port} -m conntrack --ctstate ESTABLISHED -j ACCEPT"
    if name == SERVER:
        yield "-A OUTPUT -m comment --comment out -j ACCEPT"


Connection = tuple[str, str, int]
"""From, to, port."""


@dataclass(frozen=True)
class Walls:
    """Connections without and with the firewalls.

    Attributes:
        tried: every connection that was tried, with something listening at its other end.
        before, behind: those that were established, without and with the firewalls.
        counted: (machine, chain, rule) -> packets of those that were tried behind the firewalls.
    """

    tried: set[Connection]
    before: set[Connection]
    behind: set[Connection]
    counted: dict[tuple[str, str, str], int]


@dataclass(frozen=True)
class Run:
    """Observations of a job behind the firewalls.

    Attributes:
        said: output of the data scientist's process.
        events: the server's.
        listening: machine -> where it listened, at any time from when the server answered until the job's end.
        counted: (machine, chain, rule) -> packets in that time.
        requests: to the proxy.
    """

    said: dict[str, Any]
    events: list[dict[str, Any]]
    listening: dict[str, set[tuple[str, int]]]
    counted: dict[tuple[str, str, str], int]
    requests: list[str]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Machine]]:
    needs_namespaces()
    with machines(MACHINES, tmp_path_factory.mktemp("machines"), known={HOST: SERVER}, blind=[BEHIND]) as made:
        yield made


@pytest.fixture(scope="module")
def walls(there: dict[str, Machine]) -> Walls:
    """The firewalls are up from here on."""
    start = time.monotonic()
    tried = {(one, other, port) for one in there for other in there if one != other for port in ports(other)}
    before = reached(there, tried)
    for name, machine in there.items():
        machine.wall(list(rules(name, there)))
    behind = reached(there, tried)
    counted = packets(there)
    print(f"firewalls up and tried: {time.monotonic() - start:.1f} s")
    return Walls(tried, before, behind, counted)


def packets(there: dict[str, Machine]) -> dict[tuple[str, str, str], int]:
    return {(name, *rule): number for name in there for rule, number in there[name].counted().items()}


def ports(name: str) -> set[int]:
    """Where others try to connect to a machine."""
    return {OPEN.get(name, IDLE_PORT), OTHER_PORT}


def reached(there: dict[str, Machine], tried: set[Connection]) -> set[Connection]:
    """The connections that come about, with something listening on every port."""
    with ExitStack() as listeners:
        for name, machine in there.items():
            with machine.inside():
                for port in ports(name):
                    listeners.enter_context(socket.create_server(("0.0.0.0", port), backlog=16))
        return {(one, other, port) for one, other, port in tried if there[one].reaches(there[other].address, port)}


@pytest.fixture(scope="module")
def run(walls: Walls, there: dict[str, Machine], tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder, start = tmp_path_factory.mktemp("apart"), time.monotonic()
    kits = prepared(folder)
    job, results = export_job(tiny(), folder / "jobs"), folder / "results"
    for machine in there.values():
        machine.ask("iptables", "-Z")
    through = {"https_proxy": f"http://{there[PROXY].address}:{PROXY_PORT}"}
    federation = Placed(kits, there, port=PORT, environment={BEHIND: through})
    listening: dict[str, set[tuple[str, int]]] = {name: set() for name in there}
    module = (sys.executable, "-m")
    print(f"hospitals, kits, key: {time.monotonic() - start:.1f} s")
    with (folder / "proxy.txt").open("w") as requests, (folder / "person.txt").open("w") as person, federation:
        proxy = (*module, "tests.support.federation.connect_proxy", "0.0.0.0", str(PROXY_PORT), f"{HOST}:{PORT}")
        federation.popen(there[PROXY], *proxy, folder=ROOT, stdout=requests)
        words = (*module, "tests.support.federation.person", str(kits.people[LEAD]), str(job), str(results), *SITES)
        working = federation.popen(there[LEAD], *words, folder=ROOT, stdout=person)
        while working.poll() is None:
            federation.check()
            assert time.monotonic() - start < JOB_S, "the job does not end"
            for name, machine in there.items():
                listening[name] |= machine.listening()
            time.sleep(1.0)
        counted = packets(there)
        assert working.returncode == 0, "the data scientist's process failed; it says why on standard error"
    said = json.loads((folder / "person.txt").read_text().splitlines()[-1])
    print(f"job ended and all stopped: {time.monotonic() - start:.1f} s")
    events = list(EventReader(Path(said["result"]) / EVENTS_FILE))
    return Run(said, events, listening, counted, (folder / "proxy.txt").read_text().splitlines())


def prepared(folder: Path) -> Kits:
    """Kits of hospitals that have indexed their images and share a key."""
    hospitals = index_all(small_hospitals(folder / "data", like=(*HOSPITALS, *MORE)), folder / "sites", tiny())
    spec = FederationSpec(
        name="apart",
        server=Server(host=HOST, port=PORT, organisation="operator"),
        hospitals=tuple(Hospital(site=site, organisation=site.replace("-", "_")) for site in SITES),
        people=(Person(email=LEAD, organisation="research", role="lead"),),
    )
    kits = provision(spec, folder / "kits")
    for hospital in hospitals:
        (kits.sites[hospital.site] / "local" / SITE_FILE).write_bytes(hospital.config.read_bytes())
    share_key(kits, {hospital.site: hospital.config for hospital in hospitals})
    return kits


def test_without_firewalls_everyone_reaches_everyone(walls: Walls) -> None:
    """Otherwise the firewalls might stop connections that were never possible."""
    assert walls.before == walls.tried
    assert len(walls.tried) == len(MACHINES) * (len(MACHINES) - 1) * 2


def test_behind_firewalls_each_reaches_one_port_and_no_hospital_is_reached(walls: Walls) -> None:
    assert walls.behind == {(one, *other) for one, other in ONLY.items()}
    for name in ONLY:
        assert walls.counted[name, "INPUT", STRAY] >= 2, f"{name} dropped what the server sent to its two ports"
        assert walls.counted[name, "OUTPUT", STRAY] >= 2 * (len(MACHINES) - 1) - 1, f"{name} let something out"
    assert walls.counted[SERVER, "INPUT", STRAY] == 0, "what was meant for its other port came as far as the server"


def test_an_encrypted_job_of_all_hospitals_runs_to_its_end(run: Run) -> None:
    assert run.said["status"] == "FINISHED:COMPLETED", run.events
    assert run.said["connected"] == SITES
    assert [event["sites"] for event in run.events if event["event"] == "round"] == [SITES] * tiny().federation.rounds
    assert [event["scheme"] for event in run.events if event["event"] == "encrypted"] == ["aes-ctr"]
    assert not [event for event in run.events if event["event"] in ("dropped", "declined", "failed")]


def test_the_server_listens_on_one_port_and_no_hospital_on_any(run: Run) -> None:
    assert run.listening == {name: {("0.0.0.0", OPEN[name])} if name in OPEN else set() for name in MACHINES}


def test_nobody_tried_another_port_or_another_machine(run: Run) -> None:
    for name in ONLY:
        assert run.counted[name, "OUTPUT", "out"] > 100, f"{name} was not counted"
        assert run.counted[name, "OUTPUT", STRAY] == run.counted[name, "INPUT", STRAY] == 0, name
    assert run.counted[SERVER, "INPUT", "door"] > 100
    assert run.counted[SERVER, "INPUT", STRAY] == 0
    assert run.counted[SERVER, "OUTPUT", "out"] == 0, "the server called someone"


def test_the_hospital_behind_a_proxy_looked_up_no_name_and_asked_for_nothing_else(
    run: Run,
) -> None:
    assert set(run.requests) == {f"CONNECT {HOST}:{PORT} HTTP/1.1"}
