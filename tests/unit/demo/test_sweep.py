"""The same job at each ε: which jobs are run, what is kept, what is drawn."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedward.dataset.manifest import Manifest
from fedward.demo import sweep as module
from fedward.demo.simulate import Simulated, SimulatedSite
from fedward.demo.sweep import epsilons_of, run_sweep, with_epsilon
from fedward.demo.sweep_ways import for_each
from fedward.errors import CohortError, JobError, SettingsError
from fedward.privacy import budget_plan
from fedward.privacy.accountant import epsilon, update_noise_event
from fedward.privacy.budget_plan import plan_site
from fedward.reporting.sweep.page import render, standing_alone, table, write_sweep
from fedward.reporting.sweep.sweep import ALONE, EACH, NOTE, POOLED, SUM, Point, Sweep, lines_of, plain_sweep
from fedward.settings import JobSpec, parse
from fedward.validation.scores import ClassificationScores, LabelScores
from tests.conftest import tiny_job_content

WAYS = (ALONE, EACH, SUM, POOLED)
MakeCohort = Callable[..., Manifest]
DP_SGD = {
    "mechanism": "dp-sgd",
    "dp_sgd": {"epsilon": 8.0, "delta": 1e-3, "clip_norm_l2": 1.0, "patients_per_step": 4},
    "update": {"clip_norm_l2": 3.0},
}
UPDATE = {"mechanism": "update-noise", "update": {"clip_norm_l2": 1.0, "noise_multiplier": 1.0, "delta": 1e-3}}


def a_job(privacy: dict[str, Any]) -> JobSpec:
    return parse(JobSpec, {**tiny_job_content(), "privacy": privacy}, where="test")


def ignore(*_: Any) -> None:
    pass


def test_a_list_of_epsilons() -> None:
    assert epsilons_of("1,2.5, inf") == (1.0, 2.5, math.inf)
    for text in ("", "1,,2", "0", "-1", "nan", "one", "1,1"):
        with pytest.raises(SettingsError, match="--epsilon"):
            epsilons_of(text)


def test_a_wanted_epsilon_takes_the_place_of_the_jobs_own() -> None:
    given = a_job({**DP_SGD, "dp_sgd": {**DP_SGD["dp_sgd"], "epsilon": None, "noise_multiplier": 1.0}})
    found = with_epsilon(given, 2.0)
    assert found.privacy.dp_sgd is not None
    assert (found.privacy.dp_sgd.epsilon, found.privacy.dp_sgd.noise_multiplier) == (2.0, None)
    planned = plan_site(found, site="north", patients=60, steps_a_round=5)
    assert 1.9 < planned.epsilon <= 2.0


def test_noise_on_the_update_follows_from_epsilon_over_all_rounds() -> None:
    found = with_epsilon(a_job(UPDATE), 4.0)
    assert found.privacy.update is not None
    event = update_noise_event(found.privacy.update.noise_multiplier, rounds=found.federation.rounds)
    assert 3.9 < epsilon([event], delta=1e-3) <= 4.0


@pytest.mark.parametrize("privacy", [DP_SGD, UPDATE])
def test_infinity_takes_the_noise_away_and_keeps_the_clip(privacy: dict[str, Any]) -> None:
    found = with_epsilon(a_job(privacy), math.inf).privacy
    assert (found.mechanism, found.dp_sgd) == ("none", None)
    assert found.update is not None
    assert (found.update.clip_norm_l2, found.update.noise_multiplier) == (privacy["update"]["clip_norm_l2"], 0.0)


def test_what_cannot_be_swept_is_refused_before_anything_runs(make_cohort: MakeCohort) -> None:
    with pytest.raises(JobError, match="no mechanism to sweep"):
        with_epsilon(a_job({"mechanism": "none"}), 1.0)
    faulty = {**DP_SGD, "update": {**DP_SGD["update"], "noise_multiplier": 0.5}}
    with pytest.raises(JobError, match="neither added nor counted"):
        with_epsilon(a_job(faulty), 1.0)


def scores(value: float | None, *, positives: int = 20) -> ClassificationScores:
    one = LabelScores(
        auc=value,
        auc_low=None if value is None else value - 0.1,
        auc_high=None if value is None else value + 0.05,
        average_precision=None,
        **dict.fromkeys(f"{name}{end}" for name in ("sensitivity", "specificity") for end in ("", "_low", "_high")),
        ece=None,
        patients=60,
        positives=positives,
    )
    rare = replace(one, positives=4, auc=None if value is None else value - 0.2)
    fields = {name: getattr(one, name) for name in one.__dataclass_fields__}
    return ClassificationScores(**fields, images=90, loss=None, labels={"common": one, "rare": rare})


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """Runs that take no time: AUC 0.6 + 0.05 a run; returns the list of those that ran, as (ε, seed)."""
    ran: list[tuple[float, int]] = []

    def simulate(job: JobSpec, parts: dict[str, SimulatedSite], *, follow: Any) -> Simulated:
        dp_sgd = job.privacy.dp_sgd
        ran.append((math.inf if dp_sgd is None else dp_sgd.epsilon or 0.0, job.job.seed))
        value = 0.6 + 0.05 * len(ran)
        return Simulated(weights={}, rounds=(), scores={site: scores(value) for site in parts})

    monkeypatch.setattr(module, "simulate", simulate)
    monkeypatch.setattr(budget_plan, "noise_for", lambda **wanted: 2.0)  # the search takes seconds
    return ran


def test_every_epsilon_with_every_seed_and_each_run_kept(
    make_cohort: MakeCohort, made_up: list[tuple[float, int]]
) -> None:
    kept: list[Sweep] = []
    cohorts = {"north": make_cohort(80, site="north"), "tiny": make_cohort(40, site="tiny", seed=1)}
    done = run_sweep(
        a_job(DP_SGD), cohorts, epsilons=(math.inf, 2.0), seeds=2, refused={}, follow=ignore, keep=kept.append
    )
    assert made_up == [(2.0, 7), (math.inf, 7), (2.0, 8), (math.inf, 8)]
    assert done == kept[-1]
    assert [sweep.complete for sweep in kept] == [False, False, False, True]
    assert {(point.site, point.name) for point in done.points} == {
        (site, name) for site in cohorts for name in ("", "common", "rare")
    }
    north = next(line for line in lines_of(done) if (line.site, line.name) == ("north", ""))
    assert [(mark.epsilon, round(mark.value, 6)) for mark in north.marks] == [(2.0, 0.7), (math.inf, 0.75)]
    assert [(round(mark.low or 0, 6), round(mark.high or 0, 6)) for mark in north.marks] == [(0.65, 0.75), (0.7, 0.8)]


def test_one_seed_shows_the_interval_over_patients(make_cohort: MakeCohort, made_up: list[tuple[float, int]]) -> None:
    done = run_sweep(
        a_job(DP_SGD), {"north": make_cohort(80)}, epsilons=(2.0,), seeds=1, refused={}, follow=ignore, keep=ignore
    )
    mark = lines_of(done)[0].marks[0]
    assert (mark.value, mark.low, mark.high) == pytest.approx((0.65, 0.55, 0.7))


def test_a_site_that_cannot_at_one_epsilon_takes_part_at_none(
    make_cohort: MakeCohort, made_up: list[tuple[float, int]]
) -> None:
    """δ 1e-3 is for 100 training patients at most; without noise the larger site could take part."""
    cohorts = {"large": make_cohort(200, site="large"), "small": make_cohort(80, site="small", seed=1)}
    done = run_sweep(
        a_job(DP_SGD),
        cohorts,
        epsilons=(2.0, math.inf),
        seeds=1,
        refused={"gone": "no image"},
        follow=ignore,
        keep=ignore,
    )
    assert set(done.patients) == {"small"}
    assert set(done.aside) == {"large", "gone"}
    assert {point.site for point in done.points} == {"small"}
    with pytest.raises(CohortError, match="no site can take part at every ε"):
        run_sweep(
            a_job(DP_SGD), {"large": cohorts["large"]}, epsilons=(2.0,), seeds=1, refused={}, follow=ignore, keep=ignore
        )


def test_a_real_sweep_of_two_runs(make_cohort: MakeCohort) -> None:
    """Trained in earnest, with noise; progress never goes back and ends at 1."""
    seen: list[float] = []
    done = run_sweep(
        a_job(DP_SGD),
        {"north": make_cohort(40, site="north"), "south": make_cohort(40, site="south", seed=1)},
        epsilons=(8.0, math.inf),
        seeds=1,
        refused={},
        follow=lambda fraction, words: seen.append(fraction),
        keep=ignore,
    )
    assert done.complete
    assert all(0.0 <= point.value <= 1.0 for point in done.points if point.value is not None)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)


def a_sweep(**changes: Any) -> Sweep:
    epsilons = (1.0, 8.0, math.inf)
    points = tuple(
        Point(
            epsilon=at,
            seed=1,
            site=site,
            name=name,
            value=None if (at, name) == (1.0, "rare") else 0.7,
            low=0.6,
            high=0.8,
            n=60,
            positives=4 if name == "rare" else 30,
        )
        for at in epsilons
        for site in ("north", "tiny<b>")
        for name in ("", "rare")
    )
    known = {"job": "tiny", "hash": "0" * 64, "measure": "auc", "epsilons": epsilons, "seeds": (1,)}
    return Sweep(**{**known, "patients": {"north": 90, "tiny<b>": 12}, "aside": {}, "points": points, **changes})


def test_few_patients_and_rare_classes_are_marked_with_their_number() -> None:
    marked = {(line.site, line.name): line.few for line in lines_of(a_sweep())}
    assert marked == {
        ("north", ""): "",
        ("tiny<b>", ""): "12 patients",
        ("north", "rare"): "4 positive",
        ("tiny<b>", "rare"): "12 patients, 4 positive",
    }
    drawing = standing_alone(a_sweep())
    assert "12 patients" in drawing
    assert "4 positive" in drawing
    assert drawing.count('class="hollow s0"') == 2  # north: rare alone, and not measured at ε 1
    assert drawing.count('class="dot s0"') == 3


def test_the_page_says_that_the_sweep_is_not_accounted_for() -> None:
    page = render(a_sweep(aside={"far": "no <label>"}))
    assert NOTE in page
    assert "no &lt;label&gt;" in page
    assert "<b>" not in page
    assert page.count("not measured") >= 2
    assert plain_sweep(a_sweep())["note"] == NOTE


def test_drawings_are_well_formed_and_stay_on_their_paper() -> None:
    drawing = ET.fromstring(standing_alone(a_sweep()))
    width, height = (float(part) for part in drawing.attrib["viewBox"].split()[2:])
    for shift, group in _groups(drawing):
        for mark in group.iter("{http://www.w3.org/2000/svg}circle"):
            assert 0 < float(mark.attrib["cx"]) < width
            assert 0 < float(mark.attrib["cy"]) + shift < height


def test_nothing_measured_draws_nothing() -> None:
    empty = a_sweep(points=tuple(replace(point, value=None) for point in a_sweep().points))
    assert "<figure" in render(empty)
    assert ET.fromstring(standing_alone(empty)) is not None


def test_the_files(tmp_path: Path) -> None:
    page = write_sweep(tmp_path / "new", a_sweep())
    assert page.read_text(encoding="utf-8") == render(a_sweep())
    content = json.loads((tmp_path / "new" / "sweep.json").read_text(encoding="utf-8"))
    assert content["epsilons"] == [1.0, 8.0, "inf"]
    assert content["complete"] is True
    assert len(content["points"]) == 12
    assert [cell and cell.value for cell in table(a_sweep())[2].cells] == [None, "0.700", "0.700"]


def _groups(drawing: ET.Element) -> list[tuple[float, ET.Element]]:
    groups = drawing.findall("{http://www.w3.org/2000/svg}g")
    return [(float(group.attrib["transform"].split()[1].rstrip(")")), group) for group in groups]


def test_a_job_with_noise_for_the_sum_is_drawn_beside_what_its_hospitals_could_do_instead(
    make_cohort: MakeCohort, tmp_path: Path
) -> None:
    content = tiny_job_content()
    content["federation"] |= {"rounds": 2, "min_sites": 3, "weighting": "equal"}
    del content["training"]["local_epochs"]
    content["training"]["local_steps"] = 1
    dp_sgd = {"noise": "sum", "epsilon": 8.0, "delta": 1e-4, "clip_norm_l2": 1.0, "sampling_rate": 0.3}
    content["privacy"] = {"mechanism": "dp-sgd", "dp_sgd": {**dp_sgd, "patients_per_step": 12.0}}
    content["encryption"] = {}
    job = parse(JobSpec, content, where="test")
    cohorts = {site: make_cohort(18, site=site) for site in ("city", "coast", "north")}
    told: list[tuple[float, str]] = []
    sweep = run_sweep(
        job,
        cohorts,
        epsilons=(8.0, math.inf),
        seeds=1,
        refused={},
        follow=lambda fraction, words: told.append((fraction, words)),
        keep=ignore,
    )
    assert sweep.complete and sweep.ways == WAYS
    assert {(point.epsilon, point.way, point.site) for point in sweep.points} == {
        (epsilon, way, site) for epsilon in (8.0, math.inf) for way in WAYS for site in cohorts
    }
    quiet = {(point.way, point.site): point.value for point in sweep.points if math.isinf(point.epsilon)}
    assert all(quiet[EACH, site] == quiet[SUM, site] for site in cohorts), "without noise they are one way"
    lines = lines_of(sweep)
    assert {line.site for line in lines} == set(WAYS) and {line.name for line in lines} == set(cohorts)
    page = write_sweep(tmp_path, sweep).read_text(encoding="utf-8")
    assert all(way in page for way in WAYS) and ">Way<" in page
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told) and told[-1][0] == 1.0
    noisy = for_each(
        job, {site: SimulatedSite(manifest=one, patients=12, private=None) for site, one in cohorts.items()}
    )
    assert noisy.privacy.dp_sgd is not None and noisy.privacy.dp_sgd.patients_per_step == 4.0
