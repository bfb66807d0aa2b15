"""Check which files are accepted as a model, and that each other file gives an error of one line."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedward.coldstart.fine_tune import save_private
from fedward.coldstart.model import RESULT_MODEL, read_given
from fedward.errors import FedwardError, JobError, SettingsError
from fedward.metrics.events import EVENTS_FILE
from fedward.settings import JOB_FILE, JobSpec, plain
from fedward.training.networks import initial_weights
from fedward.weights import Weights

Change = Callable[[Weights], Any]


def trained(job: JobSpec) -> Weights:
    """As good as trained: other weights than the first."""
    rng = np.random.default_rng(0)
    return {
        name: (array + rng.normal(0, 0.05, array.shape)).astype(array.dtype)
        for name, array in initial_weights(job).items()
    }


def result_folder(folder: Path, job: JobSpec, *, sites: tuple[str, ...] = ("east", "north")) -> Path:
    """A result as FLARE's download leaves it."""
    (folder / "job" / "tiny" / "app" / "config").mkdir(parents=True)
    (folder / "job" / "tiny" / "app" / "config" / JOB_FILE).write_text(json.dumps(plain(job)))
    (folder / "workspace").mkdir()
    events = [{"event": "started", "at": 1.0, "sites": sites}]
    events += [{"event": "admitted", "at": 2.0, "site": site, "support": {}} for site in sites]
    (folder / "workspace" / EVENTS_FILE).write_text("".join(json.dumps(event) + "\n" for event in events))
    save_private(trained(job), folder / RESULT_MODEL)
    return folder


def exported(folder: Path, job: JobSpec) -> Path:
    (folder / "app" / "config").mkdir(parents=True)
    (folder / "app" / "config" / JOB_FILE).write_text(json.dumps(plain(job)))
    return folder


def test_a_file_with_its_job_and_a_result_that_has_both(tmp_path: Path, tiny_job: JobSpec) -> None:
    result, job = result_folder(tmp_path / "result", tiny_job), exported(tmp_path / "job", tiny_job)
    alone, whole = read_given(result / RESULT_MODEL, job), read_given(result, None)
    assert alone.job == whole.job == tiny_job
    assert alone.sha256 == whole.sha256
    assert (alone.took_part, whole.took_part) == (frozenset(), {"east", "north"})
    for name, array in trained(tiny_job).items():
        np.testing.assert_array_equal(alone.weights[name], array)
    assert read_given(result, job).weights.keys() == alone.weights.keys()


def without(weights: Weights) -> Any:
    return {name: weights[name] for name in sorted(weights)[1:]}


def with_value(value: float) -> Change:
    def change(weights: Weights) -> Any:
        name = max(weights, key=lambda name: weights[name].size)
        return {**weights, name: np.full_like(weights[name], value)}

    return change


def one_nan(weights: Weights) -> Any:
    name = sorted(weights)[0]
    array = weights[name].copy()
    array.flat[0] = np.nan
    return {**weights, name: array}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without, "is missing"),
        (lambda weights: {**weights, "extra": np.zeros(2, np.float32)}, "not in the agreed layout"),
        (lambda weights: {name: array.astype(np.float64) for name, array in weights.items()}, "dtype"),
        (lambda weights: {name: np.zeros_like(array) for name, array in weights.items()}, "all zero"),
        (with_value(0.0), "all zero"),
        (with_value(np.inf), "not finite"),
        (one_nan, "not finite"),
    ],
    ids=["missing", "extra", "double", "all zero", "one zero", "infinite", "one nan"],
)
def test_a_damaged_model_is_refused_in_one_line(tmp_path: Path, tiny_job: JobSpec, change: Change, says: str) -> None:
    path = tmp_path / "model.pt"
    save_private(change(trained(tiny_job)), path)
    with pytest.raises(JobError, match=says) as refusal:
        read_given(path, exported(tmp_path / "job", tiny_job))
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_another_network_and_an_untrained_one_are_refused(tmp_path: Path, tiny_job: JobSpec) -> None:
    path, job = tmp_path / "model.pt", exported(tmp_path / "job", tiny_job)
    args = {**tiny_job.model.args, "init_features": 16}
    other = tiny_job.model_copy(update={"model": tiny_job.model.model_copy(update={"args": args})})
    save_private(trained(other), path)
    with pytest.raises(JobError, match="shape"):
        read_given(path, job)
    save_private(initial_weights(tiny_job), path)
    with pytest.raises(JobError, match="never trained"):
        read_given(path, job)


class Trap:
    """Would write a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["pickle", "torch", "text", "empty", "list", "cut", "folder", "absent", "deflated"])
def test_what_is_no_model_is_one_line_and_runs_nothing(tmp_path: Path, tiny_job: JobSpec, form: str) -> None:
    path, sprung = tmp_path / "model.pt", tmp_path / "sprung"
    if form == "pickle":
        path.write_bytes(pickle.dumps({"weight": Trap(sprung)}))
    elif form == "torch":
        torch.save({"weight": Trap(sprung)}, path)
    elif form == "text":
        path.write_text("weights")
    elif form == "empty":
        path.touch()
    elif form == "list":
        torch.save([torch.zeros(2)], path)
    elif form == "cut":
        save_private(trained(tiny_job), path)
        path.write_bytes(path.read_bytes()[:2000])
    elif form == "folder":
        path.mkdir()
    elif form == "deflated":
        save_private(trained(tiny_job), tmp_path / "whole.pt")
        with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as other:
            for entry in whole.namelist():
                other.writestr(entry, whole.read(entry))
    with pytest.raises(FedwardError) as refusal:
        read_given(path, exported(tmp_path / "job", tiny_job))
    assert not sprung.exists()
    assert "\n" not in str(refusal.value)


def test_a_model_whose_job_is_unclear_is_refused(tmp_path: Path, tiny_job: JobSpec) -> None:
    result = result_folder(tmp_path / "result", tiny_job)
    with pytest.raises(SettingsError, match="give --job"):
        read_given(result / RESULT_MODEL, None)
    other = tiny_job.model_copy(update={"job": tiny_job.job.model_copy(update={"seed": 8})})
    with pytest.raises(SettingsError, match="not the job that the result is of"):
        read_given(result, exported(tmp_path / "job", other))
    (result / RESULT_MODEL).unlink()
    with pytest.raises(JobError, match="holds no final model"):
        read_given(result, None)


def test_a_model_that_is_not_whole_is_refused(tmp_path: Path, tiny_job: JobSpec) -> None:
    model = tiny_job.model.model_copy(update={"batch_norm": "local"})
    job = tiny_job.model_copy(update={"model": model})
    path = tmp_path / "model.pt"
    save_private(trained(tiny_job), path)
    with pytest.raises(JobError, match="not whole"):
        read_given(path, exported(tmp_path / "job", job))
