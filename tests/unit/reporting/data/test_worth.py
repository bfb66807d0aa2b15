"""Verdicts on a model: a run that ended well may leave one that is worth nothing, and the report says so first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.reporting.data.report import Coverage, JobFacts, Point, Report, Score, SiteResult, Time
from fedward.reporting.data.worth import joining, verdicts

NO_NOISE, SAME = "none", "DP-SGD for each patient, at each hospital"


def report(*sites: SiteResult, privacy: str = NO_NOISE, task: Any = "classification", **more: Any) -> Report:
    job = JobFacts(name="lesions", task=task, description="", seed=1, network="UNet", size=(64, 64), rounds=4)
    return Report(
        job=job,
        finished_at="2020-01-01T00:00:00+00:00",
        rounds_done=4,
        encryption="none",
        privacy=privacy,
        sites=sites,
        coverage=Coverage(min_sites=1, success=True, verdict="success: every round counted"),
        participation=(),
        time=Time(wall_s=1.0),
        **more,
    )


def site(name: str, value: float | None, *, low: float | None = None, **more: Any) -> SiteResult:
    scores = {key: Score(value=own) for key, own in more.items() if key != "history"}
    history = tuple(Point(value=one) for one in more.get("history", ()))
    return SiteResult(site=name, federated=Score(value=value, low=low, high=value), history=history, **scores)


def told(made: Report) -> list[str]:
    return [one.kind for one in verdicts(made)]


def test_a_segmentation_that_predicts_nothing_is_no_success() -> None:
    earlier = site("a", 0.001, history=(0.02, 0.41, 0.53, 0.001), centralised=0.68)
    made = report(earlier, site("b", 0.0, centralised=0.53), site("c", 0.6, centralised=0.6), task="segmentation")
    first, second, third = verdicts(made)
    assert (first.kind, second.kind, third.kind) == ("useless", "worsened", "below-pooled")
    assert first.words.startswith("The model predicts next to nothing at 2 of 3 hospitals: a (Dice 0.001")
    assert "DiceCELoss" in first.advice
    assert "a (0.530 after round 2, 0.001 now)" in second.words
    assert "a (0.680 against 0.001), b (0.530 against 0.000)" in third.words
    assert not any(one.good for one in (first, second, third))


@pytest.mark.parametrize(
    ("value", "low", "chance"), [(0.62, 0.47, True), (0.62, 0.53, False), (0.54, None, True), (0.62, None, False)]
)
def test_an_auc_that_may_be_chance(value: float, low: float | None, chance: bool) -> None:
    made = report(site("a", value, low=low), site("b", 0.9, low=0.8))
    assert told(made) == (["useless"] if chance else ["sound"])


def test_nobody_measured_it() -> None:
    few = SiteResult(site="a", federated=Score(suppressed=True))
    (verdict,) = verdicts(report(few, site("b", None)))
    assert not verdict.good and "1 of 2 hospitals have too few validation patients" in verdict.words
    assert joining(report(few)) is None


@pytest.mark.parametrize(
    ("sites", "paid", "ends"),
    [
        ([(0.9, 0.7, 0.8), (0.9, 0.6, 0.85)], True, "0.200 to 0.300 above alone at the same ε."),
        (
            [(0.9, 0.7, 0.95), (0.9, 0.6, 0.85)],
            True,
            "above alone at the same ε; alone without noise, 1 of 2 would do better for themselves.",
        ),
        ([(0.9, 0.7, None), (0.9, 0.6, None)], True, "above alone at the same ε."),
        ([(0.9, 0.95, 0.99)], False, "site-0 (0.950 against 0.900) did as well or better."),
        ([(0.905, 0.9, None)], False, "site-0 (0.900 against 0.905) did as well or better."),
        (
            [(0.899, 0.9, None), (0.9, 0.8, None)],
            True,
            "at 1 of 2 hospitals: 0.100 above alone at the same ε; site-0 (0.900 against 0.899) did as well without.",
        ),
    ],
)
def test_joining_under_privacy(sites: Any, paid: bool, ends: str) -> None:
    made = [
        site(f"site-{number}", together, private_alone=private, local_only=own)
        for number, (together, private, own) in enumerate(sites)
    ]
    found = joining(report(*made, privacy=SAME))
    assert found is not None and found.good is paid and found.words.endswith(ends), found


def test_without_privacy_alone_is_the_comparison() -> None:
    found = joining(report(site("a", 0.9, local_only=0.8)))
    assert found is not None and found.good and "noise" not in found.words
    assert joining(report(site("a", 0.9, private_alone=0.7))) is None


def test_what_does_not_fit_in_a_line_is_counted() -> None:
    (first, *_) = verdicts(report(*(site(f"s{number}", 0.5) for number in range(9))))
    assert "at every hospital: s0 (" in first.words and first.words.endswith("s3 (AUC 0.500), and 5 more.")


values = st.none() | st.floats(0.0, 1.0)


@given(st.lists(st.tuples(values, values, values, st.lists(values, max_size=4)), min_size=1, max_size=5), st.booleans())
def test_a_bad_verdict_is_never_behind_a_good_one(drawn: Any, private: bool) -> None:
    made = [
        site(f"s{number}", value, local_only=own, private_alone=own, centralised=pooled, history=tuple(before))
        for number, (value, own, pooled, before) in enumerate(drawn)
    ]
    found = verdicts(replace(report(*made), privacy=SAME if private else NO_NOISE))
    goods = [one.good for one in found]
    assert found and goods == sorted(goods)
    assert all(one.words.endswith(".") and bool(one.advice) is not one.good for one in found)
