"""The page for a participant that was compromised, rehearsed: a data scientist's laptop, then a hospital's site.

Everyone types on a machine of their own what the page says, with its placeholders filled in. One story in order: a
fixture tells each part, and the tests hold it. What was stolen is tried at the end of its part.
"""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fedward.dashboard.access import read_token
from fedward.dicom.synthetic.hospital import HOSPITALS
from fedward.encryption.keys.key import FederationKey
from fedward.encryption.keys.key_file import read_key
from fedward.errors import FedwardError
from fedward.flare.admin_session import console
from fedward.flare.export import export_job
from fedward.flare.job_context import SITE_FILE
from fedward.flare.local_federation import free_port
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.privacy.policy.job_hash import job_hash
from fedward.provisioning.network.health import REVOKED
from fedward.settings import JobSpec, parse, read_site
from tests.conftest import ROOT, tiny_job_content
from tests.integration.conftest import index_all, small_hospitals
from tests.support.federation.joining import Desk, fedward, greeted, seal_to
from tests.support.federation.pages import Machine, Page, edit, heard, soon
from tests.support.rehearsal import rehearsal

pytestmark = [pytest.mark.integration, rehearsal("takes every step of docs/compromised.md")]

SITES = tuple(sorted(one.site for one in HOSPITALS))
MAKER, SOUND, BROKEN = SITES
SERVER, OPERATOR = "localhost", "operator@fedward.test"
PERSON, AGAIN = "scientist@research.test", "scientist.anew@research.test"
FILE = """name: harbour
server: {{host: localhost, port: {port}, organisation: operator}}
hospitals:
{hospitals}
people:
  - {{email: operator@fedward.test, organisation: operator, role: project_admin}}
  - {{email: scientist@research.test, organisation: research, role: lead}}
"""
ADMITS = f'[[auto_approve]]\nsubmitter = "{PERSON}"\n'
COMPLETED, STOPPED = "FINISHED:COMPLETED", "FINISHED:ABORTED"
LISTENS = "created backbone external listener"
UP_S, SOON_S = 180.0, 60.0
HERE = {"provisioning/federation.yml": "federation.yml"}
"""The operator's desk has its file at hand."""


def tiny(name: str, *, rounds: int) -> JobSpec:
    content = tiny_job_content()
    content["job"]["name"] = name
    content["federation"] |= {"rounds": rounds, "min_sites": 3, "local_baseline": False}
    content["encryption"] = {"scheme": "aes-ctr"}
    return parse(JobSpec, content, where=name)


@dataclass(frozen=True)
class Ended:
    """A job that has ended."""

    id: str
    status: str
    events: list[dict[str, Any]]

    @property
    def rounds(self) -> list[list[str]]:
        return [sorted(event["sites"]) for event in self.events if event["event"] == "round"]

    @property
    def key(self) -> str:
        (event,) = (event for event in self.events if event["event"] == "encrypted")
        return str(event["key"])


@dataclass
class Harbour:
    """Participants, their machines, and outputs that later steps need.

    Attributes:
        page: page of the documents that is followed.
        desk: of the operator, by ``Desk`` and as a machine.
        machines: of the server, the hospitals and people, each with its kit in a folder of its own name.
    """

    page: Page
    desk: Desk
    operator: Machine
    machines: dict[str, Machine]
    jobs: Path
    said: dict[str, str] = field(default_factory=dict)

    def kit(self, name: str) -> Path:
        if name == OPERATOR:  # who holds the authority, and FLARE signs no request of a project_admin
            return self.desk.out / "harbour" / "prod_00" / OPERATOR
        return self.machines[name].folder / name

    def key(self, site: str) -> Path:
        return self.kit(site) / "state" / "federation.key"

    def types(self, name: str, typed: str, **how: Any) -> str:
        return self.machines[name].type(typed, **how)

    def operates(self, *words: str, also: dict[str, str] | None = None, **placeholders: str) -> str:
        """Run the page's block that has these words on the operator's machine; return its output."""
        filled = self.page.take(*words, also=also, **placeholders)
        return self.operator.type(filled.replace("build/federation", "out"))

    def start(self, name: str) -> None:
        machine = self.machines[name]
        machine.type(f"./{name}/startup/start.sh", log=machine.folder / "service.log")

    def log(self, name: str) -> str:
        return (self.machines[name].folder / "service.log").read_text(errors="replace")

    def connected(self) -> set[str]:
        with console(self.kit(OPERATOR), timeout_s=SOON_S) as session:
            return session.connected()

    def run(self, job: JobSpec, *, by: str) -> Ended:
        """Submit and wait, whatever comes of it."""
        with console(self.kit(by), timeout_s=SOON_S) as session:
            job_id = session.submit(export_job(job, self.jobs / by))
            status = session.wait(job_id, each=lambda: None)
            result = session.download(job_id, self.jobs / "results")
        return Ended(job_id, status, list(EventReader(result / EVENTS_FILE)))


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    """Three hospitals that share a key and admit what the data scientist submits; all are connected."""
    folder = tmp_path_factory.mktemp("compromised")
    job = tiny("index", rounds=1)
    hospitals = {one.site: one for one in index_all(small_hospitals(folder / "data"), folder / "sites", job)}
    shutil.copytree(ROOT / "site_templates", folder / "machines" / "site_templates")
    lines = "\n".join(f"  - {{site: {site}, organisation: {site.replace('-', '_')}}}" for site in SITES)
    desk = Desk(folder / "machines", FILE.format(port=free_port(), hospitals=lines))
    fedward("federation", "provision", desk.file, "--out", desk.out, "--only", OPERATOR)
    names = (SERVER, PERSON, *SITES)
    for name in names:
        desk.join(name)
    machines = {name: Machine(desk.machine(name)) for name in names}
    told = Harbour(Page("compromised.md"), desk, Machine(desk.file.parent), machines, folder / "jobs")
    for site in SITES:
        policy = told.kit(site) / "local" / SITE_FILE
        shutil.copy(hospitals[site].config, policy)
        mine = (r"^federation_key = .*", 'federation_key = "../state/federation.key"')
        edit(
            policy,
            mine,
            (r"min_count = 1\b", "min_count = 5"),
            (r'^approved_jobs = "any"', 'approved_jobs = []\napprovals = "approvals"'),
        )
        policy.write_text(f"{policy.read_text()}\n{ADMITS}")
    fedward("key", "create", told.key(MAKER))
    keys = {site: told.key(site) for site in SITES}
    others = {site: told.kit(site) for site in SITES if site != MAKER}
    seal_to(told.kit(MAKER), keys[MAKER], others=others, keys=keys, out=folder / "boxes")
    told.start(SERVER)
    soon(lambda: LISTENS in told.log(SERVER), within_s=UP_S, waited_for="the server")
    for site in SITES:
        told.start(site)
    soon(lambda: told.connected() == {*SITES}, within_s=UP_S, waited_for="a hospital")
    yield told
    for machine in (*told.machines.values(), told.operator):
        machine.stop()


@dataclass(frozen=True)
class Stolen:
    """A data scientist's laptop was stolen while a job of theirs ran.

    Attributes:
        listed: what the operator saw of the jobs.
        status: of the job, after it was stopped.
        approved, still: jobs that the hospitals listed as approved, before and after.
        review: findings of their policy checks at the end.
        replayed: the same job, when it came another way.
        refusals: each hospital's own log lines about it.
        anew: a job of the person's new kit that was approved by its hash.
    """

    listed: str
    status: str
    approved: list[str]
    still: list[str]
    review: list[str]
    replayed: Ended
    refusals: dict[str, str]
    anew: Ended


@pytest.fixture(scope="module")
def stolen(harbour: Harbour) -> Stolen:
    story, job = harbour, tiny("theirs", rounds=500)
    exported = export_job(job, story.jobs)
    for site in SITES:
        words = ("site", "approve", exported, "--site-toml", story.kit(site) / "local" / SITE_FILE, "--yes")
        fedward(*words)
    with console(story.kit(PERSON), timeout_s=SOON_S) as session:
        job_id = session.submit(exported)
    soon(lambda: trains(story, job_id), within_s=UP_S, waited_for="the job")

    server_kit = f"../{SERVER}/{SERVER}"
    story.operates("federation revoke", NAME=PERSON, SERVER_KIT=server_kit)
    soon(lambda: not signs_in(story, PERSON), within_s=SOON_S, waited_for="the refusal")
    listed = story.operates("job list", OPERATOR_KIT=f"out/harbour/prod_00/{OPERATOR}")
    story.operates("job abort", JOB_ID=job_id, OPERATOR_KIT=f"out/harbour/prod_00/{OPERATOR}")
    status = ended(story, job_id)

    approved, still, review = [], [], []
    for site in SITES:
        policy = story.kit(site) / "local" / SITE_FILE
        policy.write_text(policy.read_text().replace(ADMITS, ""))
        approved.append(story.types(site, story.page.take("approve --list", KIT=site)))
        story.types(site, story.page.take("approve --revoke", KIT=site, HASH=job_hash(job)))
        still.append(story.types(site, story.page.take("approve --list", KIT=site)))
        review.append(story.types(site, story.page.take("policy check", KIT=site)))
    replayed = story.run(job, by=OPERATOR)
    refusals = {site: own_log(story, site, replayed.id) for site in SITES}

    people = "people:\n"
    new = f"{people}  - {{email: {AGAIN}, organisation: research, role: lead}}\n"
    story.desk.file.write_text(story.desk.file.read_text().replace(people, new))
    story.desk.join(AGAIN)
    story.machines[AGAIN] = Machine(story.desk.machine(AGAIN))
    small = tiny("looked_at", rounds=1)
    approve(story, small, SITES)
    return Stolen(listed, status, approved, still, review, replayed, refusals, story.run(small, by=AGAIN))


def approve(story: Harbour, job: JobSpec, sites: tuple[str, ...]) -> None:
    exported = export_job(job, story.jobs)
    for site in sites:
        fedward("site", "approve", exported, "--site-toml", story.kit(site) / "local" / SITE_FILE, "--yes")


def trains(story: Harbour, job_id: str) -> bool:
    logs = [story.kit(site) / job_id / EVENTS_FILE for site in SITES]
    return all(log.is_file() and any(one["event"] == "progress" for one in EventReader(log)) for log in logs)


def own_log(story: Harbour, site: str, job_id: str) -> str:
    return "\n".join(line for line in story.log(site).splitlines() if job_id in line)


def signs_in(story: Harbour, name: str) -> bool:
    try:
        with console(story.kit(name), timeout_s=10.0):
            return True
    except FedwardError:
        return False


def ended(story: Harbour, job_id: str) -> str:
    with console(story.kit(OPERATOR), timeout_s=SOON_S) as session:
        return session.wait(job_id, each=lambda: None)


@dataclass(frozen=True)
class Broken:
    """A hospital's site was broken into.

    Attributes:
        old: the federation's key that was stolen.
        before: the last job under it.
        kit: that was stolen.
        refused: the server's answer to it.
        rotated, opened: what was printed.
        heads: of the ledger, on the machine that was broken into and on the clean one.
        doctor: findings of the doctor on the clean one.
        after: the next job.
    """

    old: FederationKey
    before: Ended
    kit: Path
    refused: str
    rotated: str
    opened: str
    heads: tuple[str, str]
    doctor: str
    after: Ended


@pytest.fixture(scope="module")
def broken(harbour: Harbour, stolen: Stolen) -> Broken:
    story, old = harbour, read_key(harbour.key(BROKEN))
    head = fedward("site", "ledger", story.kit(BROKEN) / "local" / SITE_FILE, "--verify")
    story.types(BROKEN, story.page.take("stop_fl.sh", KIT=f"./{BROKEN}"), answer="y")
    soon(lambda: not story.machines[BROKEN].running(), within_s=SOON_S, waited_for="the end of its service")
    story.operates("federation revoke", NAME=BROKEN, SERVER_KIT=f"../{SERVER}/{SERVER}")

    rotated = story.types(MAKER, story.page.take("key rotate", KIT=MAKER))
    opened = share(story, SOUND)

    lost = Machine(story.machines[BROKEN].folder.with_name("lost"))
    story.machines[BROKEN].folder.rename(lost.folder / "machine")
    kit = lost.folder / "machine" / BROKEN
    story.desk.join(BROKEN)
    story.machines[BROKEN] = Machine(story.desk.machine(BROKEN))
    shutil.copy(kit / "local" / SITE_FILE, story.kit(BROKEN) / "local")
    (anchor,) = ledger_of(kit).parent.glob("ledger.db.audit-*")
    anchor.rename(lost.folder / anchor.name)  # it stays on the old machine
    verified = story.types(BROKEN, story.page.take("ledger", KIT=BROKEN))
    share(story, BROKEN)
    doctor = story.types(BROKEN, story.page.take("site doctor", KIT=BROKEN))
    soon(lambda: REVOKED in greeted(kit), within_s=SOON_S, waited_for="the refusal")
    refused = greeted(kit)
    story.start(BROKEN)
    soon(lambda: story.connected() == {*SITES}, within_s=UP_S, waited_for="the hospital, anew")
    job = tiny("again", rounds=1)
    approve(story, job, SITES)
    after = story.run(job, by=AGAIN)
    return Broken(old, stolen.anew, kit, refused, rotated, opened, (head, verified), doctor, after)


def ledger_of(kit: Path) -> Path:
    return read_site(kit / "local" / SITE_FILE).ledger


def share(story: Harbour, site: str) -> str:
    """Seal the new key to a hospital, and let it take it out."""
    maker, machine = story.machines[MAKER], story.machines[site]
    shutil.copy(story.kit(site) / "startup" / "client.crt", maker.folder / f"{site}.crt")
    here = {"north-clinic.crt": f"{site}.crt"}
    sealed = maker.type(story.page.take("key seal", also=here, KIT=MAKER))
    maker.send(f"boxes/{site}.box", machine)
    (maker.folder / "boxes" / f"{site}.box").unlink()
    spoken = heard(r"^  fingerprint (.+)$", sealed)
    said = machine.type(story.page.take("key open", NAME=site, KIT=site, BOX_FINGERPRINT=spoken))
    shown = machine.type(story.page.take("key show", KIT=site))
    expected = heard(r": key (.+), generation 2", shown).replace(" ", "")
    policy = story.kit(site) / "local" / SITE_FILE
    edit(policy, (r"^(federation_key = .*)", rf'\1\nfederation_key_id = "{expected}"'))
    return said + shown


def test_a_stolen_laptop_is_out_and_its_job_is_stopped(harbour: Harbour, stolen: Stolen) -> None:
    assert f"'{PERSON}' is not let in: {REVOKED}" in harbour.log(SERVER)
    assert not signs_in(harbour, PERSON)
    assert "theirs" in stolen.listed
    assert stolen.status == STOPPED


def test_no_hospital_runs_what_the_person_had_got_approved(stolen: Stolen) -> None:
    assert all("theirs" in said for said in stolen.approved) and not any("theirs" in said for said in stolen.still)
    assert all("error" not in said for said in stolen.review)
    assert stolen.replayed.status != COMPLETED and not stolen.replayed.rounds
    for site, said in stolen.refusals.items():
        assert "job is not approved here" in said, site


def test_the_person_works_again_with_a_new_kit(stolen: Stolen) -> None:
    assert stolen.anew.status == COMPLETED
    assert stolen.anew.rounds == [list(SITES)]


def test_a_hospital_that_was_broken_into_is_out_with_all_that_it_had(broken: Broken) -> None:
    assert REVOKED in broken.refused
    assert read_key(broken.kit / "state" / "federation.key") == broken.old, "as whoever took it has it"


def test_the_stolen_key_is_nowhere_but_where_it_was_stolen(harbour: Harbour, broken: Broken) -> None:
    new = read_key(harbour.key(MAKER))
    assert new != broken.old and new.generation == broken.old.generation + 1
    assert all(read_key(harbour.key(site)) == new for site in SITES)
    assert "1 file of older keys overwritten and removed" in broken.rotated
    assert "1 file of older keys overwritten and removed" in broken.opened
    for name, machine in harbour.machines.items():
        for path in machine.folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                assert base64.b64encode(broken.old.secret) not in path.read_bytes(), (name, path)


def test_the_ledger_is_the_one_that_it_was(broken: Broken) -> None:
    before, after = broken.heads
    assert re.findall(r"[0-9a-f]{64}", before) == re.findall(r"[0-9a-f]{64}", after) != []


def test_all_three_go_on_under_the_new_key(harbour: Harbour, broken: Broken) -> None:
    assert "is the one that the policy expects" in broken.doctor
    assert broken.after.status == COMPLETED
    assert broken.after.rounds == [list(SITES)]
    assert broken.before.key == broken.old.key_id
    assert broken.after.key == read_key(harbour.key(MAKER)).key_id


def test_another_authority_shares_nothing_with_the_old_one(harbour: Harbour, broken: Broken) -> None:
    harbour.operates("federation provision", also=HERE, SERVER=SERVER, OPERATOR=OPERATOR)
    anew = harbour.operator.folder / "build" / "anew" / "harbour" / "prod_00"
    root = anew / OPERATOR / "startup" / "rootCA.pem"
    old = harbour.kit(SERVER) / "startup"
    verify = ["openssl", "verify", "-CAfile", str(root), str(old / "server.crt")]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and root.read_bytes() != (old / "rootCA.pem").read_bytes()


def test_a_new_token_can_serve(harbour: Harbour, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "server")
    tokens = set()
    for _ in range(2):
        machine.type(harbour.page.take("openssl", TOKEN_FILE="token"))
        tokens.add(read_token(machine.folder / "token"))
    assert len(tokens) == 2


def test_no_command_of_the_page_is_left_out(harbour: Harbour, broken: Broken, request: pytest.FixtureRequest) -> None:
    assert harbour.page.commands == harbour.page.taken
