"""Compute a model's predictions and scores on a site's images, by image for classes and by mask for segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.dataset.images import Images
from fedward.settings import JobSpec
from fedward.training.learner import Learner
from fedward.validation.predictions import Predictions
from fedward.validation.scores import Scores, score_classes, score_labels
from fedward.validation.segmentation import MaskScorer


def predictions_of(job: JobSpec, learner: Learner, weights: Mapping[str, NDArray[Any]], images: Images) -> Predictions:
    """Compute a classification model's scores for each image, in order."""
    patients, names, scores, labels, loss = [], [], [], [], 0.0
    for items, logits, batch_loss in learner.outputs(weights, images):
        multiclass = job.data.target == "multiclass"
        scores.append((logits.softmax(1) if multiclass else logits.sigmoid()).double().numpy())
        labels.append(np.stack([item["truth"].numpy() for item in items]).astype(np.int64))
        patients += [item["patient"] for item in items]
        names += [item["image_id"] for item in items]
        loss += batch_loss
    return Predictions(
        patients=tuple(patients),
        images=tuple(names),
        scores=np.concatenate(scores),
        labels=np.concatenate(labels),
        loss=loss / len(names),
    )


def scores_of(job: JobSpec, found: Predictions) -> Scores:
    """Compute a classification model's metrics from its scores."""
    score, names = score_labels, job.data.labels
    if job.data.target == "multiclass":
        score, names = score_classes, job.data.classes
    return score(found.labels, found.scores, names=names, patients=found.patients, loss=found.loss)


def masks_of(job: JobSpec, learner: Learner, weights: Mapping[str, NDArray[Any]], images: Images) -> MaskScorer:
    """Score a segmentation model's masks, image by image in order."""
    scorer = MaskScorer(job.data.structures)
    for items, logits, loss in learner.outputs(weights, images):
        scorer.add(
            logits.argmax(1).numpy().astype(np.uint8),
            np.stack([np.asarray(item["mask"])[0] for item in items]),
            spacing_mm=[item["spacing_mm"] for item in items],
            patients=[item["patient"] for item in items],
            loss=loss,
        )
    return scorer
