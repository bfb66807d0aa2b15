"""ROC and reliability curves of a classification, as sites or the sum over sites give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RocPoint:
    """Share of the negatives called positive, and of the positives; None where that is withheld."""

    fpr: float
    tpr: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Images whose score lies in a tenth of 0 to 1.

    Attributes:
        low: the tenth's lower edge.
        patients: who count in it; each patient counts in one bin, and may have images in others.
        positives: those of them who have the finding in an image.
        score: mean score of its images.
        observed: how many of its images are positive, as a share.
    """

    low: float
    patients: int | None
    positives: int | None
    score: float | None
    observed: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Of one label; either is empty where it was not measured."""

    roc: tuple[RocPoint, ...] = ()
    reliability: tuple[Bin, ...] = ()


def curves_of(group: Mapping[str, Any] | None) -> dict[str, Curves]:
    """Label -> curves, from the ``curves`` that a site, or the sum over sites, sent."""
    return {
        label: Curves(
            roc=tuple(
                RocPoint(fpr=float(fpr), tpr=tpr) for fpr, tpr in sorted((one.get("roc") or {}).items(), key=_place)
            ),
            reliability=tuple(
                Bin(
                    low=float(low),
                    **{name: (facts or {}).get(name) for name in ("patients", "positives", "score", "observed")},
                )
                for low, facts in sorted((one.get("reliability") or {}).items(), key=_place)
            ),
        )
        for label, one in (group or {}).items()
        if isinstance(one, Mapping)
    }


def _place(item: tuple[str, Any]) -> float:
    return float(item[0])
