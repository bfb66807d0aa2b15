"""A rare structure is announced where the job does nothing about it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedward.dataset.rarity import rarity_words
from fedward.dataset.selection import Example, select
from fedward.indexing.index import index_cohort
from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content
from tests.support.images.dicom_files import image, pattern, save, segmentation, site


def job(**changes: dict[str, Any]) -> JobSpec:
    content = tiny_job_content()
    content["job"]["task"] = "segmentation"
    content["data"] |= {"structures": ["Tumour"], "labels": [], "size": [16, 16]}
    content["model"] = {"network": "UNet", "args": {}}
    content["training"]["loss"] = {"name": "DiceCELoss"}
    for table, values in changes.items():
        content[table] |= values
    return parse(JobSpec, content, where="rarity")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Example, ...]:
    """One image in four shows the tumour; the masks of the others mark something else."""
    root = tmp_path_factory.mktemp("rare")
    for n in range(40):
        one = image(pattern(n), name=n, patient=f"P{n}")
        save(one, root / "images" / f"{n}.dcm")
        marks = {name: np.zeros((16, 12), dtype=bool) for name in ("Tumour", "Brain")}
        marks["Tumour" if n % 4 == 0 else "Brain"][4:8, 4:8] = True
        save(segmentation([one], marks, omit_empty_frames=False), root / "seg" / f"{n}.dcm")
    manifest = index_cohort(site(root, masks=root / "seg"), "chest", workers=0)
    return select(job(), [manifest], site="north").train


def test_a_rare_structure_is_announced_with_its_share_and_the_remedy(trained: tuple[Example, ...]) -> None:
    words = rarity_words(job(), trained) or ""
    share = sum("tumour" in {name.lower() for name in one.row.structures} for one in trained) / len(trained)
    assert words.startswith(f"{share:.0%} of {len(trained)} training images show a structure of the job")
    assert "training.balanced = true" in words


@pytest.mark.parametrize("change", [{"training": {"balanced": True}}, {"data": {"patches": {"positive": 0.5}}}])
def test_a_job_that_deals_with_it_is_not_warned(change: dict[str, Any], trained: tuple[Example, ...]) -> None:
    assert rarity_words(job(**change), trained) is None


def test_a_common_structure_and_a_private_job(trained: tuple[Example, ...]) -> None:
    assert rarity_words(job(data={"structures": ["Brain"]}), trained) is None
    dp_sgd = {"noise_multiplier": 1.0, "delta": 1e-3, "clip_norm_l2": 1.0, "patients_per_step": 5.0}
    private = rarity_words(job(privacy={"mechanism": "dp-sgd", "dp_sgd": dp_sgd}), trained) or ""
    assert "balanced" not in private
    assert "batch = true" in private
