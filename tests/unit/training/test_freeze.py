"""Frozen tensors: constants, in no sum and in no patient's norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fedward.demo.simulate_sum import run_sum
from fedward.errors import JobError
from fedward.privacy.policy.linter import faults
from fedward.training.dp_sgd.dp_sgd import Private
from fedward.training.dp_sgd.gradient_method import choose_method
from fedward.training.dp_sgd.patient_gradients import Patient, one_by_one
from fedward.training.losses import build_loss
from fedward.training.networks import build_network, initial_weights, trained_keys
from fedward.training.trainer import Trainer
from tests.support.starts import job_of, npz, trained


def test_frozen_tensors_are_not_in_the_sum() -> None:
    job = job_of(npz(trained()), freeze=["net.layer_0"])
    everything, due = trained_keys(job_of()), trained_keys(job)
    assert due and set(everything) - set(due) == {name for name in everything if name.startswith("net.layer_0.")}
    network, loss = build_network(job), build_loss(job)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in initial_weights(job).items()})
    rng = torch.Generator().manual_seed(1)
    patients = [
        Patient(images=torch.randn(2, 1, 24, 24, generator=rng), truth=torch.ones(2, 1) * (number % 2))
        for number in range(5)
    ]
    names = [name for name, value in network.named_parameters() if value.requires_grad]
    assert sorted(names) == list(due)
    slow = one_by_one(network, loss, patients, 1.0)
    fast = choose_method(network, loss, job)(network, loss, patients, 1.0)
    assert [part.shape for part in slow.units] == [value.shape for value in network.parameters() if value.requires_grad]
    for one, other in zip(slow.total, fast.total, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_federation_changes_and_sums_all_but_what_is_frozen(make_cohort: Callable[..., Any]) -> None:
    due = trained()
    job = job_of(npz(due), freeze=["net.layer_0", "final.1.bias"])
    private = Private(sampling_rate=0.5, noise_multiplier=1.0)
    sites = {
        site: Trainer(job, [make_cohort(16, site=site)], site=site, private=private)
        for site in ("north", "south", "coast")
    }
    part = sites["north"].union_gradients(due).units
    assert tuple(sorted(part)) == trained_keys(job) and not any(name.startswith("net.layer_0.") for name in part)
    model, rounds = run_sum(job, sites)
    assert len(rounds) == 2 and sorted(model) == sorted(due)
    for name, value in due.items():
        assert (model[name] == value).all() == (name not in part)


@pytest.mark.parametrize(
    ("freeze", "words"),
    [(["net.layer_9"], "no parameter of the network"), (["net", "final"], "no parameter is left to train")],
)
def test_what_cannot_be_frozen(freeze: list[str], words: str) -> None:
    with pytest.raises(JobError, match=words):
        build_network(job_of(freeze=freeze))


def test_a_beginning_is_of_whole_parts() -> None:
    with pytest.raises(JobError, match="no parameter of the network"):
        build_network(job_of(freeze=["net.layer"]))


def test_only_a_sum_can_be_without_a_tensor() -> None:
    (fault,) = [one for one in faults(job_of(noise="site", freeze=["net.layer_0"])) if "freeze" in one]
    assert fault.startswith("model.freeze: only noise for the sum")
    assert not [one for one in faults(job_of(freeze=["net.layer_0"])) if "freeze" in one]
