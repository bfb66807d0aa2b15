"""Borders, sizes and grey scales, by hand and by property."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedward.dataset.preparation import preparation_words
from fedward.dataset.prepare import (
    content_box,
    padding,
    resize_image,
    resize_mask,
    resized_spacing,
    standardise,
)
from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content

CLIP = (0.5, 99.5)


@pytest.mark.parametrize("level", [0.0, -1024.0, 37.0])
def test_border_is_cut_on_every_side(level: float) -> None:
    image = np.full((20, 30), level, np.float32)
    image[3:15, 4:29] += np.random.default_rng(0).uniform(50, 200, (12, 25)).astype(np.float32)
    assert content_box(image) == (slice(3, 15), slice(4, 29))


def test_a_letter_in_the_border_does_not_count_and_a_dark_line_inside_stays() -> None:
    image = np.zeros((100, 100), np.float32)
    image[:80] = 90
    image[40] = 0
    image[90, 50:53] = 255
    assert content_box(image) == (slice(0, 80), slice(0, 100))


def test_volume_and_even_image() -> None:
    volume = np.zeros((6, 8, 10), np.float32)
    volume[1:5, 2:7, 3:9] = 5
    assert content_box(volume) == (slice(1, 5), slice(2, 7), slice(3, 9))
    assert content_box(np.full((4, 5), 3, np.float32)) == (slice(0, 4), slice(0, 5))


@given(hnp.arrays(np.float32, (7, 9), elements=st.floats(-1000, 1000, width=32)))
def test_box_is_inside_and_never_empty(image: np.ndarray) -> None:
    assert all(
        0 <= side.start < side.stop <= extent for side, extent in zip(content_box(image), image.shape, strict=True)
    )


@pytest.mark.parametrize("size", [(8, 8), (31, 17)])
def test_resizing_keeps_an_even_image_and_the_mean(size: tuple[int, int]) -> None:
    np.testing.assert_allclose(resize_image(np.full((13, 29), 2.5, np.float32), size), np.full(size, 2.5), rtol=1e-6)
    ramp = np.add.outer(np.arange(40.0), np.arange(40.0)).astype(np.float32)
    assert resize_image(ramp, size).mean() == pytest.approx(ramp.mean(), rel=0.02)
    np.testing.assert_array_equal(resize_image(ramp, (40, 40)), ramp)


def test_volumes_are_resized_too() -> None:
    assert resize_image(np.ones((5, 6, 7), np.float32), (8, 4, 7)).shape == (8, 4, 7)
    assert resize_mask(np.ones((5, 6, 7), np.uint8), (8, 4, 7)).shape == (8, 4, 7)


def test_masks_get_no_new_numbers_and_stay_in_place() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 4:8] = 3
    assert set(np.unique(resize_mask(mask, (11, 5)))) <= {0, 3}
    np.testing.assert_array_equal(resize_mask(mask, (16, 16)), mask.repeat(2, 0).repeat(2, 1))


def test_spacing_grows_as_pixels_get_fewer() -> None:
    assert resized_spacing((0.5, 0.2), (200, 100), (100, 200)) == (1.0, 0.1)
    assert resized_spacing(None, (200, 100), (100, 200)) is None


@given(
    hnp.arrays(np.float32, (6, 6), elements=st.floats(-1000, 1000, width=32)), st.floats(0.5, 50), st.floats(-99, 99)
)
def test_standardised_whatever_the_scanner(image: np.ndarray, gain: float, offset: float) -> None:
    found = standardise(image, CLIP).numpy()
    assert np.isfinite(found).all()
    if image.std() < 1:
        return
    assert found.mean() == pytest.approx(0, abs=1e-4) and found.std() == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(
        standardise(image * np.float32(gain) + np.float32(offset), CLIP).numpy(), found, atol=0.02
    )


def test_an_even_image_becomes_zeros() -> None:
    assert not standardise(np.full((4, 4), 812.0, np.float32), CLIP).numpy().any()


@given(
    st.lists(st.integers(1, 400), min_size=2, max_size=3),
    st.lists(st.integers(1, 96), min_size=3, max_size=3),
    st.lists(st.floats(0.2, 5.0), min_size=3, max_size=3),
    st.booleans(),
)
def test_a_padded_image_keeps_its_shape(shape: list[int], size: list[int], mm: list[float], known: bool) -> None:
    old, new, spacing = tuple(shape), tuple(size[: len(shape)]), tuple(mm[: len(shape)]) if known else None
    added = padding(old, new, spacing)
    assert all(before >= 0 and 0 <= after - before <= 1 for before, after in added)
    whole = [pixels + before + after for pixels, (before, after) in zip(old, added, strict=True)]
    pitch = [n * step / m for n, step, m in zip(whole, spacing or (1.0,) * len(old), new, strict=True)]
    rounding = [0.5 * step / m for step, m in zip(spacing or (1.0,) * len(old), new, strict=True)]
    assert all(abs(one - max(pitch)) <= 2 * max(rounding) + 1e-9 for one in pitch)
    assert any(before == after == 0 for before, after in added), "the longest side needs nothing"


def test_what_is_done_to_an_image_is_said() -> None:
    content = tiny_job_content()
    content["data"] |= {"crop_border": False, "keep_shape": True, "clip_percentiles": [0, 100]}
    content["transforms"] = {"prepare": [{"name": "HistogramNormalized", "args": {"num_bins": 64}}]}
    said = " | ".join(preparation_words(parse(JobSpec, content, where="job")))
    assert "border" not in said and "percentiles" not in said
    assert (
        "resized to 24 × 24 pixels, padded with its darkest value" in said
        and "HistogramNormalized (num_bins = 64)" in said
    )
    plain = " | ".join(preparation_words(parse(JobSpec, tiny_job_content(), where="job")))
    assert "border is cut" in plain and "stretched" in plain and "percentiles 0.5 and 99.5" in plain
