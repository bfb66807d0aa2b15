"""Let a hospital join a running federation by the distributed way; renew it; revoke it.

Everyone's key is made on their own machine, from the server's to the data scientist's, by the commands that people
type. The server is started once. One story in order; a fixture tells each part, and the tests below hold it.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from fedward.demo.federate import await_sites
from fedward.demo.hospitals import FEDERATION_KEY, DemoHospital
from fedward.dicom.synthetic.hospital import HOSPITALS
from fedward.encryption.keys.key_file import read_key
from fedward.encryption.keys.site_identity import made_at_the_site, read_certificate
from fedward.flare.admin_session import Console, console
from fedward.flare.export import export_job
from fedward.flare.job_context import SITE_FILE
from fedward.flare.kits.central import Kits
from fedward.flare.local_federation import LocalFederation, free_port
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.provisioning.crl import CRL_FILE
from fedward.provisioning.network.health import REVOKED
from fedward.settings import JobSpec, parse, read_federation
from tests.conftest import tiny_job_content
from tests.integration.conftest import index_all, small_hospitals
from tests.support.federation.joining import Desk, asked, contents, ending, fedward, greeted, kits_of, seal_to
from tests.support.rehearsal import rehearsal

pytestmark = [pytest.mark.integration, rehearsal("lets a hospital join, renew and leave a federation that runs")]

FOURTH = "west-house"
THREE = sorted(one.site for one in HOSPITALS)
FOUR = sorted([*THREE, FOURTH])
MAKER = THREE[0]
SERVER, LEAD = "localhost", "lead@research.test"
COMPLETED = "FINISHED:COMPLETED"
SOON_S, CONNECT_S = 15.0, 120.0
ARRIVED = f"New client {FOURTH}@"
CUT = f"certificate of '{FOURTH}' is revoked: its connection is cut"
REFUSED = f"'{FOURTH}' is not let in: {REVOKED}"
"""Words of the server's log."""


def line(site: str) -> str:
    return f"{{site: {site}, organisation: {site.replace('-', '_')}}}"


FILE = """name: harbour
server: {{host: localhost, port: {port}, organisation: operator}}
hospitals:
{hospitals}
people:
  - {{email: lead@research.test, organisation: research, role: lead}}
"""


def tiny(name: str, *, sites: int, rounds: int) -> JobSpec:
    content = tiny_job_content()
    content["job"]["name"] = name
    content["federation"] |= {"rounds": rounds, "min_sites": sites, "local_baseline": False}
    content["encryption"] = {"scheme": "aes-ctr"}
    return parse(JobSpec, content, where=name)


@dataclass(frozen=True)
class Ended:
    """A job that has run."""

    status: str
    events: list[dict[str, Any]]

    @property
    def rounds(self) -> list[list[str]]:
        return [event["sites"] for event in self.events if event["event"] == "round"]

    @property
    def key(self) -> str:
        (event,) = (event for event in self.events if event["event"] == "encrypted")
        return str(event["key"])


@dataclass(frozen=True)
class Harbour:
    """A federation that is up."""

    desk: Desk
    kits: Kits
    federation: LocalFederation
    session: Console
    hospitals: dict[str, DemoHospital]
    jobs: Path

    def run(self, job: JobSpec) -> Ended:
        out = self.jobs / job.job.name
        job_id = self.session.submit(export_job(job, out))
        status = self.session.wait(job_id, each=self.federation.check)
        return Ended(status, list(EventReader(self.session.download(job_id, out / "results") / EVENTS_FILE)))

    def key(self, site: str) -> Path:
        return self.hospitals[site].config.with_name(FEDERATION_KEY)

    def others(self) -> dict[str, dict[str, str]]:
        """Every byte on every machine but the operator's and the fourth hospital's."""
        return {name: contents(self.desk.kit(name).parent, self.desk.kit(name)) for name in (SERVER, *THREE, LEAD)}

    def stop(self, site: str) -> None:
        """Stop one hospital's processes."""
        kit = str(self.kits.sites[site].resolve())
        living = [one for one in self.federation.processes() if any(word.startswith(kit) for word in one.cmdline())]
        assert living
        for one in living:
            one.kill()
        psutil.wait_procs(living, timeout=SOON_S)
        self.federation._started.pop(site).wait(timeout=SOON_S)

    def start(self, site: str) -> None:
        self.federation.start(site, self.kits.sites[site])

    def server_process(self) -> tuple[int, float]:
        (one,) = (
            p for p in self.federation.processes() if "nvflare.private.fed.app.server.server_train" in p.cmdline()
        )
        return one.pid, one.create_time()

    def said(self, what: str) -> int:
        """Count this text in the server's log."""
        return (self.kits.server / "console.log").read_text(errors="replace").count(what)


def soon(condition: Callable[[], bool], *, within_s: float) -> float:
    """Seconds until a condition holds."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < within_s, "it does not come"
        time.sleep(0.1)
    return time.monotonic() - start


class Timer:
    """Prints how long each part took."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def part(self, what: str) -> None:
        now = time.monotonic()
        print(f"{what}: {now - self._last:.1f} s")
        self._last = now


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    """Three hospitals that share a key, a server, a data scientist."""
    folder, timer = tmp_path_factory.mktemp("joining"), Timer()
    like = (*HOSPITALS, replace(HOSPITALS[0], site=FOURTH))
    indexed = index_all(small_hospitals(folder / "data", like=like), folder / "sites", tiny("index", sites=3, rounds=1))
    hospitals = {one.site: one for one in indexed}
    timer.part("images indexed")
    lines = "\n".join(f"  - {line(site)}" for site in THREE)
    desk = Desk(folder / "machines", FILE.format(port=free_port(), hospitals=lines))
    for name in (SERVER, *THREE, LEAD):
        desk.join(name)
    timer.part("five joined")
    kits = kits_of(desk, server=SERVER, sites=THREE, people=[LEAD])
    keys = {site: one.config.with_name(FEDERATION_KEY) for site, one in hospitals.items()}
    for site in THREE:
        shutil.copy(hospitals[site].config, kits.sites[site] / "local" / SITE_FILE)
    fedward("key", "create", keys[MAKER])
    others = {site: kits.sites[site] for site in THREE if site != MAKER}
    seal_to(kits.sites[MAKER], keys[MAKER], others=others, keys=keys, out=folder / "boxes")
    spec = read_federation(desk.file)
    with LocalFederation(spec, kits, threads=1) as federation, console(kits.people[LEAD]) as session:
        await_sites(federation, session, kits, spec, timeout_s=CONNECT_S)
        timer.part("federation up")
        yield Harbour(desk, kits, federation, session, hospitals, folder / "jobs")


@dataclass(frozen=True)
class Joined:
    """Results until the fourth hospital had taken part in a job."""

    three: Ended
    four: Ended
    others: list[dict[str, dict[str, str]]]
    server: list[tuple[int, float]]


@pytest.fixture(scope="module")
def joined(harbour: Harbour) -> Joined:
    timer = Timer()
    three = harbour.run(tiny("three", sites=3, rounds=1))
    timer.part("job of three")
    others, server = [harbour.others()], [harbour.server_process()]
    harbour.desk.add_line(line(FOURTH))
    kit = harbour.kits.sites[FOURTH] = harbour.desk.join(FOURTH)
    shutil.copy(harbour.hospitals[FOURTH].config, kit / "local" / SITE_FILE)
    maker = harbour.kits.sites[MAKER]
    keys = {FOURTH: harbour.key(FOURTH)}
    seal_to(maker, harbour.key(MAKER), others={FOURTH: kit}, keys=keys, out=harbour.jobs / "boxes")
    timer.part("fourth joined")
    others.append(harbour.others())
    harbour.start(FOURTH)
    soon(lambda: harbour.session.connected() == set(FOUR), within_s=CONNECT_S)
    timer.part("fourth connected")
    four = harbour.run(tiny("four", sites=4, rounds=2))
    timer.part("job of four")
    return Joined(three, four, [*others, harbour.others()], [*server, harbour.server_process()])


@dataclass(frozen=True)
class Renewed:
    """Results until the fourth hospital's old certificate was revoked.

    Attributes:
        own: its kit before and after its renewal.
        seen: connected sites after it came back with the new certificate, and after the old one was revoked.
        old, new: the server's answer to either certificate at the end.
    """

    own: list[dict[str, str]]
    serials: list[str]
    others: list[dict[str, dict[str, str]]]
    server: tuple[int, float]
    revoked: list[str]
    seen: list[set[str]]
    old: str
    new: str
    cuts: int


@pytest.fixture(scope="module")
def renewed(harbour: Harbour, joined: Joined) -> Renewed:
    desk, kit, timer = harbour.desk, harbour.kits.sites[FOURTH], Timer()
    own, others, serials = [contents(kit, kit)], [harbour.others()], [serial(kit)]
    old_kit = desk.machine("copy") / FOURTH
    shutil.copytree(kit / "startup", old_kit / "startup")
    signed = asked("federation", "renew", FOURTH, "--out", desk.out)["path"]
    assert desk.take(FOURTH, signed) == "renewed"
    own.append(contents(kit, kit))
    serials.append(serial(kit))
    before = harbour.said(ARRIVED)
    others.append(harbour.others())
    harbour.stop(FOURTH)
    harbour.start(FOURTH)
    soon(lambda: harbour.said(ARRIVED) == before + 1, within_s=CONNECT_S)
    seen = [harbour.session.connected()]
    timer.part("renewed and restarted")
    assert greeted(old_kit) == "", "both certificates are good until the older is revoked"
    superseded = asked("federation", "renew", FOURTH, "--revoke-old", "--out", desk.out)
    carry(superseded["crl"], harbour.kits.server / "local" / CRL_FILE)
    others.append(harbour.others())
    soon(lambda: harbour.said("revocation list 2 is in force") == 1, within_s=SOON_S)
    old, new = greeted(old_kit), greeted(kit)
    seen.append(harbour.session.connected())
    timer.part("old certificate revoked")
    return Renewed(
        own, serials, others, harbour.server_process(), superseded["serials"], seen, old, new, harbour.said(CUT)
    )


@dataclass(frozen=True)
class Revoked:
    """Results after the fourth hospital's certificates were revoked.

    Attributes:
        cut_s, out_s: from the command's beginning until its connection was cut, and until it was signed out.
        hello: the server's answer to its kit.
        refused: number of refusals of its real client, restarted, before the next job.
        seen: connected sites then.
        three: the next job.
        row: its row of ``federation status``.
    """

    serials: list[str]
    cut_s: float
    out_s: float
    hello: str
    refused: int
    arrived: int
    seen: set[str]
    three: Ended
    row: dict[str, Any]
    server: tuple[int, float]


@pytest.fixture(scope="module")
def revoked(harbour: Harbour, renewed: Renewed) -> Revoked:
    desk, timer, start = harbour.desk, Timer(), time.monotonic()
    arrived, cuts = harbour.said(ARRIVED), harbour.said(CUT)
    words = ("--out", desk.out, "--server", harbour.kits.server, "--reason", "key-compromise")
    serials = asked("federation", "revoke", FOURTH, *words)["serials"]
    soon(lambda: harbour.said(CUT) > cuts, within_s=SOON_S)
    cut_s = time.monotonic() - start
    soon(lambda: FOURTH not in harbour.session.connected(), within_s=SOON_S)
    out_s = time.monotonic() - start
    harbour.stop(FOURTH)
    refused = harbour.said(REFUSED)
    harbour.start(FOURTH)
    soon(lambda: harbour.said(REFUSED) > refused, within_s=CONNECT_S)
    seen = harbour.session.connected()
    timer.part("revoked, and refused after a restart")
    kits, key = harbour.kits, harbour.key
    fedward("key", "rotate", key(MAKER))
    others = {site: kits.sites[site] for site in THREE if site != MAKER}
    seal_to(kits.sites[MAKER], key(MAKER), others=others, keys={s: key(s) for s in THREE}, out=harbour.jobs / "anew")
    three = harbour.run(tiny("again", sites=3, rounds=1))
    timer.part("job of three")
    rows = json.loads(ending("federation", "status", "--out", desk.out, "--format", "json")[1])
    return Revoked(
        serials=serials,
        cut_s=cut_s,
        out_s=out_s,
        hello=greeted(kits.sites[FOURTH]),
        refused=harbour.said(REFUSED) - refused,
        arrived=harbour.said(ARRIVED) - arrived,
        seen=seen,
        three=three,
        row=next(row for row in rows if row["name"] == FOURTH),
        server=harbour.server_process(),
    )


def carry(crl: str, to: Path) -> None:
    """Copy the revocation list to the server's machine, in one piece."""
    shutil.copy(crl, to.with_suffix(".new"))
    to.with_suffix(".new").replace(to)


def serial(kit: Path) -> str:
    return f"{read_certificate(kit / 'startup' / 'client.crt').serial_number:x}"


def changed(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> set[str]:
    """Files that came, went or are other than before, on any of these machines."""
    assert before.keys() == after.keys()
    return {
        file
        for machine in before
        for file in before[machine].keys() | after[machine].keys()
        if before[machine].get(file) != after[machine].get(file)
    }


def test_every_key_was_made_where_it_is_used(harbour: Harbour, joined: Joined) -> None:
    for site in FOUR:
        assert made_at_the_site(read_certificate(harbour.kits.sites[site] / "startup" / "client.crt"))
    keys = sorted(path.name for path in harbour.desk.file.parent.rglob("*.key"))
    assert keys == ["audit.key", "rootCA.key"], "the operator holds the authority's key and that of its own audit log"


def test_a_hospital_joins_a_running_federation(harbour: Harbour, joined: Joined) -> None:
    assert (joined.three.status, joined.three.rounds) == (COMPLETED, [THREE]), joined.three.events
    assert (joined.four.status, joined.four.rounds) == (COMPLETED, [FOUR, FOUR]), joined.four.events
    assert joined.four.key == joined.three.key == read_key(harbour.key(FOURTH)).key_id


def test_nobody_else_is_touched_when_one_joins(joined: Joined) -> None:
    before, when_joined, after_job = joined.others
    assert before == when_joined == after_job
    assert {f"{site}/startup/client.key" in before[site] for site in (*THREE, LEAD)} == {True}
    assert f"{SERVER}/startup/server.key" in before[SERVER]
    assert joined.server[0] == joined.server[1], "the server was restarted"


def test_a_renewal_changes_one_certificate(harbour: Harbour, joined: Joined, renewed: Renewed) -> None:
    before, after = renewed.own
    assert changed({FOURTH: before}, {FOURTH: after}) == {"startup/client.crt"}
    assert renewed.serials[0] != renewed.serials[1]
    assert renewed.others[0] == renewed.others[1] == joined.others[0]
    assert changed(renewed.others[1], renewed.others[2]) == {f"{SERVER}/local/{CRL_FILE}"}, "by --revoke-old"
    assert renewed.server == joined.server[0]


def test_a_renewed_hospital_comes_back_and_the_old_certificate_can_be_revoked_alone(renewed: Renewed) -> None:
    assert renewed.revoked == renewed.serials[:1]
    assert REVOKED in renewed.old
    assert renewed.new == ""
    assert renewed.seen == [set(FOUR), set(FOUR)]
    assert renewed.cuts == 0, "the one in use stays"


def test_a_revoked_hospital_is_out_within_seconds_and_stays_out(renewed: Renewed, revoked: Revoked) -> None:
    print(f"cut {revoked.cut_s:.1f} s after the command began, signed out after {revoked.out_s:.1f} s")
    assert revoked.serials == renewed.serials[1:]
    assert REVOKED in revoked.hello
    assert revoked.refused >= 1 and revoked.arrived == 0
    assert revoked.seen == set(THREE)
    assert revoked.row["state"] == "revoked"


def test_the_others_go_on_without_it_under_another_key(harbour: Harbour, joined: Joined, revoked: Revoked) -> None:
    assert (revoked.three.status, revoked.three.rounds) == (COMPLETED, [THREE]), revoked.three.events
    assert revoked.three.key != joined.three.key == read_key(harbour.key(FOURTH)).key_id
    assert revoked.server == joined.server[0], "the server was restarted"
