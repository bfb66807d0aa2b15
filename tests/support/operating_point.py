"""The operating point of ``cross_fitted_calls``, as scores have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from fedward.validation.operating_point import OperatingPoint, cross_fitted_calls, judged


def cross_fitted(labels: ArrayLike, scores: ArrayLike, patients: Sequence[Any]) -> OperatingPoint:
    """Sensitivity and specificity where no patient helped to choose the threshold that judges them."""
    called = cross_fitted_calls(labels, scores, patients)
    return OperatingPoint() if called is None else judged(labels, called, patients)
