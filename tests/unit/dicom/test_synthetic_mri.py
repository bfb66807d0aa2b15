"""Synthetic heads: the same files twice, a tumour in about a third of the slices, and masks that the index places."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedward.dataset.load import load_image, load_mask
from fedward.dicom.synthetic.head import draw_head
from fedward.dicom.synthetic.mri import MR_HOSPITALS, write_mri
from fedward.errors import CohortError
from fedward.indexing.index import index_cohort
from tests.support.images.dicom_files import site

SMALL = tuple(replace(one, patients=2, shape=(6, 24, 20)) for one in MR_HOSPITALS[:2])


def test_the_same_arguments_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_mri(tmp_path / name, structures=["Tumour"], hospitals=SMALL)
    files = [sorted((tmp_path / name).rglob("*.dcm")) for name in ("a", "b")]
    assert len(files[0]) == 2 * 2 * (2 * 6 + 1)
    for one, other in zip(*files, strict=True):
        assert one.relative_to(tmp_path / "a") == other.relative_to(tmp_path / "b")
        assert one.read_bytes() == other.read_bytes()


def test_a_tumour_is_in_about_a_third_of_the_slices_and_its_core_is_in_it() -> None:
    shares, cores = [], 0
    for seed in range(40):
        rim, core = draw_head(np.random.default_rng(seed), shape=(20, 64, 64), ill=True).masks(2)
        assert not (rim & core).any()
        cores += bool(core.any())
        shares.append(float((rim | core).any(axis=(1, 2)).mean()))
    assert 0.25 < np.mean(shares) < 0.45
    assert cores >= 30  # a few tumours have none
    assert not draw_head(np.random.default_rng(0), shape=(20, 64, 64), ill=False).masks(1)[0].any()


@pytest.mark.parametrize("volumes", [False, True])
def test_the_index_places_each_mask_on_its_images(tmp_path: Path, volumes: bool) -> None:
    write_mri(tmp_path / "out", structures=["rim", "core"], hospitals=SMALL[:1])
    folder = tmp_path / "out" / SMALL[0].site
    rules = {"t1": "*T1*", "flair": "*FLAIR*"}
    policy = site(tmp_path, images=folder / "dicom", masks=folder / "seg", sequences=rules, volumes=volumes)
    manifest = index_cohort(policy, "chest", workers=0)
    assert manifest.quarantined == 0
    flair = [row for row in manifest.rows if row.sequence == "flair"]
    assert len(flair) == (2 if volumes else 12)
    assert len(manifest.rows) == 2 * len(flair)
    for row in flair:
        image, mask = load_image(row, folder / "dicom").pixels, load_mask(row, folder / "seg", ["rim", "core"])
        assert mask.shape == image.shape == row.shape
        if mask.any() and volumes:
            assert image[mask > 0].mean() > image[mask == 0].mean()  # a tumour is bright in FLAIR


def test_three_structures_and_a_folder_that_is_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="one structure or two"):
        write_mri(tmp_path, structures=["1", "2", "3"])
    write_mri(tmp_path, structures=["1"], hospitals=SMALL[:1])
    with pytest.raises(CohortError, match="already there"):
        write_mri(tmp_path, structures=["1"], hospitals=SMALL[:1])
