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
    """Patients whose score lies between its lower edge and that of the next bin; a patient's score is the highest of
    their images'.

    Attributes:
        low: the lower edge, a tenth; a hospital puts tenths together until each bin has its floor of patients.
        patients: who count in it.
        positives: those of them who have the finding in an image.
        score: mean of their scores.
        observed: positives as a share of the patients.
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
