"""Define a trainer's results: its progress, and the weights and numbers of a round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedward.training.dp_sgd.dp_sgd import PrivateRound
from fedward.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a training: ``step`` of ``steps``, of all rounds when training alone, and that step's loss."""

    step: int
    steps: int
    loss: float


def of_all_rounds(report: Callable[[Progress], None], number: int, rounds: int) -> Callable[[Progress], None]:
    """Return a function that reports a step of round ``number`` as one of all rounds."""

    def follow(progress: Progress) -> None:
        step, steps = number * progress.steps + progress.step, rounds * progress.steps
        report(Progress(step=step, steps=steps, loss=progress.loss))

    return follow


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Result of one round of training.

    Attributes:
        weights: the new shared tensors, not their difference.
        patients, images: number in the training split.
        steps: optimizer steps taken.
        loss: mean over the steps, without the FedProx term; under DP-SGD it is not protected and may not leave the
            site (NaN when no step drew a patient).
        seconds: wall time.
        private: DP-SGD parameters of the round, or None for plain training.
    """

    weights: Weights
    patients: int
    images: int
    steps: int
    loss: float
    seconds: float
    private: PrivateRound | None = None
