"""What is refused before anything is trained, by the layer's name; what is allowed."""

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
