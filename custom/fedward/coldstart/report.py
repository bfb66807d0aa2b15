"""Write the answer of ``fedward site validate``, for people and for scripts. It names no patient and no image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fedward.measures import TITLES
from fedward.validation.acceptance import Judgement
from fedward.validation.comparison.paired_difference import Change
from fedward.validation.sample_size import RULE_OF_THUMB, Needed

if TYPE_CHECKING:
    from fedward.coldstart.measure import Result

FORMAT = 1
STAYS = (
    "it was trained here without differential privacy and may remember a patient: it must not leave this hospital; the "
    "ledger is not charged, since nothing leaves"
)
"""Note on a fine-tuned model."""
INSUFFICIENT = "insufficient support"


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """Number of labelled patients needed for an interval of the wanted width, and the assumptions behind it.

    Attributes:
        needed: number for the wanted width.
        expected: AUC, or standard deviation of Dice, used in the calculation.
        prevalence: fraction of patients with the finding; None for Dice, and below the floor.
        by_rule_of_thumb: 100 and 200 patients -> width of the interval.
        here: labelled patients of this hospital; None below its floor.
    """

    needed: Needed
    expected: float
    prevalence: float | None
    by_rule_of_thumb: dict[int, float]
    here: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """Local fine-tune: results before and after, on validation patients that it never used.

    Attributes:
        before, after: results on the validation split alone.
        change: after less before, on the same draws of patients.
        judgement: judgement of the fine-tuned model; None without a threshold.
        passes, kept: passes over the training patients, and the pass that was kept; 0: none was better than the start.
        train_patients, tune_patients: numbers of patients for training and for choosing the pass.
        model: path of the saved model; None if nothing was changed.
    """

    before: Result
    after: Result
    change: Change
    judgement: Judgement | None
    passes: int
    kept: int
    train_patients: int
    tune_patients: int
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Complete answer.

    Attributes:
        job, job_hash, model_sha256, site, cohort, cohort_hash: identity of the model and of the tested cohort.
        measure: "auc" or "dice".
        floor: minimum count of the hospital; no number covers fewer patients.
        over: "all labelled patients", or "validation patients" where the hospital took part in the training.
        width, result, judgement, tuned: see their classes; no judgement without a threshold.
        no_tuning: reason why a due fine-tune did not run.
    """

    job: str
    job_hash: str
    model_sha256: str
    site: str
    cohort: str
    cohort_hash: str
    measure: str
    floor: int
    over: str
    width: Width
    result: Result
    judgement: Judgement | None
    tuned: Tuned | None
    no_tuning: str | None

    @property
    def accepted(self) -> bool:
        """True if the consortium's model, as received, passes here; without a threshold, if there is a number."""
        return self.result.value is not None if self.judgement is None else self.judgement.verdict == "pass"

    def plain(self) -> dict[str, Any]:
        """Return the answer as JSON-ready data."""
        return {
            "format": FORMAT,
            **{name: getattr(self, name) for name in _HEAD},
            "needed": {
                **asdict(self.width.needed),
                "expected": self.width.expected,
                "prevalence": self.width.prevalence,
                "by_rule_of_thumb": {str(count): width for count, width in self.width.by_rule_of_thumb.items()},
                "here": self.width.here,
            },
            "result": self._result(self.result),
            "acceptance": _judgement(self.judgement),
            "fine_tune": None if self.tuned is None else self._tuned(self.tuned),
            "no_fine_tune": self.no_tuning,
        }

    def lines(self) -> Iterator[str]:
        """Yield the answer as text lines."""
        name = TITLES[self.measure]
        yield f"{self.site}, cohort {self.cohort}: job {self.job}, model {self.model_sha256[:12]}"
        yield from _needed_lines(self.width, name)
        yield f"result over {self.over}: {self._words(self.result)}"
        yield from _detail_lines(self.result, self.measure)
        if self.judgement is not None:
            yield f"verdict: {self.judgement.verdict}; {self.judgement.why}"
        if self.no_tuning is not None:
            yield f"no fine-tune: {self.no_tuning}"
        if self.tuned is not None:
            yield from self._tuned_lines(self.tuned)

    def _tuned_lines(self, tuned: Tuned) -> Iterator[str]:
        learnt = f"{tuned.train_patients} patients taught it and {tuned.tune_patients} chose the pass"
        yield f"fine-tune here: {tuned.passes} passes, {learnt}; validation patients were not touched"
        yield f"  before: {self._words(tuned.before)}"
        yield f"  after:  {self._words(tuned.after)}"
        yield f"  change: {_change_words(tuned.change)}"
        if tuned.judgement is not None:
            yield f"  verdict after: {tuned.judgement.verdict}; {tuned.judgement.why}"
        if tuned.model is None:
            yield "  no pass was better than the start on the tuning patients: there is no new model"
        else:
            yield f"  saved: {tuned.model}"
            yield f"  {STAYS}"

    def _words(self, result: Result) -> str:
        if result.value is None:
            return f"{INSUFFICIENT} (the floor is {self.floor} patients, of each kind where there are kinds)"
        support = result.support
        stands = f"{support.patients} patients, {support.images} images"
        if support.positives is not None:
            stands += f", {support.positives} patients with the finding and {support.negatives} without"
        interval = "no interval" if result.interval is None else f"95 % interval {_pair(*result.interval)}"
        return f"{TITLES[self.measure]} {result.value:.3f}, {interval}; {stands}"

    def _result(self, result: Result) -> dict[str, Any]:
        hidden = result.value is None
        low, high = result.interval or (None, None)
        counts = dict.fromkeys(asdict(result.support)) if hidden else asdict(result.support)
        measured = {self.measure: result.value, f"{self.measure}_low": low, f"{self.measure}_high": high}
        return {**measured, **counts, "suppressed": hidden, **result.disclosed}

    def _tuned(self, tuned: Tuned) -> dict[str, Any]:
        return {
            "over": "validation patients",
            "before": self._result(tuned.before),
            "after": self._result(tuned.after),
            "change": asdict(tuned.change),
            "acceptance": _judgement(tuned.judgement),
            **{name: getattr(tuned, name) for name in ("passes", "kept", "train_patients", "tune_patients", "model")},
            "note": STAYS,
        }


_HEAD = ("job", "job_hash", "model_sha256", "site", "cohort", "cohort_hash", "measure", "floor", "over")


def _judgement(judgement: Judgement | None) -> dict[str, Any] | None:
    return None if judgement is None else asdict(judgement)


def _needed_lines(width: Width, name: str) -> Iterator[str]:
    needed = width.needed
    if width.prevalence is None:
        basis = f"a standard deviation of {width.expected:.2f}" if name == "Dice" else f"AUC {width.expected:.2f}"
    else:
        basis = f"AUC {width.expected:.2f} and {width.prevalence:.0%} with the finding"
    count = "more patients than can be had" if needed.patients is None else f"{needed.patients} labelled patients"
    with_it = "" if needed.positives is None else f", {needed.positives} of them with the finding"
    here = "" if width.here is None else f"; {width.here} are here"
    yield f"an interval {needed.width:.2f} wide takes {count}{with_it}, at {basis}{here}"
    buys = ", ".join(f"{count} give {wide:.2f}" for count, wide in width.by_rule_of_thumb.items())
    low, high = RULE_OF_THUMB
    yield f"  the rule of thumb, {low} to {high} patients: {buys}"


def _detail_lines(result: Result, measure: str) -> Iterator[str]:
    """Yield the labels (if several), the operating point and the subgroups, each with its support."""
    scores = result.disclosed.get("scores", {})
    for name, one in (scores.get("labels") or scores.get("structures") or {}).items():
        yield f"  {name}: {_cell(one, measure)}"
    point = result.disclosed.get("operating_point")
    for name, one in (point or {}).get("labels", {}).items():
        shares = ", ".join(
            f"{share} {one[share]:.3f} {_pair(one[f'{share}_low'], one[f'{share}_high'])}"
            for share in ("sensitivity", "specificity")
            if one[share] is not None
        )
        yield f"  at {point['threshold']:g}, {name}: {shares}"  # type: ignore[index]
    groups = result.disclosed.get("subgroups", {})
    for label, table in groups.items():
        of = "" if len(groups) == 1 else f"{label}, "
        for dimension, cells in table.items():
            reported = {value: _cell(cell, measure) for value, cell in cells.items()} if len(cells) > 1 else {}
            yield from (
                f"  {of}{dimension} {value}: {words}" for value, words in reported.items() if words != INSUFFICIENT
            )
            if INSUFFICIENT in reported.values():
                yield f"  {of}{dimension}, others: {INSUFFICIENT}"


def _cell(cell: dict[str, Any], measure: str) -> str:
    value, low, high = (cell.get(f"{measure}{end}") for end in ("", "_low", "_high"))
    if value is None or low is None or high is None:
        return INSUFFICIENT
    counts = ", ".join(f"{cell[name]} {word}" for name, word in _COUNTS.items() if cell.get(name) is not None)
    return f"{TITLES[measure]} {value:.3f} {_pair(low, high)}; {counts}"


_COUNTS = {"patients": "patients", "positives": "with the finding", "images": "images"}


def _change_words(change: Change) -> str:
    if change.value is None or change.low is None or change.high is None:
        return "cannot be reported"
    if change.low > 0:
        says = "better"
    elif change.high < 0:
        says = "worse"
    else:
        says = "no change that this many patients can show"
    return f"{change.value:+.3f}, 95 % interval {change.low:+.3f} to {change.high:+.3f}: {says}"


def _pair(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"
