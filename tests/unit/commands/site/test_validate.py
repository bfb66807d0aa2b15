"""Run ``fedward site validate`` at a hospital of real DICOM files that took no part, and check the page on it.

Two made-up hospitals train a model in this process; a third, with another scanner, is offered it.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from fedward.coldstart.fine_tune import save_private
from fedward.coldstart.model import RESULT_MODEL
from fedward.demo.prepare import Gathered, gather
from fedward.demo.simulate import run_rounds, take_part, trainers
from fedward.dicom.synthetic.hospital import HOSPITALS, write_cohort
from fedward.metrics.events import EVENTS_FILE
from fedward.settings import JOB_FILE, JobSpec, parse, plain
from fedward.training.networks import initial_weights
from fedward.weights import Weights
from tests.conftest import tiny_job_content
from tests.support.command_line import typed

IMAGES, THIRD = 90, HOSPITALS[2].site
PLACEHOLDER = re.compile(r"\b[A-Z][A-Z_]+\b")


@dataclass(frozen=True)
class World:
    """A trained model, its job, and the third hospital's site.toml."""

    job: JobSpec
    folder: Path
    weights: Weights
    site_toml: Path
    gathered: Gathered

    @property
    def model(self) -> Path:
        return self.folder / "FL_global_model.pt"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Lesions that are plain to see, and a job that learns them in seconds."""
    root = tmp_path_factory.mktemp("coldstart")
    content = tiny_job_content()
    content["federation"]["rounds"] = 6
    content["training"] |= {"lr": 0.01, "local_epochs": 2}
    content["data"]["size"] = [32, 32]
    job = parse(JobSpec, content, where="test")
    small = [
        replace(one, images=IMAGES if one.site == THIRD else 70, paired=0.1, conspicuity=5.0, faults=())
        for one in HOSPITALS
    ]
    write_cohort(root / "data", label="lesion", hospitals=small, masks=False)
    gathered = gather(job, root / "data", root / "sites", named={}, workers=0)
    cohorts = {site: manifest for site, manifest in gathered.cohorts.items() if site != THIRD}
    weights, _ = run_rounds(job, trainers(job, take_part(job, cohorts)[0]))
    save_private(weights, root / "FL_global_model.pt")
    (root / "job" / "app" / "config").mkdir(parents=True)
    (root / "job" / "app" / "config" / JOB_FILE).write_text(json.dumps(plain(job)))
    (third,) = (hospital for hospital in gathered.hospitals if hospital.site == THIRD)
    yield World(job=job, folder=root, weights=weights, site_toml=third.config, gathered=gathered)


@pytest.fixture(scope="module")
def untrained(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The same job and hospital with a model that has hardly trained: it fails, whatever a machine's arithmetic."""
    folder, start = tmp_path_factory.mktemp("untrained"), initial_weights(world.job)
    weights = {
        name: (array + 0.01 * (world.weights[name] - array)).astype(array.dtype) for name, array in start.items()
    }
    shutil.copytree(world.folder / "job", folder / "job")
    save_private(weights, folder / "FL_global_model.pt")
    return replace(world, folder=folder, weights=weights)


def ask(
    world: World, monkeypatch: pytest.MonkeyPatch, *words: str, model: Path | None = None, site_toml: Path | None = None
) -> int:
    """The exit code of ``site validate`` with the world's model, hospital and job."""
    given = [str(model or world.model), str(site_toml or world.site_toml), "--job", str(world.folder / "job")]
    return typed(monkeypatch, "site", "validate", *given, *words)


def private(world: World) -> set[str]:
    """Return the texts that may never be shown: pseudonyms, and where images are."""
    (third,) = (one for one in world.gathered.hospitals if one.site == THIRD)
    rows = third.manifest.rows
    return {word for row in rows for word in (row.patient, row.image, row.study, row.sha256, row.paths[0])}


def test_pass(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The third hospital's lesions are seen; the same number comes from scikit-learn on all of its patients."""
    out = tmp_path / "out"
    assert ask(world, monkeypatch, "--threshold", "0.7", "--operating-point", "0.5", "--out", str(out)) == 0
    shown = capsys.readouterr()
    assert "verdict: pass" in shown.out
    assert f"{THIRD}, cohort chest: job tiny" in shown.out
    assert shown.err == ""
    found = json.loads((out / "validation.json").read_text())
    assert found["acceptance"]["verdict"] == "pass"
    assert found["fine_tune"] is None
    assert found["over"] == "all labelled patients"
    result = found["result"]
    assert result["auc_low"] <= result["auc"] <= result["auc_high"]
    assert result["images"] == IMAGES
    assert result["auc"] == pytest.approx(by_scikit_learn(world), abs=1e-9)
    sides = {split: by_scikit_learn(world, split=split) for split in ("train", "validation")}
    assert result["auc"] not in sides.values()
    assert set(result["subgroups"]["lesion"]) == {"sex", "age", "maker"}
    assert 0 < result["operating_point"]["labels"]["lesion"]["sensitivity"] < 1
    text = shown.out + (out / "validation.json").read_text()
    assert not [word for word in private(world) if word in text]
    assert not (out / "fine_tuned.pt").exists()


def by_scikit_learn(world: World, *, split: str | None = None) -> float:
    """The model's area over the third hospital's images, put together from MONAI's parts and scikit-learn."""
    import torch
    from sklearn.metrics import roc_auc_score

    from fedward.dataset.images import Images, stack
    from fedward.dataset.selection import select
    from fedward.training.networks import build_network

    (third,) = (one for one in world.gathered.hospitals if one.site == THIRD)
    chosen = select(world.job, [third.manifest], site=THIRD)
    examples = [one for one in (*chosen.train, *chosen.validation) if split in (None, one.row.split)]
    network = build_network(world.job).eval()
    network.load_state_dict({name: torch.from_numpy(array) for name, array in world.weights.items()}, strict=False)
    (items,) = Images(world.job, examples, training=False, site=THIRD).batches([np.arange(len(examples))])
    with torch.inference_mode():
        scores = network(stack(items, "image"))[:, 0].double().numpy()
    return float(roc_auc_score([one.truth[0] for one in examples], scores))


def test_fail_then_a_fine_tune_that_stays(
    untrained: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert ask(untrained, monkeypatch, "--threshold", "0.999", "--format", "json", "--out", str(out)) == 1
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found == json.loads((out / "validation.json").read_text())
    assert found["acceptance"]["verdict"] == "fail"
    tuned = found["fine_tune"]
    (third,) = (one for one in untrained.gathered.hospitals if one.site == THIRD)
    assert tuned["before"]["patients"] == tuned["after"]["patients"] == third.manifest.patients("validation")
    assert tuned["before"]["auc"] == pytest.approx(by_scikit_learn(untrained, split="validation"), abs=1e-9)
    assert tuned["change"]["value"] == pytest.approx(tuned["after"]["auc"] - tuned["before"]["auc"])
    assert tuned["change"]["low"] <= tuned["change"]["value"] <= tuned["change"]["high"]
    assert "must not leave" in tuned["note"]
    assert (tuned["model"] is not None) == (tuned["kept"] > 0)
    if tuned["model"]:
        assert stat.S_IMODE(Path(tuned["model"]).stat().st_mode) == 0o600
    assert not [word for word in private(untrained) if word in shown.out + shown.err]
    ledger = untrained.site_toml.parent / "ledger.db"
    assert ledger.stat().st_mtime < Path(out / "validation.json").stat().st_mtime, "the ledger is left alone"


def test_below_the_floor(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    high = tmp_path / "site.toml"
    text, found = re.subn(r"min_count = \d+", "min_count = 70", world.site_toml.read_text())
    assert found == 1
    high.write_text(text)
    assert ask(world, monkeypatch, "--threshold", "0.7", site_toml=high) == 1
    shown = capsys.readouterr().out
    assert "verdict: insufficient support" in shown
    assert not re.search(r"AUC 0\.\d{3}", shown)


def test_what_is_no_model_of_the_job_is_one_line(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = tmp_path / "model.pt"
    first = max(world.weights, key=lambda name: world.weights[name].size)
    cases = {
        "shape": {**world.weights, first: world.weights[first][..., :1]},
        "not finite": {**world.weights, first: np.full_like(world.weights[first], np.nan)},
        "is missing": {name: array for name, array in world.weights.items() if name != first},
        "all zero": {name: np.zeros_like(array) for name, array in world.weights.items()},
    }
    for says, weights in cases.items():
        save_private(weights, model)
        assert ask(world, monkeypatch, model=model) == 1
        shown = capsys.readouterr()
        assert shown.out == ""
        assert says in shown.err
        assert shown.err.count("\n") == 1


def result_folder(world: World, folder: Path) -> Path:
    """The whole result, as the consortium downloaded it; it says who took part."""
    (folder / "job" / "tiny" / "app" / "config").mkdir(parents=True)
    (folder / "job" / "tiny" / "app" / "config" / JOB_FILE).write_text(json.dumps(plain(world.job)))
    (folder / "workspace").mkdir()
    sites = [one.site for one in world.gathered.hospitals if one.site != THIRD]
    events = [{"event": "started", "at": 1.0, "sites": sites}]
    events += [{"event": "admitted", "at": 2.0, "site": site, "support": {}} for site in sites]
    (folder / "workspace" / EVENTS_FILE).write_text("".join(json.dumps(event) + "\n" for event in events))
    (folder / RESULT_MODEL).write_bytes(world.model.read_bytes())
    return folder


def test_a_hospital_of_the_result_has_only_its_validation_patients(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    result = result_folder(world, tmp_path / "result")
    for hospital in world.gathered.hospitals:
        assert typed(monkeypatch, "site", "validate", str(result), str(hospital.config), "--format", "json") == 0
        found = json.loads(capsys.readouterr().out)
        trained = hospital.site != THIRD
        assert found["over"] == ("validation patients" if trained else "all labelled patients")
        assert found["result"]["patients"] == hospital.manifest.patients("validation" if trained else None)
        assert found["acceptance"] is None


def test_the_page_is_followed_to_the_letter(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, root: Path
) -> None:
    page = (root / "docs" / "validate.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    commands = [line for block in blocks for line in block.splitlines() if line]
    known = {"MODEL": world.model, "SITE_TOML": world.site_toml, "JOB": world.folder / "job", "OUT": tmp_path / "out"}
    filling = {**{word: str(path) for word, path in known.items()}, "THRESHOLD": "0.7"}
    codes = []
    for command in commands:
        assert set(PLACEHOLDER.findall(command)) <= set(filling)
        program, *words = (filling.get(word, word) for word in shlex.split(command))
        assert program == "fedward"
        codes.append(typed(monkeypatch, *words))
        assert capsys.readouterr().err == ""
    assert codes == [0] * len(commands)
    assert len(commands) == 4
    assert (tmp_path / "out" / "validation.json").is_file()


def test_ctrl_c_is_one_line(
    untrained: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fedward.coldstart.validate.fine_tune", stop)
    out = tmp_path / "out"
    assert ask(untrained, monkeypatch, "--threshold", "0.999", "--out", str(out)) == 130
    shown = capsys.readouterr()
    assert (shown.out, shown.err.strip()) == ("", "fedward: stopped")
    assert not out.exists()
