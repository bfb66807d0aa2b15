"""Remove from findings every path below a cohort's folders: a folder may have a patient's name."""

from __future__ import annotations

from dataclasses import replace

from fedward.doctor.context import Visit
from fedward.doctor.findings import Finding


def discreet(finding: Finding, case: Visit) -> Finding:
    """Return the finding with each of its texts cut where a path continues below a private folder."""
    roots = [str(path) for path in case.private_folders]
    return replace(
        finding,
        what=_cut(finding.what, roots) or "",
        where=_cut(finding.where, roots),
        value=_cut(finding.value, roots),
        remedy=_cut(finding.remedy, roots),
    )


def _cut(text: str | None, roots: list[str]) -> str | None:
    """Leave out all that follows: a name may have spaces, so its end cannot be found."""
    for root in roots:
        if text is not None and (at := text.find(f"{root}/")) >= 0:
            text = f"{text[: at + len(root)]}/…"
    return text
