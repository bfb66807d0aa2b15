"""Fedward in Python: the public names, a job that is changed, a simulation, its model and its report."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fedward
from fedward import Job, load_model, load_report, simulate
from fedward.api import Simulation
from fedward.bundle.export import export_bundle
from fedward.bundle.predict import Predictor
from fedward.coldstart.model import Given
from fedward.dataset.manifest import Manifest
from fedward.demo.simulate import simulate as simulated
from fedward.demo.simulate import take_part
from fedward.errors import CohortError, FedwardError, JobError, PolicyError, SettingsError
from fedward.indexing.index import index_cohort
from fedward.privacy.policy.job_hash import job_hash
from fedward.reporting.data.from_events import report_of
from fedward.reporting.write import write_report
from fedward.settings import JobSpec, read_site
from tests.conftest import OPEN_COHORT_TOML, OPEN_SITE_TOML
from tests.support.images.dicom_files import image, pattern, save
from tests.support.report_events import made_events, made_job

PUBLIC = ["Job", "__version__", "load_model", "load_report", "simulate"]
HEAVY = ("torch", "monai", "nvflare", "numpy", "pydicom")


def test_the_public_names_are_these() -> None:
    assert sorted(fedward.__all__) == PUBLIC and set(PUBLIC) <= set(dir(fedward))
    assert all(getattr(fedward, name).__doc__ for name in PUBLIC)
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        getattr(fedward, "simulat")  # noqa: B009 - mypy knows that there is none


def test_an_import_loads_nothing_heavy() -> None:
    words = "import sys, fedward; fast = len(sys.modules); from fedward import Job, simulate, load_model, load_report; "
    words += f"assert not set({HEAVY}) & set(sys.modules), sys.modules; print(fast)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {words}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "pydantic" not in done.stdout and int(done.stdout) < 200


def test_a_job_is_read_changed_and_checked(root: Path) -> None:
    job = Job.read(root / "jobs" / "cxr_classification")
    changed = job.with_(training={"lr": 0.01, "local_steps": 4}, federation={"rounds": 3})
    assert (changed.settings.training.lr, changed.settings.federation.rounds) == (0.01, 3)
    assert (job.name, job.settings.federation.rounds) == ("cxr_classification", 10), "the job itself stays"
    assert job.hash == job_hash(job.settings) != changed.hash
    assert changed.with_(training={"lr": 0.001, "local_steps": 35}, federation={"rounds": 10}) == job
    assert changed.check() == ()
    wrong = job.with_(training={"loss": {"name": "BCEWithLogitLoss"}})
    assert "BCEWithLogitLoss" in wrong.check()[0]
    with pytest.raises(SettingsError, match=r"did you mean training\.lr\?; correct the change"):
        job.with_(training={"lrr": 0.1})
    with pytest.raises(FrozenInstanceError):
        job.settings = changed.settings  # type: ignore[misc]


@pytest.fixture
def hospitals(tmp_path: Path) -> dict[str, Path]:
    """Two hospitals of twelve patients each, indexed."""
    found = {}
    for number, site in enumerate(("north", "south")):
        folder, lines = tmp_path / site, ["PatientID,lesion"]
        for patient in range(12):
            pixels = pattern((site, patient)) // 2
            pixels[: 8 if patient % 2 else 2] += 1500
            save(image(pixels, name=patient, patient=f"P{number}{patient}"), folder / "images" / f"{patient}.dcm")
            lines.append(f"P{number}{patient},{patient % 2}")
        (folder / "labels.csv").write_text("\n".join(lines) + "\n")
        paths = 'images = "images"\nindex = "index"\nlabels = "labels.csv"\n'
        limits = "max_quarantined_fraction = 0.1\nvalidation_fraction = 0.3\n"
        content = f'site = "{site}"\nkey = "key"\n{OPEN_SITE_TOML}\n[cohorts.chest]\n{paths}{limits}{OPEN_COHORT_TOML}'
        (folder / "site.toml").write_text(content)
        index_cohort(read_site(folder / "site.toml"), "chest", workers=0)
        found[site] = folder / "site.toml"
    return found


def test_a_simulation_is_the_demos_and_its_model_predicts_files(
    tiny_job: JobSpec, hospitals: dict[str, Path], tmp_path: Path
) -> None:
    done = simulate(Job(tiny_job), hospitals)
    cohorts = {site: index(path) for site, path in hospitals.items()}
    plain = simulated(tiny_job, take_part(tiny_job, cohorts)[0])
    np.testing.assert_equal(done.weights, plain.weights)
    assert done.scores == plain.scores == done.rounds[-1] and len(done.rounds) == 2
    rows = [(row.site, row.round, row.value) for row in done.table() if row.measure == "auc"]
    assert rows == [
        (site, number, scores[site].plain()["auc"])
        for site in ("north", "south")
        for number, scores in enumerate(done.rounds, 1)
    ]
    model = load_model(done)
    assert isinstance(model, torch.nn.Module) and not model.training and model.outputs == ("lesion",)
    files = sorted(hospitals["north"].parent.glob("images/*.dcm"))
    given = Given(job=tiny_job, weights=done.weights, sha256="0" * 64, took_part=frozenset())
    export_bundle(given, tmp_path / "bundle", intended_use="as a test")
    expected = [found.probabilities for found in Predictor(tmp_path / "bundle").each([(file,) for file in files])]
    assert [found.probabilities for found in model.predict(files)] == expected
    again = load_model(str(tmp_path / "bundle"))
    assert [found.probabilities for found in again.predict([str(file) for file in files])] == expected
    assert model(torch.zeros(2, 1, 24, 24)).shape == (2, 1)
    (tmp_path / "note.txt").write_text("no image")
    assert model.predict([tmp_path / "note.txt"])[0].refused
    file = load_model(tmp_path / "bundle" / "models" / "model.pt", job=Job(tiny_job))
    assert [found.probabilities for found in file.predict(files)] == expected


def index(path: Path) -> Manifest:
    from fedward.dataset.manifest import read_manifest

    return read_manifest(read_site(path).cohorts["chest"].index)


def test_rounds_are_scored_without_a_change_of_the_model(
    tiny_job: JobSpec, make_cohort: Callable[..., Manifest]
) -> None:
    parts = take_part(tiny_job, {site: make_cohort(16, site=site) for site in ("north", "south")})[0]
    plain, scored = simulated(tiny_job, parts), simulated(tiny_job, parts, score_rounds=True)
    np.testing.assert_equal(scored.weights, plain.weights)
    assert (plain.history, len(scored.history), scored.history[-1]) == ((), 2, plain.scores)


@pytest.mark.parametrize("policy", ['dp = "required"', 'dp = "not-required"'])
def test_a_hospital_that_counts_epsilon_is_not_simulated(
    tiny_job: JobSpec, hospitals: dict[str, Path], policy: str
) -> None:
    path = hospitals["south"]
    limits = f'privacy = {{ {policy}, epsilon_cap = 8.0, delta = 1e-4, encryption = "not-required" }}\n'
    path.write_text(path.read_text().replace(OPEN_COHORT_TOML, limits))
    with pytest.raises(PolicyError, match="counts ε in a ledger, which a simulation does not charge; submit the job"):
        simulate(Job(tiny_job), hospitals)


def test_a_site_with_fewer_patients_than_its_policy_asks_for_takes_no_part(
    tiny_job: JobSpec, hospitals: dict[str, Path]
) -> None:
    path = hospitals["south"]
    path.write_text(path.read_text().replace("validation_fraction", "min_patients = 13\nvalidation_fraction"))
    done = simulate(Job(tiny_job).with_(federation={"rounds": 1}), hospitals)
    assert set(done.scores) == {"north"} and "min_patients" in done.aside["south"]


def test_what_cannot_be_simulated_is_refused(tiny_job: JobSpec, hospitals: dict[str, Path], tmp_path: Path) -> None:
    other = Job(tiny_job).with_(data={"cohort": "abdomen"})
    with pytest.raises(CohortError, match="site has no such cohort: 'abdomen'"):
        simulate(other, hospitals)
    with pytest.raises(CohortError, match=r"no site can take part; .*effusion"):
        simulate(Job(tiny_job).with_(data={"labels": ["effusion"]}), hospitals)
    with pytest.raises(FedwardError, match="folder is not empty"):
        simulate(Job(tiny_job), folder=tmp_path)
    with pytest.raises(JobError, match="NoNet"):
        simulate(Job(tiny_job).with_(model={"network": "NoNet"}), hospitals)


def test_an_untrained_model_is_no_model(tiny_job: JobSpec) -> None:
    from fedward.training.networks import initial_weights

    empty: dict[str, Any] = {"scores": {}, "rounds": (), "aside": {}}
    with pytest.raises(JobError, match="never trained"):
        load_model(Simulation(job=Job(tiny_job), weights=initial_weights(tiny_job), **empty))


def test_a_report_is_the_one_that_was_written(tmp_path: Path) -> None:
    job = made_job()
    report = report_of(job, made_events(job))
    write_report(tmp_path, report)
    assert load_report(tmp_path) == load_report(str(tmp_path / "report.json")) == report
    assert report.worst is not None and load_report(tmp_path).worst == report.worst
    with pytest.raises(FrozenInstanceError):
        load_report(tmp_path).rounds_done = 9  # type: ignore[misc]
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(FedwardError, match="another schema"):
        load_report(tmp_path)
