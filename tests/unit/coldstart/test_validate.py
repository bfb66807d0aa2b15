"""Validate a model on a hospital's patients: floors, splits, fine-tune; images in memory."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedward.coldstart import validate as validating
from fedward.coldstart.fine_tune import FEWEST, PASSES, fine_tune, part
from fedward.coldstart.model import Given, check_weights, read_given
from fedward.coldstart.report import Answer
from fedward.coldstart.validate import FINE_TUNED_FILE, Asked, validate_here
from fedward.dataset.manifest import Manifest
from fedward.dataset.selection import select
from fedward.demo.simulate import run_rounds, take_part, trainers
from fedward.errors import CohortError
from fedward.settings import JobSpec, SitePolicy, parse, plain
from fedward.training.trainer import Trainer
from fedward.weights import Weights
from tests.conftest import OPEN_COHORT, OPEN_SITE
from tests.unit.coldstart.test_model import exported

MakeCohort = Callable[..., Manifest]
FLOOR = 5


def policy(*, floor: int = FLOOR) -> SitePolicy:
    cohort = {
        "images": "/nowhere",
        "index": "/nowhere",
        "max_quarantined_fraction": 0.1,
        "validation_fraction": 0.3,
        "privacy": OPEN_COHORT,
    }
    disclosure = {**OPEN_SITE["disclosure"], "min_count": floor}  # type: ignore[dict-item]
    content = {**OPEN_SITE, "site": "west", "key": "key", "disclosure": disclosure, "cohorts": {"chest": cohort}}
    return parse(SitePolicy, content, where="test")


def asked(out: Path, **changes: Any) -> Asked:
    usual: dict[str, Any] = {
        "cohort": None,
        "width": 0.1,
        "expected": None,
        "threshold": 0.8,
        "operating_point": None,
        "took_part": False,
        "fine_tune": None,
        "out": out,
    }
    return Asked(**usual | changes)


def federated(job: JobSpec, make_cohort: MakeCohort, *, rounds: int) -> Weights:
    """A model that two other hospitals trained."""
    longer = with_rounds(job, rounds=rounds)
    cohorts = {site: make_cohort(48, site=site, seed=seed) for seed, site in enumerate(("east", "north"))}
    weights, _ = run_rounds(longer, trainers(longer, take_part(longer, cohorts)[0]))
    return weights


_TRAINED: dict[str, Weights] = {}


@pytest.fixture
def model(tiny_job: JobSpec, make_cohort: MakeCohort) -> Weights:
    """One that sees the square; trained once for all tests."""
    if "model" not in _TRAINED:
        _TRAINED["model"] = federated(tiny_job, make_cohort, rounds=6)
    return _TRAINED["model"]


def with_rounds(job: JobSpec, **changes: object) -> JobSpec:
    return job.model_copy(update={"federation": job.federation.model_copy(update=changes)})


def given(job: JobSpec, weights: Weights, *, took_part: tuple[str, ...] = ("east", "north")) -> Given:
    return Given(job=job, weights=weights, sha256="ab" * 32, took_part=frozenset(took_part))


Here = Callable[..., Answer]


@pytest.fixture
def here(tmp_path: Path, tiny_job: JobSpec, model: Weights, monkeypatch: pytest.MonkeyPatch) -> Here:
    """``here(manifest, floor=…, took_part=…, threshold=…)``: the model validated on that cohort."""

    def hold(manifest: Manifest, *, floor: int = FLOOR, sites: tuple[str, ...] = ("east",), **changes: Any) -> Answer:
        monkeypatch.setattr(validating, "read_manifest", lambda folder: manifest)
        return validate_here(
            given(tiny_job, model, took_part=sites), policy(floor=floor), asked(tmp_path / "out", **changes)
        )

    return hold


def swapped(patients: int) -> dict[str, list[str]]:
    return {"lesion": [str((number + 1) % 2) for number in range(patients)]}


def test_every_labelled_patient_counts_where_none_was_trained_on(here: Here, make_cohort: MakeCohort) -> None:
    answer = here(make_cohort(60, site="west", seed=5, images=2))
    support = answer.result.support
    assert (support.patients, support.images, support.positives, support.negatives) == (60, 120, 30, 30)
    assert answer.over == "all labelled patients"
    assert answer.judgement is not None
    assert answer.judgement.verdict == "pass"
    assert answer.accepted
    assert answer.tuned is None


def test_a_hospital_that_trained_the_model_has_its_validation_patients(
    here: Here, tiny_job: JobSpec, model: Weights, make_cohort: MakeCohort
) -> None:
    """Its numbers are then those of the trainer itself."""
    manifest = make_cohort(60, site="west", seed=5)
    for answer in (here(manifest, took_part=True), here(manifest, sites=("east", "west"))):
        assert answer.over == "validation patients"
        assert answer.result.support.patients == manifest.patients("validation")
        scores = Trainer(tiny_job, [manifest], site="west").validate(model).plain()
        assert answer.result.value == scores["auc"]
        assert answer.result.disclosed["scores"]["auc"] == pytest.approx(scores["auc"], abs=5e-4)


def test_below_the_floor_there_is_no_number_anywhere(here: Here, make_cohort: MakeCohort) -> None:
    answer = here(make_cohort(24, site="west", seed=5), floor=13, fine_tune=True, operating_point=0.5)
    assert answer.judgement is not None
    assert answer.judgement.verdict == "insufficient support"
    assert not answer.accepted
    assert answer.tuned is None
    assert answer.no_tuning is not None
    shown = answer.plain()
    assert shown["result"].pop("suppressed") is True
    assert set(shown["result"].values()) == {None}
    assert shown["needed"]["here"] is None
    assert shown["needed"]["prevalence"] is None
    text = "\n".join(answer.lines())
    assert "insufficient support" in text
    assert "24" not in text


def test_three_positives_are_no_number_although_there_are_forty_patients(here: Here, make_cohort: MakeCohort) -> None:
    labels = {"lesion": ["1" if number in (1, 3, 5) else "0" for number in range(40)]}
    answer = here(make_cohort(40, site="west", seed=5, labels=labels))
    assert (answer.result.support.positives, answer.result.value) == (3, None)
    assert answer.judgement is not None
    assert answer.judgement.verdict == "insufficient support"


def test_a_rare_label_hides_the_mean_and_not_every_label(
    tiny_job: JobSpec, make_cohort: MakeCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = plain(tiny_job)
    content["data"] |= {"labels": ["lesion", "other", "rare"], "target": "multilabel"}
    job = parse(JobSpec, content, where="test")
    labels = {
        "lesion": [str(number % 2) for number in range(48)],
        "other": [str(int(number % 3 == 0)) for number in range(48)],
        "rare": ["1" if number in (1, 2, 3) else "0" for number in range(48)],
    }
    manifest = make_cohort(48, site="west", seed=5, labels=labels)
    monkeypatch.setattr(validating, "read_manifest", lambda folder: manifest)
    weights = Trainer(job, [manifest], site="west").train(initial(job), round_number=0).weights
    answer = validate_here(given(job, weights), policy(), asked(tmp_path / "out", operating_point=0.5))
    assert (answer.result.support.positives, answer.result.value) == (3, None)
    scores = answer.plain()["result"]["scores"]
    assert scores["auc"] is None
    assert scores["labels"]["lesion"]["auc"] is not None
    for hidden in ("rare", "other"):  # the second, so that the first does not follow from the whole
        assert scores["labels"][hidden]["auc"] is None
        assert scores["labels"][hidden]["suppressed"] is True
    assert "rare" not in answer.plain()["result"]["subgroups"]
    lines = list(answer.lines())
    assert any(line.startswith("  lesion: AUC") for line in lines)
    assert "  rare: insufficient support" in lines


def test_a_failed_model_is_tuned_and_told_on_validation_patients_alone(
    tiny_job: JobSpec, make_cohort: MakeCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of one round, which has seen little, at a hospital with enough patients to teach it the rest."""
    manifest = make_cohort(120, site="west", seed=5, held_out=3)
    monkeypatch.setattr(validating, "read_manifest", lambda folder: manifest)
    start = given(tiny_job, federated(tiny_job, make_cohort, rounds=1))
    answer = validate_here(start, policy(), asked(tmp_path / "out", threshold=0.99))
    assert answer.judgement is not None
    assert answer.judgement.verdict == "fail"
    tuned = answer.tuned
    assert tuned is not None
    assert tuned.before.support.patients == tuned.after.support.patients == manifest.patients("validation")
    assert tuned.train_patients + tuned.tune_patients == manifest.patients("train")
    assert tuned.before.value is not None
    assert tuned.after.value is not None
    assert tuned.change.value == pytest.approx(tuned.after.value - tuned.before.value)
    assert tuned.kept > 0
    assert tuned.change.low is not None
    assert tuned.change.low > 0
    saved = tmp_path / "out" / FINE_TUNED_FILE
    assert tuned.model == str(saved)
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    after = Trainer(tiny_job, [manifest], site="west").validate(read_given(saved, exported(tmp_path, tiny_job)).weights)
    assert after.plain()["auc"] == tuned.after.value
    assert not answer.accepted, "the verdict is of the model as it came"
    text = "\n".join(answer.lines())
    assert "must not leave this hospital" in text
    assert "better" in text


def test_a_fine_tune_that_helps_nobody_is_told_as_that(here: Here, make_cohort: MakeCohort) -> None:
    """At this hospital the sick look as the well do elsewhere; a gentle fine-tune cannot reverse that."""
    answer = here(make_cohort(80, site="west", seed=5, labels=swapped(80), held_out=3))
    assert answer.tuned is not None
    assert answer.tuned.judgement is not None
    assert answer.tuned.judgement.verdict == "fail"
    assert "better" not in "\n".join(answer.lines()).split("change:")[1].split("\n")[0]


def test_never_and_in_any_case(here: Here, make_cohort: MakeCohort, tmp_path: Path) -> None:
    wrong = make_cohort(80, site="west", seed=5, labels=swapped(80), held_out=3)
    assert here(wrong, fine_tune=False).tuned is None
    assert not (tmp_path / "out").exists()
    assert here(wrong, threshold=None).tuned is None
    assert here(make_cohort(80, site="west", seed=5, held_out=3), fine_tune=True).tuned is not None


def test_no_better_pass_changes_nothing_and_says_so(
    here: Here, make_cohort: MakeCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter(range(1, 99))
    monkeypatch.setattr("fedward.coldstart.fine_tune._loss", lambda *_: float(next(losses)))
    answer = here(make_cohort(80, site="west", seed=5, labels=swapped(80), held_out=3))
    assert answer.tuned is not None
    assert (answer.tuned.kept, answer.tuned.change.value, answer.tuned.model) == (0, 0.0, None)
    assert answer.tuned.before == answer.tuned.after
    assert not (tmp_path / "out" / FINE_TUNED_FILE).exists()
    assert "no new model" in "\n".join(answer.lines())


def test_a_stop_in_the_middle_leaves_no_model(
    tiny_job: JobSpec, model: Weights, make_cohort: MakeCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = make_cohort(80, site="west", seed=5, labels=swapped(80), held_out=3)
    monkeypatch.setattr(validating, "read_manifest", lambda folder: manifest)

    def stop(done: int, total: int | None, what: str) -> None:
        if "fine-tune" in what and done > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        validate_here(given(tiny_job, model), policy(), asked(tmp_path / "out"), on_step=stop)
    assert not list(tmp_path.rglob("*"))


def test_who_trains_and_who_tunes_share_no_patient(tiny_job: JobSpec, make_cohort: MakeCohort) -> None:
    chosen = select(tiny_job, [make_cohort(60, site="west", images=2)], site="west")
    train, tune = part(chosen.train)
    one, other = ({example.row.patient for example in side} for side in (train, tune))
    assert not one & other
    assert one | other == set(chosen.train_patients)
    assert len(other) == pytest.approx(len(chosen.train_patients) / 5, abs=1)
    assert part(tuple(reversed(chosen.train)))[1] == tuple(reversed(tune))
    few = [example for example in chosen.train if example.row.patient in sorted(one)[: FEWEST - 1]]
    with pytest.raises(CohortError, match="too few training patients"):
        part(few)


def test_a_job_with_privacy_and_rounds_behind_it_is_tuned_all_the_same(
    tiny_job: JobSpec, model: Weights, make_cohort: MakeCohort
) -> None:
    content = plain(tiny_job)
    dp = {"noise_multiplier": 1.0, "delta": 1e-3, "clip_norm_l2": 1.0, "patients_per_step": 4.0}
    content["privacy"] = {"mechanism": "dp-sgd", "dp_sgd": dp}
    content["training"] |= {"lr_schedule": "cosine", "fedprox_mu": 1.0, "local_epochs": None, "local_steps": 3}
    job = parse(JobSpec, content, where="test")
    seen: list[tuple[int, int]] = []
    examples = select(job, [make_cohort(60, site="west", seed=5)], site="west").train
    done = fine_tune(job, model, examples, site="west", on_step=lambda step, steps, what: seen.append((step, steps)))
    assert [step for step, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1][1] >= seen[-1][0]
    assert done.passes <= PASSES
    assert len(done.losses) == done.passes + 1
    assert done.losses[done.kept] == min(done.losses)


def test_masks_are_held_to_dice(make_cohort: MakeCohort, tiny_job: JobSpec, tmp_path: Path, monkeypatch: Any) -> None:
    content = plain(tiny_job)
    content["job"]["task"] = "segmentation"
    content["data"] |= {"labels": [], "structures": ["1", "2"]}
    content["model"] = {"network": "UNet", "args": {"channels": [4, 8], "strides": [2]}}
    content["training"]["loss"] = {"name": "DiceCELoss", "args": {"softmax": True}}
    job = parse(JobSpec, content, where="test")
    manifest = make_cohort(40, site="west", seed=5, masks_too=True, held_out=3)
    weights = Trainer(job, [manifest], site="west").train(initial(job), round_number=0).weights
    monkeypatch.setattr(validating, "read_manifest", lambda folder: manifest)
    answer = validate_here(given(job, weights), policy(), asked(tmp_path / "out", threshold=0.99))
    assert answer.measure == "dice"
    assert answer.judgement is not None
    assert answer.judgement.verdict == "fail"
    assert answer.tuned is not None
    assert answer.tuned.before.value is not None
    assert answer.tuned.after.value is not None
    assert answer.tuned.change.value == pytest.approx(answer.tuned.after.value - answer.tuned.before.value)
    assert set(answer.plain()["result"]["scores"]["structures"]) == {"1", "2"}
    assert answer.plain()["needed"]["expected"] == answer.result.sd
    assert "Dice" in "\n".join(answer.lines())


def initial(job: JobSpec) -> Weights:
    from fedward.training.networks import initial_weights

    return initial_weights(job)


def test_a_trained_model_passes_as_it_is(tiny_job: JobSpec, model: Weights) -> None:
    np.testing.assert_equal(check_weights(dict(model), tiny_job, where=Path("model.pt")), model)


def test_an_unknown_cohort_is_one_line(here: Here, make_cohort: MakeCohort) -> None:
    with pytest.raises(Exception, match="there is chest"):
        here(replace(make_cohort(24), cohort="chest"), cohort="brain")
