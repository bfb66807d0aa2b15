"""Render a report as one self-contained HTML page: inline style, inline drawings, no script, no outside request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from fedward.measures import TITLES
from fedward.reporting.charts.intervals import forest_chart, losses_chart, rounds_chart
from fedward.reporting.charts.panels import curve_panel, interval_panels
from fedward.reporting.charts.participation import participation_chart
from fedward.reporting.charts.population import intensity_chart
from fedward.reporting.data.ending import interruption_words
from fedward.reporting.data.report import NOT_BEGUN, TOGETHER, Report, Score, SiteResult, Subgroup
from fedward.reporting.data.site_comparison import CAUSES
from fedward.reporting.data.subgroups import DIMENSIONS
from fedward.reporting.data.worth import verdicts
from fedward.reporting.examples import Example
from fedward.validation.comparison.diagnosis import NOTABLE

NOT_MEASURED, INSUFFICIENT, WITHHELD = "not measured", "insufficient support", "withheld"
NO_INTERVAL = "none given"
WHY_NO_INTERVAL = "Too few patients of one kind to resample, or the hospital withholds it"
ALL_HOSPITALS = "over all hospitals"
"""What is measured over all hospitals' images; "centralised" is a model that was trained on all of them."""
MISSES_SHOWN = 6
SEXES = {"F": "female", "M": "male", "O": "other"}
"""PatientSex -> name on the page; other values are shown unchanged."""
WIDTHS = {"wide": 760, "slim": 380}
PARTS_SHOWN, NAMED = 12, 3
"""Subgroups of a site with a row, at most, and of those named without a value; and of these in one dimension."""


def render(report: Report, *, examples: Sequence[Example] = ()) -> str:
    """Return the page as text; the same report gives the same text.

    Args:
        report: report to show.
        examples: images for a hospital's own copy. A page with images must not leave the hospital, and states this.
    """
    measure = TITLES[report.measure]
    federated = {**{site.site: site.federated for site in report.sites}, TOGETHER: report.pooled}
    return template("report.html").render(
        report=report,
        measure=measure,
        verdicts=verdicts(report),
        style=Markup(resource("report.css")),
        grid=_both_widths(participation_chart, report),
        forest=_both_widths(forest_chart, report),
        rounds=_both_widths(rounds_chart, report),
        losses=_both_widths(losses_chart, report),
        panels={site: Markup(drawn) for site, drawn in interval_panels(report, measure=measure).items()},
        intensity=_both_widths(intensity_chart, report),
        curves=_curves(report),
        examples=examples,
        federated=federated,
        together=TOGETHER,
        places=[place for place in federated if place != TOGETHER or _has_together(report)],
        **_lists(report),
        **WORDS,
    )


def moment(iso: str) -> str:
    """Format an ISO 8601 time for reading: 2020-01-01 12:00:00 UTC. Other text is shown unchanged."""
    return iso.replace("T", " ").replace("+00:00", " UTC") if iso[:4].isdigit() else iso


def number(value: float | int | None, digits: int = 3, *, why: str = "") -> Markup:
    """Round ``value`` for reading and keep all its digits in ``<data value>``; None becomes "not measured"."""
    if value is None:
        return _absent(NOT_MEASURED, why)
    shown = f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"
    return Markup('<data value="{}">{}</data>').format(repr(value), shown)


def count(value: int | None) -> Markup:
    """Format a count of a cohort, or state that the hospital withholds it."""
    return _absent(WITHHELD, "") if value is None else number(value)


def show_score(score: Score, digits: int = 3) -> Markup:
    """Format a score's value, or the reason why there is none."""
    if score.value is None:
        return _absent(INSUFFICIENT if score.suppressed else NOT_MEASURED, score.why)
    return number(score.value, digits)


def show_interval(score: Score, digits: int = 3) -> Markup:
    """Format a score's 95 % interval; empty where there is none."""
    if score.value is None or score.low is None or score.high is None:
        return Markup("")
    return Markup("{} to {}").format(number(score.low, digits), number(score.high, digits))


def interval_cell(score: Score, digits: int = 3) -> Markup:
    """Format a score's 95 % interval for a cell of a table, which says why there is none."""
    if score.value is None:
        return _absent(INSUFFICIENT if score.suppressed else NOT_MEASURED, "")
    absent = Markup('<span class="absent" title="{}">{}</span>').format(WHY_NO_INTERVAL, NO_INTERVAL)
    return show_interval(score, digits) or absent


def _both_widths(draw: Callable[..., str], report: Report) -> Markup:
    """Draw once for a wide page and once for a phone; the style sheet shows one. The drawings escape their text."""
    drawings = [(name, draw(report, measure=TITLES[report.measure], width=width)) for name, width in WIDTHS.items()]
    if not all(drawing for _, drawing in drawings):
        return Markup("")
    return Markup("\n").join(
        Markup('<figure class="chart {}">{}</figure>').format(name, Markup(drawing)) for name, drawing in drawings
    )


def signed(value: float | None) -> Markup:
    """Format a difference with its sign, to three decimal places."""
    if value is None:
        return number(None)
    shown = f"{value:+.3f}".replace("-", "−")
    return Markup('<data value="{}">{}</data>').format(repr(value), shown if float(f"{value:.3f}") else "0.000")


def size(value: int | None) -> Markup:
    """Format bytes as kB, MB or GB."""
    if value is None:
        return number(None)
    power = next(power for power in (3, 2, 1, 0) if value >= 1000**power or power == 0)
    return Markup("{}&nbsp;{}").format(f"{value / 1000**power:.{1 if power else 0}f}", ("B", "kB", "MB", "GB")[power])


def capitalised(words: str) -> str:
    """Make the first letter a capital; the rest stays unchanged."""
    return words[:1].upper() + words[1:]


def by_round(reasons: Mapping[int, str]) -> list[str]:
    """Group equal reasons of neighbouring rounds: "rounds 2 to 5: away"; show at most ``MISSES_SHOWN`` groups."""
    runs: list[tuple[int, int, str]] = []
    for place, why in sorted(reasons.items()):
        if runs and runs[-1][1] == place - 1 and runs[-1][2] == why:
            runs[-1] = (runs[-1][0], place, why)
        else:
            runs.append((place, place, why))
    lines = [
        f"round {first + 1}: {why}" if first == last else f"rounds {first + 1} to {last + 1}: {why}"
        for first, last, why in runs
    ]
    more = sum(last - first + 1 for first, last, _ in runs[MISSES_SHOWN:])
    return [*lines[:MISSES_SHOWN], f"and {more} more"] if more else lines


def _absent(words: str, why: str) -> Markup:
    reason = Markup(' <span class="why">{}</span>').format(why) if why else Markup("")
    return Markup('<span class="absent">{}</span>{}').format(words, reason)


def _has_together(report: Report) -> bool:
    return any(TOGETHER in at for at in report.matrix.values())


def _lists(report: Report) -> dict[str, Any]:
    """Return template data that must be derived from the report."""
    names: dict[str, None] = {}
    for site in report.sites:
        names.update(dict.fromkeys(site.others))
    beside = {name: words for name, words in report.models.items() if name != "federated"}
    return {
        "others": list(names),
        "gaps": [(one.site, by_round(one.missed)) for one in report.participation if one.missed],
        "suspects": [(one.site, by_round(one.suspect)) for one in report.participation if one.suspect],
        "planned": [site.site for site in report.sites if site.privacy is not None and site.privacy.planned],
        "not_begun": NOT_BEGUN,
        "contributed": any(one.contribution is not None for one in report.participation),
        "parts_of": [_parts(site) for site in report.worst_first if site.subgroups],
        "beside": {name: words for name, words in beside.items() if _any_known(report, name)},
        "unmeasured": [
            (words, "; ".join(dict.fromkeys(why for site in report.sites if (why := getattr(site, name).why))))
            for name, words in beside.items()
            if report.sites and not _any_known(report, name)
        ],
        "several": len({one.label for site in report.sites for one in site.subgroups}) > 1,
        "labelled": [
            (site.site, label, one)
            for site in report.worst_first
            for label, one in sorted(site.labels.items(), key=lambda item: _lowest(item[1].federated))
        ],
    }


def _any_known(report: Report, name: str) -> bool:
    """True if a site has this value, or withholds it."""
    scores = [getattr(site, name) for site in report.sites]
    return any(score.value is not None or score.suppressed for score in scores)


def part_name(part: Subgroup) -> str:
    """Describe the patients of a subgroup, as in "age 60-79" or "female"."""
    if part.dimension == "sex" and part.value in SEXES:
        return SEXES[part.value]
    return f"{DIMENSIONS.get(part.dimension, part.dimension)} {part.value}"


def _parts(site: SiteResult) -> tuple[str, list[Subgroup], list[str], int]:
    """Return a site's subgroups with a value, those without, and the number with a value that are not shown."""
    known = [one for one in site.subgroups if one.score.value is not None]
    labels = {one.label for one in site.subgroups}
    grouped: dict[tuple[str, str], list[Subgroup]] = {}
    for one in site.subgroups:
        if one.score.value is None:
            grouped.setdefault((one.label, one.dimension), []).append(one)
    hidden = [
        name if len(labels) == 1 else f"{label}, {name}"
        for (label, dimension), some in grouped.items()
        for name in _names_or_count(dimension, some)
    ]
    more = len(hidden) - PARTS_SHOWN
    shown = hidden if more <= 0 else [*hidden[:PARTS_SHOWN], f"and {more} more"]
    return site.site, known[:PARTS_SHOWN], shown, max(len(known) - PARTS_SHOWN, 0)


def _names_or_count(dimension: str, parts: Sequence[Subgroup]) -> list[str]:
    """Name a few parts; count many, of which a hospital may have no patient."""
    if len(parts) <= NAMED:
        return [part_name(one) for one in parts]
    return [f"{len(parts)} values of {DIMENSIONS.get(dimension, dimension)}"]


def _lowest(score: Score) -> tuple[bool, float]:
    return (score.value is None, score.value or 0.0)


def _curves(report: Report) -> list[tuple[str, list[tuple[str, Markup]]]]:
    """Return label -> drawings: first over all hospitals, then each site, the lowest first."""
    labels = dict.fromkeys([*report.pooled_curves, *(label for site in report.sites for label in site.curves)])
    found = []
    for label in labels:
        together = report.pooled_curves.get(label)
        drawn = [] if together is None else [(ALL_HOSPITALS, curve_panel(ALL_HOSPITALS, together, None))]
        drawn += [
            (site.site, curve_panel(site.site, site.curves[label], together))
            for site in report.worst_first
            if label in site.curves
        ]
        panels = [(name, Markup(drawing)) for name, drawing in drawn if drawing]
        if panels:
            found.append((label, panels))
    return found


def template(name: str) -> Template:
    """Load a page template of this package; it escapes everything and refuses undefined names."""
    environment = Environment(
        loader=FunctionLoader(resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["capitalised"] = capitalised
    return environment.get_template(name)


def resource(name: str) -> str:
    """Return the text of a file of this package."""
    return files("fedward.reporting").joinpath(name).read_text(encoding="utf-8")


def moment_of(at: float) -> str:
    """Format seconds since the epoch for reading."""
    return moment(datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds"))


WORDS: dict[str, Any] = {
    "moment": moment,
    "moment_of": moment_of,
    "interruption": interruption_words,
    "number": number,
    "count": count,
    "score": show_score,
    "interval": show_interval,
    "interval_cell": interval_cell,
    "signed": signed,
    "bytes": size,
    "sexes": SEXES,
    "dimensions": DIMENSIONS,
    "causes": CAUSES,
    "part_name": part_name,
    "notable": NOTABLE,
}
"""Formatting functions and texts for the templates."""
