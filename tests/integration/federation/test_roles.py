"""Check the rights of FLARE's four roles, each with its own kit, out of the box: one table, tried in a federation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from nvflare.fuel.flare_api.api_spec import AuthorizationError, InvalidJobDefinition
from nvflare.fuel.flare_api.flare_api import Session
from nvflare.fuel.sec.authz import AuthzContext
from nvflare.fuel.sec.authz import Person as Who
from nvflare.security.security import FLAuthorizer

from fedward.demo.federate import await_sites
from fedward.errors import JobError
from fedward.flare.admin_session import Console, console
from fedward.flare.export import export_job
from fedward.flare.job_context import SITE_FILE
from fedward.flare.kits.central import Kits, provision
from fedward.flare.local_federation import LocalFederation, free_port
from fedward.indexing.site_key import load_key
from fedward.privacy.ledger.ledger import Ledger
from fedward.settings import FederationSpec, Hospital, JobSpec, Person, Server, parse
from tests.conftest import OPEN_COHORT_TOML, OPEN_SITE_TOML, tiny_job_content

pytestmark = pytest.mark.integration

SECRET = "DOE-JANE-1950"
"""Part of a path that a site's refusal writes to its own log alone."""
CLINIC, ACADEMY = "clinic", "academy"
PEOPLE = {
    # who: organisation, role
    "operator": ("operator", "project_admin"),
    "clinic-it": ("clinic_org", "org_admin"),
    "author": ("clinic_org", "lead"),
    "another": ("academy_org", "lead"),
    "reader": ("clinic_org", "member"),
}
WHO = tuple(PEOPLE)

ALLOWED: dict[str, tuple[bool, bool, bool, bool, bool]] = {
    # jobs are the author's, the site is the clinic's
    #                          project_admin, org_admin, lead: own job, lead: another's, member
    "list jobs": (True, True, True, True, True),
    "read a job's meta": (True, True, True, True, True),
    "submit": (True, False, True, True, False),
    "run code": (False, False, False, False, False),
    "clone": (True, False, True, False, False),
    "abort": (True, True, True, False, False),
    "delete": (True, True, True, False, False),
    "download": (True, True, True, False, False),
    "read the server's log": (True, True, True, False, False),
    "read the site's log": (False, False, False, False, False),
    "read all logs but the server's": (False, False, False, False, False),
    "list the job's components": (False, False, False, False, False),
    "command the job": (False, False, False, False, False),
    "change the job's logging": (False, False, False, False, False),
    "change the site's logging": (False, False, False, False, False),
    "see the server's status": (True, True, True, True, True),
    "see the site's status": (True, True, True, True, True),
    "see the site's resources": (True, True, True, False, False),
    "see the site's environment": (False, False, False, False, False),
    "list the site's files": (False, False, False, False, False),
    "read the site's files": (False, False, False, False, False),
    "read the server's files": (False, False, False, False, False),
    "make a study": (True, True, False, False, False),
}


@dataclass(frozen=True)
class Scene:
    """A federation that is up, everybody signed in, and one job of the author's that ran."""

    kits: Kits
    consoles: dict[str, Console]
    ran: str
    jobs: Path
    """Exported: ``waiting`` needs more sites than there are, so it never starts; ``code`` brings code."""

    def session(self, who: str) -> Session:
        return self.consoles[who]._session

    def waiting(self) -> str:
        """A new job of the author's that never starts."""
        return self.consoles["author"].submit(self.jobs / "waiting")


def a_job(name: str, *, min_sites: int) -> JobSpec:
    content = tiny_job_content()
    content["job"]["name"] = name
    content["federation"]["min_sites"] = min_sites
    return parse(JobSpec, content, where=name)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("roles")
    spec = FederationSpec(
        name="roles",
        server=Server(host="localhost", port=free_port(), organisation="operator"),
        hospitals=tuple(Hospital(site=site, organisation=f"{site}_org") for site in (CLINIC, ACADEMY)),
        people=tuple(
            Person(email=f"{who}@example.org", organisation=organisation, role=role)  # type: ignore[arg-type]
            for who, (organisation, role) in PEOPLE.items()
        ),
    )
    kits = provision(spec, folder / "kits")
    for site, kit in kits.sites.items():
        (kit / "local" / SITE_FILE).write_text(
            f'site = "{site}"\nkey = "site.key"\n{OPEN_SITE_TOML}[cohorts.chest]\nimages = "images"\n'
            f'index = "{SECRET}"\nmax_quarantined_fraction = 0.5\nvalidation_fraction = 0.3\n{OPEN_COHORT_TOML}'
        )
        Ledger.create(kit / "local" / "ledger.db", site=site, key=load_key(kit / "local" / "site.key").secret)
    export_job(a_job("waiting", min_sites=9), folder / "jobs")
    code = export_job(a_job("code", min_sites=2), folder / "jobs") / "app" / "custom"
    code.mkdir()
    (code / "mine.py").write_text("print('here')\n")
    with ExitStack() as stack:
        federation = stack.enter_context(LocalFederation(spec, kits, threads=1))
        consoles = {who: stack.enter_context(console(kits.people[f"{who}@example.org"], timeout_s=60.0)) for who in WHO}
        author = consoles["author"]
        await_sites(federation, author, kits, spec)
        ran = author.submit(export_job(a_job("ran", min_sites=2), folder / "jobs"))
        author.wait(ran, each=federation.check)
        yield Scene(kits, consoles, ran, folder / "jobs")


def allowed(attempt: Callable[[], object]) -> bool:
    """True if FLARE did it; a refusal for another reason than a missing right is a fault of the test."""
    try:
        answer = attempt()
    except AuthorizationError:
        return False
    except JobError as error:
        assert "not authorized" in str(error), error
        return False
    return "not authorized" not in str(answer)


def logs_of(session: Session, job_id: str, target: str) -> dict[str, str]:
    answer: dict[str, Any] = session.get_job_logs(job_id, target=target)
    logs: dict[str, str] = answer["logs"]
    return logs


def does(scene: Scene, action: str, who: str, out: Path) -> bool:
    """True if ``who`` can do it; tries it."""
    session, mine = scene.session(who), scene.consoles[who]
    if action in ("read the site's log", "read all logs but the server's"):
        target = CLINIC if action == "read the site's log" else "all"
        found: dict[str, str] = {}
        allowed(lambda: found.update(logs_of(session, scene.ran, target)))
        return bool(found.keys() - {"server"})
    attempts: dict[str, Callable[[], object]] = {
        "list jobs": lambda: session.list_jobs(),
        "read a job's meta": lambda: session.get_job_meta(scene.ran),
        "submit": lambda: mine.submit(scene.jobs / "waiting"),
        "run code": lambda: _ran(session, scene.jobs / "code"),
        "clone": lambda: session.clone_job(scene.waiting()),
        "abort": lambda: session.abort_job(scene.waiting()),
        "delete": lambda: session.delete_job(scene.waiting()),
        "download": lambda: session.download_job_result(scene.ran, str(out)),
        "read the server's log": lambda: logs_of(session, scene.ran, "server")["server"],
        "list the job's components": lambda: session.list_job_components(scene.ran),
        "command the job": lambda: session.do_app_command(scene.ran, "topic", {}),
        "change the job's logging": lambda: session.configure_job_log(scene.ran, "DEBUG"),
        "change the site's logging": lambda: session.configure_site_log("DEBUG"),
        "see the server's status": lambda: session.check_status("server"),
        "see the site's status": lambda: session.check_status("client", [CLINIC]),
        "see the site's resources": lambda: session.report_resources("client", [CLINIC]),
        "see the site's environment": lambda: session.get_client_env([CLINIC]),
        "list the site's files": lambda: session.ls_target(CLINIC),
        "read the site's files": lambda: session.cat_target(CLINIC, file="local/privacy.json"),
        "read the server's files": lambda: session.cat_target("server", file="local/resources.json"),
        "make a study": lambda: _study(session, who),
    }
    return allowed(attempts[action])


def _ran(session: Session, folder: Path) -> str:
    """No job with code is accepted; FLARE first refuses those who may submit none at all."""
    try:
        return session.submit_job(str(folder))
    except InvalidJobDefinition as error:
        assert "a file that a job does not have" in str(error)
        return "not authorized"


def _study(session: Session, who: str) -> object:
    """An operator names organisation and sites, everybody else sites of their own organisation."""
    if PEOPLE[who][1] == "project_admin":
        return session.register_study(f"of-{who}", site_orgs=[f"{CLINIC}_org:{CLINIC}"])
    return session.register_study(f"of-{who}", sites=[CLINIC])


@pytest.mark.parametrize("who", WHO)
def test_the_table_is_what_each_role_can_do(scene: Scene, who: str, tmp_path: Path) -> None:
    column = WHO.index(who)
    found = {action: does(scene, action, who, tmp_path) for action in ALLOWED}
    assert found == {action: row[column] for action, row in ALLOWED.items()}


def test_what_a_site_wrote_to_its_log_is_in_no_log_that_anybody_can_read(scene: Scene, tmp_path: Path) -> None:
    for site in (CLINIC, ACADEMY):
        assert SECRET in (scene.kits.sites[site] / scene.ran / "log.txt").read_text(), "the log has what we look for"
    for who in ("operator", "clinic-it", "author"):
        for target in ("server", "all"):
            logs = logs_of(scene.session(who), scene.ran, target)
            assert logs.keys() == {"server"}
            assert scene.ran in logs["server"], "the log is this job's"
            assert SECRET not in logs["server"]
            assert "Traceback" not in logs["server"]
    result = Path(scene.session("author").download_job_result(scene.ran, str(tmp_path)))
    for path in result.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def rights_at(kit: Path) -> dict[str, dict[str, str]]:
    rights: dict[str, dict[str, str]] = json.loads((kit / "local" / "authorization.json").read_text())["permissions"]
    return rights


@pytest.mark.parametrize("site", ["server", CLINIC, ACADEMY])
@pytest.mark.parametrize("right", ["show_errors", "byoc", "configure_site_log"])
def test_nobody_is_shown_a_running_jobs_errors(scene: Scene, site: str, right: str) -> None:
    """A hospital's process logged them, and they would bypass its gates. FLARE itself reads the kit's rights."""
    kit = scene.kits.server if site == "server" else scene.kits.sites[site]
    content = {"format_version": "1.0", "permissions": rights_at(kit)}
    authorizer = FLAuthorizer("operator" if site == "server" else f"{site}_org", content)
    for who, (organisation, role) in PEOPLE.items():
        person = Who(f"{who}@example.org", organisation, role)
        assert authorizer.authorize(AuthzContext(right, person, person))[0] is False, who
    operator = Who("operator@example.org", "operator", "project_admin")
    assert authorizer.authorize(AuthzContext("check_status", operator, operator))[0] is True


def test_every_right_of_the_kits_is_in_the_table(scene: Scene) -> None:
    """A right that is added to the kits is tried here: each has an action above, or no role has it."""
    tried = {
        *("submit_job", "clone_job", "manage_job", "download_job", "view", "operate", "shell_commands"),
        *("configure_job_log", "configure_site_log", "report_env", "call", "byoc", "server-predeployed-flwr"),
        *("get_job_log", "show_errors"),
    }
    for kit in (scene.kits.server, *scene.kits.sites.values()):
        assert all(set(role) == tried for role in rights_at(kit).values())
