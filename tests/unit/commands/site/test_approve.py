"""``fedward site approve``, as hospital IT types it."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nvflare.lighter.utils import load_private_key_file, sign_folders

from fedward.dataset.manifest import Manifest, write_manifest
from fedward.flare.export import export_job
from fedward.flare.kits.central import provision
from fedward.indexing.site_key import load_key
from fedward.privacy.ledger.ledger import Ledger
from fedward.privacy.policy.agreement import agree
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import FederationSpec, Hospital, Person, Server, read_job, read_site
from tests.support.command_line import typed

MakeCohort = Callable[..., Manifest]
SITE = """site = "north"
key = "site.key"
ledger = "ledger.db"
approved_jobs = []
{approvals}
disclosure = {{ metrics = ["scores"], decimals = 3, min_count = 10 }}
[cohorts.chest]
images = "chest"
index = "index"
max_quarantined_fraction = 0.5
validation_fraction = 0.3
privacy = {{ dp = "required", epsilon_cap = 8.0, delta = 1e-3, encryption = "not-required" }}
"""
JOB = """[job]
name = "tiny"
task = "classification"
[federation]
rounds = {rounds}
min_sites = 2
round_timeout_s = 60.0
[data]
cohort = "chest"
size = [24, 24]
labels = ["lesion"]
[model]
network = "DenseNet"
args = {{ init_features = 8, growth_rate = 4, block_config = [2, 2], bn_size = 2 }}
[training]
loss = {{ name = "BCEWithLogitsLoss" }}
optimizer = "AdamW"
lr = 0.003
batch_size = 8
local_steps = 3
[privacy]
mechanism = "dp-sgd"
[privacy.dp_sgd]
noise_multiplier = {noise}
delta = 1e-3
clip_norm_l2 = 1.0
patients_per_step = 8
"""


@pytest.fixture
def hospital(tmp_path: Path, make_cohort: MakeCohort) -> Path:
    """An indexed cohort with key, ledger and a policy that approves by file; returns site.toml's folder."""
    write_site(tmp_path)
    write_manifest(make_cohort(40), tmp_path / "index")
    Ledger.create(tmp_path / "ledger.db", site="north", key=load_key(tmp_path / "site.key").secret)
    return tmp_path


def write_site(folder: Path, approvals: str = 'approvals = "approvals"') -> None:
    (folder / "site.toml").write_text(SITE.format(approvals=approvals))


def write_job(folder: Path, *, rounds: int = 2, noise: float = 2.0) -> Path:
    folder.mkdir(parents=True)
    (folder / "job.toml").write_text(JOB.format(rounds=rounds, noise=noise))
    return folder


class Typist:
    """Types the command; by default at no terminal."""

    def __init__(self, hospital: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.hospital, self._patch, self._read = hospital, monkeypatch, capsys

    def approve(self, *words: object, site: Path | None = None) -> tuple[int, str, str]:
        site_toml = site or self.hospital / "site.toml"
        code = typed(self._patch, "site", "approve", *map(str, words), "--site-toml", str(site_toml))
        out, err = self._read.readouterr()
        return code, out, err

    def json(self, *words: object, **named: Any) -> Any:
        code, out, err = self.approve(*words, "--format", "json", **named)
        assert code == 0, err
        return json.loads(out)

    def policy(self) -> tuple[int, list[dict[str, Any]]]:
        """Return exit code and findings of `fedward site policy check`."""
        site_toml = str(self.hospital / "site.toml")
        code = typed(self._patch, "site", "policy", "check", site_toml, "--format", "json")
        findings: list[dict[str, Any]] = json.loads(self._read.readouterr().out)["findings"]
        return code, findings

    def says(self, answer: str) -> None:
        """At a terminal, the answer typed."""

        class Terminal:
            def isatty(self) -> bool:
                return True

            def readline(self) -> str:
                return answer + "\n"

        self._patch.setattr(sys, "stdin", Terminal())
        self._patch.setattr("builtins.input", lambda *prompt: answer)


@pytest.fixture
def it(hospital: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typist:
    return Typist(hospital, monkeypatch, capsys)


def files(hospital: Path) -> list[str]:
    folder = hospital / "approvals"
    return sorted(path.stem for path in folder.glob("*.json")) if folder.exists() else []


def test_a_job_is_shown_and_approved(it: Typist, tmp_path: Path) -> None:
    job = write_job(tmp_path / "tiny")
    found = job_hash(read_job(job))
    answer = it.json(job, "--yes")
    assert (answer["state"], answer["hash"], answer["since"], answer["changes"]) == ("approved", found, None, [])
    assert answer["refused_all_the_same"] == []
    assert "dp-sgd: asks for noise 2" in answer["words"]["privacy"]
    assert "At this hospital: ε " in answer["words"]["privacy"] and "values" in answer["words"]["network"]
    assert files(tmp_path) == [found]
    assert stat.S_IMODE((tmp_path / "approvals" / f"{found}.json").stat().st_mode) == 0o640
    assert agree(read_job(job), read_site(tmp_path / "site.toml")).mechanism == "dp-sgd"
    assert it.json(job, "--yes")["state"] == "approved before"


@pytest.mark.parametrize(("typed_in", "state"), [("y", "approved"), ("n", "not approved"), ("", "not approved")])
def test_at_a_terminal_a_person_is_asked(it: Typist, tmp_path: Path, typed_in: str, state: str) -> None:
    job = write_job(tmp_path / "tiny")
    it.says(typed_in)
    code, out, _ = it.approve(job)
    assert code == (0 if state == "approved" else 1)
    assert out.rstrip().endswith(f"tiny: {state}")
    assert len(files(tmp_path)) == (state == "approved")


@pytest.mark.parametrize("format", ["text", "json"])
def test_without_a_terminal_nothing_is_approved_unasked(it: Typist, tmp_path: Path, format: str) -> None:
    job = write_job(tmp_path / "tiny")
    code, _, err = it.approve(job, "--format", format)
    assert code == 1 and "not a terminal" in err and "--yes" in err
    assert files(tmp_path) == []


def test_what_changed_since_the_last_of_its_name(it: Typist, tmp_path: Path) -> None:
    first = write_job(tmp_path / "one")
    it.json(first, "--yes")
    second = write_job(tmp_path / "two", rounds=3, noise=1.0)
    answer = it.json(second, "--yes")
    assert answer["since"]["hash"] == job_hash(read_job(first))
    changes = {change["field"]: change for change in answer["changes"]}
    assert set(changes) == {"federation.rounds", "privacy.dp_sgd.noise_multiplier", "ε here"}
    assert {change["verdict"] for change in changes.values()} == {"less private"}
    assert (changes["federation.rounds"]["before"], changes["federation.rounds"]["after"]) == ("2", "3")
    text = it.approve(write_job(tmp_path / "three", rounds=2, noise=1.0), "--yes")[1]
    assert "federation.rounds: 3 -> 2   [more private: fewer updates leave]" in text
    assert "noise_multiplier" not in text.split("since")[1], "unlike the last approved, not the first"


def test_a_job_that_the_policy_refuses_all_the_same(it: Typist, tmp_path: Path) -> None:
    job = write_job(tmp_path / "tiny", rounds=400, noise=0.6)
    answer = it.json(job, "--yes")
    assert "does not fit" in answer["refused_all_the_same"][0]
    open_job = write_job(tmp_path / "open")
    text = (open_job / "job.toml").read_text()
    (open_job / "job.toml").write_text(text.split("[privacy]")[0] + '[privacy]\nmechanism = "none"\n')
    code, out, _ = it.approve(open_job, "--yes")
    assert code == 0 and "the policy refuses it all the same" in out and "differential privacy" in out


def test_list_and_revoke(it: Typist, tmp_path: Path) -> None:
    assert it.json("--list") == []
    job = write_job(tmp_path / "tiny")
    found = it.json(job, "--yes")["hash"]
    (entry,) = it.json("--list")
    assert (entry["hash"], entry["job"], entry["fault"]) == (found, "tiny", None)
    (tmp_path / "approvals" / f"{'0' * 64}.json").write_text("{}")
    assert [one["fault"] is None for one in it.json("--list")] == [False, True]
    assert it.approve("--list")[1].count("\n") == 2
    answer = it.json("--revoke", found)
    assert Path(answer["record"]).is_file() and answer["may_still_run_by"] == []
    assert files(tmp_path) == ["0" * 64]
    code, _, err = it.approve("--revoke", found)
    assert code == 1 and "no such approval" in err


def test_what_still_lets_a_revoked_job_in_is_told(it: Typist, tmp_path: Path) -> None:
    found = it.json(write_job(tmp_path / "tiny"), "--yes")["hash"]
    write_site(tmp_path, f'approvals = "approvals"\nauto_approve = [{{ study = "chest" }}]\n#{found}')
    assert it.json("--revoke", found)["may_still_run_by"] == ["auto_approve"]


def test_no_line_for_approvals(it: Typist, tmp_path: Path) -> None:
    write_site(tmp_path, "")
    code, _, err = it.approve(write_job(tmp_path / "tiny"), "--yes")
    assert code == 1 and 'add the line: approvals = "approvals"' in err
    assert not (tmp_path / "approvals").exists()


@pytest.mark.parametrize("words", [(), ("JOB", "--list"), ("--list", "--revoke", "0" * 64)])
def test_one_thing_at_a_time(it: Typist, tmp_path: Path, words: tuple[str, ...]) -> None:
    code, _, err = it.approve(*(str(tmp_path) if word == "JOB" else word for word in words))
    assert code == 1 and "give one of" in err


def test_a_folder_that_holds_no_job(it: Typist, tmp_path: Path) -> None:
    code, _, err = it.approve(tmp_path / "nowhere", "--yes")
    assert code == 1 and "no job here" in err
    broken = tmp_path / "run" / "app_north" / "config"
    broken.mkdir(parents=True)
    (broken / "job.json").write_text("[")
    code, _, err = it.approve(tmp_path / "run", "--yes")
    assert code == 1 and "no readable settings" in err
    (tmp_path / "run" / "app_two" / "config").mkdir(parents=True)
    (tmp_path / "run" / "app_two" / "config" / "job.json").write_text("{}")
    code, _, err = it.approve(tmp_path / "run", "--yes")
    assert code == 1 and "several apps" in err
    assert files(tmp_path) == []


def test_an_exported_job_and_a_run_folder_have_the_same_hash_and_name_who_signed(it: Typist, tmp_path: Path) -> None:
    spec = FederationSpec(
        name="demo",
        server=Server(host="localhost", port=8002, organisation="operator"),
        hospitals=(Hospital(site="north", organisation="north"),),
        people=(Person(email="lead@uni.org", organisation="uni", role="lead"),),
    )
    kits = provision(spec, tmp_path / "kits")
    job = write_job(tmp_path / "tiny")
    exported = export_job(read_job(job), tmp_path / "exported", study="chest")
    kit, lead = kits.sites["north"], kits.people["lead@uni.org"] / "startup"
    site = kit / "local" / "site.toml"
    site.write_text((tmp_path / "site.toml").read_text())
    unsigned = it.json(exported, "--yes", site=site)
    assert unsigned["words"]["from"].startswith("unknown")
    sign_folders(str(exported), load_private_key_file(str(lead / "client.key")), str(lead / "client.crt"))
    run = kit / "0f0e0d0c"
    (exported / "app").rename(run.parent / "moved")
    run.mkdir()
    (run.parent / "moved").rename(run / "app_north")
    (run / "meta.json").write_text(json.dumps({"study": "chest", "submitter_name": "someone@else.org"}))
    answer = it.json(run, "--yes", site=site)
    assert answer["hash"] == unsigned["hash"] == job_hash(read_job(job))
    assert answer["words"]["from"].startswith("lead@uni.org of uni, for study chest")


POLICIES = [
    ('approvals = "approvals"', set()),
    ("", {"approved_jobs"}),
    ('auto_approve = [{ study = "chest" }]', {"auto_approve 1"}),
    ('auto_approve = [{ study = "chest", submitter = "lead@uni.org" }]', set()),
]


@pytest.mark.parametrize(("line", "warned"), POLICIES)
def test_what_is_odd_in_who_is_admitted(it: Typist, tmp_path: Path, line: str, warned: set[str]) -> None:
    write_site(tmp_path, line)
    code, findings = it.policy()
    assert code == 0
    assert {one["where"] for one in findings if "auto_approve" in one["where"] or "appro" in one["where"]} == warned


def test_the_policy_check_names_an_approval_that_cannot_be_used(it: Typist, tmp_path: Path) -> None:
    found = it.json(write_job(tmp_path / "tiny"), "--yes")["hash"]
    assert it.policy() == (0, [])
    (tmp_path / "approvals" / f"{found}.json").chmod(0o666)
    code, (finding,) = it.policy()
    assert (code, finding["level"], finding["where"]) == (1, "error", "approvals")
    assert "others may write" in finding["text"]
