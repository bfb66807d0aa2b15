"""Dice and surface distance: hand-worked squares, SciPy's distances, and structures that are not there."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_dice
from scipy import ndimage
from scipy.spatial.distance import cdist

from fedward.validation.bootstrap import mean_interval
from fedward.validation.overlap import dices_of, overlaps, patient_dices
from fedward.validation.segmentation import MaskScorer, hd95_mm

MASKS = hnp.arrays(np.uint8, (2, 6, 7), elements=st.integers(0, 2))


def _square(top: int, left: int, side: int, number: int = 1, size: int = 16) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[top : top + side, left : left + side] = number
    return mask


@given(MASKS, MASKS)
def test_dice_of_one_image_is_monais(predicted: np.ndarray, truth: np.ndarray) -> None:
    def one_hot(masks: np.ndarray) -> torch.Tensor:
        return torch.stack([torch.from_numpy(masks == number) for number in (1, 2)], dim=1).float()

    found = dices_of(overlaps(predicted, truth, structures=2))
    expected = compute_dice(one_hot(predicted), one_hot(truth), include_background=True)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6)


@given(hnp.arrays(np.uint8, (7, 3, 4), elements=st.integers(0, 2)), hnp.arrays(np.uint8, (7, 3, 4)), st.data())
def test_dice_of_a_patient_is_monais_of_one_volume(
    predicted: np.ndarray, drawn: np.ndarray, data: st.DataObject
) -> None:
    truth = drawn % 3
    patients = data.draw(st.lists(st.sampled_from("abc"), min_size=7, max_size=7))
    found = patient_dices(overlaps(predicted, truth, structures=2), patients)
    for row, patient in zip(found, sorted(set(patients)), strict=True):
        own = [place for place, name in enumerate(patients) if name == patient]
        volumes = [torch.from_numpy(masks[own]) for masks in (predicted, truth)]
        pair = [torch.stack([volume == number for number in (1, 2)])[None].float() for volume in volumes]
        np.testing.assert_allclose(row, compute_dice(*pair, include_background=True)[0].numpy(), rtol=1e-6)


def test_what_is_marked_in_the_healthy_counts() -> None:
    """One patient with a lesion on one of three slices, marked on all; of three healthy ones, one is marked."""
    scorer, lesion, empty = MaskScorer(("lesion",)), _square(2, 2, 4), np.zeros((16, 16), np.uint8)
    scorer.add(
        np.stack([lesion, lesion, lesion]),
        np.stack([lesion, empty, empty]),
        spacing_mm=[(1.0, 1.0)] * 3,
        patients=["ill"] * 3,
    )
    scorer.add(
        np.stack([empty, lesion, empty, empty]),
        np.stack([empty] * 4),
        spacing_mm=[(1.0, 1.0)] * 4,
        patients=["b", "b", "c", "d"],
    )
    plain = scorer.scores().plain()
    assert plain["dice"] == pytest.approx(2 * 16 / (48 + 16)), "marks on the slices without a lesion count"
    assert (plain["patients"], plain["dice_patients"], plain["images"]) == (4, 1, 7)
    assert plain["false_positive_rate"] == pytest.approx(1 / 3)
    assert plain["false_positive_ml"] is None, "slices have no volume"


def test_a_volume_that_is_marked_in_the_healthy_is_in_millilitres() -> None:
    scorer = MaskScorer(("lesion",))
    marked, empty = np.ones((1, 4, 5, 10), np.uint8), np.zeros((1, 4, 5, 10), np.uint8)
    scorer.add(marked, empty, spacing_mm=[(2.0, 1.0, 5.0)], patients=["a"])
    scorer.add(empty, empty, spacing_mm=[(2.0, 1.0, 5.0)], patients=["b"])
    plain = scorer.scores().plain()
    assert (plain["dice"], plain["false_positive_rate"]) == (None, 0.5)
    assert plain["false_positive_ml"] == pytest.approx((200 * 10.0 / 1000.0) / 2)


def test_distance_of_shifted_squares_is_in_millimetres() -> None:
    # a 4 by 4 square moved by 3 columns of 0.5 mm: the far edge of each lies 3 columns outside the other
    found = hd95_mm(_square(5, 2, 4), _square(5, 5, 4), (2.0, 0.5), structures=1)
    assert found == pytest.approx([1.5])
    # the same picture turned: 3 rows of 2 mm
    found = hd95_mm(_square(2, 5, 4), _square(5, 5, 4), (2.0, 0.5), structures=1)
    assert found == pytest.approx([6.0])


@pytest.mark.parametrize("shape", [(14, 15), (8, 9, 7)])
def test_distance_beside_scipy(shape: tuple[int, ...]) -> None:
    rng, spacing = np.random.default_rng(len(shape)), (1.5, 0.7, 2.0)[: len(shape)]
    masks = [(ndimage.gaussian_filter(rng.normal(size=shape), 1.5) > 0.05).astype(np.uint8) for _ in range(2)]

    def surface(mask: np.ndarray) -> np.ndarray:
        return np.argwhere(mask & ~ndimage.binary_erosion(mask, border_value=0)) * np.array(spacing)

    between = cdist(surface(masks[0] > 0), surface(masks[1] > 0))
    expected = max(np.percentile(between.min(0), 95), np.percentile(between.min(1), 95))
    assert hd95_mm(*masks, spacing, structures=1) == pytest.approx([expected], rel=1e-5)


def test_what_has_no_surface_has_no_distance() -> None:
    empty, there = np.zeros((8, 8), np.uint8), _square(2, 2, 3, size=8)
    for pair in ((empty, there), (there, empty), (empty, empty)):
        assert np.isnan(hd95_mm(*pair, (1.0, 1.0), structures=1)).all()
    assert np.isnan(hd95_mm(there, there, None, structures=1)).all()
    assert hd95_mm(there, there, (1.0, 1.0), structures=1) == [0.0]


def test_scores_of_two_batches() -> None:
    scorer = MaskScorer(("left", "right"))
    truth = np.stack([_square(1, 1, 4) + _square(8, 8, 4, number=2), _square(1, 1, 4)])
    predicted = np.stack([_square(1, 1, 4) + _square(8, 10, 4, number=2), _square(1, 3, 4)])
    scorer.add(predicted[:1], truth[:1], spacing_mm=[(1.0, 1.0)], patients=["a"], loss=0.5)
    scorer.add(predicted[1:], truth[1:], spacing_mm=[None], patients=["b"], loss=0.3)
    plain = scorer.scores().plain()
    # left: 1 and 2*8/32; right: 2*8/32 once; images: (1 + 0.5)/2 and 0.5
    assert plain["structures"]["left"]["dice"] == pytest.approx(0.75)
    assert plain["structures"]["right"] == {
        "dice": 0.5,
        "dice_low": None,
        "dice_high": None,
        "hd95_mm": pytest.approx(2.0),
        "hd95_mm_low": None,
        "hd95_mm_high": None,
        "patients": 1,
        "hd95_patients": 1,
    }
    assert plain["dice"] == pytest.approx((0.75 + 0.5) / 2)
    assert plain["hd95_mm"] == pytest.approx((0 + 2.0) / 2)
    assert (plain["images"], plain["patients"], plain["loss"]) == (2, 2, pytest.approx(0.4))
    assert (plain["dice_patients"], plain["hd95_patients"]) == (2, 1)
    assert plain["dice_low"] == pytest.approx(0.5) and plain["dice_high"] == pytest.approx(0.75)
    json.dumps(plain, allow_nan=False)


def test_five_images_of_one_patient_are_one() -> None:
    scorer = MaskScorer(("lung",))
    there, empty = _square(2, 2, 3, size=8)[None], np.zeros((1, 8, 8), np.uint8)
    for _ in range(5):
        scorer.add(there, there, spacing_mm=[(1.0, 1.0)], patients=["a"])
    scorer.add(there, there, spacing_mm=[None], patients=["b"])
    scorer.add(empty, empty, spacing_mm=[(1.0, 1.0)], patients=["c"])
    plain = scorer.scores().plain()
    assert (plain["patients"], plain["images"], plain["dice_patients"], plain["hd95_patients"]) == (3, 7, 2, 1)


def test_nothing_predicted_is_dice_zero_without_distance() -> None:
    scorer = MaskScorer(("lung",))
    scorer.add(np.zeros((1, 8, 8), np.uint8), _square(2, 2, 3, size=8)[None], spacing_mm=[(1, 1)], patients=["a"])
    plain = scorer.scores().plain()
    assert plain["dice"] == 0.0 and plain["hd95_mm"] is None and "structures" not in plain


def test_the_distances_interval_is_over_patients() -> None:
    scorer, truth = MaskScorer(("lung",)), _square(5, 2, 4)
    shifts = [0, 1, 2, 3, 3, 3]
    predicted = np.stack([_square(5, 2 + shift, 4) for shift in shifts])
    patients = list("abcddd")
    scorer.add(predicted, np.stack([truth] * 6), spacing_mm=[(1.0, 2.0)] * 6, patients=patients)
    plain = scorer.scores().plain()
    expected = mean_interval(np.array([2.0 * shift for shift in shifts]), patients)
    assert plain["hd95_mm"] == pytest.approx(4.0)
    assert (plain["hd95_mm_low"], plain["hd95_mm_high"]) == pytest.approx(expected)
    assert plain["hd95_mm_low"] < 4.0 < plain["hd95_mm_high"]
