"""A report as one HTML page that needs nothing else: inline style, inline drawings, no script, no outside request."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from fedward.reporting.charts import SERIES, forest_chart, rounds_chart
from fedward.reporting.population_chart import intensity_chart
from fedward.reporting.report import TOGETHER, Participation, Report, Score

MEASURES = {"auc": "AUC", "dice": "Dice"}
NOT_MEASURED, INSUFFICIENT, WITHHELD = "not measured", "insufficient support", "withheld"
MISSES_SHOWN = 6
SEXES = {"F": "female", "M": "male", "O": "other"}
"""PatientSex as it is shown; what is not here is shown as it is."""
WIDTHS = {"wide": 760, "slim": 380}


def render(report: Report) -> str:
    """The page as text; the same report gives the same text."""
    measure = MEASURES[report.measure]
    federated = {**{site.site: site.federated for site in report.sites}, TOGETHER: report.pooled}
    return template("report.html").render(
        report=report,
        measure=measure,
        style=Markup(resource("report.css")),
        forest=_both_widths(forest_chart, report),
        rounds=_both_widths(rounds_chart, report),
        intensity=_both_widths(intensity_chart, report),
        sexes=SEXES,
        series=SERIES,
        moment=moment,
        number=number,
        count=count,
        score=show_score,
        interval=show_interval,
        missed=missed,
        others=_others(report),
        places=[place for place in federated if place != TOGETHER or _has_together(report)],
        federated=federated,
        together=TOGETHER,
    )


def moment(iso: str) -> str:
    """An ISO 8601 time for reading: 2020-01-01 12:00:00 UTC. What is none is shown as it is."""
    return iso.replace("T", " ").replace("+00:00", " UTC") if iso[:4].isdigit() else iso


def number(value: float | int | None, digits: int = 3, *, why: str = "") -> Markup:
    """``value`` rounded for reading, with all its digits in ``<data value>``; None is "not measured"."""
    if value is None:
        return _absent(NOT_MEASURED, why)
    shown = f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"
    return Markup('<data value="{}">{}</data>').format(repr(value), shown)


def count(value: int | None) -> Markup:
    """A count of a cohort, or that the hospital keeps it."""
    return _absent(WITHHELD, "") if value is None else number(value)


def show_score(score: Score, digits: int = 3) -> Markup:
    """A score's value, or why there is none."""
    if score.value is None:
        return _absent(INSUFFICIENT if score.suppressed else NOT_MEASURED, score.why)
    return number(score.value, digits)


def show_interval(score: Score, digits: int = 3) -> Markup:
    """A score's 95 % interval; empty where there is none."""
    if score.value is None or score.low is None or score.high is None:
        return Markup("")
    return Markup("{} to {}").format(number(score.low, digits), number(score.high, digits))


def missed(participation: Participation) -> list[str]:
    """The rounds that a site missed, with reasons; rounds count from 1 for a reader."""
    reasons = [f"round {number + 1}: {why}" for number, why in sorted(participation.missed.items())]
    more = len(reasons) - MISSES_SHOWN
    return reasons if more <= 0 else [*reasons[:MISSES_SHOWN], f"and {more} more"]


def _both_widths(draw: Callable[..., str], report: Report) -> Markup:
    """A drawing for a page and one for a phone, of which the style sheet shows one; they escape what they draw."""
    drawings = [(name, draw(report, measure=MEASURES[report.measure], width=width)) for name, width in WIDTHS.items()]
    if not all(drawing for _, drawing in drawings):
        return Markup("")
    return Markup("\n").join(
        Markup('<figure class="chart {}">{}</figure>').format(name, Markup(drawing)) for name, drawing in drawings
    )


def _absent(words: str, why: str) -> Markup:
    reason = Markup(' <span class="why">{}</span>').format(why) if why else Markup("")
    return Markup('<span class="absent">{}</span>{}').format(words, reason)


def _has_together(report: Report) -> bool:
    return any(TOGETHER in at for at in report.matrix.values())


def _others(report: Report) -> list[str]:
    """Names of the further measures, in the order in which sites first give them."""
    names: dict[str, None] = {}
    for site in report.sites:
        names.update(dict.fromkeys(site.others))
    return list(names)


def template(name: str) -> Template:
    """A page of this package: everything escaped, nothing undefined."""
    environment = Environment(
        loader=FunctionLoader(resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def resource(name: str) -> str:
    """The text of a file of this package."""
    return files("fedward.reporting").joinpath(name).read_text(encoding="utf-8")
