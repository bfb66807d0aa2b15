"""Follow the operator's page and the hospital's page to the letter.

An operator, a server, three hospitals and a person take turns, each on a machine of their own, and type what their page
says with nothing but its placeholders filled in. One story in order; a fixture tells each part, and the tests hold it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from pydicom import dcmread

from fedward import __version__
from fedward.dicom.synthetic.hospital import HOSPITALS, write_cohort
from fedward.flare.admin_session import console
from fedward.flare.local_federation import free_port, marked
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.provisioning.network.health import REVOKED
from tests.conftest import ROOT
from tests.support.federation.orthanc import DICOM_PORT, orthanc
from tests.support.federation.pages import Machine, Page, edit, heard, soon

pytestmark = pytest.mark.integration

SITES = tuple(sorted(one.site for one in HOSPITALS))
MAKER, RENEWED, *_ = SITES
SERVER, OPERATOR, PERSON, JOB = "localhost", "operator@fedward.org", "scientist@fedward.org", "cxr_private"
FOLDER, SERVER_KIT = "build/federation/fedward", f"../{SERVER}/kit"
KEY, AUTHORITY, INVITER = r"^  key's fingerprint (.+)$", r"^  authority's fingerprint (.+)$", r"by the authority (.+)$"
KEY_ID = r": key ((?:[0-9a-f]{4} ){7}[0-9a-f]{4}), generation 1"
LISTENS = "created backbone external listener"
UP_S, SOON_S = 180.0, 60.0


@dataclass
class Story:
    """Participants, their machines, and outputs that later steps need.

    Attributes:
        desk, server, person: machines of the operator, of the server, and of the data scientist.
        hospitals: by site.
    """

    operator: Page
    hospital: Page
    desk: Machine
    server: Machine
    person: Machine
    hospitals: dict[str, Machine]
    said: dict[str, str] = field(default_factory=dict)

    @property
    def invited(self) -> dict[str, Machine]:
        return {PERSON: self.person, **self.hospitals}

    def kit(self, name: str) -> str:
        return PERSON if name == PERSON else "kit"

    def site_toml(self, site: str) -> Path:
        return self.hospitals[site].folder / "kit" / "local" / "site.toml"

    def at_once(self, turn: Callable[[str], object], names: Iterable[str] = SITES) -> None:
        """Let each hospital, or all of ``names``, take their turn."""
        with ThreadPoolExecutor(3) as people:
            list(people.map(turn, names))

    def start(self, machine: Machine, typed: str) -> None:
        machine.type(typed, log=machine.folder / "service.log")

    def log(self, machine: Machine) -> str:
        return (machine.folder / "service.log").read_text(errors="replace")

    def arrived(self, site: str) -> int:
        """Count the hospital's sign-ins in the server's log."""
        return self.log(self.server).count(f"New client {site}@")

    def status(self) -> dict[str, list[str]]:
        """The table that the operator sees, by name."""
        kit = f"{FOLDER}/prod_00/{OPERATOR}"
        said = self.desk.type(self.operator.take("federation status", "--kit", OPERATOR_KIT=kit))
        table = said[said.index("name ") :].splitlines()
        head, *rows = [re.split(r" {2,}", line) for line in table]
        assert head[-1] == "last seen" and {len(row) for row in rows} == {len(head)}, said
        return {row[0]: row for row in rows}


def desk_of(folder: Path) -> Machine:
    """The operator's machine: the repository's folders that the page names, and the federation's file corrected."""
    desk = Machine(folder / "desk")
    for name in ("provisioning", "site_templates"):
        shutil.copytree(ROOT / name, desk.folder / name)
    here = (r"port: \d+", f"port: {free_port()}"), (r"template: .*, runtime: \w+", "template: clinic, runtime: systemd")
    edit(desk.folder / "provisioning" / "federation.yml", *here)
    return desk


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("pages")
    told = Story(
        operator=Page("operator.md"),
        hospital=Page("hospital-it.md"),
        desk=desk_of(folder),
        server=Machine(folder / SERVER),
        person=Machine(folder / PERSON),
        hospitals={site: Machine(folder / site) for site in SITES},
    )
    yield told
    for machine in (*told.invited.values(), told.server, told.desk):
        machine.stop()


@pytest.fixture(scope="module")
def invited(story: Story) -> Story:
    """The operator tries it alone, makes two kits, and moves one; everyone else joins, from invitation to kit."""
    story.said["trial"] = story.desk.type(story.operator.take("federation provision", "--dry-run"))
    story.desk.type(story.operator.take("federation provision", "--only", SERVER=SERVER, OPERATOR=OPERATOR))
    shutil.move(story.desk.folder / FOLDER / "prod_00" / SERVER, story.server.folder / "kit")
    for name, machine in story.invited.items():
        said = story.desk.type(story.operator.take("federation invite", NAME=name))
        story.said[f"authority for {name}"] = heard(AUTHORITY, said)
        story.desk.send(f"{FOLDER}/invitations/{name}.invitation.json", machine)
    story.at_once(lambda name: ask(story, name), story.invited)
    for name in story.invited:
        spoken = heard(KEY, story.said[f"request of {name}"])
        story.desk.type(story.operator.take("federation approve", NAME=name, KEY_FINGERPRINT=spoken))
    story.at_once(lambda name: join(story, name), story.invited)
    return story


def ask(story: Story, name: str) -> None:
    """Answer the invitation, and compare the fingerprint by telephone."""
    machine = story.invited[name]
    asked = story.said[f"request of {name}"] = machine.type(story.hospital.take("invitation.json", NAME=name))
    assert heard(INVITER, asked) == story.said[f"authority for {name}"], "as the operator reads it out"
    machine.send(f"request/{name}.request.zip", story.desk)


def join(story: Story, name: str) -> str:
    """Take what was signed for somebody to them, and let them put it into their kit."""
    machine = story.invited[name]
    story.desk.send(f"{FOLDER}/signed/{name}.signed.zip", machine)
    authority = story.said[f"authority for {name}"]
    return machine.type(
        story.hospital.take("signed.zip", NAME=name, KIT=story.kit(name), AUTHORITY_FINGERPRINT=authority)
    )


@pytest.fixture(scope="module")
def prepared(invited: Story) -> Story:
    """Server up; each hospital has its policy, index, ledger and the federation's key, and asks the doctor."""
    story = invited
    story.start(story.server, story.operator.take("start.sh", SERVER_KIT="./kit"))
    soon(lambda: LISTENS in story.log(story.server), within_s=UP_S, waited_for="the server")
    images = [replace(one, images=48, faults=()) for one in HOSPITALS]
    write_cohort(story.desk.folder.parent / "images", label="tb", masks=False, hospitals=images)
    story.at_once(lambda site: index(story, site))
    know_each_other(story)
    share_key(story)
    story.at_once(lambda site: finish(story, site))
    return story


def index(story: Story, site: str) -> None:
    machine = story.hospitals[site]
    story.said[f"version of {site}"] = machine.type(story.hospital.take("--version"))
    data = machine.folder.parent / "images" / site
    correct_folders(story.site_toml(site), data=data, keep=machine.folder / "cohorts")
    story.said[f"index of {site}"] = machine.type(story.hospital.take("site index", but="--pacs", KIT="kit"))


def correct_folders(site_toml: Path, *, data: Path, keep: Path) -> None:
    edit(site_toml, (r'"/data/', f'"{data}/'), (r'"/var/lib/fedward/', f'"{keep}/'))


def know_each_other(story: Story) -> None:
    """One hospital calls each of the others, and each puts the other on its roster."""
    own = {}
    for site, machine in story.hospitals.items():
        said = machine.type(story.hospital.take("site roster", but="--add", KIT="kit"))
        own[site] = heard(r"^this hospital, \S+: (.+)$", said)
    for site in SITES:
        if site != MAKER:
            for here, there in ((MAKER, site), (site, MAKER)):
                mine = {"north-clinic=3f0c 91ab …": f"{there}={own[there]}"}
                story.hospitals[here].type(story.hospital.take("--add", also=mine, KIT="kit"))


def share_key(story: Story) -> None:
    """One hospital makes the key; the others take it out of their boxes, and all read its id to each other."""
    maker = story.hospitals[MAKER]
    others = [site for site in SITES if site != MAKER]
    maker.type(story.hospital.take("key create", KIT="kit"))
    for site in others:
        sent = story.hospitals[site].folder / f"{site}.crt"
        shutil.copy(sent.parent / "kit" / "startup" / "client.crt", sent)
        story.hospitals[site].send(sent, maker)
    sealed = maker.type(story.hospital.take("key seal", KIT="kit"))
    spoken = dict(re.findall(r"^for (\S+): .*\n  fingerprint (.+)$", sealed, flags=re.MULTILINE))
    assert sorted(spoken) == sorted(others)
    for site in others:
        maker.send(f"boxes/{site}.box", story.hospitals[site])
        mine = {"north-clinic.box": f"{site}.box", "3f0c 91ab …": spoken[site]}
        story.said[f"key of {site}"] = story.hospitals[site].type(story.hospital.take("key open", also=mine, KIT="kit"))
    story.said[f"key of {MAKER}"] = maker.type("fedward key show kit/state/federation.key")


def finish(story: Story, site: str) -> None:
    """Name the key's id in the policy, make the ledger, ask the doctor."""
    machine, key_id = story.hospitals[site], heard(KEY_ID, story.said[f"key of {site}"].splitlines()[-1])
    edit(story.site_toml(site), (r"^# federation_key = ", "federation_key = "))
    edit(story.site_toml(site), (r"^# federation_key_id = .*", f'federation_key_id = "{key_id.replace(" ", "")}"'))
    story.said[f"policy of {site}"] = machine.type(story.hospital.take("site ledger", KIT="kit"))
    story.said[f"doctor of {site}"] = machine.type(story.hospital.take("site doctor", KIT="kit"))


@pytest.fixture(scope="module")
def running(prepared: Story) -> Story:
    """Everyone is connected, and a job has run."""
    story = prepared
    story.at_once(lambda site: story.start(story.hospitals[site], story.hospital.take("start.sh", KIT="./kit")))
    soon(lambda: all(story.arrived(site) for site in SITES), within_s=UP_S, waited_for="a hospital")
    story.said[f"doctor of {MAKER}, up"] = story.hospitals[MAKER].type(story.hospital.take("site doctor", KIT="kit"))
    kit = f"{FOLDER}/prod_00/{OPERATOR}"
    story.said["doctor of the server"] = story.desk.type(story.operator.take("federation doctor", OPERATOR_KIT=kit))
    job = story.person.folder / "jobs" / JOB
    shutil.copytree(ROOT / "jobs" / JOB, job)
    small = ((r"^rounds = \d+", "rounds = 2"),)
    private = (r"^patients_per_step = [\d.]+", "patients_per_step = 16.0"), (r"^delta = \S+", "delta = 1e-4")
    edit(job / "job.toml", *small, *private, (r"^epsilon = [\d.]+", "noise_multiplier = 2.0"))
    story.at_once(lambda site: approve(story, site, job))
    story.said["job"] = story.person.type(f"fedward job submit jobs/{JOB} --kit {PERSON} --wait")
    job_id = heard(r"^([0-9a-f-]{36})$", story.said["job"])
    fetched = story.person.type(f"fedward job download {job_id} --kit {PERSON} --out fetched")
    story.said["report"] = story.person.type(f"fedward job report {heard('^(/.*)$', fetched)} --out report")
    return story


def approve(story: Story, site: str, job: Path) -> None:
    machine = story.hospitals[site]
    shutil.copytree(job, machine.folder / JOB)
    story.said[f"approval of {site}"] = machine.type(
        story.hospital.take("site approve", JOB=JOB, KIT="kit"), answer="y"
    )


@pytest.fixture(scope="module")
def seen(running: Story) -> dict[str, list[str]]:
    """Return the table of ``status`` while all are connected."""
    return running.status()


@pytest.fixture(scope="module")
def renewed(running: Story, seen: dict[str, list[str]]) -> Story:
    """Renew one hospital, and revoke its older certificate."""
    story, machine = running, running.hospitals[RENEWED]
    story.said["renew"] = story.desk.type(story.operator.take("federation renew", but="--revoke-old", NAME=RENEWED))
    story.said["renewed"] = join(story, RENEWED)
    before = story.arrived(RENEWED)
    machine.type("./kit/startup/stop_fl.sh", answer="y")
    soon(lambda: not marked(machine.mark), within_s=SOON_S, waited_for="the end of its service")
    story.start(machine, story.hospital.take("start.sh", KIT="./kit"))
    soon(lambda: story.arrived(RENEWED) > before, within_s=UP_S, waited_for=f"{RENEWED}, renewed")
    revoke_old = story.operator.take("federation renew", "--revoke-old", NAME=RENEWED, SERVER_KIT=SERVER_KIT)
    story.said["older"] = story.desk.type(revoke_old)
    soon(lambda: "revocation list 2 is in force" in story.log(story.server), within_s=SOON_S, waited_for="the list")
    return story


@pytest.fixture(scope="module")
def left(renewed: Story) -> dict[str, list[str]]:
    """Revoke the same hospital altogether; return the table of ``status`` afterwards."""
    story = renewed
    story.said["connected before"] = " ".join(sorted(connected(story)))
    story.said["revoke"] = story.desk.type(
        story.operator.take("federation revoke", NAME=RENEWED, SERVER_KIT=SERVER_KIT)
    )
    cut = f"certificate of '{RENEWED}' is revoked: its connection is cut"
    soon(lambda: cut in story.log(story.server), within_s=SOON_S, waited_for="the cut")
    soon(lambda: RENEWED not in connected(story), within_s=UP_S, waited_for="its going")
    refused = f"'{RENEWED}' is not let in: {REVOKED}"
    soon(lambda: refused in story.log(story.server), within_s=UP_S, waited_for="its refusal")
    return story.status()


def connected(story: Story) -> set[str]:
    with console(story.desk.folder / FOLDER / "prod_00" / OPERATOR) as session:
        return set(session.connected())


@pytest.fixture(scope="module")
def kept(left: dict[str, list[str]], story: Story) -> Story:
    """Bring a hospital's kit to the installed version, and remove what is too old at a hospital and the server."""
    machine = story.hospitals[MAKER]
    story.said["fleet"] = story.desk.type(story.operator.take("federation update", SERVER_KIT=SERVER_KIT))
    story.desk.send("update.zip", machine)
    story.said["update"] = machine.type(story.hospital.take("site update", KIT="kit"))
    story.said["clean hospital"] = machine.type(story.hospital.take("site clean", KIT="kit"))
    story.said["clean server"] = story.desk.type(story.operator.take("federation clean", SERVER_KIT=SERVER_KIT))
    return story


def test_everyone_joins_as_the_pages_say(invited: Story) -> None:
    for name, machine in invited.invited.items():
        assert (machine.folder / invited.kit(name) / "startup" / "rootCA.pem").is_file(), name
    assert len({invited.said[f"authority for {name}"] for name in invited.invited}) == 1
    keys = sorted(path.name for path in (invited.desk.folder / FOLDER).rglob("*.key"))
    assert keys == ["audit.key", "client.key", "rootCA.key"], "the operator's own and the authority's, on their machine"


def test_a_trial_shows_its_plan_and_makes_every_kit(invited: Story) -> None:
    made = invited.desk.folder / "build" / "trial" / "fedward"
    assert {path.parent.parent.name for path in made.rglob("startup/rootCA.pem")} >= {SERVER, *SITES}
    assert all(invited.said["trial"].count(site) >= 2 for site in SITES), "in the plan, and when it was made"


def test_the_server_proves_its_transport_before_it_listens(prepared: Story) -> None:
    before, _, _ = prepared.log(prepared.server).partition(LISTENS)
    assert before.count("Handshake failed") == 2


def test_each_hospital_is_ready(prepared: Story) -> None:
    assert len({prepared.said[f"version of {site}"] for site in SITES}) == 1
    assert len({prepared.said[f"key of {site}"].splitlines()[-1] for site in SITES}) == 1, "the same key everywhere"
    for site in SITES:
        assert "label tb │ 48 of 48 images" in " ".join(prepared.said[f"index of {site}"].split())
        assert prepared.said[f"policy of {site}"].endswith("\nnothing wrong\n")


def test_both_doctors_find_the_doors_of_a_running_federation_shut(running: Story) -> None:
    up, server = running.said[f"doctor of {MAKER}, up"], running.said["doctor of the server"]
    assert re.search(r"pass  messages .*process answers nothing that is on no list", up)
    assert f"passes nothing on to {len(SITES)} hospitals" in server
    assert " fail " not in server and " skip " not in server


def test_a_job_that_all_approved_runs(running: Story) -> None:
    """After both doctors have sent what must not be answered."""
    for site in SITES:
        assert f"{JOB}: approved" in running.said[f"approval of {site}"]
    assert "success: every round counted" in running.said["job"]
    assert "success: every round counted" in running.said["report"]
    (events,) = (running.person.folder / "fetched").rglob(EVENTS_FILE)
    rounds = [sorted(event["sites"]) for event in EventReader(events) if event["event"] == "round"]
    assert rounds == [list(SITES)] * 2


def test_status_says_who_is_there(seen: dict[str, list[str]]) -> None:
    assert set(seen) == {SERVER, OPERATOR, PERSON, *SITES}
    for site in SITES:
        assert seen[site][2] == "valid" and seen[site][-1].endswith("UTC"), seen[site]


def test_a_hospital_is_renewed(renewed: Story) -> None:
    assert "renewed, certificate until" in renewed.said["renewed"]
    assert renewed.said["older"].count(f"{RENEWED}: revoked certificate") == 1


def test_a_revoked_hospital_is_out_and_the_others_stay(renewed: Story, left: dict[str, list[str]]) -> None:
    assert renewed.said["connected before"].split() == list(SITES)
    assert left[RENEWED][2] == "revoked"
    for site in set(SITES) - {RENEWED}:
        assert left[site][2] == "valid" and left[site][-1].endswith("UTC")


def test_images_come_from_the_archive(invited: Story, tmp_path: Path) -> None:
    """With the lines of the policy that its template has as comments."""
    site = "north-clinic"
    machine = Machine(tmp_path / site)
    (one,) = (replace(one, images=6, faults=()) for one in HOSPITALS if one.site == site)
    write_cohort(tmp_path / "made", label="tb", masks=False, hospitals=[one])
    local = machine.folder / "kit" / "local"
    local.mkdir(parents=True)
    shutil.copy(invited.site_toml(site), local)
    edit(
        local / "site.toml",
        (r"^# (\[cohorts\.chest\.pacs\]|protocol|calling_ae_title)", r"\1"),
        (r'^# host = ".*"', 'host = "127.0.0.1"'),
        (r"^# port = \d+", f"port = {DICOM_PORT}"),
        (r'^# ae_title = ".*"', 'ae_title = "ORTHANC"'),
        (r"^# query = .*", 'query = { StudyDate = "19000101-20991231" }'),
        (r'^images = ".*"', f'images = "{tmp_path / "fetched"}"'),
        (r'^labels = ".*"', f'labels = "{tmp_path / "made" / site / "labels.csv"}"'),
        (r'^index = ".*"', f'index = "{tmp_path / "index"}"'),
    )
    with orthanc(tmp_path / "orthanc") as archive:
        archive.store([dcmread(path) for path in sorted((tmp_path / "made").rglob("*.dcm"))])
        said = machine.type(
            invited.hospital.take("--pacs", KIT="kit"), inside=("ip", "netns", "exec", archive.namespace)
        )
    assert len(list((tmp_path / "fetched").rglob("*.dcm"))) == 6, said


def test_an_update_of_the_same_version_changes_nothing_and_young_files_stay(kept: Story) -> None:
    assert f"{MAKER}: made with {__version__}" in kept.said["fleet"]
    assert kept.said["update"].count(f"Fedward {__version__} → {__version__}, 0 files") == 2, "the first only shows it"
    for who in ("hospital", "server"):
        said = kept.said[f"clean {who}"]
        assert "no limits are set, so nothing is removed" in said and re.search(r"^ ?stays +job ", said, re.MULTILINE)


def test_no_command_of_the_pages_is_left_out(story: Story, kept: Story) -> None:
    elsewhere = {"fedward site index KIT/local/site.toml --pacs": test_images_come_from_the_archive}
    taken = story.operator.taken | story.hospital.taken | set(elsewhere)
    assert story.operator.commands | story.hospital.commands == taken
