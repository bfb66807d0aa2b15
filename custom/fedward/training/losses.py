"""Build a loss of torch or MONAI by its name, adapted to the job's kind of truth."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import monai.losses
import torch
from torch import Tensor, nn

from fedward.errors import JobError
from fedward.settings import JobSpec

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits, truth) -> a number. Logits are (B, outputs) or (B, outputs, *size). Truth is float (B, labels) for binary
and multilabel, int64 (B,) for multiclass, uint8 (B, 1, *size) of class indices for segmentation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossEntry:
    """Reviewed loss: its class, the kinds of truth that it accepts, and the arguments that Fedward sets for each."""

    make: Callable[..., nn.Module]
    kinds: Mapping[str, dict[str, Any]] = field(default_factory=dict)


_OVERLAP = {"segmentation": {"to_onehot_y": True, "softmax": True}}
_TENSORS = ("weight", "pos_weight")

LOSSES: dict[str, LossEntry] = {
    "BCEWithLogitsLoss": LossEntry(make=nn.BCEWithLogitsLoss, kinds={"binary": {}, "multilabel": {}}),
    "CrossEntropyLoss": LossEntry(make=nn.CrossEntropyLoss, kinds={"multiclass": {}, "segmentation": {}}),
    "FocalLoss": LossEntry(
        make=monai.losses.FocalLoss,
        kinds={
            "binary": {},
            "multilabel": {},
            "multiclass": {"to_onehot_y": True, "use_softmax": True},
            "segmentation": {"to_onehot_y": True, "use_softmax": True},
        },
    ),
    "DiceLoss": LossEntry(make=monai.losses.DiceLoss, kinds=_OVERLAP),
    "DiceCELoss": LossEntry(make=monai.losses.DiceCELoss, kinds=_OVERLAP),
    "DiceFocalLoss": LossEntry(make=monai.losses.DiceFocalLoss, kinds=_OVERLAP),
    "GeneralizedDiceLoss": LossEntry(make=monai.losses.GeneralizedDiceLoss, kinds=_OVERLAP),
    "GeneralizedDiceFocalLoss": LossEntry(make=monai.losses.GeneralizedDiceFocalLoss, kinds=_OVERLAP),
    "TverskyLoss": LossEntry(make=monai.losses.TverskyLoss, kinds=_OVERLAP),
}
"""Loss name -> its entry."""


def kind_of_truth(job: JobSpec) -> str:
    """Return the job's kind of truth: ``binary``, ``multiclass``, ``multilabel`` or ``segmentation``."""
    return "segmentation" if job.job.task == "segmentation" else job.data.target


def example_truth(job: JobSpec) -> Tensor:
    """Return an artificial truth of two images, in the form that the job's loss accepts."""
    makers: dict[str, Callable[[], Tensor]] = {
        "binary": lambda: torch.tensor([[0.0], [1.0]]),
        "multilabel": lambda: torch.eye(2, len(job.data.labels)),
        "multiclass": lambda: torch.tensor([0, 1]),
        "segmentation": lambda: torch.ones((2, 1, *job.data.size), dtype=torch.uint8),
    }
    return makers[kind_of_truth(job)]()


def build_loss(job: JobSpec) -> Loss:
    """Build the job's loss for the job's kind of truth.

    Raises:
        JobError: the loss is unknown or not for this kind of truth, or it does not accept the arguments.
    """
    name, kind = job.training.loss.name, kind_of_truth(job)
    entry = LOSSES.get(name)
    fitting = ", ".join(other for other, its in LOSSES.items() if kind in its.kinds)
    if entry is None:
        near = difflib.get_close_matches(name, LOSSES, n=2, cutoff=0.4)
        remedy = f"did you mean {' or '.join(near)}" if near else f"choose one of {fitting}"
        raise JobError("loss unknown", where="training.loss.name", value=name, remedy=remedy)
    if kind not in entry.kinds:
        raise JobError(
            f"loss is not for {kind}", where="training.loss.name", value=name, remedy=f"choose one of {fitting}"
        )
    args = {k: torch.tensor(v) if k in _TENSORS else v for k, v in job.training.loss.args.items()}
    try:
        loss = entry.make(**{**entry.kinds[kind], **args})
    except Exception as error:  # noqa: BLE001 - MONAI raises many kinds for an argument that does not fit
        what = f"loss {name} cannot be built, {str(error)[:200]}"
        raise JobError(
            what, where="training.loss.args", remedy="see the loss's page in MONAI's documentation"
        ) from None
    return _adapt(loss, kind)


def _adapt(loss: nn.Module, kind: str) -> Loss:
    if isinstance(loss, nn.CrossEntropyLoss) and kind == "segmentation":
        return lambda logits, truth: loss(logits, truth[:, 0].long())
    if isinstance(loss, monai.losses.FocalLoss) and kind == "multiclass":
        return lambda logits, truth: loss(logits, truth[:, None])
    return lambda logits, truth: loss(logits, truth)
