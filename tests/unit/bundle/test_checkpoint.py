"""A model that was trained elsewhere becomes a start: what was changed is said, and what does not fit is listed."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets.densenet import DenseNet121
from safetensors.torch import save_file

from fedward.bundle.checkpoint import read_checkpoint, some_layers
from fedward.errors import FedwardError, JobError
from fedward.settings import JobSpec, parse, read_job
from fedward.training.networks import initial_weights
from fedward.weights import MODEL_FILE, load_weights, save_weights
from tests.support.command_line import typed
from tests.support.starts import job_of, trained
from tests.unit.training.test_start import job_folder


def tensors() -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in trained().items()}


def saved(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def places(folder: Path) -> dict[str, Path]:
    """One model in every form in which a person has it: the path to give."""
    safe = folder / "model.safetensors"
    save_file(tensors(), safe)
    save_weights(trained(), folder / "model.npz")
    return {
        "state dict": saved(folder / "model.pth", tensors()),
        "training checkpoint": saved(folder / "epoch.pt", {"epoch": 3, "state_dict": tensors(), "optimizer": {}}),
        "on several devices": saved(folder / "parallel.pt", {f"module.{name}": one for name, one in tensors().items()}),
        "bundle": saved(folder / "bundle" / "models" / "model.pt", tensors()).parents[1],
        "result": saved(folder / "result" / "workspace" / MODEL_FILE, tensors()).parents[1],
        "safetensors": safe,
        "numpy": folder / "model.npz",
    }


def test_every_form_of_a_model_gives_the_same_start(tmp_path: Path) -> None:
    due = trained()
    for name, path in places(tmp_path).items():
        found = read_checkpoint(path)
        assert list(found.weights) == sorted(due), name
        for tensor, value in due.items():
            assert found.weights[tensor].tobytes() == value.tobytes(), (name, tensor)
        assert bool(found.done) == (name in ("training checkpoint", "on several devices")), name


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_turned_and_said(tmp_path: Path, kind: torch.dtype) -> None:
    content = {name: value.to(kind) for name, value in tensors().items()} | {"steps": torch.tensor(3)}
    found = read_checkpoint(saved(tmp_path / "m.pt", content))
    assert all(value.dtype == np.float32 for value in found.weights.values())
    for name, value in found.weights.items():
        np.testing.assert_array_equal(value, content[name].float().numpy())
    said = " ".join(found.done)
    assert "left out 1 tensors of whole numbers, such as steps" in said
    assert ("into float32" in said) == (kind is not torch.bfloat16)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("/tmp/fedward-checkpoint-was-run"),)


def test_a_file_that_is_no_model_is_refused_and_nothing_in_it_runs(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.pt", tensors()).read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Evil()))
    (tmp_path / "cut.safetensors").write_bytes(b"\xff" * 20)
    np.savez_compressed(tmp_path / "packed.npz", **trained())
    np.savez(tmp_path / "objects.npz", a=np.array([Evil()], dtype=object))
    (tmp_path / "empty").mkdir()
    bad: list[Path] = [
        saved(tmp_path / "evil.pt", {"a": Evil()}),
        saved(tmp_path / "list.pt", [1, 2]),
        saved(tmp_path / "none.pt", {}),
        saved(tmp_path / "words.pt", {"a": "b"}),
        saved(tmp_path / "sparse.pt", {"a": torch.eye(3).to_sparse()}),
        saved(tmp_path / "whole_numbers.pt", {"a": torch.tensor([1])}),
        saved(tmp_path / "nan.pt", {**tensors(), "a": torch.tensor([float("nan")])}),
        saved(tmp_path / "large.pt", {"a": torch.tensor([1e300], dtype=torch.float64)}),
        *(tmp_path / name for name in ("cut.pt", "pickle.pt", "cut.safetensors", "packed.npz", "objects.npz")),
        *(tmp_path / name for name in ("empty", "absent.pt", "absent.npz", "absent.safetensors")),
    ]
    for path in bad:
        with pytest.raises(FedwardError) as refused:
            read_checkpoint(path)
        assert "\n" not in str(refused.value) and str(path) in str(refused.value)
    assert not Path("/tmp/fedward-checkpoint-was-run").exists()


def densenet(**model: Any) -> JobSpec:
    content = job_of().model_dump(mode="json", exclude_defaults=True)
    content["data"] |= {"size": [32, 32]}
    content["model"] = {"network": "DenseNet121", **model}
    content["privacy"], content["encryption"] = {"mechanism": "none"}, None
    return parse(JobSpec, content, where="test")


def test_plain_monai_weights_of_another_head_and_normalisation_start_the_layers_that_fit(tmp_path: Path) -> None:
    """A DenseNet121 of 14 classes with BatchNorm, as collections give it, for a job of one label."""
    torch.manual_seed(1)
    file = saved(tmp_path / "xray.pt", DenseNet121(spatial_dims=2, in_channels=1, out_channels=14).state_dict())
    found = read_checkpoint(file)
    assert any("whole numbers" in done for done in found.done)
    job = densenet()
    with pytest.raises(JobError) as refused:
        some_layers(found, (), job)
    text = str(refused.value)
    assert "class_layers.out.weight <f4 (14, 1024) where <f4 (1, 1024) is due" in text
    assert "running_mean" in text and "more" in text and "--layers" in text and len(text) < 1500
    start = some_layers(found, ("features",), job)
    assert all(name.startswith("features.") and "running" not in name for name in start.weights)
    save_weights(start.weights, tmp_path / "start.npz")
    data = (tmp_path / "start.npz").read_bytes()
    lines = {"start": "start.npz", "start_sha256": hashlib.sha256(data).hexdigest(), "start_layers": ["features"]}
    spec = densenet(**lines)
    begun = initial_weights(spec.model_copy(update={"model": spec.model.with_start(data)}))
    drawn = initial_weights(job)
    for name, value in begun.items():
        source = start.weights if name.startswith("features.") else drawn
        np.testing.assert_array_equal(value, source[name])


def test_the_command_holds_a_model_to_a_job_and_prints_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = saved(tmp_path / "model.pt", {**tensors(), "final.1.bias": torch.ones(14)})
    plain = job_folder(tmp_path / "plain", lines="")
    out = tmp_path / "public.npz"
    asked = ("job", "start", str(model), "--out", str(out), "--job", str(plain))
    assert typed(monkeypatch, *asked) == 1
    assert "final.1.bias <f4 (14,) where <f4 (1,) is due" in capsys.readouterr().err and not out.exists()
    assert typed(monkeypatch, *asked, "--layers", "nett") == 1
    assert "no tensor of the network" in capsys.readouterr().err
    assert typed(monkeypatch, *asked, "--layers", "net") == 0
    said = capsys.readouterr().out
    assert "tensors of other layers" in said and 'start_layers = ["net"]' in said
    assert all(name.startswith("net.") for name in load_weights(out))
    found = initial_weights(read_job(job_folder(tmp_path / "started", lines=said, public=out.read_bytes())))
    due = trained()
    assert all((found[name] == due[name]).all() for name in due if name.startswith("net."))
    assert typed(monkeypatch, "job", "check", str(tmp_path / "started")) == 0
    assert "of which it takes net; the rest is drawn from seed" in capsys.readouterr().out
