"""A public start: the weights that the job says, in the job's own layout, or one line that says why not."""

from __future__ import annotations

import hashlib
import io
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedward.errors import JobError, SettingsError
from fedward.privacy.policy.canonical_job import job_files, require_job
from fedward.privacy.policy.job_archive import Contents, read_archive, read_folder
from fedward.privacy.policy.job_diff import changes
from fedward.privacy.policy.job_hash import job_hash
from fedward.privacy.policy.job_summary import Here, describe
from fedward.settings import LARGEST_START, JobSpec, changed_job, parse, plain, read_job, read_sent
from fedward.training.networks import initial_weights
from fedward.weights import Weights, save_weights
from tests.conftest import tiny_job_content
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
    again = initial_weights(changed_job(job_of(npz(due)), other_seed, where="test"))
    assert all((again[name] == due[name]).all() for name in due)


def changed(name: str, value: Callable[[np.ndarray], Any]) -> Callable[[Weights], dict[str, Any]]:
    return lambda weights: weights | {name: value(weights[name])}


KERNEL, BIAS = "net.layer_1.conv.unit0.conv.weight", "final.1.bias"


def without(weights: Weights, name: str) -> dict[str, Any]:
    return {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: without(weights, BIAS), f"it lacks {BIAS}"),
        (lambda weights: weights | {"more": np.ones(3, np.float32)}, "it has, and the network does not, more"),
        (changed(BIAS, lambda value: value.astype(np.float64)), f"{BIAS} <f8 [(]1,[)] where <f4 [(]1,[)] is due"),
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
        ({"start_sha256": None}, "start and start_sha256 go together"),
        ({"start": None}, "start and start_sha256 go together"),
        ({"start": "../public.npz"}, "no file beside job.toml"),
        ({"start_content": "AAA="}, "is no setting here"),
        ({"start": None, "start_sha256": None, "start_layers": ["net"]}, "there is none"),
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
        ('start = "public.npz"', "start and start_sha256 go together"),
        ('start = "public.npz"\nstart_sha256 = "0000"', "is no hash"),
        ('start = "public.npz"\nstart_sha256 = "{zeros}"', "start has the SHA-256 .* is another"),
        ('start = "../tiny/public.npz"\nstart_sha256 = "{sha}"', "no file beside job.toml"),
        ("start = 3", "start"),
    ],
)
def test_a_job_folder_whose_start_is_not_the_one_that_it_names(tmp_path: Path, lines: str, words: str) -> None:
    content = npz(trained())
    lines = lines.format(sha=hashlib.sha256(content).hexdigest(), zeros="0" * 64)
    folder = job_folder(tmp_path / "tiny", lines=lines, public=content)
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


def test_every_misfit_is_listed_and_the_list_is_short() -> None:
    """Many tensors do not fit, each with a long name: one line names five of each kind and counts the others."""
    weights: dict[str, Any] = {name: value for name, value in trained().items() if not name.startswith("net.layer_0")}
    weights |= {f"head.{number}.{'x' * 60}": np.ones(3, np.float32) for number in range(1000)}
    weights[BIAS] = np.ones(14, np.float32)
    with pytest.raises(JobError) as refused:
        initial_weights(job_of(npz(weights)))
    text = str(refused.value)
    lacking = sum(name.startswith("net.layer_0") for name in trained())
    assert "it lacks net.layer_0." in text and "and 995 more" in text and f"{BIAS} <f4 (14,) where <f4 (1,)" in text
    assert f"and {lacking - 5} more" in text if lacking > 5 else "it lacks" in text
    assert len(text) < 1500 and "\n" not in text


def test_a_partial_start_takes_the_named_layers_alone() -> None:
    """The other tensors are as without a start, bit for bit, and what the file has beside them is not looked at."""
    drawn, due = initial_weights(job_of()), trained()
    odd: dict[str, Any] = {**due, "final.1.bias": np.ones(14, np.float32), "more": np.array(["x"])}
    found = initial_weights(job_of(npz(odd), start_layers=["net"]))
    assert list(found) == sorted(drawn)
    for name in drawn:
        np.testing.assert_array_equal(found[name], (due if name.startswith("net.") else drawn)[name])
    with pytest.raises(JobError, match="no tensor of the network"):
        initial_weights(job_of(npz(due), start_layers=["layer"]))
    with pytest.raises(JobError, match="it lacks final"):
        initial_weights(job_of(npz({BIAS: due[BIAS]}), start_layers=["net", "final"]))


def test_a_job_whose_start_was_left_behind_trains_from_nothing_else() -> None:
    job = job_of(npz(trained()))
    without_file = parse(JobSpec, plain(job), where="test")
    assert without_file.model.start is not None and job_hash(without_file) == job_hash(job)
    for use in (initial_weights, job_files):
        with pytest.raises(JobError, match="start is not here"):
            use(without_file)


def test_only_the_file_of_the_hash_becomes_the_start() -> None:
    """Over many changes of one byte, and any cut: another file is never taken."""
    content, job = npz(trained()), job_of()
    job = parse(JobSpec, plain(job_of(content)), where="test")
    assert job.model.with_start(content).start_bytes == content
    for at in np.random.default_rng(3).integers(0, len(content), 200):
        changed_byte = bytes([content[at] ^ 1])
        for other in (content[:at] + changed_byte + content[at + 1 :], content[:at], content + changed_byte):
            with pytest.raises(ValueError, match="start has the SHA-256"):
                job.model.with_start(other)
    with pytest.raises(ValueError, match="which a job cannot carry"):
        job.model.with_start(bytes(LARGEST_START + 1))
    with pytest.raises(ValueError, match="no start"):
        job_of().model.with_start(content)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("/tmp/fedward-start-was-run"),)


def bomb() -> bytes:
    """A few kilobytes that unpack to 100 MB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{BIAS}.npy", bytes(10**8))
    return file.getvalue()


def twice(weights: Weights) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        for name, value in [*weights.items(), (BIAS, weights[BIAS])]:
            one = io.BytesIO()
            np.save(one, value)
            archive.writestr(f"{name}.npy", one.getvalue())
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(bomb(), id="bomb"),
        pytest.param(pickle.dumps(Evil()), id="pickle"),
        pytest.param(npz({"a": np.array([{"a": 1}], dtype=object)}), id="objects"),
        pytest.param(twice(trained()), id="twice"),
        pytest.param(b"PK\x01\x02" * 30_000, id="entries"),
    ],
)
@pytest.mark.parametrize("layers", [[], ["net"]])
def test_hostile_bytes_are_refused_before_they_cost_anything(content: bytes, layers: list[str]) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(JobError, match=r"not a model file|does not fit the network"):
            initial_weights(job_of(content, start_layers=layers))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * 2**20
    assert not Path("/tmp/fedward-start-was-run").exists()


def densenet_job(folder: Path) -> tuple[JobSpec, Weights]:
    """A job whose network is MONAI's DenseNet121, with trained weights of some 28 MB."""
    content = {**tiny_job_content(), "model": {"network": "DenseNet121"}}
    content["data"] |= {"size": [32, 32]}
    drawn = initial_weights(parse(JobSpec, content, where="test"))
    rng = np.random.default_rng(0)
    weights = {name: (value + 0.01 * rng.normal(size=value.shape)).astype(np.float32) for name, value in drawn.items()}
    data = npz(weights)
    content["model"] |= {"start": "dense.npz", "start_sha256": hashlib.sha256(data).hexdigest()}
    spec = parse(JobSpec, content, where="test")
    return spec.model_copy(update={"model": spec.model.with_start(data)}), weights


def test_a_start_of_28_megabytes_travels_beside_the_settings_and_is_bound_by_its_hash(tmp_path: Path) -> None:
    job, weights = densenet_job(tmp_path)
    files = job_files(job)
    start = files["app/config/start.npz"]
    assert 27e6 < len(start) < 30e6 and len(files["app/config/job.json"]) < 10_000
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    # as a folder, and as the archive in which FLARE sends it
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    for contents in (read_folder(tmp_path), read_archive(packed.getvalue())):
        found = require_job(contents).job
        assert found == job and job_hash(found) == job_hash(job)
    assert read_sent(tmp_path / "app" / "config" / "job.json") == job
    again = initial_weights(found)
    assert all((again[name] == weights[name]).all() for name in weights)


def test_another_start_is_refused_wherever_the_job_travels(tmp_path: Path) -> None:
    """One bit, one byte more, no file, or the right file under another job: not canonical, before anything is read."""
    job, other = job_of(npz(trained())), job_of()
    files = job_files(job)
    name = "app/config/start.npz"
    start = files[name]
    flipped = start[:1000] + bytes([start[1000] ^ 1]) + start[1001:]
    for found in ({name: flipped}, {name: start + b"\0"}, {name: b""}):
        with pytest.raises(JobError, match=r"not what its settings export to .*config/start.npz|start.npz: job is not"):
            require_job(Contents({**files, **found}, FOLDERS))
    with pytest.raises(JobError, match=r"start\.npz"):
        require_job(Contents({key: value for key, value in files.items() if key != name}, FOLDERS))
    with pytest.raises(JobError, match="job is not what its settings export to"):
        require_job(Contents({**job_files(other), name: start}, FOLDERS))
    sent = tmp_path / "job.json"
    sent.write_bytes(files["app/config/job.json"])
    (tmp_path / "start.npz").write_bytes(flipped)
    with pytest.raises(SettingsError, match="start has the SHA-256"):
        read_sent(sent)
    (tmp_path / "start.npz").unlink()
    with pytest.raises(SettingsError, match="cannot be read"):
        read_sent(sent)


FOLDERS = frozenset({"app", "app/config"})
