"""A search for settings: what is tried, what is refused, what is chosen and what is said of the choice."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedward.dataset.manifest import Manifest
from fedward.demo.search.result import LEAK, Search, plain_search, write_search
from fedward.demo.search.run import choices_of, require_free_choice, run_search
from fedward.demo.simulate import simulate, take_part
from fedward.errors import CohortError, JobError, SettingsError
from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content

MakeCohort = Callable[..., Manifest]
DP_SGD = {
    "mechanism": "dp-sgd",
    "dp_sgd": {"epsilon": 8.0, "delta": 1e-3, "clip_norm_l2": 1.0, "patients_per_step": 4},
    "update": {"clip_norm_l2": 3.0},
}


@pytest.fixture
def private_job() -> JobSpec:
    return parse(JobSpec, {**tiny_job_content(), "privacy": DP_SGD}, where="test")


@pytest.fixture
def two(make_cohort: MakeCohort) -> dict[str, Manifest]:
    return {"north": make_cohort(40, site="north"), "south": make_cohort(40, site="south", seed=1)}


def searched(job: JobSpec, cohorts: dict[str, Manifest], settings: dict[str, Any], **more: Any) -> Search:
    given: dict[str, Any] = {"halving": False, "seeds": 1, "on_patients": False, "refused": {}}
    given |= {"follow": lambda fraction, words: None, "keep": lambda so_far: None}
    return run_search(job, cohorts, settings=settings, **given | more)


def test_a_grid_tries_each_with_each_and_its_scores_are_the_simulators(
    tiny_job: JobSpec, two: dict[str, Manifest], tmp_path: Path
) -> None:
    seen: list[float] = []
    kept: list[Search] = []
    found = searched(
        tiny_job,
        two,
        {"training.lr": (0.003, 1e-9), "training.fedprox_mu": (0.0, 0.01)},
        follow=lambda fraction, words: seen.append(fraction),
        keep=kept.append,
        refused={"gone": "no image"},
    )
    assert [tuple(trial.settings.values()) for trial in found.trials] == [
        (0.003, 0.0),
        (0.003, 0.01),
        (1e-9, 0.0),
        (1e-9, 0.01),
    ]
    assert found == kept[-1] and [one.complete for one in kept] == [False, False, False, True]
    assert seen == sorted(seen) and seen[-1] == pytest.approx(1.0)
    plain = simulate(tiny_job, take_part(tiny_job, two)[0]).scores
    own = {site: score.value for site, score in found.trials[0].sites.items()}
    assert own == {site: scores.plain()["auc"] for site, scores in plain.items()}
    scores = [one.score for one in found.ranking]
    assert None not in scores and scores == sorted(scores, key=lambda score: -(score or 0))
    assert found.notes[0] == "4 of 4 settings have a score, in 4 runs."
    assert "best of 4 settings is optimistic" in found.notes[1] and len(found.notes) == 2
    table = write_search(tmp_path / "new", found)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 8 and {row["training.fedprox_mu"] for row in rows} == {"0.0", "0.01"}
    assert json.loads((tmp_path / "new" / "search.json").read_text())["ranking"][0]["score"] == scores[0]


def test_halving_gives_all_rounds_to_the_best_alone(tiny_job: JobSpec, two: dict[str, Manifest]) -> None:
    found = searched(tiny_job, two, {"training.lr": (0.003, 1e-9, 0.001)}, halving=True, seeds=2)
    assert [(trial.rounds, trial.seed) for trial in found.trials] == [*[(1, 7), (1, 8)] * 3, (2, 7), (2, 8)]
    assert found.complete and [one.rounds for one in found.ranking] == [2, 1, 1]
    with pytest.raises(SettingsError, match="halving gives the rounds itself"):
        searched(tiny_job, two, {"federation.rounds": (1, 2)}, halving=True)


def test_a_run_that_diverges_is_last_with_its_reason_and_ends_nothing(
    tiny_job: JobSpec, two: dict[str, Manifest], tmp_path: Path
) -> None:
    found = searched(tiny_job, two, {"training.optimizer": ("SGD",), "training.lr": (1e30, 0.003)})
    best, worst = found.ranking
    assert best.settings["training.lr"] == 0.003 and best.score is not None and not best.failed
    assert worst.score is None and "no longer finite" in worst.failed
    assert found.notes[0] == "1 of 2 settings have a score, in 2 runs."
    rows = list(csv.DictReader(write_search(tmp_path, found).read_text().splitlines()))
    assert [bool(row["failed"]) for row in rows] == [True, False, False]


def test_settings_are_checked_before_anything_runs(tiny_job: JobSpec) -> None:
    with pytest.raises(SettingsError, match=r"did you mean training\.lr\?"):
        choices_of(tiny_job, {"training.lrr": (0.1,)})
    with pytest.raises(JobError, match=r"training\.loss\.name=NoLoss: "):
        choices_of(tiny_job, {"training.loss.name": ("NoLoss",)})
    with pytest.raises(SettingsError, match="more than 200 settings to try"):
        choices_of(tiny_job, {"training.lr": range(1, 21), "job.seed": range(11)})


def test_a_private_job_is_not_chosen_on_patients(
    private_job: JobSpec, tiny_job: JobSpec, two: dict[str, Manifest]
) -> None:
    """Neither is a job that one of the choices makes private."""
    with pytest.raises(JobError, match=r"Papernot & Steinke 2022.*--public-data"):
        searched(private_job, two, {"training.lr": (0.1, 0.2)}, on_patients=True)
    require_free_choice([private_job], on_patients=False)
    require_free_choice([tiny_job], on_patients=True)
    with pytest.raises(JobError, match="costs more ε"):
        require_free_choice([tiny_job, private_job], on_patients=True)


def test_a_plain_job_on_patients_says_that_the_choice_leaks(tiny_job: JobSpec, two: dict[str, Manifest]) -> None:
    found = searched(tiny_job, two, {"federation.rounds": (1,)}, on_patients=True)
    assert found.notes[-1] == LEAK and LEAK in plain_search(found)["notes"]
    assert "nothing was chosen" in found.notes[1]


def test_a_site_that_cannot_take_part_in_one_trial_takes_part_in_none(
    tiny_job: JobSpec, make_cohort: MakeCohort
) -> None:
    labels = {"lesion": ["0", "1"] * 20, "other": ["1", "0"] * 20}
    cohorts = {"both": make_cohort(40, site="both", labels=labels), "one": make_cohort(40, site="one", seed=1)}
    settings = {"data.labels": (["lesion"], ["other"]), "federation.rounds": (1,)}
    found = searched(tiny_job, cohorts, settings)
    assert set(found.aside) == {"one"} and {site for trial in found.trials for site in trial.sites} == {"both"}
    with pytest.raises(CohortError, match="no site can take part with every setting"):
        searched(tiny_job, {"one": cohorts["one"]}, settings)
