"""``fedward site policy check``, as a privacy officer types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedward.dataset.manifest import Manifest, write_manifest
from fedward.encryption.keys.key import create_key
from fedward.encryption.keys.key_file import write_key
from fedward.indexing.site_key import load_key
from fedward.privacy.accountant import Event, epsilon
from fedward.privacy.ledger.ledger import Ledger
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import read_job, read_site
from tests.support.command_line import typed

MakeCohort = Callable[..., Manifest]
Check = Callable[..., tuple[int, dict[str, Any]]]
CLOSED = """dp = "required"
epsilon_cap = 8.0
delta = 1e-3
encryption = "not-required"
"""
DISCLOSURE = 'metrics = ["scores", "support"]\ndecimals = 3\nmin_count = 10\n'
JOB = """
[job]
name = "tiny"
task = "classification"
[federation]
rounds = 2
min_sites = 2
round_timeout_s = 60.0
[data]
cohort = "chest"
size = [24, 24]
labels = ["lesion"]
[model]
network = "DenseNet"
[training]
loss = { name = "BCEWithLogitsLoss" }
optimizer = "AdamW"
lr = 0.003
batch_size = 8
local_steps = 3
[privacy]
"""
SEALED = CLOSED.replace("not-required", "required")
DP_SGD = """mechanism = "dp-sgd"
[privacy.dp_sgd]
noise_multiplier = 2.0
delta = 1e-3
clip_norm_l2 = 1.0
patients_per_step = 8
"""


@pytest.fixture
def hospital(tmp_path: Path, make_cohort: MakeCohort) -> Path:
    """An indexed cohort, a key and a ledger, all in order; returns site.toml's folder."""
    write_manifest(make_cohort(40), tmp_path / "index")
    write(tmp_path)
    key = load_key(tmp_path / "site.key").secret
    Ledger.create(tmp_path / "ledger.db", site="north", key=key)
    return tmp_path


def write(
    folder: Path,
    *,
    privacy: str = CLOSED,
    disclosure: str = DISCLOSURE,
    approved: str = '["' + "0" * 64 + '"]',
    federation_key: str = "",
) -> None:
    (folder / "site.toml").write_text(
        f"""
        site = "north"
        key = "site.key"
        ledger = "ledger.db"
        approved_jobs = {approved}
        {f'federation_key = "{federation_key}"' if federation_key else ""}
        [disclosure]
        {disclosure}
        [cohorts.chest]
        images = "chest"
        index = "index"
        max_quarantined_fraction = 0.5
        validation_fraction = 0.3
        [cohorts.chest.privacy]
        {privacy}
        """
    )


def write_job(folder: Path, privacy: str) -> Path:
    (folder / "tiny").mkdir()
    (folder / "tiny" / "job.toml").write_text(JOB + privacy)
    return folder / "tiny"


@pytest.fixture
def check(hospital: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    def run(*arguments: str, format: str = "json") -> tuple[int, Any]:
        site_toml = str(hospital / "site.toml")
        code = typed(monkeypatch, "site", "policy", "check", site_toml, "--format", format, *arguments)
        out = capsys.readouterr().out
        return code, json.loads(out) if format == "json" else out

    return run


def of(answer: dict[str, Any], level: str) -> dict[str, str]:
    return {finding["where"]: finding["text"] for finding in answer["findings"] if finding["level"] == level}


def test_a_policy_in_order(check: Check) -> None:
    assert check() == (0, {"findings": [], "cost": None, "encryption": None})
    assert check(format="text") == (0, "nothing wrong\n")


@pytest.mark.parametrize(
    ("changes", "where", "words"),
    [
        ({"approved": '"any"'}, "approved_jobs", "any job may run"),
        ({"approved": "[]"}, "approved_jobs", "no job may run"),
        ({"disclosure": DISCLOSURE.replace("10", "1")}, "disclosure.min_count", "suppresses nothing"),
        ({"disclosure": "metrics = []\ndecimals = 3\nmin_count = 10\n"}, "disclosure.metrics", "nobody outside"),
        ({"privacy": CLOSED.replace("required", "not-required", 1)}, "cohorts.chest.privacy.dp", "no ε bounds it"),
        ({"privacy": CLOSED.replace("8.0", "10.5")}, "cohorts.chest.privacy.epsilon_cap", "says little"),
        (
            {"privacy": CLOSED + "max_clip_norm_l2 = 1.0\nupdate_clip_norm_l2 = 2.0"},
            "cohorts.chest.privacy.update_clip_norm_l2",
            "the smaller holds",
        ),
    ],
)
def test_a_warning_names_its_setting_and_does_not_fail(
    hospital: Path, check: Check, changes: dict[str, str], where: str, words: str
) -> None:
    write(hospital, **changes)
    code, answer = check()
    warnings = of(answer, "warning")
    assert (code, set(warnings), of(answer, "error")) == (0, {where}, {})
    assert words in warnings[where]


def test_no_cap_and_noise_that_binds_nobody(hospital: Path, check: Check) -> None:
    write(hospital, privacy='dp = "not-required"\nencryption = "not-required"\nmin_noise_multiplier = 1.0')
    code, answer = check()
    table = "cohorts.chest.privacy"
    assert code == 0
    assert set(of(answer, "warning")) == {f"{table}.dp", f"{table}.epsilon_cap", f"{table}.min_noise_multiplier"}


@pytest.mark.parametrize(
    ("changes", "where", "words"),
    [
        ({"disclosure": DISCLOSURE.replace("support", "suport")}, "disclosure.metrics", "'suport'"),
        ({"privacy": CLOSED.replace("1e-3", "5e-3")}, "cohorts.chest.privacy.delta", "training patients"),
        ({"privacy": SEALED, "federation_key": "gone.key"}, "federation_key", "gone.key: no federation key here"),
    ],
)
def test_an_error_fails(hospital: Path, check: Check, changes: dict[str, str], where: str, words: str) -> None:
    write(hospital, **changes)
    code, answer = check()
    assert (code, set(of(answer, "error"))) == (1, {where})
    assert words in of(answer, "error")[where]


def test_a_hospital_with_the_federations_key(hospital: Path, check: Check) -> None:
    folder = write_job(hospital, DP_SGD + '[encryption]\nscheme = "aes-ctr"\n')
    (folder / "job.toml").write_text((folder / "job.toml").read_text().replace("min_sites = 2", "min_sites = 3"))
    approved = f'["{job_hash(read_job(folder))}"]'
    write(hospital, privacy=SEALED, approved=approved)
    code, answer = check("--job", str(folder))
    assert code == 1
    assert "no federation key for a job with scheme aes-ctr" in of(answer, "error")["job"]
    write_key(create_key(), hospital / "federation.key")
    write(hospital, privacy=SEALED, approved=approved, federation_key="federation.key")
    code, answer = check("--job", str(folder))
    assert (code, answer["findings"]) == (0, [])
    assert answer["encryption"].startswith("updates leave encrypted by scheme aes-ctr: a hospital that sides ")
    assert f"job's {answer['encryption']}\n" in check("--job", str(folder), format="text")[1]
    write(hospital, approved=approved, federation_key="federation.key")
    code, answer = check()
    assert (code, set(of(answer, "warning"))) == (0, {"cohorts.chest.privacy.encryption"})
    (hospital / "federation.key").write_bytes(b"not a key")
    code, answer = check()
    assert (code, set(of(answer, "error"))) == (1, {"federation_key"})


def test_a_key_for_another_scheme_than_the_jobs(hospital: Path, check: Check) -> None:
    write_key(create_key("ckks"), hospital / "federation.key")
    write(hospital, privacy=SEALED, approved='"any"', federation_key="federation.key")
    folder = write_job(hospital, DP_SGD + '[encryption]\nscheme = "bfv"\n')
    (folder / "job.toml").write_text((folder / "job.toml").read_text().replace("min_sites = 2", "min_sites = 3"))
    code, answer = check("--job", str(folder))
    assert (code, set(of(answer, "error"))) == (1, {"job encryption.scheme"})
    assert "federation key is for ckks" in of(answer, "error")["job encryption.scheme"]


def test_a_cohort_that_is_not_indexed(hospital: Path, check: Check) -> None:
    for file in (hospital / "index").iterdir():
        file.unlink()
    (hospital / "index").rmdir()
    code, answer = check("--job", str(write_job(hospital, DP_SGD)))
    assert "not indexed" in of(answer, "warning")["cohorts.chest"]
    assert answer["cost"] is None
    assert code == 1  # the job is not approved


def test_a_cohort_that_was_refused_is_as_one_that_is_not_indexed(hospital: Path, check: Check) -> None:
    for name in ("cohort.json", "manifest.jsonl"):
        (hospital / "index" / name).unlink()
    (hospital / "index" / "quarantine.csv").write_text("file,reason,detail\n")
    code, answer = check()
    assert code == 0 and "not indexed" in str(answer)


def test_files_that_others_read_or_that_are_gone(hospital: Path, check: Check) -> None:
    (hospital / "ledger.db").chmod(0o640)
    code, answer = check()
    assert (code, set(of(answer, "warning"))) == (0, {"ledger"})
    (hospital / "site.key").chmod(0o644)
    code, answer = check()
    assert code == 1
    assert "others may read" in of(answer, "error")["key"]
    (hospital / "site.key").unlink()
    code, answer = check()
    assert code == 1
    assert "restore the key" in of(answer, "error")["key"]
    assert not (hospital / "site.key").exists()
    (hospital / "ledger.db").unlink()
    code, answer = check()
    assert code == 1
    assert "is missing" in of(answer, "error")["ledger"]
    assert not (hospital / "ledger.db").exists()


def test_a_ledger_that_was_changed_is_an_error(hospital: Path, check: Check) -> None:
    (hospital / "ledger.db").write_bytes(b"not a ledger" * 1000)
    code, answer = check()
    assert (code, set(of(answer, "error"))) == (1, {"ledger"})


def test_what_a_job_would_cost_and_that_it_fits(hospital: Path, check: Check) -> None:
    folder = write_job(hospital, DP_SGD)
    write(hospital, approved=f'["{job_hash(read_job(folder))}"]')
    code, answer = check("--job", str(folder))
    patients = answer["cost"]["patients"]
    expected, most = (
        epsilon([Event(sampling_rate=8 / patients, noise_multiplier=2.0, steps=steps)], delta=1e-3) for steps in (6, 12)
    )
    assert code == 0
    assert answer["findings"] == []
    assert answer["cost"] == {
        "patients": patients,
        "noise_multiplier": 2.0,
        "epsilon": expected,
        "ceiling": most,
        "delta": 1e-3,
        "spent": 0.0,
        "after": expected,
        "cap": 8.0,
        "fits": True,
    }
    assert f"cost ε {expected:.2f}, at most {most:.2f}" in check("--job", str(folder), format="text")[1]


def test_what_was_spent_before_counts(hospital: Path, check: Check) -> None:
    """The same events composed by the accountant; over the cap the job does not fit, and nothing is charged."""
    folder = write_job(hospital, DP_SGD)
    write(hospital, approved='"any"')
    _, answer = check("--job", str(folder))
    patients, alone = answer["cost"]["patients"], answer["cost"]["epsilon"]
    event = Event(sampling_rate=8 / patients, noise_multiplier=2.0, steps=6)
    policy = read_site(hospital / "site.toml")
    ledger = Ledger.open(policy.ledger, site="north", key=load_key(policy.key).secret)
    touched = frozenset(row.patient for row in _rows(hospital) if row.split == "train")
    ledger.charge(job_id="a", job="tiny", cohort="chest", event=event, rounds=2, patients=touched, cap=None, delta=1e-3)
    code, answer = check("--job", str(folder))
    assert code == 0
    assert answer["cost"]["spent"] == pytest.approx(alone)
    assert answer["cost"]["after"] == pytest.approx(epsilon([event, event], delta=1e-3))
    cap = (alone + answer["cost"]["after"]) / 2
    write(hospital, approved='"any"', privacy=CLOSED.replace("8.0", f"{cap:.6f}"))
    code, answer = check("--job", str(folder))
    assert (code, answer["cost"]["fits"]) == (1, False)
    assert "does not fit" in of(answer, "error")["job tiny"]
    assert len(ledger.charges()) == 1


def test_more_noise_is_no_remedy_where_jobs_without_noise_have_spent_everything(hospital: Path, check: Check) -> None:
    folder = write_job(hospital, DP_SGD)
    write(hospital, approved='"any"')
    policy = read_site(hospital / "site.toml")
    ledger = Ledger.open(policy.ledger, site="north", key=load_key(policy.key).secret)
    touched = frozenset(row.patient for row in _rows(hospital) if row.split == "train")
    ledger.unprotected(job_id="a", job="tiny", cohort="chest", patients=touched)
    write(hospital, approved='"any"', privacy=CLOSED)
    code, answer = check("--job", str(folder))
    text = of(answer, "error")["job tiny"]
    assert code == 1 and "no noise helps" in text and "more noise or fewer" not in text


def test_where_jobs_touched_different_patients_a_bound_alone_refuses_nothing(hospital: Path, check: Check) -> None:
    folder = write_job(hospital, DP_SGD)
    write(hospital, approved='"any"')
    _, answer = check("--job", str(folder))
    alone, patients = answer["cost"]["epsilon"], answer["cost"]["patients"]
    event = Event(sampling_rate=8 / patients, noise_multiplier=2.0, steps=6)
    policy = read_site(hospital / "site.toml")
    ledger = Ledger.open(policy.ledger, site="north", key=load_key(policy.key).secret)
    first, *others = sorted({row.patient for row in _rows(hospital) if row.split == "train"})
    for job_id, people in {"a": [first], "b": others}.items():
        ledger.charge(
            job_id=job_id, job="t", cohort="chest", event=event, rounds=2, patients=people, cap=None, delta=1e-3
        )
    cap = epsilon([event, event], delta=1e-3) + 0.05 * alone
    write(hospital, approved='"any"', privacy=CLOSED.replace("8.0", f"{cap:.6f}"))
    code, answer = check("--job", str(folder))
    assert (code, answer["cost"]["fits"]) == (0, None)
    assert "may pass the cap" in of(answer, "warning")["job tiny"]


def test_a_job_that_the_policy_does_not_give(hospital: Path, check: Check) -> None:
    code, answer = check("--job", str(write_job(hospital, 'mechanism = "none"\n')))
    assert (code, answer["cost"]) == (1, None)
    refused = of(answer, "error")["job"]
    assert "not approved" in refused
    assert "differential privacy" in refused


def test_a_job_without_protection_where_it_may_run(hospital: Path, check: Check) -> None:
    write(hospital, approved='"any"', privacy=CLOSED.replace("required", "not-required", 1))
    code, answer = check("--job", str(write_job(hospital, 'mechanism = "none"\n')))
    assert (code, answer["cost"]) == (0, None)
    assert "infinite" in of(answer, "warning")["job tiny"]


def test_a_job_about_structures_that_the_masks_here_hardly_mark(
    hospital: Path, check: Check, make_cohort: MakeCohort
) -> None:
    write(hospital, approved='"any"', privacy=CLOSED.replace("required", "not-required", 1))
    known = make_cohort(40, masks_too=True, structures=["1"])
    other = make_cohort(3, site="south", masks_too=True, structures=["255"])
    write_manifest(replace(known, rows=known.rows + other.rows), hospital / "index")
    folder = write_job(hospital, 'mechanism = "none"\n')
    job = JOB.replace("classification", "segmentation").replace('labels = ["lesion"]', 'structures = ["1", "2"]')
    job = job.replace('"DenseNet"', '"UNet"').replace("BCEWithLogitsLoss", "DiceCELoss")
    (folder / "job.toml").write_text(job + 'mechanism = "none"\n')
    code, answer = check("--job", str(folder))
    texts = [one["text"] for one in answer["findings"] if one["level"] == "warning"]
    assert code == 0
    assert any(text.startswith("none of 31 training images here has '2'") for text in texts)
    assert any(text.startswith("the masks of 3 images mark other structures only") for text in texts)


def test_a_job_with_a_delta_for_fewer_patients(hospital: Path, check: Check) -> None:
    write(hospital, approved='"any"', privacy=CLOSED.replace("1e-3", "5e-3"))
    code, answer = check("--job", str(write_job(hospital, DP_SGD.replace("1e-3", "5e-3"))))
    assert (code, answer["cost"]) == (1, None)
    assert "privacy.dp_sgd.delta" in of(answer, "error")["job"]


def _rows(hospital: Path) -> Any:
    from fedward.dataset.manifest import read_manifest

    return read_manifest(hospital / "index").rows
