"""Report problems in a hospital's policy, in plain words; ``fedward.commands.site.policy`` checks the files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from fedward.privacy.disclosure.release import unknown_names
from fedward.privacy.policy.linter import CohortFacts
from fedward.settings import CohortPrivacy, Disclosure, SitePolicy

LARGE_EPSILON = 10.0
"""ε above which the bound means little: exp(10) is 22,026 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFinding:
    """One problem in a policy.

    Attributes:
        level: an error must be corrected before a job runs; a warning may be intended.
        where: the setting or file.
        text: the problem, and the remedy.
    """

    level: Literal["error", "warning"]
    where: str
    text: str


def review(policy: SitePolicy, *, cohorts: Mapping[str, CohortFacts], known: int | None = None) -> list[PolicyFinding]:
    """Return all problems that the settings show.

    Args:
        policy: the hospital's.
        cohorts: training patients and images of the cohorts that are indexed.
        known: number of hospitals on the roster; None: not read.
    """
    found = [*_approvals(policy), *_leaving(policy.disclosure), *_roster(policy, known)]
    if not policy.cohorts:
        found.append(_error("cohorts", "no cohort, so no job can run; add a [cohorts.<name>] table"))
    rules: tuple[Callable[[str, CohortPrivacy], Iterator[PolicyFinding]], ...] = (_protection, _bounds, _sum)
    for name, cohort in policy.cohorts.items():
        where = f"cohorts.{name}.privacy"
        for rule in rules:
            found += rule(where, cohort.privacy)
        found += _encryption(where, cohort.privacy, has_key=policy.federation_key is not None)
        found += _delta(where, cohort.privacy, cohorts.get(name), name=name)
    return found


def _approvals(policy: SitePolicy) -> Iterator[PolicyFinding]:
    if policy.approved_jobs == "any":
        text = "any job may run that keeps to the rest; list hashes from `fedward job check` to look at each first"
        yield _warning("approved_jobs", text)
        for name in ("approvals", "auto_approve"):
            if getattr(policy, name):
                yield _warning(name, "has no say while approved_jobs is 'any'")
    elif not policy.approved_jobs and policy.approvals is None and not policy.auto_approve:
        text = "no job may run; name a folder of approvals for `fedward site approve`, or say 'any'"
        yield _warning("approved_jobs", text)
    for number, entry in enumerate(policy.auto_approve, start=1):
        if entry.submitter is None and entry.organisation is None:
            text = "who is in a study is the server's word; name a submitter or an organisation too"
            yield _warning(f"auto_approve {number}", text)


def _roster(policy: SitePolicy, known: int | None) -> Iterator[PolicyFinding]:
    if known is None or known >= policy.min_known:
        return
    if known == 0:
        text = (
            f"{policy.min_known}, and nobody is on the roster: no masked job runs; see `fedward site roster SITE_TOML`"
        )
        yield _error("min_known", text)
    else:
        text = f"{policy.min_known}, and {known} on the roster: a masked job runs with those that they introduce alone"
        yield _warning("min_known", text)


def _leaving(disclosure: Disclosure) -> Iterator[PolicyFinding]:
    for name in unknown_names(disclosure):
        yield _error("disclosure.metrics", f"no metric or group is called {name!r}; correct it or leave it out")
    if not disclosure.metrics:
        yield _warning("disclosure.metrics", "empty, so nobody outside will know how well a model does here")
    alone = {"pooled", "cohort_statistics"} & set(disclosure.metrics)
    if len(alone) == 1:
        text = f"only {alone.pop()} of pooled and cohort_statistics: list both to take part in a job that sums both"
        yield _warning("disclosure.metrics", text)
    if disclosure.min_count == 1:
        text = "1 suppresses nothing: a count may point at one patient; 5 or 10 is customary"
        yield _warning("disclosure.min_count", text)


def _protection(where: str, privacy: CohortPrivacy) -> Iterator[PolicyFinding]:
    if privacy.dp == "not-required":
        text = "not-required: a job without differential privacy may train on these patients, and no ε bounds it"
        yield _warning(f"{where}.dp", text)
        if privacy.min_noise_multiplier is not None:
            text = "binds jobs with differential privacy alone, and dp lets others in; say dp = 'required'"
            yield _warning(f"{where}.min_noise_multiplier", text)
    if privacy.epsilon_cap is None:
        yield _warning(f"{where}.epsilon_cap", "no cap: jobs may add up to any ε; give one, with delta")
    elif privacy.epsilon_cap > LARGE_EPSILON:
        text = f"{privacy.epsilon_cap:g} is above {LARGE_EPSILON:g} and says little about what stays hidden"
        yield _warning(f"{where}.epsilon_cap", text)


def _bounds(where: str, privacy: CohortPrivacy) -> Iterator[PolicyFinding]:
    own, largest = privacy.update_clip_norm_l2, privacy.max_clip_norm_l2
    if own is not None and largest is not None and own > largest:
        text = f"{own:g} is above max_clip_norm_l2 {largest:g}; the smaller holds"
        yield _warning(f"{where}.update_clip_norm_l2", text)


def _sum(where: str, privacy: CohortPrivacy) -> Iterator[PolicyFinding]:
    if privacy.noise_for_sum and privacy.sum_min_colluding == 0:
        text = "0: a job may count on every other hospital's noise, and each of them knows its own; say 1 or more"
        yield _warning(f"{where}.sum_min_colluding", text)
    if privacy.noise_for_sum and privacy.update_clip_norm_l2 is not None:
        text = "has no say together with update_clip_norm_l2, for jobs with noise for the sum send no update"
        yield _warning(f"{where}.noise_for_sum", text)


def _encryption(where: str, privacy: CohortPrivacy, *, has_key: bool) -> Iterator[PolicyFinding]:
    if privacy.encryption == "not-required" and has_key:
        text = "not-required, though there is a federation key: a job may still send updates that the server reads"
        yield _warning(f"{where}.encryption", text)


def _delta(where: str, privacy: CohortPrivacy, facts: CohortFacts | None, *, name: str) -> Iterator[PolicyFinding]:
    if facts is None:
        text = "not indexed, so δ is not held against its patients; run `fedward site index SITE_TOML`"
        yield _warning(f"cohorts.{name}", text)
    elif facts.patients == 0:
        yield _error(f"cohorts.{name}", "no patient to train on; look at its quarantine and validation_fraction")
    elif privacy.delta is not None and privacy.delta * 10 * facts.patients > 1.0:
        text = (
            f"{privacy.delta:g} is above 1/(10 · {facts.patients} training patients) and may give a whole patient "
            f"away; give at most {0.0999 / facts.patients:.1e}"
        )
        yield _error(f"{where}.delta", text)


def _error(where: str, text: str) -> PolicyFinding:
    return PolicyFinding(level="error", where=where, text=text)


def _warning(where: str, text: str) -> PolicyFinding:
    return PolicyFinding(level="warning", where=where, text=text)
