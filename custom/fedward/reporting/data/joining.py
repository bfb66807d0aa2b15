"""Say whether joining paid: each hospital's federated model beside the one that it could have trained alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedward.reporting.data.report import Report, SiteResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """Verdict of a report on joining.

    Attributes:
        paid: True if every hospital's federated model is better than its own.
        words: one sentence.
    """

    paid: bool
    words: str


def joining(report: Report) -> Joining | None:
    """Return the verdict; None where no hospital's own model was measured under the same conditions.

    Under differential privacy a hospital's own model is one that it trains alone at the same ε. Without, it is the one
    that it trains alone.
    """
    alone = "private_alone" if report.privacy != "none" else "local_only"
    gains = {
        site.site: (federated, own)
        for site in report.sites
        if (federated := site.federated.value) is not None and (own := _own(site, alone)) is not None
    }
    if not gains:
        return None
    less = {site: pair for site, pair in gains.items() if pair[0] <= pair[1]}
    how = "alone at the same ε" if report.privacy != "none" else "alone"
    if less:
        named = ", ".join(
            f"{site} ({own:.3f} against {together:.3f})" for site, (together, own) in sorted(less.items())
        )
        return Joining(paid=False, words=f"Joining did not pay everywhere: {how}, {named} did as well or better.")
    low, high = (f"{value:.3f}" for value in _ends([together - own for together, own in gains.values()]))
    pooled = _beside_pooled(report)
    every = "every hospital" if len(gains) == len(report.sites) else f"{len(gains)} of {len(report.sites)} hospitals"
    return Joining(
        paid=True, words=f"Joining paid at {every}: {low} to {high} above {how}{pooled}{_beside_no_noise(report)}."
    )


def _own(site: SiteResult, alone: str) -> float | None:
    value: float | None = getattr(site, alone).value
    return value


def _beside_no_noise(report: Report) -> str:
    """Return at how many hospitals a model trained alone without noise is better, which no one else may have."""
    if report.privacy == "none":
        return ""
    pairs = [(site.federated.value, site.local_only.value) for site in report.sites]
    known = [(together, own) for together, own in pairs if together is not None and own is not None]
    better = sum(own > together for together, own in known)
    return f"; alone without noise, {better} of {len(known)} would do better for themselves" if better else ""


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _beside_pooled(report: Report) -> str:
    """Return how far the federated model is from one that is trained on all images in one place, if both are known."""
    reference = report.pooled_private if report.privacy != "none" else report.centralised_pooled
    if report.pooled.value is None or reference.value is None:
        return ""
    apart = report.pooled.value - reference.value
    return (
        f"; over all images together {abs(apart):.3f} {'above' if apart > 0 else 'below'} training on all in one place"
    )
