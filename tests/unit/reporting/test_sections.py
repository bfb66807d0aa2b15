"""Subgroups, curves and flags, from what sites sent to what stands on the page."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from fedward.reporting.charts.panels import curve_panel, interval_panels
from fedward.reporting.data.curves import Bin, Curves, RocPoint, curves_of
from fedward.reporting.data.from_events import report_of
from fedward.reporting.data.report import Point, Report
from fedward.reporting.data.site_comparison import CAUSES
from fedward.reporting.data.subgroups import Spread, spreads, subgroups_of
from fedward.reporting.page import render, signed
from fedward.validation.comparison.diagnosis import diagnose
from tests.support.report_events import SITES, made_events, made_job


@pytest.fixture(scope="module")
def made() -> Report:
    job = made_job()
    return report_of(job, made_events(job))


def test_gaps_worked_by_hand_the_worst_first_and_what_has_no_value_last() -> None:
    parts = {
        "sex": {"F": {"auc": 0.7, "patients": 25}, "M": {"auc": 0.95}, "O": {"auc": None, "suppressed": True}},
        "age": {"40-59": {"auc": 0.9}, "60-79": None},
    }
    found = subgroups_of("auc", {"scores": {"auc": 0.9}, "subgroups": {"lesion": parts}})
    assert [(one.value, one.gap if one.gap is None else round(one.gap, 6)) for one in found] == [
        ("F", -0.2),
        ("40-59", 0.0),
        ("M", 0.05),
        ("60-79", None),
        ("O", None),
    ]
    assert (found[0].score.n, found[0].score.images, found[0].score.suppressed) == (25, None, False)
    assert found[-1].score.suppressed and found[-1].score.value is None
    (widest,) = spreads(found)
    assert widest == Spread(label="lesion", dimension="sex", best="M", worst="F", gap=pytest.approx(0.25))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0251, "+0.025"), (-0.1, "−0.100"), (-0.0004, "0.000"), (0.0, "0.000"), (None, "not measured")],
)
def test_a_difference_has_a_sign_unless_it_is_none(value: float | None, shown: str) -> None:
    assert f">{shown}<" in signed(value)


def test_what_all_patients_have_in_common_is_no_subgroup() -> None:
    told = {"nodule": {"maker": {"other": {"auc": 0.7}}, "sex": {"F": {"auc": 0.7}, "M": {"auc": 0.8}}}}
    assert {one.dimension for one in subgroups_of("auc", {"scores": {"auc": 0.75}, "subgroups": told})} == {"sex"}


def test_a_gap_is_against_the_same_label_where_there_are_several() -> None:
    scores = {"auc": 0.5, "labels": {"nodule": {"auc": 0.8}}}
    sexes = {"F": {"auc": 0.7}, "M": None}
    one, _ = subgroups_of("auc", {"scores": scores, "subgroups": {"nodule": {"sex": sexes}}})
    assert one.gap == pytest.approx(-0.1)
    assert subgroups_of("dice", {"scores": {"dice": 0.9}}) == ()


def test_curves_keep_their_order_and_leave_out_nothing() -> None:
    group = {
        "lesion": {
            "roc": {"1.00": 1.0, "0.00": 0.1, "0.05": None},
            "reliability": {"0.9": {"patients": 10, "positives": 5, "score": 0.95}, "0.0": None},
        }
    }
    assert curves_of(group) == {
        "lesion": Curves(
            roc=(RocPoint(fpr=0.0, tpr=0.1), RocPoint(fpr=0.05, tpr=None), RocPoint(fpr=1.0, tpr=1.0)),
            reliability=(
                Bin(low=0.0, patients=None, positives=None, score=None, observed=None),
                Bin(low=0.9, patients=10, positives=5, score=0.95, observed=0.5),
            ),
        )
    }
    assert curves_of(None) == {}


def test_curves_pass_through_their_points_and_withheld_bins_are_not_drawn() -> None:
    bins = (
        Bin(low=0.0, patients=50, positives=5, score=0.0, observed=0.5),
        Bin(low=0.5, patients=None, positives=None, score=None, observed=None),
        Bin(low=0.9, patients=8, positives=5, score=1.0, observed=1.0),
    )
    roc = (RocPoint(fpr=0.0, tpr=0.0), RocPoint(fpr=0.5, tpr=1.0), RocPoint(fpr=1.0, tpr=1.0))
    root = ElementTree.fromstring(curve_panel("a", Curves(roc=roc, reliability=bins), None))
    drawn = [path.get("d", "") for path in root.iter("path") if path.get("class") == "series federated"]
    assert drawn[0] == "M30.0 146.0 L94.0 18.0 L158.0 18.0"
    dots = [
        (float(dot.get("cx", "")), float(dot.get("cy", "")), float(dot.get("r", ""))) for dot in root.iter("circle")
    ]
    assert dots == [(220.0, 82.0, 6.0), (348.0, 18.0, 2.4)]  # area by patients: 6·√(8/50)
    assert curve_panel("a", Curves(), None) == ""


def test_a_band_goes_round_the_interval_and_all_panels_have_one_scale(made: Report) -> None:
    panels = interval_panels(made, measure="AUC")
    assert list(panels) == [site.site for site in made.worst_first]
    tops = set()
    for site in made.worst_first:
        root = ElementTree.fromstring(panels[site.site])
        (band,) = root.iter("polygon")
        known = [one for one in site.history if one.value is not None]
        corners = [tuple(map(float, pair.split(","))) for pair in band.get("points", "").split()]
        assert len(corners) == 2 * len(known)
        pairs = list(zip(corners, reversed(corners), strict=True))[: len(known)]
        assert all(high[0] == low[0] and high[1] < low[1] for high, low in pairs)
        tops |= {line.get("y1") for line in root.iter("line")}
    assert len(tops) <= 8
    bare = replace(made, sites=tuple(replace(one, history=(Point(value=0.5), Point(value=0.6))) for one in made.sites))
    assert interval_panels(bare, measure="AUC") == {}


def test_one_hospital_is_flagged_with_all_four_causes_the_strongest_first(made: Report) -> None:
    assert [site.site for site in made.flagged] == ["elm"]
    standing = made.flagged[0].standing
    assert standing is not None and standing.others == len(SITES) - 1
    assert standing.others_mean == pytest.approx((0.91 + 0.88 + 0.87 + 0.9) / 4)
    assert {one.cause for one in standing.causes} == set(CAUSES)
    strengths = [one.strength for one in standing.causes]
    assert strengths == sorted(strengths, reverse=True)
    page = render(made)
    assert "One hospital does worse than the others" in page
    assert all(words in page.lower() for words in CAUSES.values())
    assert {one.cause for one in diagnose("elm", {}, {})} == set(CAUSES)


def test_a_long_training_alone_after_the_last_validation_makes_no_value_old() -> None:
    job = made_job()
    events = made_events(job)
    late = {"event": "answered", "site": "elm", "task": "alone", "round": -1, "metrics": {}}
    done = report_of(job, [*events, {"at": events[-1]["at"] + 86_400, **late}])
    assert [site.site for site in done.flagged] == ["elm"]


def test_events_without_any_of_it_say_not_measured(made: Report) -> None:
    job = made_job()
    old = [
        {
            name: value
            for name, value in event.items()
            if name not in ("participation", "coverage", "patients", "seconds")
        }
        for event in made_events(job)
    ]
    for event in old:
        if event["event"] == "answered":
            event["metrics"] = {name: event["metrics"][name] for name in ("scores",)}
        if event["event"] == "pooled":
            del event["pooled"]["curves"]
    page = render(report_of(job, old))
    assert 'id="curves"' not in page
    assert "no hospital lets its subgroups out" in page
    assert ">not measured<" in page[page.index('id="part"') : page.index('id="outcome"')]


def test_what_was_compared_with_what_is_said(made: Report) -> None:
    page = render(made)
    for line in made.compared:
        assert line in page
    assert any("Seed 7" in line for line in made.compared)
    job = made_job()
    events = made_events(job)
    chosen = {"at": events[-1]["at"], "event": "selected", "round": 5, "score": 0.8}
    assert any("the model of round 5" in line for line in report_of(job, [*events, chosen]).compared)
