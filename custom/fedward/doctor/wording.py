"""What a finding must not say: where below a cohort's folders a file is. A folder may have a patient's name."""

from __future__ import annotations

from dataclasses import replace

from fedward.doctor.context import Visit
from fedward.doctor.findings import Finding


def discreet(finding: Finding, case: Visit) -> Finding:
    """The finding, each of its lines cut where a path goes on below a private folder."""
    roots = [str(path) for path in case.private_folders]
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
