"""A federation learns what only colours, only two sequences together, or only rare images show."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from fedward.dataset.manifest import Manifest
from fedward.demo.simulate import Simulated, simulate, take_part
from fedward.errors import SettingsError
from fedward.indexing.index import index_cohort
from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content
from tests.support.images.dicom_files import image, save, segmentation, site

SIDE = 24
PATIENTS = 30


def run(spec: JobSpec, cohorts: dict[str, Manifest]) -> Simulated:
    parts, aside = take_part(spec, cohorts)
    assert not aside
    return simulate(spec, parts)


def colour_cohort(root: Path, seed: int) -> Manifest:
    """Fundi of one luminance: those of ill patients are redder."""
    drawn, lines = np.random.default_rng(seed), []
    for n in range(PATIENTS):
        ill = n % 2
        grey = drawn.uniform(60.0, 160.0, (SIDE, SIDE))
        red = grey + (30.0 if ill else -30.0)
        green = (grey - 0.299 * red - 0.114 * grey) / 0.587
        rgb = np.stack([red, green, grey], axis=-1).round().clip(0, 255)
        save(image(rgb, name=n, patient=f"P{n}", bits=8, photometric="RGB"), root / "images" / f"{n}.dcm")
        lines.append((f"P{n}", ill))
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("PatientID", "lesion"), *lines])
    return index_cohort(site(root, labels=root / "labels.csv"), "chest", workers=0)


def colour_job(*, colour: bool) -> JobSpec:
    content = tiny_job_content()
    content["data"] |= {"size": [SIDE, SIDE], "colour": colour, "crop_border": False}
    content["model"] = {"network": "Classifier", "args": {"channels": [8, 16], "strides": [2, 2]}}
    content["training"] |= {"lr": 1e-2, "optimizer": "Adam"}
    content["federation"] |= {"rounds": 8}
    return parse(JobSpec, content, where="colour")


def test_colours_teach_what_their_luminance_does_not(tmp_path: Path) -> None:
    cohorts = {name: colour_cohort(tmp_path / name, seed) for seed, name in enumerate(("north", "south"))}
    found = {colour: run(colour_job(colour=colour), cohorts).scores for colour in (True, False)}
    for name in cohorts:
        assert found[True][name].auc == pytest.approx(1.0, abs=0.02)  # type: ignore[union-attr]
        assert (found[False][name].auc or 0.0) < 0.95  # type: ignore[union-attr]


def spots(drawn: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two sequences and a mask: a spot is bright in the second; it counts if it is dark in the first."""
    first, second = (drawn.normal(100.0, 5.0, (SIDE, SIDE)) for _ in range(2))
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    rows, columns = np.ogrid[:SIDE, :SIDE]
    for counts, (row, column) in zip((True, False), ((6, 6), (16, 16)), strict=True):
        if drawn.random() < 0.5:
            row, column = column, SIDE - row
        row, column = row + int(drawn.integers(-2, 3)), column + int(drawn.integers(-2, 3))
        if drawn.random() < 0.5:
            row, column = SIDE - row, SIDE - column
        spot = (rows - row) ** 2 + (columns - column) ** 2 <= 12
        second[spot] += 60.0
        first[spot] += -60.0 if counts else 60.0
        mask = mask & ~spot if not counts else mask | spot
    return first, second, mask


def sequence_cohort(root: Path, seed: int) -> Manifest:
    drawn = np.random.default_rng(seed)
    for n in range(PATIENTS):
        *sequences, mask = spots(drawn)
        made: list[Dataset] = []
        for name, values in zip(("T1", "FLAIR"), sequences, strict=True):
            one = image(values.round(), name=(n, name), patient=f"P{n}", SeriesDescription=name)
            one.ImagePositionPatient, one.ImageOrientationPatient = [0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
            one.PixelSpacing, one.SliceThickness, one.PositionReferenceIndicator = [1.0, 1.0], 1.0, ""
            save(one, root / "images" / f"{n}-{name}.dcm")
            made.append(one)
        save(segmentation([made[1]], {"Spot": mask}), root / "seg" / f"{n}.dcm")
    rules = {"t1": "T1", "flair": "FLAIR"}
    return index_cohort(site(root, sequences=rules, masks=root / "seg"), "chest", workers=0)


def sequence_job(*names: str, **changes: dict[str, Any]) -> JobSpec:
    content = tiny_job_content()
    content["job"]["task"] = "segmentation"
    content["data"] |= {"size": [SIDE, SIDE], "sequences": list(names), "structures": ["Spot"], "labels": []}
    content["data"] |= {"crop_border": False}
    content["model"] = {"network": "UNet", "args": {"channels": [8, 16], "strides": [2], "act": "relu"}}
    content["training"] |= {"loss": {"name": "DiceCELoss"}, "lr": 1e-2, "optimizer": "Adam"}
    content["training"] |= {"local_epochs": 2, "batch_size": 5}
    content["federation"] |= {"rounds": 8}
    for table, values in changes.items():
        content[table] |= values
    return parse(JobSpec, content, where="sequences")


def test_two_sequences_teach_what_one_does_not(tmp_path: Path) -> None:
    cohorts = {name: sequence_cohort(tmp_path / name, seed) for seed, name in enumerate(("north", "south"))}
    both = run(sequence_job("t1", "flair"), cohorts).scores
    one = run(sequence_job("flair"), cohorts).scores
    for name in cohorts:
        assert (both[name].dice or 0.0) > 0.85  # type: ignore[union-attr]
        assert (one[name].dice or 0.0) < 0.8  # type: ignore[union-attr]
    patches = {"patches": {"positive": 0.7}, "size": [16, 16]}
    seen = run(sequence_job("t1", "flair", data=patches), cohorts).scores
    assert all((seen[name].dice or 0.0) > 0.8 for name in cohorts)  # type: ignore[union-attr]


def test_sequences_and_patches_train_under_differential_privacy(tmp_path: Path) -> None:
    cohorts = {name: sequence_cohort(tmp_path / name, seed) for seed, name in enumerate(("north", "south"))}
    dp_sgd = {"noise_multiplier": 1.0, "delta": 1e-3, "clip_norm_l2": 1.0, "patients_per_step": 5.0}
    changes = {
        "privacy": {"mechanism": "dp-sgd", "dp_sgd": dp_sgd},
        "data": {"patches": {}, "size": [16, 16]},
        "federation": {"rounds": 1},
    }
    found = run(sequence_job("t1", "flair", **changes), cohorts)
    assert all(np.isfinite(array).all() for array in found.weights.values())
    assert all(np.isfinite(score.loss or np.nan) for score in found.scores.values())


def test_balanced_draws_and_differential_privacy_do_not_go_together() -> None:
    dp_sgd = {"noise_multiplier": 1.0, "delta": 1e-3, "clip_norm_l2": 1.0, "patients_per_step": 5.0}
    privacy = {"mechanism": "dp-sgd", "dp_sgd": dp_sgd}
    with pytest.raises(SettingsError, match="balanced draws images, and dp-sgd draws patients"):
        sequence_job("t1", "flair", training={"balanced": True}, privacy=privacy)
