"""Check the network before training: what is refused, by the layer's name, and what is allowed."""

import pytest
import torch
from torch import nn

from fedward.errors import JobError
from fedward.settings import JobSpec, parse, plain
from fedward.training.check import check_job
from fedward.training.dp_sgd import network_check
from fedward.training.dp_sgd.network_check import check_layers, check_private


def with_model(job: JobSpec, **model: object) -> JobSpec:
    content = plain(job)
    content["model"] = {"network": "Classifier", **model}
    return parse(JobSpec, content, where="test")


NORMS = [["instance", {"affine": True}], ["group", {"num_groups": 4}], "instance"]


@pytest.mark.parametrize("norm", NORMS)
def test_instance_and_group_norm_are_allowed(norm: object, private_job) -> None:
    job = with_model(private_job(), args={"norm": norm, "channels": [8, 8], "strides": [2, 2]})
    assert check_job(job) == []


@pytest.mark.parametrize("choice", ["local", "average"])
def test_batch_norm_is_refused_whatever_becomes_of_its_statistics(choice: str, private_job, tiny_job) -> None:
    job = with_model(private_job(), batch_norm=choice)
    (fault,) = check_job(job)
    assert fault.startswith("model.batch_norm: BatchNorm mixes patients under DP-SGD") and "\n" not in fault
    assert check_job(with_model(tiny_job, batch_norm=choice)) == [], "without DP-SGD it is the job's own affair"


@pytest.mark.parametrize(
    ("norm", "found"),
    [
        (None, False),
        ("instance", False),
        (["group", {"num_groups": 2}], False),
        (["batch", {"track_running_stats": False}], True),
    ],
)
def test_batch_norm_in_a_networks_arguments_is_found_once(norm: object, found: bool, private_job, tiny_job) -> None:
    """BatchNorm without running statistics has nothing that sites would average, and mixes patients all the same."""
    args = {"init_features": 8, "growth_rate": 4, "block_config": [2, 2], "bn_size": 2}
    model = {"network": "DenseNet", "args": args if norm is None else {**args, "norm": norm}}
    lines = check_job(with_model(private_job(), **model))
    assert len(lines) == found
    assert all("BatchNorm2d mixes patients under DP-SGD" in line for line in lines)
    assert check_job(with_model(tiny_job, **model)) == []


def test_a_network_that_cannot_be_built_is_one_fault(private_job) -> None:
    (line,) = check_job(with_model(private_job(), network="NoSuchNet"))
    assert "NoSuchNet" in line and "BatchNorm" not in line


def test_layers_are_named() -> None:
    for layer, says in (
        (nn.BatchNorm2d(4), r"'1\.0'.*|layer BatchNorm2d mixes patients"),
        (nn.BatchNorm2d(4, track_running_stats=False), "layer BatchNorm2d mixes patients"),
        (nn.SyncBatchNorm(4), "layer SyncBatchNorm mixes patients"),
        (nn.InstanceNorm2d(4, track_running_stats=True), "layer InstanceNorm2d keeps statistics of patients"),
    ):
        with pytest.raises(JobError, match=says) as caught:
            check_layers(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(layer)))
        assert "'1.0'" in str(caught.value)
    check_layers(nn.Sequential(nn.InstanceNorm2d(4, affine=True), nn.GroupNorm(2, 4), nn.LayerNorm(4)))


class Mixing(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - images.mean(0)).flatten(1).sum(1, keepdim=True)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen = self.seen + images.abs().mean()
        return images.flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize(("kind", "says"), [(Mixing, "mixes the images of a batch"), (Counting, "a buffer follows")])
def test_what_no_layer_tells_is_found_by_trying(kind: type[nn.Module], says: str, private_job, monkeypatch) -> None:
    monkeypatch.setattr(network_check, "build_network", lambda job: kind())
    with pytest.raises(JobError, match=says):
        check_private(private_job())
