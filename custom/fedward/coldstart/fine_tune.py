"""Fine-tune a consortium's model at one hospital, for that hospital only.

1. Divide the training patients once more: a fifth tunes, the rest trains. No validation patient is used.
2. Train in passes over the training part, from the consortium's weights, at a tenth of the job's learning rate.
3. After each pass, compute the tuning patients' loss and keep the best pass. The start counts as a pass too: a
   fine-tune that does not lower the loss changes nothing.
4. Stop after several passes in a row without a better loss.

It uses no differential privacy: the model may remember a patient and must not leave the hospital. The ledger is not
charged, since nothing leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedward.dataset.images import Images
from fedward.dataset.selection import Example
from fedward.errors import CohortError
from fedward.files import write_atomic
from fedward.settings import JobSpec
from fedward.training.learner import Learner
from fedward.weights import Weights

SLOWER = 0.1
"""Fraction of the job's learning rate for the fine-tune."""
PASSES, PATIENCE = 20, 4
"""Largest number of passes over the training patients, and passes without a better tuning loss before it stops."""
TUNE_EVERY = 5
"""Distance between tuning patients: one in so many training patients tunes."""
FEWEST = 10
"""Smallest number of training patients; with fewer none can be used for tuning, and nothing is trained."""

OnStep = Callable[[int, int, str], None]
"""Called with steps done, largest number of steps, and a progress text; an exception from it stops the training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuned:
    """Result of a fine-tune.

    Attributes:
        weights: weights of the best pass; the consortium's own if ``kept`` is 0.
        passes, kept: number of passes, and the best pass on the tuning patients.
        train_patients, tune_patients: numbers of patients for training and for choosing the pass.
        losses: mean loss of the tuning patients at the start and after each pass.
    """

    weights: Weights
    passes: int
    kept: int
    train_patients: int
    tune_patients: int
    losses: tuple[float, ...]


def fine_tune(
    job: JobSpec, weights: Weights, examples: Sequence[Example], *, site: str, on_step: OnStep = lambda *_: None
) -> FineTuned:
    """Train a model further on a hospital's training patients; see the module.

    Args:
        job: job that gives loss, transforms, optimizer and batch size; its privacy settings are not used.
        weights: weights of the consortium's model.
        examples: training split of the hospital, without any validation patient.
        site: site id, for messages and for the order of the images.
        on_step: called with the progress.

    Raises:
        CohortError: too few training patients, or an image can no longer be read.
        JobError: a loss that is no longer finite.
    """
    train, tune = part(examples)
    local = _local(job)
    learner = Learner(local, site=site)
    images = Images(local, train, training=True, site=site)
    apart = Images(local, tune, training=False, site=site)
    steps = max(1, round(len(train) / local.training.batch_size))
    best, kept, losses = weights, 0, [_loss(learner, weights, apart)]
    current = weights
    for number in range(PASSES):

        def follow(step: int, loss: float, number: int = number) -> None:
            on_step(number * steps + step, PASSES * steps, f"pass {number + 1}, loss {loss:.3f}")

        learner.train(
            current, images, steps=steps, steps_a_pass=steps, round_number=number, on_step=follow, private=None
        )
        current = learner.weights()
        losses.append(_loss(learner, current, apart))
        if losses[-1] < losses[kept]:
            best, kept = current, number + 1
        if number + 1 - kept >= PATIENCE:
            break
    return FineTuned(
        weights=best,
        passes=len(losses) - 1,
        kept=kept,
        train_patients=_patients(train),
        tune_patients=_patients(tune),
        losses=tuple(losses),
    )


def part(examples: Sequence[Example]) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Divide patients into training and tuning: every fifth by pseudonym tunes, which is an arbitrary order.

    Raises:
        CohortError: fewer than ``FEWEST`` patients.
    """
    patients = sorted({example.row.patient for example in examples})
    if len(patients) < FEWEST:
        remedy = f"a fine-tune needs {FEWEST} or more training patients; index more"
        raise CohortError("too few training patients for a fine-tune", remedy=remedy)
    tuning = frozenset(patients[::TUNE_EVERY])
    train = tuple(example for example in examples if example.row.patient not in tuning)
    return train, tuple(example for example in examples if example.row.patient in tuning)


def save_private(weights: Weights, path: Path) -> None:
    """Write a state dict that only the owner can read, mode 0600 from its first byte; whole or not at all."""
    import torch

    state = {name: torch.from_numpy(weights[name].copy()) for name in sorted(weights)}
    write_atomic(path, lambda file: torch.save(state, file), mode=0o600)


def _local(job: JobSpec) -> JobSpec:
    """Return the job for local training: lower constant rate, optimizer kept between passes, no FedProx term."""
    training = job.training.model_copy(
        update={
            "lr": job.training.lr * SLOWER,
            "lr_schedule": "constant",
            "lr_steps": (),
            "warmup": 0.0,
            "fedprox_mu": 0.0,
            "keep_optimizer": True,
            "local_epochs": 1,
            "local_steps": None,
        }
    )
    privacy = job.privacy.model_copy(update={"mechanism": "none", "dp_sgd": None, "update": None})
    return job.model_copy(update={"training": training, "privacy": privacy})


def _loss(learner: Learner, weights: Weights, images: Images) -> float:
    return sum(loss for _, _, loss in learner.outputs(weights, images)) / len(images)


def _patients(examples: Sequence[Example]) -> int:
    return len({example.row.patient for example in examples})
