"""Check that the page agrees with report.json: every number, nothing that was not measured, nothing from outside."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from fedward.errors import FedwardError
from fedward.privacy.disclosure.categories import INTENSITIES
from fedward.reporting.charts.intervals import forest_chart, rounds_chart
from fedward.reporting.charts.population import intensity_chart
from fedward.reporting.charts.svg import Scale, spread, value_scale
from fedward.reporting.data.report import (
    TOGETHER,
    CohortFacts,
    Coverage,
    JobFacts,
    Participation,
    Point,
    Population,
    Report,
    RoundTime,
    Score,
    SitePrivacy,
    SiteResult,
    Time,
)
from fedward.reporting.data.summary import summary
from fedward.reporting.page import by_round, render
from fedward.reporting.write import HTML_FILE, JSON_FILE, read_report, write_report

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """Collects what the tests ask about, and fails on tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.numbers: list[tuple[str, str]] = []
        self.text: list[str] = []
        self._value: str | None = None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag == "data":
            self._value = dict(attrs)["value"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text.append(data)
        if self._value is not None:
            self.numbers.append((self._value, data))
            self._value = None

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def site(name: str, value: float | None, **more: Any) -> SiteResult:
    score = Score(value=value, low=None if value is None else value - 0.05, high=0.99, n=71, positives=29)
    return SiteResult(site=name, federated=score, **more)


def line(*values: float | None) -> tuple[Point, ...]:
    return tuple(Point(value=value) for value in values)


def report(**changes: Any) -> Report:
    job = JobFacts(
        name="cxr", task="classification", description="Lesions", seed=3, network="DenseNet121", size=(64, 64), rounds=4
    )
    cohort = CohortFacts(
        images=243, patients=201, train_patients=141, validation_patients=60, quarantined=7, content_hash="ab" * 32
    )
    slow = RoundTime(wall_s=20.5, slowest_site="a-site", train_s=18.25)
    whole = Report(
        job=job,
        finished_at="2020-01-01T12:00:00+00:00",
        rounds_done=2,
        encryption="none",
        privacy="none",
        sites=(
            site(
                "a-site", 0.9512345, history=line(0.5, 0.81, 0.9512345), cohort=cohort, local_only=Score(value=0.8812)
            ),
            site(
                "b-site",
                0.8834,
                history=line(0.45, 0.66, 0.8834),
                centralised=Score(why="real hospitals cannot bring their images to one place"),
            ),
        ),
        coverage=Coverage(min_sites=2, success=False, verdict="unfinished: 2 of 4 rounds counted"),
        participation=(
            Participation(site="a-site", rounds=(0, 1)),
            Participation(site="b-site", rounds=(0,), missed={1: "no answer in time"}),
            Participation(site="c-site", declined="no such label"),
        ),
        pooled=Score(value=0.9312, n=142),
        matrix={
            "a-site": {"a-site": 0.8812, "b-site": 0.7109, TOGETHER: 0.8023},
            "b-site": {"a-site": 0.6433, "b-site": None, TOGETHER: 0.6911},
        },
        time=Time(wall_s=61.25, overhead_s=11.5, rounds=(slow,)),
        versions={"Fedward": "0.1.0"},
        hashes={"model": "cd" * 32},
    )
    return replace(whole, **changes)


def numbers_of(content: Any) -> set[float]:
    if isinstance(content, dict):
        return set().union(*(numbers_of(part) for part in content.values()), set())
    if isinstance(content, list):
        return set().union(*(numbers_of(part) for part in content), set())
    return {float(content)} if isinstance(content, int | float) and not isinstance(content, bool) else set()


def test_every_number_on_the_page_stands_in_the_json_and_is_rounded_from_it(tmp_path: Path) -> None:
    write_report(tmp_path, report())
    content = json.loads((tmp_path / JSON_FILE).read_text())
    page = Page((tmp_path / HTML_FILE).read_text())
    known = numbers_of(content)
    counted = {float(len(one["rounds"])) for one in content["participation"]}  # how many, where the JSON lists which
    mean = (0.9512345 + 0.8834) / 2
    assert len(page.numbers) > 30
    for exact, shown in page.numbers:
        assert float(exact) in known | counted | {mean}
        digits = len(shown.partition(".")[2])
        assert float(shown.replace(",", "")) == pytest.approx(float(exact), abs=0.5 * 10**-digits + 1e-12)


def test_every_score_of_the_json_stands_on_the_page(tmp_path: Path) -> None:
    write_report(tmp_path, report())
    shown = {float(exact) for exact, _ in Page((tmp_path / HTML_FILE).read_text()).numbers}
    content = json.loads((tmp_path / JSON_FILE).read_text())
    for one in content["sites"]:
        assert {one[model]["value"] for model in ("federated", "local_only", "centralised")} - {None} <= shown
    assert numbers_of(content["matrix"]) | numbers_of(content["time"]) | {content["pooled"]["value"]} <= shown


def test_what_was_not_measured_says_so_with_its_reason_and_never_zero() -> None:
    page = Page(render(report()))
    assert "not measured real hospitals cannot bring their images to one place" in page.words
    assert page.numbers.count(("0", "0")) == 0
    assert all(float(exact) != 0 for exact, _ in page.numbers)


def test_a_suppressed_score_is_insufficient_support() -> None:
    hidden = SiteResult(site="d-site", federated=Score(suppressed=True, why="4 positives", n=9))
    page = Page(render(report(sites=(hidden,), pooled=Score(suppressed=True), matrix={})))
    assert page.words.count("insufficient support 4 positives") == 1
    assert "Lowest of the sites not measured" in page.words


def test_the_lowest_site_comes_first() -> None:
    table = Page(render(report())).words.partition("Site by site, lowest first")[2]
    assert table.index("b-site") < table.index("a-site")


def test_it_says_plainly_that_nothing_hid_the_updates() -> None:
    words = Page(render(report())).words
    assert "Encryption of the updates: none" in words and "The server itself could read every site’s update" in words
    assert "This job ran without differential privacy" in words
    hidden = Page(render(report(encryption="packed BFV", privacy="ε = 3 a patient"))).words
    assert "could read every site’s update" not in hidden and "without differential privacy" not in hidden


def test_declined_and_missed_rounds_keep_their_reasons() -> None:
    words = Page(render(report())).words
    assert "no: no such label" in words
    assert "b-site : round 2: no answer in time" in words
    assert by_round(dict.fromkeys(range(40), "away")) == ["rounds 1 to 40: away"]
    many = by_round({number: f"reason {number}" for number in range(40)})
    assert many[-1] == "and 34 more" and len(many) == 7
    assert by_round({2: "away", 0: "away", 1: "late", 3: "away"}) == [
        "round 1: away",
        "round 2: late",
        "rounds 3 to 4: away",
    ]


HOSTILE = "\"><script>alert(1)</script><img src=http://x.test/a onerror=1>'&"


def test_hostile_text_is_escaped_everywhere() -> None:
    job = replace(report().job, name=HOSTILE, description=HOSTILE, network=HOSTILE)
    bad = report(
        job=job,
        finished_at=HOSTILE,
        encryption=HOSTILE,
        privacy=HOSTILE,
        sites=tuple(
            replace(
                one,
                site=HOSTILE + str(number),
                others={HOSTILE: Score(why=HOSTILE)},
                centralised=Score(why=HOSTILE),
                local_only=Score(suppressed=True, why=HOSTILE),
            )
            for number, one in enumerate(report().sites)
        ),
        participation=(
            Participation(site=HOSTILE, declined=HOSTILE),
            Participation(site=HOSTILE, missed={0: HOSTILE}),
        ),
        matrix={HOSTILE: {HOSTILE: 0.5}},
        versions={HOSTILE: HOSTILE},
        hashes={HOSTILE: HOSTILE},
        notes=(HOSTILE,),
    )
    text = render(bad)
    page = Page(text)
    tags = {tag for tag, _, _ in page.attributes}
    assert "<script" not in text and "<img" not in text
    assert not tags & {"script", "img", "iframe", "link", "object"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.words.count("alert(1)") > 15


def test_it_asks_nothing_of_the_outside() -> None:
    text = render(report())
    assert not [name for _, name, _ in Page(text).attributes if name in {"src", "href", "srcset", "action"}]
    assert "url(" not in text and "@import" not in text and "http:" not in text and "https:" not in text
    policy = [value for tag, name, value in Page(text).attributes if tag == "meta" and name == "content"]
    assert any(value and value.startswith("default-src 'none'") for value in policy)


def test_tables_have_headers_and_drawings_are_spoken() -> None:
    page = Page(render(report()))
    assert all(value in {"col", "row"} for tag, name, value in page.attributes if tag == "th" and name == "scope")
    heads = render(report()).count("<th ")
    assert heads == sum(1 for tag, name, _ in page.attributes if tag == "th" and name == "scope")
    labels = [value for tag, name, value in page.attributes if tag == "svg" and name == "aria-label"]
    assert len(labels) == 4
    assert all(value and "a-site" in value and "0.951" in value for value in labels)


def test_the_same_report_gives_the_same_bytes() -> None:
    assert render(report()) == render(report())


def test_written_and_read_again_is_the_same_report(tmp_path: Path) -> None:
    whole = report()
    assert write_report(tmp_path / "new", whole) == tmp_path / "new" / HTML_FILE
    assert read_report(tmp_path / "new") == whole


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "report cannot be read"),
        ("{", "not a report"),
        ("[]", "not a report"),
        ('{"schema": 99}', "another schema"),
        ('{"schema": 1}', "another schema"),
        ('{"schema": 2}', "another schema"),
        ('{"schema": 3}', "not a report"),
    ],
)
def test_a_file_that_is_no_report_is_one_line(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / JSON_FILE).write_text(content)
    with pytest.raises(FedwardError, match=said) as caught:
        read_report(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_number_that_is_not_finite_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FedwardError, match="not finite"):
        write_report(tmp_path, report(pooled=Score(value=float("nan"))))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FedwardError, match="report cannot be written"):
        write_report(tmp_path / "file", report())


# ---------------------------------------------------------------- drawings


@pytest.mark.parametrize("width", [760, 380])
def test_the_lines_pass_through_their_values(width: int) -> None:
    root = ElementTree.fromstring(rounds_chart(report(), measure="AUC", width=width))
    ticks = [t for t in root.iter("text") if t.get("class") == "tick end"]
    by_value = sorted((float(t.text or ""), float(t.get("y", "")) - 4) for t in ticks)
    (low, y_low), (high, y_high) = by_value[0], by_value[-1]
    places = [float(c.get("cy", "")) for c in root.iter("circle")]
    measured = [low + (y - y_low) / (y_high - y_low) * (high - low) for y in places]
    assert measured == pytest.approx([0.5, 0.81, 0.9512345, 0.45, 0.66, 0.8834], abs=0.002)
    assert all(0 <= float(c.get("cx", "")) <= width for c in root.iter("circle"))


@pytest.mark.parametrize("width", [760, 380])
def test_the_forest_has_a_point_for_each_measured_score_and_words_for_the_rest(width: int) -> None:
    text = forest_chart(report(), measure="AUC", width=width)
    root = ElementTree.fromstring(text)
    points = [e for e in root.iter() if (e.get("class") or "").startswith("point ")]
    assert sorted(e.get("class") or "" for e in points) == ["point federated"] * 2 + ["point local_only"]
    assert "trained alone: not measured" in text


@pytest.mark.parametrize("width", [760, 380])
@pytest.mark.parametrize(("low", "high"), [(0.1, 1.0), (0.9, 1.0), (0.05, 0.2), (0.02, 0.99)])
def test_the_names_of_series_stay_inside_the_drawing(width: int, low: float, high: float) -> None:
    wide = Score(value=(low + high) / 2, low=low, high=high)
    drawn = report(sites=(SiteResult(site="a-site", federated=wide, local_only=wide, centralised=wide),))
    root = ElementTree.fromstring(forest_chart(drawn, measure="AUC", width=width))
    names = [t for t in root.iter("text") if t.text in {"Federated", "Trained alone", "Centralised"}]
    assert len(names) == 3
    for name in names:
        x, room, kind = float(name.get("x", "")), 6.8 * len(name.text or ""), name.get("class") or ""
        start = x - room if "end" in kind.split() else x - room / 2 if "mid" in kind.split() else x
        assert start >= 0 and start + room <= width


def test_no_drawing_of_nothing() -> None:
    nothing = report(sites=(SiteResult(site="a-site", federated=Score()),))
    assert rounds_chart(nothing, measure="AUC", width=760) == ""
    assert forest_chart(nothing, measure="AUC", width=760) == ""
    Page(render(nothing))
    Page(render(report(sites=())))


def test_gaps_in_the_history_do_not_become_zero() -> None:
    gappy = report(sites=(site("a-site", 0.9, history=line(0.8, None, 0.9)),))
    root = ElementTree.fromstring(rounds_chart(gappy, measure="AUC", width=760))
    titles = [t.text for t in root.iter("title")]
    assert titles == ["a-site, 0 rounds: 0.800", "a-site, 2 rounds: 0.900"]


def test_labels_keep_their_order_and_their_distance() -> None:
    moved = spread({"a": 100.0, "b": 101.0, "c": 99.0, "d": 240.0}, gap=17, low=10, high=245)
    order = sorted(moved, key=lambda name: moved[name])
    assert order == ["c", "a", "b", "d"]
    assert all(moved[b] - moved[a] >= 17 for a, b in pairwise(order))
    assert min(moved.values()) >= 10 and max(moved.values()) <= 245


def test_a_scale_holds_its_values_and_has_round_ticks() -> None:
    scale = value_scale([0.612, 0.988], 0, 100)
    assert scale.low <= 0.612 and scale.high >= 0.988
    assert (scale(scale.low), scale(scale.high)) == (0, 100)
    assert Scale(0.5, 1.0, 0, 1).ticks() == [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert value_scale([1.0], 0, 1).high == 1.0


# ---------------------------------------------------------------- summary.json


def test_the_summary_has_the_promised_fields() -> None:
    content = summary(report())
    assert list(content)[:5] == ["task", "rounds", "wall_s", "encryption", "sites"]
    promised = {"federated_auc_mean", "federated_auc_min", "pooled_auc", "centralised_auc", "report", "overhead_s"}
    assert promised <= set(content)
    assert set(content["sites"]["a-site"]) == {
        "auc",
        "auc_low",
        "auc_high",
        "n",
        "images",
        "positives",
        "epsilon",
        "delta",
        "private_alone_auc",
        "pooled_private_auc",
        "local_only_auc",
    }
    assert content["sites"]["a-site"]["auc"] == 0.9512345 and content["sites"]["a-site"]["local_only_auc"] == 0.8812
    assert content["sites"]["b-site"]["local_only_auc"] is None and content["sites"]["a-site"]["epsilon"] is None
    assert content["federated_auc_min"] == 0.8834
    assert content["federated_auc_mean"] == pytest.approx(0.91731725)
    assert content["pooled_auc"] == 0.9312 and content["centralised_auc"] is None
    assert content["overhead_s"] == 11.5 and content["time"]["training_s"] == 18.25
    assert content["report"] == HTML_FILE
    json.dumps(content, allow_nan=False)


def test_a_segmentation_reports_dice_and_has_null_auc() -> None:
    job = replace(report().job, task="segmentation")
    content = summary(report(job=job))
    assert content["sites"]["a-site"]["dice"] == 0.9512345 and content["sites"]["a-site"]["auc"] is None
    assert content["federated_dice_min"] == 0.8834 and content["federated_auc_min"] is None
    assert content["pooled_dice"] == 0.9312 and content["pooled_auc"] is None


def test_a_segmentation_is_shown_in_dice_without_positives() -> None:
    one = site("a-site", 0.93, others={"95 % Hausdorff distance (mm)": Score(value=4.25)})
    words = Page(render(report(job=replace(report().job, task="segmentation"), sites=(one,), matrix={}))).words
    assert "Dice of the federated model" in words and "Federated Dice" in words
    assert "AUC" not in words and "Positive" not in words
    assert "95 % Hausdorff distance (mm)" in words and "4.250" in words


def test_mean_and_minimum_are_over_the_sites_that_were_measured() -> None:
    one = report(sites=(site("a-site", 0.7), site("b-site", None)))
    assert (one.mean, one.worst.site if one.worst else None) == (0.7, "a-site")
    assert [s.site for s in one.worst_first] == ["a-site", "b-site"]
    none = report(sites=(site("b-site", None),))
    assert (none.mean, none.worst) == (None, None)
    assert summary(none)["federated_auc_min"] is None


# ---------------------------------------------------------------- privacy


def test_epsilon_stands_beside_auc_and_what_a_hospital_keeps_is_withheld() -> None:
    private = report(
        privacy="DP-SGD for each patient, at each hospital",
        sites=tuple(
            replace(
                site,
                privacy=SitePrivacy(mechanism="dp-sgd", epsilon=7.123, delta=2e-4, spent=7.5, cap=8.0),
                cohort=None if site.cohort is None else replace(site.cohort, quarantined=None),
            )
            for site in report().sites
        ),
    )
    page = render(private)
    table = page[page.index('id="sites"') : page.index("</table>", page.index('id="sites"'))]
    assert table.count(">7.12<") == len(private.sites)
    assert "withheld" in page
    assert "give back training images" not in page.split('id="sites"')[0].replace("\n", " ")
    assert summary(private)["sites"][private.sites[0].site]["epsilon"] == 7.123


def test_a_job_without_privacy_has_no_column_for_epsilon() -> None:
    page = render(report())
    assert "without differential privacy" in page
    assert ">ε</th>" not in page


# ---------------------------------------------------------------- over all hospitals, from encrypted sums


def population(**changes: Any) -> Population:
    shares = dict.fromkeys(INTENSITIES, 0.0) | {"-1.00": 0.125, "+0.00": 0.5, "+0.25": 0.375}
    whole = Population(
        sites=("a-site", "b-site", "c-site"),
        patients=612,
        images=734,
        age={"0-9": None, "40-49": 201, "50-59": 311, "unknown": None},
        sex={"F": 300, "M": 305, "O": None, "unknown": None},
        positives={"lesion": 222},
        intensity=shares,
    )
    return replace(whole, **changes)


def together(**changes: Any) -> Report:
    whole = report(
        encryption="AES-256-CTR additive cipher, compact (key 1f3a…)",
        pooled=Score(value=0.9312, low=0.9012, high=0.9518, n=180, images=191, positives=66),
        pooled_sites=("a-site", "b-site", "c-site"),
        population=population(),
    )
    return replace(whole, **changes)


def test_the_pooled_score_stands_with_its_interval_and_where_it_comes_from() -> None:
    words = Page(render(together())).words
    assert (
        "Over all hospitals’ images 0.931 95 % interval 0.901 to 0.952 180 patients, 66 positive, 191 images;" in words
    )
    assert "from an encrypted sum over 3 hospitals" in words
    assert "encrypted sum" not in Page(render(report())).words


def test_the_federations_patients_are_on_the_page_and_only_where_they_were_summed() -> None:
    words = Page(render(together())).words
    assert "612 patients with 734 images" in words and "over 3 hospitals together" in words
    assert "own part left it encrypted, and only the sum was opened" in words
    assert "Age in years Patients 40-49 201 50-59 311 the rest, 2 rows withheld" in words
    assert "Sex Patients female 300 male 305 the rest, 2 rows withheld" in words
    assert "Finding Patients lesion 222" in words
    assert "The federation’s patients" not in Page(render(report())).words


def test_patients_below_the_floor_are_withheld_and_never_zero() -> None:
    hidden = population(
        patients=None,
        images=None,
        age={"40-49": None},
        sex={"F": None},
        positives={"lesion": None},
        intensity=dict.fromkeys(INTENSITIES),
    )
    page = Page(render(together(population=hidden)))
    assert "withheld patients with withheld images" in page.words and "Age in years Patients all withheld" in page.words
    assert "Grey values" not in page.words
    assert all(float(exact) != 0 for exact, _ in page.numbers)


def test_a_segmentations_patients_have_no_findings() -> None:
    words = Page(render(together(population=population(positives={})))).words
    assert "Sex Patients" in words and "Finding" not in words


def test_each_label_of_the_pooled_scores_has_a_row() -> None:
    labels = {"nodule": Score(value=0.88, low=0.8, high=0.93, n=191, positives=40), "rare": Score(suppressed=True)}
    words = Page(render(together(pooled_labels=labels))).words
    assert "nodule 0.880 0.800 to 0.930 191 40" in words
    assert "rare insufficient support insufficient support withheld withheld" in words


def test_numbers_of_the_sums_stand_in_the_json_and_come_back(tmp_path: Path) -> None:
    whole = together(pooled_labels={"nodule": Score(value=0.88, n=191)})
    write_report(tmp_path, whole)
    assert read_report(tmp_path) == whole
    known = numbers_of(json.loads((tmp_path / JSON_FILE).read_text()))
    page = Page((tmp_path / HTML_FILE).read_text())
    shown = {float(exact) for exact, _ in page.numbers}
    assert {612, 734, 201, 311, 300, 305, 222, 191, 66, 0.9012, 0.9518, 0.88} <= shown & known
    assert (tmp_path / HTML_FILE).read_text().startswith("<!doctype html>")


def test_hostile_names_in_the_sums_are_escaped() -> None:
    table = {HOSTILE: 5}
    bad = population(sites=(HOSTILE,), age=table, sex=table, positives=table)
    text = render(together(population=bad, pooled_labels={HOSTILE: Score(why=HOSTILE)}))
    assert "<script" not in text and "<img" not in text
    assert Page(text).words.count("alert(1)") >= 5


@pytest.mark.parametrize("width", [760, 380])
def test_a_bar_is_as_high_as_its_share(width: int) -> None:
    root = ElementTree.fromstring(intensity_chart(together(), measure="AUC", width=width))
    bars = [bar for bar in root.iter("rect") if bar.get("class") == "bar"]
    heights = np.array([float(bar.get("height", "")) for bar in bars])
    shares = np.array([float(share or 0) for share in population().intensity.values()])
    assert heights / heights.sum() == pytest.approx(shares, abs=0.002)
    ends = [float(bar.get("x", "")) + float(bar.get("width", "")) for bar in bars]
    assert len(bars) == len(INTENSITIES) and max(ends) <= width and min(float(bar.get("x", "")) for bar in bars) >= 0


def test_no_drawing_of_grey_values_that_are_withheld() -> None:
    for shares in ({}, dict.fromkeys(INTENSITIES), {"-1.00": 0.5, "+0.00": None}):
        bare = together(population=population(intensity=shares))
        assert intensity_chart(bare, measure="AUC", width=760) == ""
    assert intensity_chart(report(), measure="AUC", width=760) == ""
