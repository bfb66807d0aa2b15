"""Check the dossier for a board: hashes of the files themselves, a failed job refused or marked, a page to sign."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from nvflare.app_common.app_constant import DefaultCheckpointFileName

from fedward.errors import FedwardError
from fedward.privacy.policy.job_hash import job_hash
from fedward.provisioning.stamp import package_hash
from fedward.reporting.data.from_events import report_of
from fedward.reporting.data.report import Score
from fedward.reporting.dossier.dossier import NOT_SAID, Dossier, dossier_of, find_model
from fedward.reporting.dossier.page import HTML_FILE, JSON_FILE, write_dossier
from fedward.weights import MODEL_FILE
from tests.support.report_events import SITES, made_events, made_job
from tests.unit.reporting.data.test_ending import without_elm


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "result" / "workspace" / "app_server" / MODEL_FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def dossier(model: Path) -> Dossier:
    job = made_job()
    return dossier_of(report_of(job, made_events(job)), model, intended_use="Second reader.")


def test_it_names_model_software_job_and_cohorts_by_their_hashes(dossier: Dossier) -> None:
    assert dossier.model_sha256 == hashlib.sha256(b"weights").hexdigest()
    assert (dossier.wheel_sha256, dossier.job_sha256) == (package_hash(), job_hash(made_job()))
    assert [one.site for one in dossier.members] == sorted(SITES, key=lambda site: SITES[site])
    assert all(one.cohort_sha256 and one.privacy and one.privacy.cap == 8.0 for one in dossier.members)
    assert {one.site: one.admission for one in dossier.members}["coast-institute"] == "submitter"
    assert dossier.declined == {"fen-clinic": "the cohort has no column lesion"}


def test_a_hospital_passes_only_by_its_whole_interval(dossier: Dossier) -> None:
    found = {one.site: one.acceptance for one in dossier.members}
    assert found["alder-hospital"] == "pass" and found["elm"] == "undecided"
    elm = dossier.members[0]
    assert elm.flagged and elm.worst is not None and elm.worst.gap == pytest.approx(-0.1)
    assert [one.dimension for one in elm.spreads] == ["age", "sex", "maker"]


def test_without_a_threshold_nobody_passes_or_fails(model: Path) -> None:
    job = made_job()
    done = report_of(job, made_events(job))
    free = dossier_of(replace(done, job=replace(done.job, threshold=None)), model)
    assert {one.acceptance for one in free.members} == {None}
    hidden = replace(done, sites=tuple(replace(one, federated=Score(suppressed=True)) for one in done.sites))
    bare = dossier_of(hidden, model)
    assert {one.acceptance for one in bare.members} == {"insufficient support"}
    assert any(line.startswith("Nothing is known of how it does at") for line in bare.limits)


def test_the_page_can_be_signed_and_quotes_the_hash_of_the_file(dossier: Dossier, tmp_path: Path) -> None:
    page, sha256 = write_dossier(tmp_path / "out", dossier)
    assert sha256 == hashlib.sha256((tmp_path / "out" / JSON_FILE).read_bytes()).hexdigest()
    text = page.read_text()
    assert page.name == HTML_FILE and sha256 in text and "Second reader." in text
    assert text.count('class="signature"') == len(SITES)
    assert all(text.count(f"<dt>{line}</dt>") == len(SITES) for line in ("Name", "Role", "Date and place"))
    assert "Not fit for release" not in text
    assert "http" not in text.replace("http-equiv", "") and "<script" not in text


def test_a_job_that_failed_is_refused_and_with_unfit_says_so_in_large(model: Path, tmp_path: Path) -> None:
    job = made_job()
    failed = report_of(job, made_events(job, failed="alder-hospital is missing"))
    with pytest.raises(FedwardError, match="not fit for release") as caught:
        dossier_of(failed, model)
    assert "alder-hospital is missing" in str(caught.value) and "\n" not in str(caught.value)
    page, _ = write_dossier(tmp_path / "out", dossier_of(failed, model, unfit=True))
    text = page.read_text()
    assert '<p class="unfit">Not fit for release</p>' in text and NOT_SAID in text
    assert (
        text.index("Not fit for release") < text.index('id="use"')
        and "Not fit for release" in text.split('id="signing"')[1]
    )


def test_a_result_has_one_model_or_is_refused(model: Path, tmp_path: Path) -> None:
    assert MODEL_FILE == DefaultCheckpointFileName.GLOBAL_MODEL
    assert find_model(tmp_path / "result") == model
    model.unlink()
    with pytest.raises(FedwardError, match="no final model") as caught:
        find_model(tmp_path / "result")
    assert "\n" not in str(caught.value)


def test_hostile_text_is_escaped(dossier: Dossier, tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    members = tuple(replace(one, site=bad, admission=bad, fedward=bad) for one in dossier.members)
    spoilt = replace(dossier, intended_use=bad, members=members, declined={bad: bad}, limits=(bad,), verdict=bad)
    page, _ = write_dossier(tmp_path, replace(spoilt, versions={bad: bad}, job=replace(dossier.job, name=bad)))
    assert "<script" not in page.read_text()


def test_a_model_whose_training_a_hospital_left_says_so(model: Path) -> None:
    made = dossier_of(report_of(made_job(), without_elm(5)), model)
    assert made.fit and made.verdict.startswith("success with 1 site missing at the end")
    assert any(line.startswith("Missing at the end of its training: elm") for line in made.limits)
