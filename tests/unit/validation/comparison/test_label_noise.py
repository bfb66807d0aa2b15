"""Check the number of labels that look wrong: known numbers swapped, weak models, other scanners."""

import numpy as np
import pytest
from scipy.stats import norm

from fedward.validation.comparison.label_noise import confident_joint, label_noise, predicted_noise
from fedward.validation.predictions import Predictions


def simulated(
    seed: int, *, n: int = 200, auc: float, swapped: float, scale: float = 1.0, shift: float = 0.0, yes: float = 0.45
) -> tuple[np.ndarray, np.ndarray]:
    """Labels, that part of them swapped, and a model's calibrated scores; or their log odds scaled and shifted."""
    rng, apart = np.random.default_rng(seed), norm.ppf(auc) * np.sqrt(2)
    truth = (rng.random(n) < yes).astype(np.int64)
    odds = apart * (rng.normal(size=n) + apart * truth) - apart**2 / 2 + np.log(yes / (1 - yes))
    wrong = np.isin(np.arange(n), rng.permutation(n)[: round(swapped * n)])
    return np.where(wrong, 1 - truth, truth), 1 / (1 + np.exp(-(scale * odds + shift)))


def estimates(**how: float) -> np.ndarray:
    return np.array([label_noise(*simulated(seed, **how)) for seed in range(6)])


def test_confident_joint_by_hand() -> None:
    labels = np.array([1, 1, 1, 0, 0, 0])
    yes = np.array([0.9, 0.8, 0.1, 0.1, 0.2, 0.9])
    # both classes' own images are sure at 0.6 on average; 0.1 labelled yes and 0.9 labelled no are sure of the other
    joint = confident_joint(labels, np.stack([1 - yes, yes], axis=1))
    assert joint == pytest.approx(np.array([[2, 1], [1, 2]]) / 6)


def test_confident_joint_keeps_the_labels_shares_and_leaves_out_whoever_is_unsure() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    yes = np.array([0.0, 0.1, 0.8, 0.5, 0.9, 0.7])
    # sure of no from 0.65 on (mean of 1, 0.9, 0.2, 0.5), of yes from 0.8 on: 0.5 and 0.7 count for neither
    joint = confident_joint(labels, np.stack([1 - yes, yes], axis=1))
    assert joint == pytest.approx(np.array([[2 / 3 * 4, 1 / 3 * 4], [0, 2]]) / 6)


@pytest.mark.parametrize("auc", [0.95, 0.99])
def test_a_fifth_of_the_labels_swapped_is_found(auc: float) -> None:
    assert estimates(auc=auc, swapped=0.2).mean() == pytest.approx(0.2, abs=0.05)
    assert estimates(auc=auc, swapped=0.0).max() < 0.05


def test_more_swapped_labels_give_more() -> None:
    means = [estimates(auc=0.95, swapped=part).mean() for part in (0.0, 0.1, 0.2, 0.3)]
    assert means == sorted(means)


def test_confident_learning_alone_takes_a_weak_model_for_wrong_labels() -> None:
    alone = []
    for seed in range(6):
        labels, scores = simulated(seed, auc=0.8, swapped=0.0)
        alone.append(1 - np.trace(confident_joint(labels, np.stack([1 - scores, scores], axis=1))))
    assert np.mean(alone) > 0.15
    assert estimates(auc=0.8, swapped=0.0).mean() < 0.05


@pytest.mark.parametrize(("scale", "shift"), [(0.5, 0.0), (1.0, 2.0), (1.0, -2.0), (2.0, 1.0)])
def test_scores_moved_by_another_scanner_are_no_noise(scale: float, shift: float) -> None:
    assert estimates(auc=0.9, swapped=0.0, scale=scale, shift=shift).mean() < 0.06
    assert estimates(auc=0.95, swapped=0.2, scale=scale, shift=shift).mean() > 0.12


@pytest.mark.parametrize("scores", [[0.5] * 20, [0.0] * 10 + [1.0] * 10, [1.0] * 10 + [0.0] * 10])
def test_even_and_extreme_scores_have_an_estimate(scores: list[float]) -> None:
    found = label_noise([0] * 10 + [1] * 10, scores)
    assert found is not None and 0 <= found <= 0.5


def test_perfect_scores_have_no_noise() -> None:
    assert label_noise([0] * 10 + [1] * 10, [0.0] * 10 + [1.0] * 10) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(
    ("labels", "scores"),
    [
        ([0] * 20, [0.5] * 20),
        ([0] * 16 + [1] * 4, [0.5] * 20),
        ([], []),
        ([0, 1] * 10, [0.5] * 19 + [np.nan]),
        ([0, 1] * 10, [0.5] * 19 + [1.5]),
    ],
)
def test_no_estimate(labels: list[int], scores: list[float]) -> None:
    assert label_noise(labels, scores) is None


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="of one length"):
        label_noise([0, 1], [0.5])


def predictions(labels: np.ndarray, scores: np.ndarray) -> Predictions:
    names = tuple(map(str, range(len(labels))))
    return Predictions(patients=names, images=names, scores=scores, labels=labels, loss=0.0)


def test_several_labels_give_the_mean_of_those_that_have_an_estimate() -> None:
    labels, scores = simulated(0, auc=0.95, swapped=0.2)
    clean, sure = simulated(1, auc=0.99, swapped=0.0)
    none = np.zeros_like(labels)
    found = predicted_noise(predictions(np.stack([labels, clean, none], 1), np.stack([scores, sure, scores], 1)))
    assert found == pytest.approx((label_noise(labels, scores) + label_noise(clean, sure)) / 2)
    assert predicted_noise(predictions(none[:, np.newaxis], scores[:, np.newaxis])) is None


def test_an_image_in_a_wrong_class_counts_once() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 60)
    odds = rng.normal(0, 1.5, (180, 3))
    odds[np.arange(180), truth] += 6
    scores = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    given = truth.copy()
    wrong = rng.permutation(180)[:36]
    given[wrong] = (truth[wrong] + 1) % 3
    assert predicted_noise(predictions(given, scores)) == pytest.approx(0.2, abs=0.06)
    assert predicted_noise(predictions(truth, scores)) == pytest.approx(0.0, abs=0.03)
