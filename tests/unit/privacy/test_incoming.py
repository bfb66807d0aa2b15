"""Models that a hospital refuses to train on, and honest ones of every network, which pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fedward.errors import GateError
from fedward.privacy.incoming import MAX_JUMP, check_initial, check_jump, check_traps, identical_rows
from fedward.privacy.outgoing import check_difference, check_tensors
from fedward.settings import JobSpec, parse, plain
from fedward.training.networks import NETWORKS, initial_weights
from fedward.weights import Weights, difference, layout_of

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(2)


def job_for(tiny_job: JobSpec, network: str) -> JobSpec:
    content = plain(tiny_job)
    content["model"] = {"network": network}
    content["data"]["size"] = [32, 32]
    if NETWORKS[network].task == "segmentation":
        content["job"]["task"] = "segmentation"
        content["data"] |= {"labels": [], "structures": ["1", "2"]}
        content["training"]["loss"] = {"name": "DiceCELoss"}
    return parse(JobSpec, content, where="test")


def model() -> Weights:
    rng = np.random.default_rng(0)
    return {
        "a.bias": np.zeros(16, np.float32),
        "a.weight": rng.normal(0, 0.1, (16, 64)).astype(np.float32),
        "b.weight": rng.normal(0, 0.1, (16, 64)).astype(np.float32),
        "c.weight": rng.normal(0, 0.1, (16, 4, 3, 3)).astype(np.float32),
        "norm.bias": np.zeros(16, np.float32),
        "token": np.zeros((1, 1, 16), np.float32),
    }


def imprint(rows: int = 64, inputs: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """The module of Fowl et al. 2022, section 3.1: each row takes the image's mean, biases are quantiles of it."""
    weight = np.full((rows, inputs), 1.0 / inputs, np.float32)
    quantiles = torch.distributions.Normal(0.0, 1.0).icdf(torch.linspace(0.01, 0.99, rows))
    return weight, -quantiles.numpy().astype(np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_honest_initial_weights_of_every_network_pass(name: str, tiny_job: JobSpec) -> None:
    job = job_for(tiny_job, name)
    weights = initial_weights(job)
    check_tensors(weights, layout_of(weights))
    check_initial(weights, initial_weights(job))
    rng = np.random.default_rng(1)
    # after a round nothing is as it was: what initial weights show is then no excuse for the check's own mistakes
    moved = {key: (w + rng.normal(0, 0.01, w.shape)).astype(w.dtype) for key, w in weights.items()}
    for now in (weights, moved):
        check_traps(now, weights)
        check_jump(now, weights)


def test_the_first_round_starts_from_the_jobs_seed() -> None:
    start = model()
    check_initial({name: array.copy() for name, array in start.items()}, start)
    start_moved = {**start, "a.weight": start["a.weight"] + np.float32(1e-4)}
    with pytest.raises(GateError, match=r"a\.weight of the first round does not follow"):
        check_initial(start_moved, start)


def test_a_jump_beyond_the_bound() -> None:
    last = {"w": np.ones(4, np.float32)}  # norm 2: a round may move it by 20
    check_jump({"w": np.array([1 + 19.9, 1, 1, 1], np.float32)}, last)
    far = {"w": np.array([1 + 20.1, 1, 1, 1], np.float32)}
    with pytest.raises(GateError, match=f"20.1 from the last one where at most {MAX_JUMP * 2:.0f} was expected"):
        check_jump(far, last)
    check_jump(far, last, rounds=2)
    check_jump(far, last, noise_l2=1.0)
    with pytest.raises(GateError):
        check_jump(far, last, rounds=-3)
    with pytest.raises(GateError):
        check_jump({"w": np.array([np.nan, 1, 1, 1], np.float32)}, last)


def test_a_zeroed_matrix_is_refused_and_zero_biases_and_tokens_are_not() -> None:
    start = model()
    check_traps(start, start)
    with pytest.raises(GateError, match=r"tensor b\.weight is all zero"):
        check_traps({**start, "b.weight": np.zeros_like(start["b.weight"])}, start)


def test_a_copied_matrix_is_refused() -> None:
    start = model()
    with pytest.raises(GateError, match=r"tensor b\.weight is a copy of a\.weight"):
        check_traps({**start, "b.weight": start["a.weight"].copy()}, start)
    tied = {**start, "b.weight": start["a.weight"]}
    check_traps(tied, tied)


def test_an_imprint_layer_is_refused() -> None:
    weight, bias = imprint()
    start = {"fc.weight": RNG.normal(0, 0.1, weight.shape).astype(np.float32), "fc.bias": bias}
    with pytest.raises(GateError, match=r"tensor fc\.weight has near-identical rows, as a layer that imprints"):
        check_traps({"fc.weight": weight, "fc.bias": bias}, start)
    scaled = weight * RNG.uniform(0.5, 2, (len(weight), 1)).astype(np.float32)
    noisy = scaled * (1 + RNG.normal(0, 0.01, scaled.shape)).astype(np.float32)
    for disguised in (scaled, noisy):
        with pytest.raises(GateError, match="near-identical rows"):
            check_traps({"fc.weight": disguised, "fc.bias": bias}, start)


def test_an_imprint_layer_works_and_the_check_sees_the_layer_that_does() -> None:
    """The attack itself: differences of neighbouring rows' gradients are single images."""
    torch.manual_seed(0)
    images = torch.randn(8, 256) + torch.linspace(-0.3, 0.3, 8)[:, None]
    weight, _ = imprint()
    layer, head = nn.Linear(256, 64), nn.Linear(64, 1)
    edges = torch.linspace(float(images.mean(1).min()) - 0.01, float(images.mean(1).max()), 64)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(-edges)
        head.weight.fill_(1.0)
    head(torch.relu(layer(images))).sum().backward()
    grad_w, grad_b = layer.weight.grad, layer.bias.grad
    bins = (grad_w[:-1] - grad_w[1:]), (grad_b[:-1] - grad_b[1:])
    single = bins[1] == 1
    recovered = bins[0][single] / bins[1][single, None]
    assert len(recovered) >= 4
    assert all(min((one - image).abs().max() for image in images) < 1e-4 for one in recovered)
    assert identical_rows(layer.weight.detach().numpy()) == 1.0


def test_fractions_by_hand() -> None:
    rows = np.eye(16, dtype=np.float32)
    assert identical_rows(rows) == 0.0
    rows[:4] = rows[0]  # 4 of 16 alike: 12 of 240 ordered pairs
    assert identical_rows(rows) == pytest.approx(12 / 240)
    rows[5] = 0
    assert identical_rows(rows) == pytest.approx(12 / 240)
    assert identical_rows(np.ones((4, 100), np.float32)) == 0.0  # too few rows
    assert identical_rows(np.ones((100, 1, 1, 4), np.float32)) == 0.0  # too few inputs
    assert identical_rows(np.ones((2000, 16), np.float32)) == 1.0
    half = np.concatenate([np.ones((1000, 64)), np.random.default_rng(0).normal(size=(1000, 64))])
    assert identical_rows(half) == pytest.approx(0.25, abs=0.08)


@pytest.mark.parametrize("network", ["DenseNet", "ViT", "resnet10", "BasicUNet", "UNet"])
def test_honestly_trained_models_pass_both_doors(network: str, tiny_job: JobSpec) -> None:
    """Real steps at a high learning rate on a problem that can be learnt: the model moves far, and honestly."""
    from fedward.training.networks import build_network, predict, shared_keys

    job = job_for(tiny_job, network)
    torch.manual_seed(0)
    net, start = build_network(job), initial_weights(job)
    images = torch.randn(4, 1, 32, 32)
    images[::2, :, :16] += 2
    target = predict(net, images).detach()
    target = torch.where(target > target.median(), 1.0, 0.0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    last = start
    for _ in range(2):
        for _ in range(6):
            optimizer.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(predict(net, images), target).backward()
            optimizer.step()
        state = net.state_dict()
        now = {name: state[name].numpy().copy() for name in shared_keys(net, job)}
        check_traps(now, start)
        check_jump(now, last)
        check_difference(difference(now, last), last)
        with pytest.raises(GateError):
            check_difference(now, last)
        last = now
