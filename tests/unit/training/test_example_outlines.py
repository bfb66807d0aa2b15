"""The images that a hospital looks at itself: with the lowest, middle and highest Dice of the model it was sent."""

from __future__ import annotations

import numpy as np
import pytest

from fedward.settings import JobSpec, parse
from fedward.training.networks import initial_weights
from fedward.training.trainer import Trainer
from fedward.validation.overlap import dices_of, overlaps
from tests.conftest import tiny_job_content


@pytest.fixture
def masked() -> JobSpec:
    content = tiny_job_content()
    content["job"]["task"] = "segmentation"
    content["data"] = {"cohort": "chest", "size": [16, 16], "structures": ["square", "line"]}
    content["model"] = {"network": "UNet", "args": {"channels": [8, 16], "strides": [2]}}
    content["training"]["loss"] = {"name": "DiceCELoss"}
    return parse(JobSpec, content, where="test")


def test_masks_and_dice_are_those_of_the_model_that_was_validated(masked: JobSpec, make_cohort) -> None:
    trainer, weights = Trainer(masked, [make_cohort(16, masks_too=True)], site="north"), initial_weights(masked)
    assert trainer.outlined(weights) == ()
    scores = trainer.validate(weights).plain()
    found = trainer.outlined(weights)
    assert [one.rank for one in found] == ["worst", "median", "best"]
    assert found[0].dice <= scores["dice"] <= found[-1].dice
    for one in found:
        assert one.image.shape == one.truth.shape == one.predicted.shape == (16, 16)
        again = dices_of(overlaps(one.predicted[np.newaxis], one.truth[np.newaxis].astype(np.uint8), structures=2))
        assert np.nanmean(again) == pytest.approx(one.dice, abs=1e-6)


def test_a_classification_has_none(tiny_job: JobSpec, make_cohort) -> None:
    trainer, weights = Trainer(tiny_job, [make_cohort(16)], site="north"), initial_weights(tiny_job)
    trainer.validate(weights)
    assert trainer.outlined(weights) == ()
