"""Apply FLARE's own filters, by name, for jobs that request them. They are not differential privacy.

SVTPrivacy adds noise but does not bound its input. PercentilePrivacy adds no noise: an adaptive attack undoes it.
"""

from __future__ import annotations

import numpy as np
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.filters.percentile_privacy import PercentilePrivacy
from nvflare.app_common.filters.svt_privacy import SVTPrivacy

from fedward.errors import GateError, shown
from fedward.weights import Weights

LABEL = "not differential privacy"
"""Label that is shown with each of these filters."""
STOCK_FILTERS = {"SVTPrivacy": SVTPrivacy, "PercentilePrivacy": PercentilePrivacy}


def labelled(name: str) -> str:
    """Return a filter's name as it is shown to people."""
    return f"{name} ({LABEL})"


def apply_stock_filter(name: str, update: Weights, context: FLContext) -> Weights:
    """Apply one of FLARE's filters to an update, with FLARE's own arguments.

    FLARE's filters pass the data on when they decline to work; here that is a refusal.

    Args:
        name: a key of ``STOCK_FILTERS``.
        update: differences; not changed.
        context: context of the task.

    Returns:
        New arrays of the same names, shapes and dtypes.

    Raises:
        GateError: there is no such filter, or it did not filter.
    """
    if name not in STOCK_FILTERS:
        raise GateError(f"filter {shown(name)} is none of FLARE's that are known")
    copy = {tensor: np.array(array) for tensor, array in update.items()}
    dxo = DXO(data_kind=DataKind.WEIGHT_DIFF, data=copy)
    done = STOCK_FILTERS[name]().process_dxo(dxo, Shareable(), context)
    if not isinstance(done, DXO) or done.data_kind != DataKind.WEIGHT_DIFF or set(done.data) != set(update):
        raise GateError(f"filter {labelled(name)} did not filter")
    return {tensor: np.asarray(done.data[tensor], dtype=update[tensor].dtype) for tensor in update}
