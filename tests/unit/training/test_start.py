"""A public start: the weights that the job says, in the job's own layout, or one line that says why not."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedward.errors import JobError, SettingsError
from fedward.privacy.policy.canonical_job import job_files, require_job
from fedward.privacy.policy.job_archive import read_folder
from fedward.privacy.policy.job_diff import changes
from fedward.privacy.policy.job_hash import job_hash
from fedward.privacy.policy.job_summary import Here, describe
from fedward.settings import JobSpec, parse, plain, read_job
from fedward.settings.model import LARGEST_START
from fedward.training.networks import initial_weights
from fedward.weights import Weights, save_weights
from tests.support.command_line import typed
from tests.support.starts import job_of, npz, trained


def test_the_start_is_where_every_hospital_begins() -> None:
    due = trained()
    found = initial_weights(job_of(npz(due)))
    assert list(found) == sorted(due)
    for name in due:
        assert found[name].dtype == np.float32 and found[name].flags.writeable
        np.testing.assert_array_equal(found[name], due[name])
    other_seed = plain(job_of(npz(due)))
    other_seed["job"]["seed"] = 8
    again = initial_weights(parse(JobSpec, other_seed, where="test"))
    assert all((again[name] == due[name]).all() for name in due)


def changed(name: str, value: Callable[[np.ndarray], Any]) -> Callable[[Weights], dict[str, Any]]:
    return lambda weights: weights | {name: value(weights[name])}


KERNEL, BIAS = "net.layer_1.conv.unit0.conv.weight", "final.1.bias"


def without(weights: Weights, name: str) -> dict[str, Any]:
    return {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: without(weights, BIAS), f"lacks tensor {BIAS}"),
        (lambda weights: weights | {"more": np.ones(3, np.float32)}, "has another tensor, more"),
        (changed(BIAS, lambda value: value.astype(np.float64)), "is <f8 [(]1,[)] where <f4 [(]1,[)] is due"),
        (changed(BIAS, lambda value: np.ones(2, np.float32)), "is due"),
        (changed(BIAS, lambda value: value * np.nan), f"tensor {BIAS} has a value that is not finite"),
        (changed(BIAS, lambda value: np.array([{"a": 1}], dtype=object)), "is due"),
        (changed(BIAS, lambda value: value * np.float32(np.inf)), "not finite"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(change: Callable[[Weights], dict[str, Any]], words: str) -> None:
    with pytest.raises(JobError, match=words) as refused:
        initial_weights(job_of(npz(change(trained()))))
    assert "model.start" in str(refused.value) and "fedward job start" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_start_that_would_imprint_images_is_refused() -> None:
    weights = trained()
    name = next(name for name, value in weights.items() if value.ndim == 4 and value.shape[0] >= 8)
    with pytest.raises(JobError, match="is all zero"):
        initial_weights(job_of(npz(weights | {name: np.zeros_like(weights[name])})))
    alike = np.broadcast_to(weights[name][:1], weights[name].shape).copy()
    with pytest.raises(JobError, match="near-identical rows"):
        initial_weights(job_of(npz(weights | {name: alike})))


def huge(weights: Weights) -> bytes:
    """Return a file of which one header claims more values than any memory holds."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, value in weights.items():
            one = io.BytesIO()
            shape = (10**13,) if name == BIAS else value.shape
            header = {"descr": value.dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(one, header)
            content = one.getvalue() + value.tobytes()
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", b"no model", pytest.param(npz({})[:-1], id="cut")],
)
def test_bytes_that_are_no_model(content: bytes) -> None:
    with pytest.raises(JobError, match="not a model file"):
        initial_weights(job_of(content))


def test_nothing_is_allocated_for_a_header_that_lies() -> None:
    with pytest.raises(JobError, match="is due"):
        initial_weights(job_of(huge(trained())))


def test_a_compressed_start_is_refused() -> None:
    file = io.BytesIO()
    np.savez_compressed(file, **trained())
    with pytest.raises(JobError, match="not a model file"):
        initial_weights(job_of(file.getvalue()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"start_content": None}, "the job carries the file's content"),
        ({"start_sha256": None}, "start and start_sha256 go together"),
        ({"start": None}, "start and start_sha256 go together"),
        ({"start_sha256": "0" * 64}, "start has the SHA-256"),
        ({"start_content": "AAA="}, "start has the SHA-256"),
        ({"start_content": "A A="}, "is not base64"),
        ({"start_content": "A" * (LARGEST_START * 2)}, "which a job cannot carry"),
        ({"start": "../public.npz"}, "no file beside job.toml"),
    ],
)
def test_a_job_whose_start_is_not_whole_is_no_job(change: dict[str, Any], words: str) -> None:
    content = plain(job_of(npz(trained())))
    content["model"] |= change
    with pytest.raises(SettingsError, match=words):
        parse(JobSpec, content, where="job.json")


def job_folder(folder: Path, *, lines: str, **files: bytes) -> Path:
    folder.mkdir()
    (folder / "job.toml").write_text(
        f"""
job = {{ name = "tiny", task = "classification" }}
federation = {{ rounds = 2, min_sites = 2, round_timeout_s = 60.0 }}
data = {{ cohort = "chest", size = [24, 24], labels = ["lesion"] }}
training = {{ loss = {{ name = "BCEWithLogitsLoss" }}, optimizer = "SGD", lr = 0.1, batch_size = 8, local_steps = 3 }}
privacy = {{ mechanism = "none" }}
[model]
network = "Classifier"
args = {{ channels = [4, 8], strides = [2, 2], norm = ["instance", {{ affine = true }}] }}
{lines}
"""
    )
    for name, content in files.items():
        (folder / f"{name}.npz").write_bytes(content)
    return folder


def test_the_exported_job_carries_the_start(tmp_path: Path) -> None:
    content = npz(trained())
    lines = f'start = "public.npz"\nstart_sha256 = "{hashlib.sha256(content).hexdigest()}"'
    folder = job_folder(tmp_path / "tiny", lines=lines, public=content)
    job, out = read_job(folder), tmp_path / "exported"
    for name, data in job_files(job).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    found = require_job(read_folder(out)).job
    assert found == job and job_hash(found) == job_hash(job)
    assert all((value == trained()[name]).all() for name, value in initial_weights(found).items())
    assert "public weights that the job carries" in describe(job, Here())["network"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('start = "other.npz"\nstart_sha256 = "{sha}"', "cannot be read, No such file"),
        ('start = "public.npz"', "without its hash: .*start_sha256|model.start without its hash"),
        ('start = "public.npz"\nstart_sha256 = "0000"', "another file than the job says"),
        ('start = "public.npz"\nstart_sha256 = "{zeros}"', "another file than the job says"),
        ('start = "public.npz"\nstart_sha256 = "{sha}"\nstart_content = "AAAA"', "start_content is not for job.toml"),
        ('start = "large.npz"\nstart_sha256 = "{sha}"', "which a job cannot carry"),
        ('start = "../tiny/public.npz"\nstart_sha256 = "{sha}"', "no file beside job.toml"),
        ("start = 3", "start"),
    ],
)
def test_a_job_folder_whose_start_is_not_the_one_that_it_names(tmp_path: Path, lines: str, words: str) -> None:
    content = npz(trained())
    lines = lines.format(sha=hashlib.sha256(content).hexdigest(), zeros="0" * 64)
    folder = job_folder(tmp_path / "tiny", lines=lines, public=content, large=bytes(LARGEST_START + 1))
    with pytest.raises(SettingsError, match=words) as refused:
        read_job(folder)
    assert "\n" not in str(refused.value)


def test_a_diff_shows_the_hash_and_not_the_bytes() -> None:
    before, after = job_of(), job_of(npz(trained()))
    fields = {change.field for change in changes(before, after)}
    assert fields == {"model.start", "model.start_sha256"}
    assert job_hash(before) != job_hash(after)


@pytest.mark.parametrize("form", ["pt", "npz"])
def test_a_start_is_written_and_used(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, model, out = trained(), tmp_path / f"model.{form}", tmp_path / "public.npz"
    if form == "pt":
        torch.save({name: torch.from_numpy(value) for name, value in weights.items()}, model)
    else:
        save_weights(weights, model)
    assert typed(monkeypatch, "job", "start", str(model), "--out", str(out)) == 0
    said = capsys.readouterr().out
    folder = job_folder(tmp_path / "tiny", lines=said, public=out.read_bytes())
    found = initial_weights(read_job(folder))
    assert all((found[name] == weights[name]).all() for name in weights)
    assert typed(monkeypatch, "job", "start", str(model), "--out", str(out)) == 1
    assert "is there already" in capsys.readouterr().err
