"""A model taken home: plain MONAI computes what the federation computed, and predictions are those of training."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from fedward.bundle.export import as_built, export_bundle, load_network
from fedward.bundle.masks import write_mask
from fedward.bundle.predict import Predictor
from fedward.bundle.programs import SAME, require_same, write_programs
from fedward.coldstart.model import Given
from fedward.dataset.images import Images
from fedward.dataset.selection import select
from fedward.errors import JobError
from fedward.indexing.index import index_cohort
from fedward.settings import JOB_FILE, JobSpec, parse, plain
from fedward.training.learner import Learner
from fedward.training.networks import initial_weights, predict
from fedward.training.scores.scoring import predictions_of
from fedward.training.windows import whole_logits
from fedward.weights import MODEL_FILE
from tests.conftest import tiny_job_content
from tests.support.command_line import typed
from tests.support.images.dicom_files import image, pattern, save, save_nifti, site

BEFORE = "import sys, numpy; values = numpy.load(sys.argv[1])\n"
AFTER = """
numpy.save(sys.argv[2], found.detach().numpy())
assert not any(name.partition(".")[0] == "fedward" for name in sys.modules)
"""


def job(network: str = "DenseNet", size: tuple[int, ...] = (24, 24), **changes: dict[str, Any]) -> JobSpec:
    content = tiny_job_content()
    args = content["model"]["args"] if network == "DenseNet" else {}
    content["model"] = {"network": network, "args": args}
    content["data"]["size"] = list(size)
    for table, values in changes.items():
        content.setdefault(table, {}).update(values)
    if content["job"]["task"] == "segmentation":
        content["data"] |= {"labels": [], "structures": ["1", "2"]}
        content["training"]["loss"] = {"name": "DiceCELoss"}
    return parse(JobSpec, content, where="bundle")


def trained(spec: JobSpec) -> Given:
    """Weights that no initialisation gives, as a finished job's."""
    drawn = np.random.default_rng(5)
    weights = {
        name: (array + drawn.normal(0.0, 0.05, array.shape)).astype(array.dtype)
        for name, array in initial_weights(spec).items()
    }
    return Given(job=spec, weights=weights, sha256="0" * 64, took_part=frozenset())


SEGMENTS: dict[str, Any] = {"job": {"task": "segmentation"}}
JOBS = {
    "DenseNet": job(),
    "resnet10": job("resnet10"),
    "Classifier, kept shape": job("Classifier", data={"keep_shape": True, "crop_border": False}),
    "multiclass": job(data={"target": "multiclass", "labels": ["kind"], "classes": ["a", "b", "c"]}),
    "histogram": job(transforms={"prepare": [{"name": "HistogramNormalized", "args": {"num_bins": 32}}]}),
    "UNet": job("UNet", (32, 32), **SEGMENTS),
    "UNet, 3D": job("UNet", (16, 32, 16), **SEGMENTS),
    "ViT": job("ViT", (32, 32)),
    "colour": job("resnet10", data={"colour": True}),
    "sequences": job(data={"sequences": ["t1", "flair"]}),
    "patches": job("UNet", (16, 32), data={"patches": {"overlap": 0.5}}, **SEGMENTS),
    "patches, spacing": job("UNet", (32, 32), data={"patches": {}, "spacing_mm": [2.0, 0.5]}, **SEGMENTS),
}


@pytest.mark.parametrize("name", JOBS)
def test_plain_monai_computes_what_the_job_computes(name: str, tmp_path: Path) -> None:
    """In a process of its own, by the lines of the model card, from an image as it is to probabilities."""
    spec = JOBS[name]
    given, out = trained(spec), tmp_path / "bundle"
    export_bundle(given, out, intended_use="as a test")
    channels = [len(spec.data.channels)] if len(spec.data.channels) > 1 else []
    shape = [*channels, *(3 * side // 2 + 5 for side in spec.data.size)]
    pixels = np.random.default_rng(1).gamma(2.0, 100.0, shape).astype("f4")
    np.save(tmp_path / "image.npy", pixels)
    (lines,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    spacing = None if spec.data.spacing_mm is None else (1.0, 1.0)
    lines = lines.replace('{"image": values}', f'{{"image": values, "spacing_mm": {spacing}}}')
    words = [
        BEFORE + lines.replace("BUNDLE", str(out)) + AFTER,
        str(tmp_path / "image.npy"),
        str(tmp_path / "found.npy"),
    ]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", *words], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    predictor = Predictor(out)
    item: Any = {"image": predictor._fit.image(pixels, predictor._fit.place(pixels, spacing))}
    for step in predictor._after:
        item = step(item)
    with torch.inference_mode():
        logits = whole_logits(as_built(spec, given), torch.as_tensor(np.asarray(item["image"]))[None], spec.data)
    multiclass = spec.job.task == "segmentation" or spec.data.target == "multiclass"
    expected = logits.softmax(1) if multiclass else logits.sigmoid()
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected.numpy(), atol=SAME)


def test_the_exported_program_needs_torch_alone(tmp_path: Path) -> None:
    given, out = trained(JOBS["DenseNet"]), tmp_path / "bundle"
    assert "model.pt2" not in export_bundle(given, out, intended_use="as a test").left_out
    words = (
        "import sys, torch; m = torch.export.load(sys.argv[1]).module(); print(m(torch.ones(3, 1, 24, 24)).tolist())"
    )
    words += "; assert not any(n.partition('.')[0] in ('monai', 'fedward') for n in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", words, str(out / "models" / "model.pt2")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with torch.inference_mode():
        expected = as_built(given.job, given)(torch.ones(3, 1, 24, 24))
    np.testing.assert_allclose(json.loads(done.stdout), expected.numpy(), atol=SAME)


@pytest.mark.parametrize("name", ["UNet, 3D", "ViT"])
def test_the_onnx_file_computes_the_same_in_onnxs_own_runtime(name: str, tmp_path: Path) -> None:
    """Any number of images; the names that the card says; no path of the machine that exported it."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    spec = JOBS[name]
    given, out = trained(spec), tmp_path / "bundle"
    assert "model.onnx" not in export_bundle(given, out, intended_use="as a test").left_out
    file = out / "models" / "model.onnx"
    onnx.checker.check_model(str(file), full_check=True)
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    network = as_built(spec, given)
    for count in (1, 3):
        images = torch.randn((count, 1, *spec.data.size), generator=torch.Generator().manual_seed(count))
        (found,) = session.run(["logits"], {"image": images.numpy()})
        with torch.inference_mode():
            np.testing.assert_allclose(found, predict(network, images).numpy(), atol=SAME)
    with zipfile.ZipFile(out / "models" / "model.pt2") as archive:
        held = [file.read_bytes(), *map(archive.read, archive.namelist())]
    assert not any(b"site-packages" in content or b"/custom/fedward" in content for content in held)
    assert "`models/model.onnx`: the network for any ONNX runtime" in (out / "README.md").read_text()


def test_a_program_that_computes_something_else_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, sample = torch.nn.Linear(4, 2).eval(), torch.ones(2, 4)
    monkeypatch.setattr("fedward.bundle.programs._write_pt2", lambda program, path: lambda images: images[:, :2])
    monkeypatch.setattr("fedward.bundle.programs._ONNX_PACKAGES", ("no-such-package",))
    left_out = write_programs(network, sample, tmp_path)
    assert left_out["model.pt2"] == "JobError: torch cannot write it, or it computes something else"
    assert left_out["model.onnx"] == "no-such-package is not installed: pip install 'fedward[onnx]', and export again"
    with pytest.raises(JobError, match="computes something else than the job's network"):
        require_same(network, lambda images: torch.full((len(images), 2), torch.nan), sample, where=tmp_path)


def test_predictions_of_files_are_those_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = JOBS["DenseNet"]
    given = trained(spec)
    lines = ["PatientID,lesion"]
    for number in range(8):
        save(image(pattern(number), name=number, patient=f"P{number}"), tmp_path / "images" / f"{number}.dcm")
        lines.append(f"P{number},{number % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    manifest = index_cohort(site(tmp_path, labels=tmp_path / "labels.csv"), "chest", workers=0)
    chosen = select(spec, [manifest], site="north")
    examples = [*chosen.train, *chosen.validation]
    found = predictions_of(
        spec, Learner(spec, site="north"), given.weights, Images(spec, examples, training=False, site="north")
    )
    expected = {one.row.paths[0]: float(score) for one, score in zip(examples, found.scores[:, 0], strict=True)}

    torch.save({name: torch.from_numpy(array) for name, array in given.weights.items()}, tmp_path / MODEL_FILE)
    settings = tmp_path / "job" / "app" / "config" / JOB_FILE
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(plain(spec)))
    (tmp_path / "MIT").write_text("Anybody may.")
    words = ("--out", str(tmp_path / "bundle"), "--job", str(tmp_path / "job"), "--licence", str(tmp_path / "MIT"))
    assert typed(monkeypatch, "model", "export", str(tmp_path / MODEL_FILE), *words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "bundle")
    assert (tmp_path / "bundle" / "LICENSE").read_text() == "Anybody may."
    (tmp_path / "images" / "broken.dcm").write_bytes(b"no image")
    out = tmp_path / "found.csv"
    words = ("model", "predict", str(tmp_path / "bundle"), str(tmp_path / "images"), "--out", str(out))
    assert typed(monkeypatch, *words) == 1, "one file cannot be used"
    assert "broken.dcm: " in capsys.readouterr().err
    heading, *rows = csv.reader(out.read_text().splitlines())
    assert heading == ["file", "lesion"]
    assert {Path(file).name: float(value) for file, value in rows} == pytest.approx(expected, abs=SAME)


@pytest.mark.parametrize("axes", [[0, 1, 2, 3], [1, 2, 0, 3], [2, 0, 1, 3]])
def test_a_mask_lies_on_its_image_whatever_its_axes(axes: list[int], tmp_path: Path) -> None:
    """The model marks what is bright; the file's axes are turned, and the bright cube is off the middle."""
    spec = job("UNet", (16, 32, 16), data={"crop_border": False}, **SEGMENTS)
    export_bundle(trained(spec), tmp_path / "bundle", intended_use="as a test")
    predictor = Predictor(tmp_path / "bundle")

    class Bright(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            bright = images > 2.0
            return torch.cat([~bright, bright, torch.zeros_like(bright)], dim=1).float()

    predictor.network = Bright()
    values = np.random.default_rng(3).uniform(0.0, 1.0, (40, 30, 20)).astype("f4")
    values[4:12, 16:28, 2:8] = 50.0
    affine = np.diag([-1.0, 1.0, 2.0, 1.0])[axes]
    file = save_nifti(values, tmp_path / "scan.nii.gz", affine=affine)
    (found,) = predictor.each([(file,)])
    assert found.mask is not None
    path = write_mask(found.mask, like=found.files, out=tmp_path / "masks", origin=predictor.origin)
    written = nibabel.as_closest_canonical(nibabel.load(path))
    original = nibabel.as_closest_canonical(nibabel.load(file))
    np.testing.assert_allclose(written.affine, original.affine)
    there, bright = np.asarray(written.dataobj) == 1, np.asarray(original.dataobj) > 10.0
    assert 2.0 * (there & bright).sum() / (there.sum() + bright.sum()) > 0.6, "a mirrored one has 0"


def test_what_was_tampered_with_is_refused(tmp_path: Path) -> None:
    given, out = trained(JOBS["DenseNet"]), tmp_path / "bundle"
    export_bundle(given, out, intended_use="as a test")
    with pytest.raises(JobError, match="exists already"):
        export_bundle(given, out, intended_use="again")
    other = as_built(JOBS["resnet10"], trained(JOBS["resnet10"])).state_dict()
    torch.save(other, out / "models" / "model.pt")
    with pytest.raises(JobError, match="does not fit the bundle's job"):
        Predictor(out)
    with pytest.raises(JobError, match=r"is no bundle of Fedward's"):
        Predictor(tmp_path)


def test_nothing_is_left_of_a_bundle_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedward.bundle.export.load_network", lambda bundle: torch.nn.Flatten())
    with pytest.raises(Exception):  # noqa: B017 - whatever the wrong network raises
        export_bundle(trained(JOBS["DenseNet"]), tmp_path / "bundle", intended_use="as a test")
    assert not (tmp_path / "bundle").exists()


def test_two_bundles_in_one_process_do_not_mix(tmp_path: Path) -> None:
    names = ("DenseNet", "resnet10")
    for name in names:
        export_bundle(trained(JOBS[name]), tmp_path / name, intended_use="as a test")
    for name in (*names, *names):
        with torch.inference_mode():
            ours = predict(as_built(JOBS[name], trained(JOBS[name])), torch.ones(1, 1, 24, 24))
            theirs = predict(load_network(tmp_path / name), torch.ones(1, 1, 24, 24))
        np.testing.assert_allclose(theirs.numpy(), ours.numpy(), atol=SAME)
