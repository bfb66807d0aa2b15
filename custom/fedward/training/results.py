"""What a trainer hands out: how far it is, what a round gave, and its model's word on each validation image."""

from __future__ import annotations

from dataclasses import dataclass

from fedward.training.dp_sgd.dp_sgd import PrivateRound
from fedward.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a training is: ``step`` of ``steps`` (over all rounds for ``train_alone``) and that step's loss."""

    step: int
    steps: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a round of training gave.

    Attributes:
        weights: the new shared tensors, whole and not as a difference.
        patients, images: in the training split.
        steps: optimizer steps taken.
        loss: mean over the steps, without the FedProx term; under DP-SGD it is not protected and may not leave the
            site (NaN when no step drew anyone).
        seconds: wall time.
        private: what protected the round, or None for plain training.
    """

    weights: Weights
    patients: int
    images: int
    steps: int
    loss: float
    seconds: float
    private: PrivateRound | None = None
