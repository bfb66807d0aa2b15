"""Networks of any kind with made-up patients, for the tests of private training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from fedward.settings import JobSpec, parse, plain
from fedward.training.dp_sgd.patient_gradients import Patient
from fedward.training.losses import Loss, build_loss
from fedward.training.networks import NETWORKS, build_network

Case = tuple[nn.Module, Loss, list[Patient]]
DP = {"noise_multiplier": 1.0, "delta": 1e-3, "clip_norm_l2": 1.0, "patients_per_step": 4.0}


@pytest.fixture
def private_job(tiny_job: JobSpec) -> Callable[..., JobSpec]:
    """``private_job(clip_norm_l2=2.0, training__lr=0.1, …)``: the tiny job under DP-SGD, with other values."""

    def make(**changes: Any) -> JobSpec:
        content = plain(tiny_job)
        content["model"]["args"]["dropout_prob"] = 0.1
        settings = dict(DP)
        for path, value in changes.items():
            section, _, key = path.partition("__")
            if key:
                content[section][key] = value
            else:
                settings[section] = value
        content["privacy"] = {"mechanism": "dp-sgd", "dp_sgd": settings}
        return parse(JobSpec, content, where="test")

    return make


@pytest.fixture
def make_case(private_job: Callable[..., JobSpec]) -> Callable[..., Case]:
    """``make_case("UNet", size=(16, 16), patients=3, images=2, args={…})``: network, its loss, and patients."""

    def make(
        network: str, *, size: tuple[int, ...] = (32, 32), patients: int = 3, images: int = 2, args: Any = None
    ) -> Case:
        content = plain(private_job())
        content["model"] = {"network": network, "args": args or {}}
        content["data"]["size"] = list(size)
        masked = NETWORKS[network].task == "segmentation"
        if masked:
            content["job"]["task"] = "segmentation"
            content["data"] |= {"labels": [], "structures": ["1", "2"]}
            content["training"]["loss"] = {"name": "DiceCELoss"}
        job = parse(JobSpec, content, where="test")
        generator = torch.Generator().manual_seed(3)

        def truth() -> torch.Tensor:
            if masked:
                return torch.randint(0, 3, (images, 1, *size), generator=generator).to(torch.uint8)
            return torch.randint(0, 2, (images, 1), generator=generator).float()

        people = [
            Patient(images=torch.randn(images, 1, *size, generator=generator), truth=truth()) for _ in range(patients)
        ]
        return build_network(job).train(), build_loss(job), people

    return make
