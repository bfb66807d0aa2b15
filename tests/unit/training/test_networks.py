"""Each network of the table built and run; what is refused; what is exchanged; weights that follow from the seed."""

import numpy as np
import pytest
import torch
from torch import nn

from fedward.errors import JobError
from fedward.settings import JobSpec, parse, plain
from fedward.training.check import check_job
from fedward.training.networks import NETWORKS, build_network, initial_weights, shared_keys

QUICK_IN_3D = ("Classifier", "resnet10", "ViT", "SegResNet", "UNet", "BasicUNet", "UNETR", "AttentionUnet")


def job_for(tiny_job: JobSpec, network: str, size: tuple[int, ...] = (32, 32), **model: object) -> JobSpec:
    content = plain(tiny_job)
    content["model"] = {"network": network, **model}
    content["data"]["size"] = list(size)
    if network in NETWORKS and NETWORKS[network].task == "segmentation":
        content["job"]["task"] = "segmentation"
        content["data"] |= {"labels": [], "structures": ["1", "2"]}
        content["training"]["loss"] = {"name": "DiceCELoss"}
    return parse(JobSpec, content, where="test")


def _batch_norms(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


@pytest.mark.parametrize("name", NETWORKS)
def test_two_dimensions_forward_and_backward(name: str, tiny_job: JobSpec) -> None:
    assert check_job(job_for(tiny_job, name)) == []


@pytest.mark.parametrize("name", QUICK_IN_3D)
def test_three_dimensions_forward_and_backward(name: str, tiny_job: JobSpec) -> None:
    assert check_job(job_for(tiny_job, name, (16, 32, 16))) == []


@pytest.mark.parametrize("name", ["DenseNet121", "resnet18", "SEResNet50", "EfficientNetBN", "SegResNetDS", "VNet"])
def test_nothing_keeps_statistics_unless_the_job_says_so(name: str, tiny_job: JobSpec) -> None:
    network = build_network(job_for(tiny_job, name))
    assert not _batch_norms(network)
    groups = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
    assert groups and all(module.num_channels % module.num_groups == 0 for module in groups)
    assert not any("running" in key for key in network.state_dict())
    assert _batch_norms(build_network(job_for(tiny_job, name, batch_norm="average")))


def test_batch_norm_that_is_asked_for_without_saying_how_is_refused(tiny_job: JobSpec) -> None:
    for name in ("DenseNet121", "resnet10"):
        with pytest.raises(JobError, match=r'would be averaged.*leave out model\.args\.norm.*"local" or "average"'):
            build_network(job_for(tiny_job, name, args={"norm": "batch"}))
    # MONAI's ResNet gives its norm to the first layer only: the others' BatchNorm must not slip through
    with pytest.raises(JobError, match="would be averaged"):
        build_network(job_for(tiny_job, "resnet10", args={"norm": ["instance", {"affine": True}]}))


def test_what_is_exchanged(tiny_job: JobSpec) -> None:
    job = job_for(tiny_job, "DenseNet121")
    network = build_network(job)
    assert shared_keys(network, job) == tuple(sorted(network.state_dict()))

    local = job_for(tiny_job, "SEResNet50", batch_norm="local")
    network = build_network(local)
    norms = {name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    own = {key for key in network.state_dict() if key.rpartition(".")[0] in norms}
    assert own and set(shared_keys(network, local)) == set(network.state_dict()) - own

    average = job_for(tiny_job, "SEResNet50", batch_norm="average")
    shared = shared_keys(build_network(average), average)
    assert any(key.endswith("running_var") for key in shared)
    assert not any(key.endswith("num_batches_tracked") for key in shared)


def test_index_tables_stay_at_the_site(tiny_job: JobSpec) -> None:
    job = job_for(tiny_job, "SwinUNETR")
    network = build_network(job)
    left = set(network.state_dict()) - set(shared_keys(network, job))
    assert left and all("relative_position_index" in key for key in left)


@pytest.mark.parametrize(
    ("network", "model", "says"),
    [
        ("DenseNet12", {}, "network unknown: 'DenseNet12'; did you mean DenseNet"),
        ("Qqqq", {}, "choose one of DenseNet"),
        ("DenseNet121", {"args": {"growth": 3}}, "no such argument: 'growth'; did you mean"),
        ("BasicUNet", {"args": {"feature": [8]}}, "no such argument: 'feature'; did you mean features"),
        ("DenseNet", {"args": {"out_channels": 3}}, "derived from the job's data: 'out_channels'; leave it out"),
        ("resnet10", {"args": {"pretrained": True}}, "not for jobs: 'pretrained'"),
        ("DenseNet", {"args": {"block_config": "many"}}, "cannot be built"),
        ("resnet10", {"args": {"no_such": 1}}, "no such argument: 'no_such'"),
    ],
)
def test_refused(network: str, model: dict, says: str, tiny_job: JobSpec) -> None:
    with pytest.raises(JobError) as caught:
        build_network(job_for(tiny_job, network, **model))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_network_of_the_other_task(tiny_job: JobSpec) -> None:
    content = plain(tiny_job)
    content["model"] = {"network": "BasicUNet"}
    with pytest.raises(JobError, match=r"network is for segmentation: 'BasicUNet'; choose one of DenseNet"):
        build_network(parse(JobSpec, content, where="test"))


def test_initial_weights_follow_from_the_seed_alone(tiny_job: JobSpec) -> None:
    first = initial_weights(tiny_job)
    torch.manual_seed(12345)
    torch.rand(7)
    before = torch.get_rng_state()
    again = initial_weights(tiny_job)
    assert torch.equal(torch.get_rng_state(), before)
    assert list(first) == sorted(first)
    assert all(first[name].tobytes() == again[name].tobytes() for name in first)
    content = plain(tiny_job)
    content["job"]["seed"] += 1
    other = initial_weights(parse(JobSpec, content, where="test"))
    assert any(not np.array_equal(first[name], other[name]) for name in first)
