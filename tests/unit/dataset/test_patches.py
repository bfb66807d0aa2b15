"""Patches: drawn where asked, of the size asked, put together again, and on the image's own grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fedward.dataset.images import plain_tensors
from fedward.dataset.patches import DrawPatch
from fedward.dataset.prepare import Fit, Standardise
from fedward.settings import Data

DRAWS = 400


def item(shape: tuple[int, ...], *, marked: bool) -> dict[Any, Any]:
    mask = torch.zeros((1, *shape), dtype=torch.uint8)
    if marked:
        mask[(0, *(side // 3 for side in shape))] = 1
    numbers = torch.arange(float(np.prod(shape))).reshape(1, *shape)
    return {"image": numbers, "mask": mask, "patient": "p"}


@pytest.mark.parametrize("positive", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("marked", [False, True])
def test_a_share_of_patches_shows_the_structure(positive: float, marked: bool) -> None:
    draw, whole = DrawPatch((8, 6), positive=positive), item((60, 50), marked=marked)
    draw.set_random_state(seed=1)
    with plain_tensors():
        found = [draw(whole) for _ in range(DRAWS)]
    assert all(one["image"].shape == one["mask"].shape == (1, 8, 6) for one in found)
    shown = float(np.mean([bool(one["mask"].any()) for one in found]))
    anywhere = 8 * 6 / ((60 - 7) * (50 - 5))  # of all places of a patch, those that hold the one marked pixel
    expected = positive + (1 - positive) * anywhere if marked else 0.0
    assert shown == pytest.approx(expected, abs=4 * (0.25 / DRAWS) ** 0.5)


def test_image_and_mask_are_cut_alike_and_a_seed_repeats_the_draws() -> None:
    whole = item((20, 30, 16), marked=True)
    whole["image"] = whole["mask"].float()
    draw = DrawPatch((8, 8, 8), positive=0.5)

    def drawn() -> list[torch.Tensor]:
        draw.set_random_state(seed=3)
        with plain_tensors():
            found = [draw(whole) for _ in range(30)]
        assert all(torch.equal(one["image"], one["mask"].float()) for one in found)
        return [one["image"] for one in found]

    assert all(torch.equal(a, b) for a, b in zip(drawn(), drawn(), strict=True))


@pytest.mark.parametrize("seed", range(40))
def test_an_image_keeps_its_pixels_and_a_mask_finds_back_to_them(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    dims = int(drawn.integers(2, 4))
    shape = tuple(int(side) for side in drawn.integers(3, 40, dims))
    fit = Fit(size=(16,) * dims, crop_border=bool(seed % 2), patches=True)
    pixels, mask = drawn.uniform(1.0, 2.0, shape).astype("f4"), drawn.integers(0, 3, shape).astype(np.uint8)
    placed = fit.place(pixels, None)
    seen, marked = fit.image(pixels, placed), fit.mask(mask, placed)
    assert seen.shape == marked.shape == (1, *(max(16, side) for side in placed.size))
    expected = np.zeros_like(mask)
    expected[placed.box] = mask[placed.box]
    np.testing.assert_array_equal(fit.back(marked.numpy()[0], shape, placed), expected)


def test_resampling_gives_the_spacing_that_was_asked_for() -> None:
    fit = Fit(size=(8, 8, 8), crop_border=False, spacing_mm=(1.0, 1.0, 1.0), patches=True)
    placed = fit.place(np.zeros((10, 20, 30), np.float32), (3.0, 0.5, 1.0))
    assert placed.size == (30, 10, 30)
    assert fit.spacing_after((3.0, 0.5, 1.0), placed) == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="spacing is unknown"):
        fit.place(np.zeros((10, 20, 30), np.float32), None)


def test_sequences_are_scaled_each_by_itself_and_colours_together() -> None:
    image = torch.stack([torch.rand(9, 9) * 10, torch.rand(9, 9) * 1000 + 500])
    apart = Standardise((0.0, 100.0), apart=True)({"image": image})["image"]
    assert torch.allclose(apart.mean((1, 2)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(apart.std((1, 2), correction=0), torch.ones(2), atol=1e-4)
    together = Standardise((0.0, 100.0))({"image": image})["image"]
    assert together[1].mean() > 0.5 > together[0].mean()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"spacing_mm": [1.0, 1.0]}, "spacing_mm goes with patches"),
        ({"spacing_mm": [1.0], "patches": {}}, "spacing_mm has 1 numbers, and size has 2"),
        ({"keep_shape": True, "patches": {}}, "keep_shape has no effect on patches"),
        ({"colour": True, "sequences": ["t1"]}, "colour and sequences"),
        ({"sequences": ["t1", "t1"]}, "sequences names one thing twice"),
    ],
)
def test_settings_that_cannot_go_together_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Data.model_validate({"cohort": "c", "size": [8, 8], **given})
