"""Transforms by name: what is refused, what moves with the mask, and what a network gets to see."""

import numpy as np
import pytest
import torch
from monai.data import get_track_meta

from fedward.dataset.images import Images, stack
from fedward.dataset.selection import select
from fedward.dataset.transforms import TRANSFORMS, build_stage
from fedward.errors import CohortError, JobError, StudyError
from fedward.settings import JobSpec, parse, plain

NEEDED = {
    "AdjustContrastd": {"gamma": 1.5},
    "GaussianSmoothd": {"sigma": 0.5},
    "MedianSmoothd": {"radius": 1},
    "RandCoarseDropoutd": {"holes": 2, "spatial_size": 3},
    "RandScaleIntensityd": {"factors": 0.2},
    "RandShiftIntensityd": {"offsets": 0.2},
    "RandStdShiftIntensityd": {"factors": 0.2},
    "ScaleIntensityRanged": {"a_min": 0.0, "a_max": 200.0, "b_min": 0.0, "b_max": 1.0, "clip": True},
    "ScaleIntensityRangePercentilesd": {"lower": 1, "upper": 99, "b_min": 0.0, "b_max": 1.0},
    "ThresholdIntensityd": {"threshold": 0.1},
    "RandAffined": {"rotate_range": [0.3], "translate_range": [2, 2], "padding_mode": "border"},
    "RandRotated": {"range_x": 0.4},
}


def _job(tiny_job: JobSpec, *, masks: bool = False, **stages: list[dict]) -> JobSpec:
    content = plain(tiny_job)
    content["transforms"] = stages
    if masks:
        content["job"]["task"] = "segmentation"
        content["data"] |= {"labels": [], "structures": ["square", "line"]}
    return parse(JobSpec, content, where="test")


def _images(job: JobSpec, cohort, *, training: bool = True) -> Images:
    return Images(job, select(job, [cohort], site="north").train, training=training, site="north")


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("masks", [False, True], ids=["image", "mask"])
def test_every_transform_keeps_shape_and_type(name: str, masks: bool, make_cohort, tiny_job: JobSpec) -> None:
    args = {**NEEDED.get(name, {}), **({"prob": 1.0} if name.startswith("Rand") else {})}
    stage = TRANSFORMS[name].stages[0]
    job = _job(tiny_job, masks=masks, **{stage: [{"name": name, "args": args}]})
    (items,) = _images(job, make_cohort(4, masks_too=True)).batches([np.arange(2)])
    batch = stack(items, "image")
    assert batch.shape == (2, 1, 24, 24) and batch.dtype == torch.float32 and torch.isfinite(batch).all()
    if masks:
        mask = stack(items, "mask")
        assert mask.shape == (2, 1, 24, 24) and mask.dtype == torch.uint8
        assert set(mask.unique().tolist()) <= {0, 1, 2} and mask.any()


@pytest.mark.parametrize("name", [name for name, entry in TRANSFORMS.items() if entry.moves])
def test_the_mask_moves_with_the_image(name: str, make_cohort, tiny_job: JobSpec) -> None:
    augment = [{"name": name, "args": {**NEEDED.get(name, {}), "prob": 1.0}}]
    images = _images(_job(tiny_job, masks=True, augment=augment), make_cohort(8, masks_too=True))
    (items,) = images.batches([np.arange(len(images))])
    for item in items:
        picture, mask = np.asarray(item["image"])[0], np.asarray(item["mask"])[0] > 0
        assert picture[mask].mean() > picture[~mask].mean() + 1.5  # the square is bright where the mask says


@pytest.mark.parametrize(
    ("stage", "component", "says"),
    [
        ("augment", {"name": "RandAfine"}, "transform unknown: 'RandAfine'; did you mean RandAffined"),
        ("augment", {"name": "Lambdad"}, "transform unknown"),
        ("prepare", {"name": "RandFlipd"}, "move it to transforms.augment"),
        ("augment", {"name": "RandFlipd", "args": {"spatial_axes": 1}}, "did you mean spatial_axis"),
        ("augment", {"name": "RandFlipd", "args": {"keys": ["mask"]}}, "keys of RandFlipd is filled in by Fedward"),
        ("augment", {"name": "RandAffined", "args": {"mode": "nearest"}}, "filled in by Fedward"),
        ("augment", {"name": "RandRotated", "args": {"padding_mode": "$print(1)"}}, "is an expression"),
        ("augment", {"name": "RandFlipd", "args": {"_target_": "os.system"}}, "no such argument: '_target_'"),
        ("prepare", {"name": "ScaleIntensityRanged", "args": {"a_min": 0}}, "cannot be built"),
    ],
)
def test_refused(stage: str, component: dict, says: str, tiny_job: JobSpec) -> None:
    with pytest.raises(JobError) as caught:
        build_stage(_job(tiny_job, **{stage: [component]}), stage)
    assert says in str(caught.value) and f"transforms.{stage}[0]" in str(caught.value)


def test_border_is_cut_and_spacing_follows(make_cohort, tiny_job: JobSpec) -> None:
    bare, framed = (_images(tiny_job, make_cohort(4, border=border)) for border in (0, 7))
    ((one,),) = bare.batches([np.array([0])])
    ((other,),) = framed.batches([np.array([0])])
    torch.testing.assert_close(one["image"], other["image"])
    assert one["spacing_mm"] == other["spacing_mm"] == pytest.approx((2.0 * 20 / 24, 1.0))


@pytest.mark.parametrize("crop", [False, True])
def test_a_padded_image_keeps_its_shape_and_its_mask_stays_on_it(crop: bool, make_cohort, tiny_job: JobSpec) -> None:
    """Pixels of 2 by 1 mm: the picture of 20 by 24 is 40 by 24 mm, and gets 8 mm on either side."""
    content = plain(_job(tiny_job, masks=True))
    content["data"] |= {"keep_shape": True, "crop_border": crop}
    job = parse(JobSpec, content, where="test")
    images = _images(job, make_cohort(8, masks_too=True), training=False)
    (items,) = images.batches([np.arange(len(images))])
    for item in items:
        picture, mask = np.asarray(item["image"])[0], np.asarray(item["mask"])[0] > 0
        assert item["spacing_mm"] == pytest.approx((40 / 24, 40 / 24), rel=0.03), "one spacing along both axes"
        assert picture[mask].mean() > picture[~mask].mean() + 1.5
        assert max(np.ptp(picture[:, :4]), np.ptp(picture[:, -4:])) < 1e-5, "what was added is even"


def test_percentiles_clip_as_the_job_says(make_cohort, tiny_job: JobSpec) -> None:
    content = plain(tiny_job)
    content["data"]["clip_percentiles"] = [0, 100]
    free, clipped = (_images(job, make_cohort(4)) for job in (parse(JobSpec, content, where="free"), tiny_job))
    ((one,),), ((other,),) = (images.batches([np.array([0])]) for images in (free, clipped))
    assert float(one["image"].max()) > float(other["image"].max())


RANDOM = [
    {"name": "RandAffined", "args": {"prob": 1.0, "rotate_range": [0.3]}},
    {"name": "RandGaussianNoised", "args": {"prob": 0.5}},
    {"name": "RandCoarseDropoutd", "args": {"prob": 1.0, "holes": 2, "spatial_size": 3}},
]


@pytest.mark.parametrize("cache", [True, False])
def test_draws_follow_from_the_seed_and_the_cache_is_never_changed(cache: bool, make_cohort, tiny_job: JobSpec) -> None:
    content = plain(_job(tiny_job, augment=RANDOM))
    content["data"]["cache"] = cache
    images = _images(parse(JobSpec, content, where="test"), make_cohort())

    def draw(seed: int) -> list[torch.Tensor]:
        images.reseed(seed)
        return [stack(items, "image") for items in images.batches([np.arange(4), np.arange(4)])]

    first, other, again = draw(1), draw(2), draw(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[0], other[0])


def test_validation_images_are_not_augmented_and_metadata_tracking_is_put_back(make_cohort, tiny_job: JobSpec) -> None:
    before = get_track_meta()
    images = _images(_job(tiny_job, augment=RANDOM), make_cohort(), training=False)
    one, other = (stack(items, "image") for items in images.batches([np.arange(3), np.arange(3)]))
    assert torch.equal(one, other)
    assert get_track_meta() == before


@pytest.mark.parametrize("cache", [True, False])
def test_an_image_that_cannot_be_read_any_more_is_one_line(
    cache: bool, make_cohort, tiny_job: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = make_cohort()

    def fail(row: object, root: object) -> None:
        raise StudyError("truncated", "half of it")

    monkeypatch.setattr("fedward.dataset.load.load_image", fail)
    content = plain(tiny_job)
    content["data"]["cache"] = cache
    with pytest.raises(CohortError, match=r"north: an indexed image can no longer be used \(truncated\)"):
        list(_images(parse(JobSpec, content, where="test"), cohort).batches([np.arange(2)]))
