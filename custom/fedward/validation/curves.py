"""Compute a classification model's curves as short tables: ROC at fixed false-positive rates, and reliability.

Their input is a hospital's own scores, or the counts of ``fedward.validation.pooling.pooled`` over all hospitals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedward.privacy.disclosure.categories import FALSE_POSITIVE_RATES
from fedward.validation.calibration import Table, reliability
from fedward.validation.ranking import checked, cumulated

_RATES = np.array([float(rate) for rate in FALSE_POSITIVE_RATES])

Curves = dict[str, Any]


def curves(
    labels: Mapping[str, NDArray[np.int64]], scores: Mapping[str, NDArray[np.float64]], patients: Sequence[Any]
) -> dict[str, Curves]:
    """Compute the curves of each label.

    Args:
        labels: name -> 0 and 1, (n,).
        scores: name -> probability of yes, (n,).
        patients: patient of each of the n images.

    Returns:
        JSON-ready: name -> ``roc`` and ``reliability``, each absent if it cannot be computed.
    """
    found = {}
    for name, truth in labels.items():
        tables = {"roc": roc(truth, scores[name]), "reliability": reliability(truth, scores[name], patients)}
        found[name] = {curve: table for curve, table in tables.items() if table is not None}
    return found


def roc(labels: ArrayLike, scores: ArrayLike) -> dict[str, float] | None:
    """Compute the sensitivity at 21 false-positive rates, on the straight lines between the thresholds' points.

    So ties count half, as in ``ranking.auroc``; where the curve is vertical, the sensitivity is that of its upper end.

    Returns:
        False-positive rate "0.00" to "1.00" -> sensitivity; None with one class only or a score that is not finite.
    """
    pair = checked(labels, scores)
    if pair is None:
        return None
    _, hits, false_alarms = cumulated(*pair)
    return _at_rates(hits, false_alarms)


def counted_curves(no: NDArray[np.int64], yes: NDArray[np.int64], table: Table) -> Curves:
    """Compute the curves from counts of scores.

    Args:
        no, yes: images in each bin of the score, from the lowest up, (bins,).
        table: the reliability table from ``calibration.table_of``.

    Returns:
        As one entry of ``curves``. Images in one bin are ties.
    """
    found: Curves = {}
    if no.any() and yes.any():
        hits, false_alarms = (np.cumsum(side[::-1]).astype(np.float64) for side in (yes, no))
        found["roc"] = _at_rates(hits, false_alarms)
    return found | ({"reliability": table} if table else {})


def _at_rates(hits: NDArray[np.float64], false_alarms: NDArray[np.float64]) -> dict[str, float]:
    """Interpolate the ROC curve from true and false positives, strictest threshold first, without the point (0, 0)."""
    tpr = np.concatenate([[0.0], hits / hits[-1]])
    fpr = np.concatenate([[0.0], false_alarms / false_alarms[-1]])
    after = np.searchsorted(fpr, _RATES, side="right")
    before, after = after - 1, np.minimum(after, len(fpr) - 1)
    run = fpr[after] - fpr[before]
    along = np.divide(_RATES - fpr[before], run, out=np.zeros(len(_RATES)), where=run > 0)
    values = tpr[before] + along * (tpr[after] - tpr[before])
    return {rate: float(value) for rate, value in zip(FALSE_POSITIVE_RATES, values, strict=True)}
