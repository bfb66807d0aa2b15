"""Estimate the share of a hospital's own labels that are wrong, from a model that was not trained on those images.

Confident learning (Northcutt, Jiang and Chuang 2021, JAIR 70, section 3) counts the images whose label contradicts a
confident prediction. It trusts the model: a model that is weak, or that sees another scanner's images, contradicts many
correct labels, and at an AUC of 0.8 the count gives 20 % even if no label is wrong. So the count is an upper bound. Two
fits of the scores estimate the part of it that a weak ranking does not explain:

- flat tails: towards the highest scores a weak model finds fewer and fewer negatives, but labels swapped at random stay
  wrong at the same rate for any confidence. The probability of yes as a function of the score is a logistic curve
  between two levels that need not be 0 and 1 (Menon et al. 2015, ICML);
- two clumps: if the scores alone form two groups, a label of the other group is swapped; a weak model's scores overlap
  and form no groups. The fit is two normal distributions, each with the rate at which its label is swapped.

Shifted scores change neither fit, and their steepness does not change the second. The estimate is the mean of the two
fits. On simulated scores of 80 images with 20 % of the labels swapped it is 0.15 ± 0.07 with a model of AUC 0.95, 0.12
± 0.07 with one of 0.9 and 0.08 ± 0.07 with one of 0.8; with none swapped 0.01 to 0.02: it is too low rather than too
high. Wrong labels look the same as patients whose disease the model cannot see at all (a kind of lesion that no
hospital's data contained) and, in part, as a model that is confident and wrong. Compare it with the other hospitals'
number and the rest of the diagnosis, and look at images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedward.validation.scores import people

if TYPE_CHECKING:
    from fedward.validation.predictions import Predictions

Floats = NDArray[np.float64]

LEAST_OF_EACH = 5
"""Smallest number of patients with a label yes, and of patients without any, for an estimate."""
_STEEPNESS_SD, _OFFSET_SD, _MOST = 0.7, 3.0, 0.49
_LIKE_IMAGES, _RIGHT_IMAGES, _STEPS, _SETTLED = 10.0, 2.0, 200, 1e-6
_SURE = 1e-6


def predicted_noise(predictions: Predictions) -> float | None:
    """Estimate the share of a classification job's validation labels that are wrong, 0 to 1.

    For several yes-or-no labels it is the mean over those with an estimate. For one label of several classes it is the
    share of images in a class that looks wrong: half the sum over classes, each against the rest, which counts such an
    image twice. None without an estimate.
    """
    labels, scores, owners = predictions.labels, predictions.scores, predictions.patients
    if labels.ndim == 1:
        each = [label_noise(labels == index, scores[:, index], owners) for index in range(scores.shape[1])]
        found = [value for value in each if value is not None]
        return min(1.0, sum(found) / 2) if found else None
    columns = ((labels[:, i], scores[:, i]) for i in range(labels.shape[1]))
    found = [value for label, score in columns if (value := label_noise(label, score, owners)) is not None]
    return float(np.mean(found)) if found else None


def label_noise(labels: ArrayLike, scores: ArrayLike, patients: Sequence[str] | None = None) -> float | None:
    """Estimate the share of one yes-or-no label that is wrong.

    Args:
        labels: 0 and 1, (n,), as the hospital wrote them.
        scores: (n,), probability of yes by a model that was not trained on these images.
        patients: patient of each image; None: each image is of a different patient.

    Returns:
        0 to 0.49, or None with fewer than LEAST_OF_EACH patients of either kind or a score that is not a probability.
    """
    truth, score = np.asarray(labels).astype(np.int64), np.asarray(scores, dtype=np.float64)
    if truth.shape != score.shape or truth.ndim != 1:
        raise ValueError(f"labels {truth.shape} and scores {score.shape} must be of one length")
    owners = [str(i) for i in range(len(truth))] if patients is None else patients
    positives = people(owners, truth == 1)
    if min(positives, len(set(owners)) - positives) < LEAST_OF_EACH or not ((score >= 0) & (score <= 1)).all():
        return None
    joint = confident_joint(truth, np.stack([1 - score, score], axis=1))
    clipped = np.clip(score, _SURE, 1 - _SURE)
    odds = np.log(clipped) - np.log1p(-clipped)
    most = 1 - float(np.trace(joint))
    return (min(most, _flat_tails(truth, odds)) + min(most, _two_clumps(truth, odds))) / 2


def confident_joint(labels: NDArray[np.int64], probabilities: Floats) -> Floats:
    """Estimate the joint distribution of given and true label (Northcutt et al. 2021, section 3).

    Args:
        labels: index of the class, (n,), each class at least once.
        probabilities: (n, classes), of a model that was not trained on these images.

    Returns:
        (classes, classes), given by true, sums to 1. A class is possible for an image if its probability is at least
        the mean probability of the images with that label; the image counts for the likeliest possible class. Rows are
        scaled to the labels' shares.
    """
    classes = np.arange(probabilities.shape[1])
    thresholds = np.array([probabilities[labels == index, index].mean() for index in classes])
    sure = probabilities >= thresholds - 1e-12
    counted = sure.any(axis=1)
    found = np.where(sure, probabilities, -1.0).argmax(axis=1)
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (labels[counted], found[counted]), 1.0)
    rows = counts.sum(axis=1, keepdims=True)
    counts = np.where(rows > 0, counts, np.eye(len(classes)))
    shares = np.bincount(labels, minlength=len(classes))[:, np.newaxis] / len(labels)
    joint: Floats = counts / np.maximum(rows, 1.0) * shares
    return joint


def _flat_tails(truth: NDArray[np.int64], z: Floats) -> float:
    """Estimate the share swapped if P(label yes | z) = c + (1 - c - d)·σ(a + b·z), z a score's log odds.

    The fit has the greatest posterior. Priors: c and d, the probabilities that a no and a yes is swapped, are small (a
    Beta(1, 2) law on twice each); b is near 1 and a near 0, because the model was trained to be calibrated.
    """
    from scipy.optimize import minimize

    def curve(at: Any) -> Floats:
        steep: Floats = 1 / (1 + np.exp(-np.clip(at[0] + np.exp(at[1]) * z, -30, 30)))
        return steep

    def surprise(at: Any) -> tuple[float, Floats]:
        true, left = curve(at), 1 - at[2] - at[3]
        yes = np.clip(at[2] + left * true, 1e-9, 1 - 1e-9)
        doubt = 0.5 * (at[0] / _OFFSET_SD) ** 2 + 0.5 * (at[1] / _STEEPNESS_SD) ** 2
        doubt -= np.log1p(-2 * at[2]) + np.log1p(-2 * at[3])
        pull = np.where(truth == 1, -1 / yes, 1 / (1 - yes))
        inner = pull * left * true * (1 - true)
        slope = np.array(
            [
                at[0] / _OFFSET_SD**2 + inner.sum(),
                at[1] / _STEEPNESS_SD**2 + np.exp(at[1]) * (inner * z).sum(),
                2 / (1 - 2 * at[2]) + (pull * (1 - true)).sum(),
                2 / (1 - 2 * at[3]) - (pull * true).sum(),
            ]
        )
        return float(doubt - np.sum(np.where(truth == 1, np.log(yes), np.log1p(-yes)))), slope

    bounds = [(-8.0, 8.0), (-3.0, 3.0), (0.0, _MOST), (0.0, _MOST)]
    starts = ((0.0, 0.0, swapped, swapped) for swapped in (0.02, 0.2))
    fits = (minimize(surprise, start, jac=True, method="L-BFGS-B", bounds=bounds) for start in starts)
    best = min(fits, key=lambda fit: float(fit.fun))
    true, (_, _, wrong_no, wrong_yes) = curve(best.x), best.x
    return float(np.mean((1 - true) * wrong_no + true * wrong_yes))


def _two_clumps(truth: NDArray[np.int64], z: Floats) -> float:
    """Estimate the share swapped if z is normal for no and for yes, each with a separate rate of swapped labels.

    Expectation and maximisation (Dempster et al. 1977) starts once from the labels and once from the scores; the
    likelier fit is used. Each variance is pulled towards the mean of both, and each rate towards 0, as by a few
    additional images.
    """
    by_score = np.where(z > np.quantile(z, 1 - truth.mean()), 0.95, 0.05)
    fits = [_maximised(truth, z, start) for start in (np.where(truth == 1, 0.98, 0.02), by_score)]
    return max(fits)[1]


def _maximised(truth: NDArray[np.int64], z: Floats, yes: Floats) -> tuple[float, float]:
    """Return log likelihood and share swapped, from a first guess (n,) of each image's probability of yes."""
    least = (1e-3 * float(z.std()) + 1e-9) ** 2
    fit = (-np.inf, 0.0)
    for _ in range(_STEPS):
        each = np.stack([1 - yes, yes])
        count = each.sum(axis=1) + 1e-9
        mean = each @ z / count
        squares = (each * (z - mean[:, np.newaxis]) ** 2).sum(axis=1)
        variance = ((squares + _LIKE_IMAGES * squares.sum() / len(z)) / (count + _LIKE_IMAGES) + least)[:, np.newaxis]
        wrong = np.minimum([each[0] @ (truth == 1), each[1] @ (truth == 0)] / (count + _RIGHT_IMAGES), _MOST)
        label = np.stack([np.where(truth == 1, wrong[0], 1 - wrong[0]), np.where(truth == 1, 1 - wrong[1], wrong[1])])
        normal = np.exp(-((z - mean[:, np.newaxis]) ** 2) / (2 * variance)) / np.sqrt(variance)
        chance = count[:, np.newaxis] / len(z) * normal * label + 1e-300
        yes = chance[1] / chance.sum(axis=0)
        likelihood = float(np.log(chance.sum(axis=0)).sum() + _RIGHT_IMAGES * np.log1p(-wrong).sum())
        swapped = float(count @ wrong / len(z)) if mean[1] > mean[0] else _MOST
        before, fit = fit[0], (likelihood, swapped)
        if abs(likelihood - before) < _SETTLED:
            break
    return fit
