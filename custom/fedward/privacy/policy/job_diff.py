"""Compare two jobs field by field, and explain each change that can only mean one thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fedward.privacy.budget_plan import SitePlan
from fedward.privacy.policy.job_summary import Here, compact, metrics_that_leave
from fedward.settings import JobSpec, plain
from fedward.visible import visible

Verdict = Literal["less private", "more private", "more", "fewer", "other"]
"""less, more private: for this hospital's patients. more, fewer: of the work on their images. other: anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One field that changed.

    Attributes:
        field: the setting's path, or "ε here", "metrics that leave".
        before, after: its values as one line each; "none" where it is absent.
        verdict: kind of the change.
        meaning: the change in a phrase; empty for other.
    """

    field: str
    before: str
    after: str
    verdict: Verdict
    meaning: str = ""


def changes(before: JobSpec, after: JobSpec, *, here: Here | None = None, earlier: Here | None = None) -> list[Change]:
    """Return every setting that differs, then the consequences at this hospital; nothing for equal jobs.

    Args:
        before: the job that was approved.
        after: the new job.
        here, earlier: this hospital's part in ``after`` and in ``before``.
    """
    found = [_change(*one, after) for one in _differences(plain(before), plain(after), path="")]
    if here is not None and earlier is not None:
        found += [*_epsilon(earlier.plan, here.plan), *_metrics(before, after, here)]
    return found


def _differences(before: Any, after: Any, *, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield each leaf that differs; an added or removed table is one leaf, and so are a component's arguments."""
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping) and not path.endswith("args"):
        for name in dict.fromkeys((*before, *after)):
            inner = f"{path}.{name}" if path else name
            yield from _differences(before.get(name), after.get(name), path=inner)
        return
    yield path, before, after


_UP: Mapping[str, tuple[Verdict, str, Verdict, str]] = {
    # setting: verdict and meaning of a larger value, then of a smaller value
    "privacy.dp_sgd.epsilon": ("less private", "a larger ε", "more private", "a smaller ε"),
    "privacy.dp_sgd.delta": ("less private", "a larger δ", "more private", "a smaller δ"),
    "privacy.dp_sgd.noise_multiplier": ("more private", "more noise", "less private", "less noise"),
    "privacy.dp_sgd.clip_norm_l2": (
        "more",
        "a patient's gradient may be larger; the noise grows with it, and ε stays",
        "fewer",
        "a patient's gradient is cut shorter; the noise shrinks with it, and ε stays",
    ),
    "privacy.dp_sgd.images_per_patient": ("more", "more images of a drawn patient", "fewer", "fewer images of each"),
    "privacy.update.noise_multiplier": ("more private", "more noise", "less private", "less noise"),
    "privacy.update.delta": ("less private", "a larger δ", "more private", "a smaller δ"),
    "privacy.update.clip_norm_l2": ("less private", "a larger update may leave", "more private", "a smaller one"),
    "federation.min_sites": (
        "more private",
        "a round needs more hospitals",
        "less private",
        "a round may be of fewer hospitals, among which this one is easier to tell apart",
    ),
    "training.local_epochs": ("more", "more passes a round", "fewer", "fewer passes a round"),
}
_DRAWN = {"privacy.dp_sgd.patients_per_step": "patients a step", "training.local_steps": "steps a round"}
"""Settings that raise ε under dp-sgd where the job gives its noise, and raise the noise where it gives its ε."""
_SWITCHES: Mapping[str, tuple[str, str]] = {
    # setting: meaning of switching it on, then off; on is less private
    "encryption.open_final": ("the final model leaves the hospitals", "the final model stays with the hospitals"),
    "encryption.statistics": ("sums of counts over all hospitals leave", "no sums of counts leave"),
}


def _change(field: str, before: Any, after: Any, job: JobSpec) -> Change:
    verdict, meaning = _meaning(field, before, after, job)
    reported = (visible(compact(before)), visible(compact(after)))
    return Change(field=visible(field), before=reported[0], after=reported[1], verdict=verdict, meaning=meaning)


def _meaning(field: str, before: Any, after: Any, job: JobSpec) -> tuple[Verdict, str]:
    rule = _RULES.get(field)
    if rule is not None:
        return rule(before, after)
    if field in _SWITCHES:
        on, off = _SWITCHES[field]
        return ("less private", on) if after else ("more private", off)
    if not (_is_number(before) and _is_number(after)):
        return "other", ""
    more = after > before
    if field == "federation.rounds":
        return _rounds(job, more=more)
    if field in _DRAWN:
        return _drawn(job, _DRAWN[field], more=more)
    if field in _UP:
        up, of_up, down, of_down = _UP[field]
        return (up, of_up) if more else (down, of_down)
    return "other", ""


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _rounds(job: JobSpec, *, more: bool) -> tuple[Verdict, str]:
    dp_sgd = job.privacy.dp_sgd
    if dp_sgd is not None and dp_sgd.epsilon is not None:
        return ("more", "more updates leave, under the same ε") if more else ("fewer", "fewer updates leave")
    return ("less private", "more updates leave") if more else ("more private", "fewer updates leave")


def _drawn(job: JobSpec, what: str, *, more: bool) -> tuple[Verdict, str]:
    dp_sgd = job.privacy.dp_sgd
    if dp_sgd is not None and dp_sgd.epsilon is None:
        return ("less private", f"more {what}, the same noise") if more else ("more private", f"fewer {what}")
    return ("more", f"more {what}") if more else ("fewer", f"fewer {what}")


_STRENGTH = {"none": 0, "update-noise": 1, "dp-sgd": 1}


def _mechanism(before: str, after: str) -> tuple[Verdict, str]:
    if _STRENGTH[before] == _STRENGTH[after]:
        return "other", "another mechanism; compare ε"
    if after == "none":
        return "less private", "differential privacy is dropped: no ε bounds what leaves"
    return "more private", "differential privacy where there was none"


def _encryption(before: Any, after: Any) -> tuple[Verdict, str]:
    if after is None:
        return "less private", "encryption is dropped: the server reads every update"
    return "more private", "updates are sealed, where the server read them"


def _update(before: Any, after: Any) -> tuple[Verdict, str]:
    if after is None:
        return "less private", "the job no longer bounds its updates"
    return "more private", "updates are bounded, where they were not"


def _dp_sgd(before: Any, after: Any) -> tuple[Verdict, str]:
    return "other", "goes with privacy.mechanism"


def _batch_norm(before: str, after: str) -> tuple[Verdict, str]:
    if after == "average":
        return "less private", "running statistics of this hospital's images leave with the update"
    return ("more private", "running statistics no longer leave") if before == "average" else ("other", "")


def _local_baseline(before: bool, after: bool) -> tuple[Verdict, str]:
    if after:
        return "more", "also trains a model alone; its scores may leave without differential privacy"
    return "fewer", "no model alone"


def _must_include(before: Any, after: Any) -> tuple[Verdict, str]:
    return "other", "hospitals without which no round counts"


def _min_patients(before: int | None, after: int | None) -> tuple[Verdict, str]:
    if (after or 0) > (before or 0):
        return "more private", "a round needs more patients"
    return "less private", "a round may be of fewer patients"


def _acceptance(before: Any, after: Any) -> tuple[Verdict, str]:
    return "other", "what a hospital's own result is held to; nothing else is done with it"


def _cohort(before: str, after: str) -> tuple[Verdict, str]:
    return "other", "other patients: look at that cohort's policy"


_RULES: Mapping[str, Callable[[Any, Any], tuple[Verdict, str]]] = {
    "privacy.mechanism": _mechanism,
    "privacy.update": _update,
    "privacy.dp_sgd": _dp_sgd,
    "encryption": _encryption,
    "model.batch_norm": _batch_norm,
    "federation.local_baseline": _local_baseline,
    "federation.must_include": _must_include,
    "federation.min_patients": _min_patients,
    "acceptance": _acceptance,
    "acceptance.threshold": _acceptance,
    "data.cohort": _cohort,
}


def _epsilon(before: SitePlan | None, after: SitePlan | None) -> Iterator[Change]:
    """Compare ε for this hospital's cohort of today, where either job has one."""
    reported = tuple("none" if plan is None else f"{plan.epsilon:.2f} at δ {plan.delta:g}" for plan in (before, after))
    if reported[0] == reported[1]:
        return
    verdict: Verdict = "other"
    meaning = ""
    if before is not None and after is not None and before.epsilon != after.epsilon:
        more = after.epsilon > before.epsilon
        verdict, meaning = ("less private", "a larger ε") if more else ("more private", "a smaller ε")
    yield Change(field="ε here", before=reported[0], after=reported[1], verdict=verdict, meaning=meaning)


def _metrics(before: JobSpec, after: JobSpec, here: Here) -> Iterator[Change]:
    """Compare the metrics that leave in the two jobs, both under the hospital's list of today."""
    if here.disclosure is None:
        return
    old, new = (set(metrics_that_leave(job, here.disclosure)) for job in (before, after))
    field = "metrics that leave"
    if come := ", ".join(sorted(new - old)):
        yield Change(field=field, before="none", after=come, verdict="less private", meaning="leave now and did not")
    if gone := ", ".join(sorted(old - new)):
        yield Change(field=field, before=gone, after="none", verdict="more private", meaning="left and no longer do")
