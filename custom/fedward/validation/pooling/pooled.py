"""Compute one AUC over all hospitals from the sum of their score histograms; no hospital discloses its own.

Each hospital counts its validation images by score, yes and no separately, in bins that all hospitals share. The area
under the ROC curve follows from the counts alone: images in one bin are ties and count half (Hanley and McNeil 1982,
Radiology 143:29-36). It differs from the area of the scores themselves by at most half the share of pairs that tie. The
bins have equal width in arcsin(sqrt(score)): they are narrow near 0 and 1, where a confident model's scores lie.

The 95 % interval:

1. DeLong, DeLong and Clarke-Pearson (1988, Biometrics 44:837-845, section 2): the variances of the placements of the
   positives among the negatives, and of the negatives among the positives, each divided by their number.
2. Images of one patient are not independent: the variance of a sum of m of them is at most m times that of independent
   ones (Cauchy and Schwarz). So each of the two variances is multiplied by the sum over patients of m squared, divided
   by the images. If all patients have the same number of images, this factor is images divided by patients, the largest
   design effect of Kish (1965, Survey Sampling). Obuchowski (1997, Biometrics 53:567-578) estimates the variance that
   this bounds, but needs each patient's placements. The correlation of one patient's positives with the same patient's
   negatives is ignored; it would narrow the interval.
3. The interval is computed on the logit of the area, so that it stays between 0 and 1 (Pepe 2003, chapter 5).

If yes and no are perfectly separated, the variance is 0 and gives no interval. The smaller of the two independent
numbers is then a number of independent pairs that were all won, and the end of the interval is Clopper and Pearson's
(1934, Biometrika 26:404-413).

A hospital's minimum count applies to patients, and counts of images do not give the number of patients. So for each
label the histogram also counts patients, with yes and without, by the tenth of their highest score
(``calibration.of_patients``), and adds up those scores. These numbers add up over hospitals and over tenths. They are
reported as ``patients`` and ``positives``, and as the reliability table.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedward.errors import EncryptionError, JobError
from fedward.privacy.disclosure.categories import RELIABILITY_BINS
from fedward.settings import JobSpec
from fedward.validation.calibration import by_tenth, of_patients, table_of, tenths
from fedward.validation.curves import counted_curves
from fedward.validation.scores import people

if TYPE_CHECKING:
    from fedward.validation.predictions import Predictions

BINS = 500
"""Bins of the score, for each label or class and each truth value."""
_TENTHS = len(RELIABILITY_BINS)
_PEOPLE, _SCORES = slice(BINS + 1, BINS + 1 + _TENTHS), slice(BINS + 1 + _TENTHS, None)
_SIDE = BINS + 1 + 2 * _TENTHS
"""Length of the numbers of one label and truth value: images in each bin, the sum of squares, patients in each tenth of
the score, and the sum of their scores there."""
_STEPS = 10_000
"""Number of parts of 1 in which a patient's score is rounded and summed, as an integer."""
_FORMAT = "fedward score histogram 3"
_DEVIATIONS, _TAIL = 1.959963984540054, 0.025
_NO, _YES = 0, 1
_REMEDY = "let each hospital run the same version on the same job"

Found = dict[str, Any]


def histogram_length(job: JobSpec) -> int:
    """Return the length of ``score_histogram``; 0 for a segmentation, which has no score for each image."""
    names = job.scored_names
    return len(names) * 2 * _SIDE + 2 if names else 0


def histogram_layout(job: JobSpec) -> str:
    """Return the SHA-256, 64 hexadecimal digits, of the numbers' meaning: counts of equal layouts may be added."""
    content = {
        "format": _FORMAT,
        "bins": BINS,
        "scale": "arcsine",
        "target": job.data.target,
        "names": job.scored_names,
        "tenths": _TENTHS,
        "each": "no: bins, sum of squared images of a patient, patients without yes by tenth of their highest score, "
        f"sum of those scores in 1/{_STEPS}; yes: the same, with yes",
        "last": "patients with any yes (multiclass: with any class but the first), patients",
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def score_histogram(job: JobSpec, predictions: Predictions) -> NDArray[np.int64]:
    """Count a site's validation images by score.

    Args:
        job: a classification; several classes count as one label each, against the rest.
        predictions: the model's, with finite scores from 0 to 1.

    Returns:
        int64 (histogram_length(job),): for each label or class (2, _SIDE), "no" first: images in each bin, the sum over
        patients of their images squared, patients without yes (with yes) in each tenth of their highest score, and the
        sum of those scores there in 1 / _STEPS; at last the patients with any yes (multiclass: with an image of any
        class but the first), and all patients. If sites share no patient, the sum of their histograms is the histogram
        of all their patients.

    Raises:
        JobError: the job is a segmentation, the scores have another shape, or a score is not from 0 to 1.
    """
    names = job.scored_names
    if not names:
        raise JobError("a segmentation job has no score histogram", where=job.job.name, remedy="leave it out")
    scores, truth = predictions.scores, predictions.labels
    if job.data.target == "multiclass":
        any_yes = people(predictions.patients, truth != 0)
        truth = (truth[:, np.newaxis] == np.arange(len(names))).astype(np.int64)
    else:
        any_yes = people(predictions.patients, np.any(truth == 1, axis=1))
    if scores.shape != truth.shape or scores.shape[1] != len(names):
        raise JobError("scores are of another shape than the labels", where=job.job.name, value=scores.shape)
    if not np.all((scores >= 0) & (scores <= 1)):
        raise JobError("a score is not 0 to 1", where=job.job.name, remedy="see whether the training diverged")
    places = _places(scores)
    patients, owner = np.unique(np.asarray(predictions.patients), return_inverse=True)
    counts = np.zeros((len(names), 2, _SIDE), dtype=np.int64)
    for label in range(len(names)):
        for value in (_NO, _YES):
            chosen = truth[:, label] == value
            counts[label, value, :BINS] = np.bincount(places[chosen, label], minlength=BINS)
            counts[label, value, BINS] = np.sum(np.bincount(owner[chosen], minlength=len(patients)) ** 2)
        positive, highest = of_patients(truth[:, label] == _YES, scores[:, label], predictions.patients)
        for value, those in ((_NO, ~positive), (_YES, positive)):
            tenth = _tenths()[_places(highest[those])]
            counts[label, value, _PEOPLE] = by_tenth(tenth, np.ones(len(tenth)))
            counts[label, value, _SCORES] = by_tenth(tenth, np.rint(highest[those] * _STEPS))
    return np.concatenate([counts.ravel(), np.array([any_yes, len(patients)], dtype=np.int64)])


def pooled_scores(job: JobSpec, counts: NDArray[np.int64]) -> dict[str, Any]:
    """Compute scores over all patients whose images were counted.

    Args:
        job: the classification of the counts.
        counts: ``score_histogram``, or the sum of several.

    Returns:
        JSON-ready ``auc``, ``auc_low``, ``auc_high`` (None if they cannot be computed: one truth value only, a single
        positive or negative for the interval, or all in one bin), ``patients``, ``images``, ``positives`` (patients
        with yes in an image); ``curves`` of each label, see ``fedward.validation.curves``. With several labels or
        classes ``labels`` has each, without ``images``, and the first three are the means over them, None if one of
        them has none; the mean of the intervals is the widest that they allow, for any correlation of the labels.

    Raises:
        EncryptionError: the numbers cannot come from a histogram: their length is wrong, one is below 0, or the labels
            differ in their number of images or patients.
    """
    names = job.scored_names
    _check(job, counts)
    table = counts[:-2].reshape(len(names), 2, _SIDE)
    any_yes, patients, images = int(counts[-2]), int(counts[-1]), int(table[0, :, :BINS].sum())
    labels = {name: _label(table[number]) for number, name in enumerate(names)}
    reported = {name: _curves(side) for name, side in zip(names, table, strict=True)}
    if len(labels) == 1:
        return {**next(iter(labels.values())), "images": images, "curves": reported}
    means = {name: _mean([label[name] for label in labels.values()]) for name in ("auc", "auc_low", "auc_high")}
    counted = {"patients": patients, "images": images, "positives": any_yes}
    return {**means, **counted, "labels": labels, "curves": reported}


@cache
def bin_edges() -> NDArray[np.float64]:
    """Return the BINS + 1 edges, 0 to 1, read-only: bin k has scores from edge k to below the next, the last also 1."""
    edges: NDArray[np.float64] = np.sin(np.linspace(0, np.pi / 2, BINS + 1)) ** 2
    edges.flags.writeable = False
    return edges


def _places(scores: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the bin of each score."""
    return np.clip(np.searchsorted(bin_edges(), scores, side="right") - 1, 0, BINS - 1)


@cache
def _tenths() -> NDArray[np.intp]:
    """Return for each bin of the score its bin in the reliability table: that of its middle."""
    return tenths((bin_edges()[1:] + bin_edges()[:-1]) / 2)


def _check(job: JobSpec, counts: NDArray[np.int64]) -> None:
    where, length = job.job.name, histogram_length(job)
    if length == 0:
        raise EncryptionError("a segmentation job has no score histogram", where=where, remedy="leave it out")
    if counts.shape != (length,) or counts.dtype != np.int64 or counts.min() < 0:
        raise EncryptionError("not a score histogram of this job", where=where, remedy=_REMEDY)
    table = counts[:-2].reshape(-1, 2, _SIDE)
    images, any_yes, patients = table[:, :, :BINS].sum(axis=(1, 2)), counts[-2], counts[-1]
    if np.any(images != images[0]):
        raise EncryptionError("labels of a score histogram have different images", where=where, remedy=_REMEDY)
    people, scores = table[:, :, _PEOPLE], table[:, :, _SCORES]
    here = np.stack([table[:, :, :BINS][:, :, _tenths() == k].sum(axis=(1, 2)) for k in range(_TENTHS)], axis=1)
    positives = people[:, _YES].sum(axis=1)[int(job.data.target == "multiclass") :]
    whole = np.all(people.sum(axis=(1, 2)) == patients) and np.all(people.sum(axis=1) <= here)
    if not whole or not max(positives, default=0) <= any_yes <= min(patients, positives.sum()):
        raise EncryptionError("patients of a score histogram are not of its images", where=where, remedy=_REMEDY)
    low, high = _reach()
    if np.any(scores < low * people) or np.any(scores > high * people):
        raise EncryptionError("scores of a score histogram are not of its patients", where=where, remedy=_REMEDY)


@cache
def _reach() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lowest and the highest possible score in each tenth, in 1 / _STEPS."""
    edges = [bin_edges()[np.append(_tenths() == k, False)][0] for k in range(_TENTHS)]
    whole = np.array([*edges, 1.0]) * _STEPS
    return np.floor(whole[:-1]).astype(np.int64), np.ceil(whole[1:]).astype(np.int64)


def _curves(table: NDArray[np.int64]) -> Found:
    """Compute one label's curves from its (2, _SIDE) counts."""
    people, positives = table[:, _PEOPLE].sum(axis=0), table[_YES, _PEOPLE]
    reliability = table_of(people, positives, table[:, _SCORES].sum(axis=0) / _STEPS)
    return counted_curves(table[_NO, :BINS], table[_YES, :BINS], reliability)


def _label(table: NDArray[np.int64]) -> Found:
    """Compute one label's AUC, interval and patients from its (2, _SIDE) counts."""
    negative, positive = (side[:BINS].astype(np.float64) for side in (table[_NO], table[_YES]))
    negatives, positives = float(negative.sum()), float(positive.sum())
    people = table[:, _PEOPLE].sum(axis=1)
    counted = {"patients": int(people.sum()), "positives": int(people[_YES])}
    if not negatives or not positives:
        return {"auc": None, "auc_low": None, "auc_high": None, **counted}
    won = (np.cumsum(negative) - negative / 2) / negatives
    lost = (np.cumsum(positive[::-1])[::-1] - positive / 2) / positives
    area = float(np.sum(positive * won) / positives)
    low, high = _interval(
        area,
        variances=(_variance(won, positive, area), _variance(lost, negative, area)),
        independent=(_independent(table[_YES]), _independent(table[_NO])),
    )
    return {"auc": area, "auc_low": low, "auc_high": high, **counted}


def _variance(placements: NDArray[np.float64], counts: NDArray[np.float64], mean: float) -> float | None:
    """Return the variance of one image's placement; None with fewer than two images."""
    total = float(counts.sum())
    return None if total < 2 else float(np.sum(counts * (placements - mean) ** 2) / (total - 1))


def _independent(side: NDArray[np.int64]) -> float:
    """Return the smallest equivalent number of independent images: images divided by the design effect's bound."""
    images, squares = float(side[:BINS].sum()), float(side[BINS])
    return images / max(1.0, squares / images)


def _interval(
    area: float, *, variances: tuple[float | None, float | None], independent: tuple[float, float]
) -> tuple[float | None, float | None]:
    end = _TAIL ** (1 / min(independent))
    if area in (0.0, 1.0):
        return (end, 1.0) if area else (0.0, 1 - end)
    of_positives, of_negatives = variances
    if of_positives is None or of_negatives is None:
        return None, None
    error = np.sqrt(of_positives / independent[0] + of_negatives / independent[1]) / (area * (1 - area))
    if not error:
        return None, None
    middle = np.log(area / (1 - area))
    low, high = (1 / (1 + np.exp(-(middle + sign * _DEVIATIONS * error))) for sign in (-1, 1))
    return float(low), float(high)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
