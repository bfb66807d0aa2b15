"""The common step: torch's optimizers by another arithmetic, and a file that is the model, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedward.errors import JobError, LedgerIOError
from fedward.settings import JobSpec, parse
from fedward.training.optimizers import build_optimizer, learning_rate
from fedward.training.union import kept_union
from fedward.training.union.kept_union import KeptUnion
from fedward.training.union.union_model import UnionModel, initial_union
from tests.conftest import tiny_job_content

SHAPES = {"a.weight": (7, 5), "b.bias": (11,), "c": ()}


def sum_job(**training: Any) -> JobSpec:
    content = tiny_job_content()
    content["federation"] |= {"rounds": 20, "min_sites": 3, "weighting": "equal"}
    del content["training"]["local_epochs"]
    content["training"] |= {"local_steps": 1, **training}
    dp_sgd = {"noise": "sum", "noise_multiplier": 1.0, "delta": 1e-5, "clip_norm_l2": 1.0, "sampling_rate": 0.1}
    content["privacy"] = {"mechanism": "dp-sgd", "dp_sgd": {**dp_sgd, "patients_per_step": 8.0}}
    content["encryption"] = {}
    return parse(JobSpec, content, where="sum")


def start(seed: int = 0) -> UnionModel:
    rng = np.random.default_rng(seed)
    weights = {name: np.asarray(rng.normal(size=shape), np.float32) for name, shape in SHAPES.items()}
    return initial_union({**weights, "fixed": np.ones(3, np.float32)}, list(SHAPES), base="0" * 64)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize(
    "training",
    [
        {"optimizer": "SGD", "momentum": 0.0},
        {"optimizer": "SGD", "momentum": 0.9, "weight_decay": 0.1},
        {"optimizer": "Adam", "weight_decay": 0.1},
        {"optimizer": "AdamW", "weight_decay": 0.1},
    ],
)
def test_steps_are_torchs(training: dict[str, Any], schedule: str) -> None:
    job = sum_job(lr=0.05, lr_schedule=schedule, **training)
    model, unit = start(), 2.0**-20
    names = sorted(SHAPES)
    parameters = [torch.nn.Parameter(torch.from_numpy(model.weights[name].copy()).double()) for name in names]
    optimizer = build_optimizer(job.training, parameters)
    rng = np.random.default_rng(1)
    for number in range(20):
        units = rng.integers(-(1 << 22), 1 << 22, model.values)
        model = model.step(units, unit=unit, job=job, base=f"{number:064x}")
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(job.training, done=number / 20)
        at = 0
        for parameter in parameters:
            part = units[at : at + parameter.numel()]
            parameter.grad = torch.from_numpy(part * (unit / 8.0)).view_as(parameter)
            at += parameter.numel()
        optimizer.step()
    for name, parameter in zip(names, parameters, strict=True):
        np.testing.assert_allclose(model.weights[name], parameter.detach().numpy(), atol=1e-6)
    assert (model.weights["fixed"] == 1).all() and model.after == 20


def test_the_digest_is_of_all_that_the_next_step_depends_on() -> None:
    job, model = sum_job(), start()
    made = model.step(np.ones(model.values, np.int64), unit=1e-3, job=job, base="1" * 64)
    name = made.trained[0]
    moved = np.nextafter(made.weights[name], np.float32(9))
    others = [
        replace(made, weights={**made.weights, name: moved}),
        replace(made, after=2),
        replace(made, base="2" * 64),
        replace(made, moments={**made.moments, "m": {**made.moments["m"], name: moved}}),
    ]
    assert len({one.digest for one in (model, made, *others)}) == 6
    assert UnionModel.unpacked(made.packed(), like=model).digest == made.digest


@pytest.mark.parametrize("units", [np.ones(3, np.int64), np.ones(47), np.ones((47, 1), np.int64)])
def test_a_sum_that_does_not_fit(units: np.ndarray) -> None:
    with pytest.raises(JobError, match="sum of gradients does not fit"):
        start().step(units, unit=1.0, job=sum_job(), base="")


def test_a_step_to_infinity_is_refused() -> None:
    job = sum_job(optimizer="SGD", momentum=0.0, lr=1e30)
    with pytest.raises(JobError, match="the model is no longer finite"):
        start().step(np.full(47, 1 << 40), unit=1e300, job=job, base="")


def kept(folder: Path, *, run: str = "run") -> KeptUnion:
    return KeptUnion(start(), sum_job(), folder=folder, run=run)


def test_another_process_has_the_model(tmp_path: Path) -> None:
    first = kept(tmp_path)
    for number in range(3):
        before = first.digest
        first.step(np.full(47, number + 1), base=f"{number:064x}")
        assert first.digest != before
    assert kept(tmp_path).digest == first.digest and kept(tmp_path).model.after == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:40] + b"0" + content[41:],
        lambda content: b"",
        lambda content: b"[]\n" + content,
        lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    ],
)
def test_a_file_that_was_changed_is_not_used(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    kept(tmp_path).step(np.ones(47, np.int64), base="1" * 64)
    path = tmp_path / kept_union.UNION_FILE
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(JobError, match="does not verify"):
        kept(tmp_path)


def test_a_file_of_another_run_is_not_used(tmp_path: Path) -> None:
    kept(tmp_path).step(np.ones(47, np.int64), base="1" * 64)
    with pytest.raises(JobError, match="does not verify"):
        kept(tmp_path, run="another")


def test_a_full_disk_leaves_the_model_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    union = kept(tmp_path)
    before = union.digest

    def full(*args: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_union, "write_atomic", full)
    with pytest.raises(LedgerIOError, match="No space left on device"):
        union.step(np.ones(47, np.int64), base="1" * 64)
    assert union.digest == before and union.model.after == 0
