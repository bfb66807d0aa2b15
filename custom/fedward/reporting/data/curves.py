"""Read ROC and reliability curves of a classification, from one site or from the sum over sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RocPoint:
    """Shares of the negatives and of the positives that are called positive; None if withheld."""

    fpr: float
    tpr: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Patients whose score lies between this bin's lower edge and the next bin's; a patient's score is the highest of
    their images' scores.

    Attributes:
        low: lower edge, a tenth; a hospital merges tenths until each bin has its minimum count of patients.
        patients: number of patients in the bin.
        positives: number of them with the finding in an image.
        score: mean of their scores.
        observed: positives as a fraction of the patients.
    """

    low: float
    patients: int | None
    positives: int | None
    score: float | None
    observed: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Curves of one label; either is empty if it was not measured."""

    roc: tuple[RocPoint, ...] = ()
    reliability: tuple[Bin, ...] = ()


def curves_of(group: Mapping[str, Any] | None) -> dict[str, Curves]:
    """Return label -> curves, from the ``curves`` that a site, or the sum over sites, sent."""
    return {
        label: Curves(
            roc=tuple(
                RocPoint(fpr=float(fpr), tpr=tpr) for fpr, tpr in sorted((one.get("roc") or {}).items(), key=_place)
            ),
            reliability=tuple(
                _bin(low, facts or {}) for low, facts in sorted((one.get("reliability") or {}).items(), key=_place)
            ),
        )
        for label, one in (group or {}).items()
        if isinstance(one, Mapping)
    }


def _bin(low: str, facts: Mapping[str, Any]) -> Bin:
    patients, positives = facts.get("patients"), facts.get("positives")
    observed = positives / patients if patients and positives is not None else None
    return Bin(low=float(low), patients=patients, positives=positives, score=facts.get("score"), observed=observed)


def _place(item: tuple[str, Any]) -> float:
    return float(item[0])
