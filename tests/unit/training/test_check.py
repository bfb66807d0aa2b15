"""Faults of a job found without data: each one line that says where and the remedy, and all of them at once."""

import pytest

from fedward.settings import JobSpec, parse, plain, read_job
from fedward.training.check import check_job


def _with(tiny_job: JobSpec, **sections: dict) -> JobSpec:
    content = plain(tiny_job)
    for section, changes in sections.items():
        content[section] |= changes
    return parse(JobSpec, content, where="test")


def test_sound_jobs(tiny_job: JobSpec) -> None:
    assert check_job(tiny_job) == []


@pytest.mark.parametrize("name", ["cxr_classification", "cxr_private", "lung_segmentation", "hippocampus_segmentation"])
def test_the_jobs_that_come_with_fedward(name: str, root) -> None:
    assert check_job(read_job(root / "jobs" / name)) == []


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"model": {"network": "DenseNt121", "args": {}}}, ["model.network: network unknown"]),
        ({"model": {"args": {"norm": "batch"}}}, ["statistics of BatchNorm"]),
        ({"training": {"loss": {"name": "DiceLoss"}}}, ["training.loss.name: loss is not for binary"]),
        (
            {"transforms": {"augment": [{"name": "RandRotate90d", "args": {"spatial_axes": [0, 5]}}]}},
            ["transforms.augment"],
        ),
        (
            {"data": {"size": [24, 30]}, "transforms": {"augment": [{"name": "RandRotate90d", "args": {"prob": 1}}]}},
            ["shape"],
        ),
        ({"model": {"network": "VNet", "args": {}}}, ["network is for segmentation"]),
        ({"data": {"size": [3, 3]}, "model": {"network": "DenseNet121", "args": {}}}, ["fails on an image of [3, 3]"]),
        (
            {"model": {"network": "Nothing", "args": {}}, "training": {"loss": {"name": "No"}}},
            ["model.network", "training.loss.name"],
        ),
        (
            {
                "model": {"network": "Nothing", "args": {}},
                "transforms": {"prepare": [{"name": "Sharpen"}], "augment": [{"name": "RandFlip"}]},
            },
            ["transforms.prepare[0]", "transforms.augment[0]", "model.network"],
        ),
    ],
)
def test_faults(sections: dict, says: list[str], tiny_job: JobSpec) -> None:
    faults = check_job(_with(tiny_job, **sections))
    assert len(faults) == len(says), faults
    for fault, part in zip(faults, says, strict=True):
        assert part in fault and "; " in fault and "\n" not in fault


@pytest.mark.parametrize(("message_mb", "says"), [(0.001, "is smaller than the model"), (1.0, None)])
def test_a_line_is_planned_for_this_model(message_mb: float, says: str | None, tiny_job: JobSpec) -> None:
    content = plain(tiny_job) | {"transport": {"mbit_s": 8.0, "message_mb": message_mb}}
    faults = check_job(parse(JobSpec, content, where="job.toml"))
    assert [says in fault for fault in faults] == ([] if says is None else [True])
