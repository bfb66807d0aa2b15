"""Compute a network's output for whole images: at once, or window by window where a job trains on patches."""

from __future__ import annotations

from functools import partial

import torch
from monai.inferers import sliding_window_inference
from torch import nn

from fedward.settings import Data
from fedward.training.networks import predict

WINDOWS = 8
"""Windows that pass through the network together."""


def whole_logits(network: nn.Module, images: torch.Tensor, data: Data) -> torch.Tensor:
    """Return the logits of whole images.

    Windows of ``data.size`` overlap by ``data.patches.overlap``; where they do, their middles count more than their
    edges (Gaussian weights of MONAI's ``sliding_window_inference``).

    Args:
        network: in evaluation mode.
        images: (B, channels, *size), size at least ``data.size`` along each axis.
        data: the job's.

    Returns:
        (B, outputs) or (B, outputs, *size).
    """
    if data.patches is None:
        return predict(network, images)
    found: torch.Tensor = sliding_window_inference(
        images,
        roi_size=data.size,
        sw_batch_size=WINDOWS,
        predictor=partial(predict, network),
        overlap=data.patches.overlap,
        mode="gaussian",
    )
    return found
