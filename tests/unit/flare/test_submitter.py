"""Verify the submitter of a job: a hospital trusts only what the federation's root in its own kit can verify."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from nvflare.lighter.utils import load_private_key_file, sign_folders

from fedward.errors import JobError
from fedward.flare.export import export_job
from fedward.flare.kits.central import Kits, provision
from fedward.flare.submitter import Signer, read_origin, require_signer
from fedward.privacy.policy.approvals import UNKNOWN, Origin
from fedward.privacy.policy.canonical_job import STUDY_FILE
from fedward.privacy.policy.job_archive import read_folder
from fedward.settings import JOB_FILE, FederationSpec, Hospital, JobSpec, Person, Server, parse
from tests.conftest import tiny_job_content

LEAD, OTHER = "lead@uni.org", "other@uni.org"
SIGNATURE, CERTIFICATE = ".__nvfl_sig.json", ".__nvfl_submitter.crt"


def federation(folder: Path) -> Kits:
    people = ((LEAD, "uni", "lead"), (OTHER, "lab", "lead"), ("it@clinic.org", "clinic", "org_admin"))
    people = (*people, ("reader@clinic.org", "clinic", "member"), ("operator@uni.org", "uni", "project_admin"))
    spec = FederationSpec(
        name="demo",
        server=Server(host="localhost", port=8002, organisation="uni"),
        hospitals=(Hospital(site="clinic", organisation="clinic"),),
        people=tuple(Person(email=email, organisation=org, role=role) for email, org, role in people),  # type: ignore[arg-type]
    )
    return provision(spec, folder)


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Kits:
    return federation(tmp_path_factory.mktemp("kits"))


DAY = timedelta(days=1)


def a_job(seed: int = 7) -> JobSpec:
    content = tiny_job_content()
    content["job"]["seed"] = seed
    return parse(JobSpec, content, where="test")


def sign(folder: Path, kit: Path, *, who: str = "client") -> None:
    """As FLARE's console does before it sends a job."""
    startup = kit / "startup"
    sign_folders(str(folder), load_private_key_file(str(startup / f"{who}.key")), str(startup / f"{who}.crt"))


class Run:
    """A job's run folder at the site, as the server deployed it."""

    def __init__(self, out: Path, kits: Kits, *, study: str | None = None, told: str | None = None) -> None:
        exported = export_job(a_job(), out, study=study)
        sign(exported, kits.people[LEAD])
        self.app, self.meta = exported / "app", out / "meta.json"
        self.tell({"study": told or study or "default", "submitter_name": OTHER, "submitter_org": "lab"})
        self._root = kits.sites["clinic"] / "startup" / "rootCA.pem"

    def tell(self, content: object) -> None:
        self.meta.write_text(json.dumps(content))

    def origin(self, job: JobSpec | None = None, *, root: Path | None = None) -> Origin:
        return read_origin(job or a_job(), app=self.app, root=root or self._root, meta=self.meta)


def test_the_certificate_says_who_and_not_the_server(tmp_path: Path, kits: Kits) -> None:
    assert Run(tmp_path, kits).origin() == Origin(submitter=LEAD, organisation="uni")


def test_a_study_is_what_was_signed_where_the_server_runs_it(tmp_path: Path, kits: Kits) -> None:
    assert Run(tmp_path, kits, study="chest").origin() == Origin(submitter=LEAD, organisation="uni", study="chest")


def test_the_server_alone_names_no_study(tmp_path: Path, kits: Kits) -> None:
    assert Run(tmp_path, kits, told="chest").origin().study is None


@pytest.mark.parametrize("told", ["brain", "default"])
def test_a_job_that_is_run_in_another_study_than_it_was_signed_for(tmp_path: Path, kits: Kits, told: str) -> None:
    assert Run(tmp_path, kits, study="chest", told=told).origin() == UNKNOWN


def _changed(run: Run) -> None:
    path = run.app / "config" / JOB_FILE
    path.write_text(path.read_text().replace('"rounds": 2', '"rounds": 3'))


def _added(run: Run) -> None:
    (run.app / "config" / "more.json").write_text("{}")


def _added_folder(run: Run) -> None:
    (run.app / "more").mkdir()


def _unsigned(run: Run) -> None:
    for path in run.app.rglob(SIGNATURE):
        path.unlink()


def _unsigned_config(run: Run) -> None:
    (run.app / "config" / SIGNATURE).unlink()


def _no_certificate(run: Run) -> None:
    (run.app / "config" / CERTIFICATE).unlink()


def _not_json(run: Run) -> None:
    (run.app / "config" / SIGNATURE).write_text("[")


def _link(run: Run) -> None:
    path = run.app / "config" / JOB_FILE
    real = run.meta.with_name("real.json")
    path.rename(real)
    path.symlink_to(real)


def _gone(run: Run) -> None:
    run.app.rename(run.app.with_name("elsewhere"))


def _no_meta(run: Run) -> None:
    run.meta.unlink()


def _odd_meta(run: Run) -> None:
    run.tell([])


def _odd_study(run: Run) -> None:
    run.tell({"study": ["chest"]})


@pytest.mark.parametrize(
    "spoil",
    [
        *(_changed, _added, _added_folder, _unsigned, _unsigned_config, _no_certificate, _not_json, _link, _gone),
        *(_no_meta, _odd_meta, _odd_study),
    ],
)
def test_whatever_does_not_hold_is_unknown(tmp_path: Path, kits: Kits, spoil: Callable[[Run], None]) -> None:
    run = Run(tmp_path, kits, study="chest")
    assert run.origin() != UNKNOWN
    spoil(run)
    assert run.origin() == UNKNOWN


def test_another_federations_root_verifies_nothing(tmp_path: Path, kits: Kits) -> None:
    run = Run(tmp_path / "job", kits)
    elsewhere = federation(tmp_path / "kits").sites["clinic"] / "startup" / "rootCA.pem"
    assert run.origin(root=elsewhere) == UNKNOWN
    assert run.origin(root=tmp_path / "none.pem") == UNKNOWN


def test_the_servers_and_a_sites_own_key_send_no_job(tmp_path: Path, kits: Kits) -> None:
    """The server's organisation may be the lead's: its operator must not be taken for a person of it."""
    for kit, who in (
        (kits.server, "server"),
        (kits.sites["clinic"], "client"),
        (kits.people["it@clinic.org"], "client"),
        (kits.people["reader@clinic.org"], "client"),
    ):
        run = Run(tmp_path / kit.name, kits)
        sign(run.app, kit, who=who)
        assert run.origin() == UNKNOWN, kit.name


def test_a_job_is_signed_by_one_who_may_submit(tmp_path: Path, kits: Kits) -> None:
    root = kits.sites["clinic"] / "startup" / "rootCA.pem"
    for name, role in ((LEAD, "lead"), ("operator@uni.org", "project_admin")):
        run = Run(tmp_path / name, kits)
        sign(run.app, kits.people[name])
        assert require_signer(read_folder(run.app), root) == Signer(name=name, organisation="uni", role=role)
    for kit, who, said in (
        (kits.server, "server", "who may"),
        (kits.sites["clinic"], "client", "who may"),
        (kits.people["it@clinic.org"], "client", "who may not submit"),
        (kits.people["reader@clinic.org"], "client", "who may not submit"),
    ):
        run = Run(tmp_path / kit.name, kits)
        sign(run.app, kit, who=who)
        with pytest.raises(JobError, match=said):
            require_signer(read_folder(run.app), root)


def _resigned(path: Path, change: Callable[[dict[str, str]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("place", ["", "config"])
@pytest.mark.parametrize(
    "way", ["more names", "fewer names", "swapped", "two certificates", "another line", "no certificate"]
)
def test_a_signature_that_flare_takes_or_leaves_open_is_whole_or_refused(
    tmp_path: Path, kits: Kits, place: str, way: str
) -> None:
    run = Run(tmp_path, kits)
    folder, root = run.app / place, kits.sites["clinic"] / "startup" / "rootCA.pem"
    signature, certificate = folder / SIGNATURE, folder / CERTIFICATE
    if way == "more names":
        _resigned(signature, lambda content: content.update(more=next(iter(content.values()))))
    elif way == "fewer names":
        _resigned(signature, lambda content: content.popitem())
    elif way == "swapped":
        _resigned(
            signature, lambda content: content.update(dict.fromkeys(content, next(reversed(content.values()))), x="y")
        )
    elif way == "two certificates":
        certificate.write_bytes(certificate.read_bytes() + (kits.people[OTHER] / "startup" / "client.crt").read_bytes())
    elif way == "another line":
        certificate.write_bytes(certificate.read_bytes() + b"\n")
    else:
        certificate.unlink()
    with pytest.raises(JobError):
        require_signer(read_folder(run.app), root)


def test_a_certificate_that_has_ended_signs_nothing(
    tmp_path: Path, kits: Kits, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, root = Run(tmp_path, kits), kits.sites["clinic"] / "startup" / "rootCA.pem"
    require_signer(read_folder(run.app), root)
    for days, why in ((-1, "is not valid yet by the clock"), (3650, "has expired by the clock"), (0, "does not hold")):
        then = datetime.now(UTC) + timedelta(days=days)
        monkeypatch.setattr(
            "nvflare.lighter.utils._utc_now", lambda then=then, days=days: then - (days == 0) * 9999 * DAY
        )
        monkeypatch.setattr("fedward.flare.submitter._now", lambda then=then: then)
        with pytest.raises(JobError, match=why):
            require_signer(read_folder(run.app), root)


def test_two_hands_are_nobodys(tmp_path: Path, kits: Kits) -> None:
    run = Run(tmp_path, kits)
    sign(run.app / "config", kits.people[OTHER])
    assert run.origin() == UNKNOWN


def test_a_study_that_was_signed_for_another_job_of_the_same_person(tmp_path: Path, kits: Kits) -> None:
    """FLARE signs file by file; the study's file says which job it is for."""
    run = Run(tmp_path / "one", kits, study="chest")
    other = export_job(a_job(seed=8), tmp_path / "two", study="chest")
    (run.app / "config" / STUDY_FILE).write_bytes((other / "app" / "config" / STUDY_FILE).read_bytes())
    sign(run.app, kits.people[LEAD])
    assert run.origin() == UNKNOWN


@pytest.mark.parametrize("name", ["default", "Chest", "a b", "", "x/../y"])
def test_no_study_of_that_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(JobError, match="not a study's name"):
        export_job(a_job(), tmp_path, study=name)
    assert not list(tmp_path.iterdir())
