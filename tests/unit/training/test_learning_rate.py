"""The learning rate over a job's rounds, against torch's own schedulers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from fedward.settings import Training
from fedward.training.optimizers import COLD, learning_rate

STEPS = 100


def training(**given: Any) -> Training:
    common = {"loss": {"name": "DiceCELoss"}, "optimizer": "SGD", "lr": 0.3, "batch_size": 1, "local_epochs": 1}
    return Training.model_validate(common | given)


def theirs(make: Any) -> list[float]:
    """Rates of 100 steps of a scheduler of torch."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler, rates = make(optimizer), []
    for _ in range(STEPS):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


CASES = {
    "constant": ({}, lambda o: torch.optim.lr_scheduler.ConstantLR(o, factor=1.0)),
    "cosine": ({"lr_schedule": "cosine"}, lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=STEPS)),
    "step": (
        {"lr_schedule": "step", "lr_steps": [0.5, 0.8], "lr_factor": 0.2},
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, milestones=[50, 80], gamma=0.2),
    ),
    "warm-up, then cosine": (
        {"warmup": 0.2, "lr_schedule": "cosine"},
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [
                torch.optim.lr_scheduler.LinearLR(o, start_factor=COLD, total_iters=20),
                torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=80),
            ],
            milestones=[20],
        ),
    ),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter in")  # torch's own SequentialLR gives it
@pytest.mark.parametrize("name", CASES)
def test_a_schedule_is_that_of_torch(name: str) -> None:
    given, make = CASES[name]
    ours = [learning_rate(training(**given), done=step / STEPS) for step in range(STEPS)]
    assert ours == pytest.approx(theirs(make), rel=1e-9)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lr_schedule": "step"}, "lr_steps goes with"),
        ({"lr_steps": [0.5]}, "lr_steps goes with"),
        ({"lr_schedule": "step", "lr_steps": [0.8, 0.5]}, "rising order"),
        ({"warmup": 1.0}, "less than 1"),
    ],
)
def test_a_schedule_that_says_two_things_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        training(**given)
