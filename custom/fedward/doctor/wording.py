"""What a finding must not say: where below a cohort's folders a file is. A folder may have a patient's name."""

from __future__ import annotations

from dataclasses import replace

from fedward.doctor.case import Case
from fedward.doctor.findings import Finding
from fedward.errors import FedwardError


def discreet(finding: Finding, case: Case) -> Finding:
    """The finding, each of its lines cut where a path goes on below a cohort's images or masks."""
    try:
        cohorts = case.policy.cohorts.values()
    except FedwardError:  # without a policy no check knows of a cohort's folder
        return finding
    roots = [str(path) for cohort in cohorts for path in (cohort.images, cohort.masks) if path is not None]
    return replace(
        finding,
        what=_cut(finding.what, roots) or "",
        where=_cut(finding.where, roots),
        value=_cut(finding.value, roots),
        remedy=_cut(finding.remedy, roots),
    )


def _cut(text: str | None, roots: list[str]) -> str | None:
    """All that follows is left out: a name may hold spaces, so that nobody can say where it ends."""
    for root in roots:
        if text is not None and (at := text.find(f"{root}/")) >= 0:
            text = f"{text[: at + len(root)]}/…"
    return text
