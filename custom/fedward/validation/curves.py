"""A classification model's curves as short tables: ROC at fixed false-positive rates, and reliability.

From a hospital's own scores, or from the counts of ``fedward.validation.pooling.pooled``, which are of all hospitals
together.
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
    """The curves of each label.

    Args:
        labels: name -> 0 and 1, (n,).
        scores: name -> probability of yes, (n,).
        patients: whose image each of the n is.

    Returns:
        JSON-ready: name -> ``roc`` and ``reliability``, each absent where it cannot be had.
    """
    found = {}
    for name, truth in labels.items():
        tables = {"roc": roc(truth, scores[name]), "reliability": reliability(truth, scores[name], patients)}
        found[name] = {curve: table for curve, table in tables.items() if table is not None}
    return found


def roc(labels: ArrayLike, scores: ArrayLike) -> dict[str, float] | None:
    """Sensitivity at 21 false-positive rates, on the straight lines between the thresholds' points.

    So ties count half, as in ``ranking.auroc``; where the curve rises upright it is its upper end.

    Returns:
        False-positive rate "0.00" to "1.00" -> sensitivity; None with one class only or a score that is not finite.
    """
    pair = checked(labels, scores)
    if pair is None:
        return None
    _, hits, false_alarms = cumulated(*pair)
    return _at_rates(hits, false_alarms)


def counted_curves(no: NDArray[np.int64], yes: NDArray[np.int64], table: Table) -> Curves:
    """The curves of scores of which only counts are known.

    Args:
        no, yes: images in each bin of the score, from the lowest up, (bins,).
        table: the reliability table, as ``calibration.table_of`` makes it.

    Returns:
        As one entry of ``curves``. Images in one bin are ties.
    """
    found: Curves = {}
    if no.any() and yes.any():
        hits, false_alarms = (np.cumsum(side[::-1]).astype(np.float64) for side in (yes, no))
        found["roc"] = _at_rates(hits, false_alarms)
    return found | ({"reliability": table} if table else {})


def _at_rates(hits: NDArray[np.float64], false_alarms: NDArray[np.float64]) -> dict[str, float]:
    """True and false positives from the strictest threshold to the laxest, none of both left out in front."""
    tpr = np.concatenate([[0.0], hits / hits[-1]])
    fpr = np.concatenate([[0.0], false_alarms / false_alarms[-1]])
    after = np.searchsorted(fpr, _RATES, side="right")
    before, after = after - 1, np.minimum(after, len(fpr) - 1)
    run = fpr[after] - fpr[before]
    along = np.divide(_RATES - fpr[before], run, out=np.zeros(len(_RATES)), where=run > 0)
    values = tpr[before] + along * (tpr[after] - tpr[before])
    return {rate: float(value) for rate, value in zip(FALSE_POSITIVE_RATES, values, strict=True)}
