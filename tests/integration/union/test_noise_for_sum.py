"""Noise for the sum in real processes: the federation equals training in one place, and its noise is as promised."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from fedward.demo.compare import load_model
from fedward.dicom.synthetic.hospital import HOSPITALS, write_cohort
from fedward.flare.export import export_job
from fedward.flare.job_context import SITE_FILE
from fedward.flare.kits.central import Kits
from fedward.indexing.site_key import load_key
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.privacy.accountant import epsilon
from fedward.privacy.ledger.charges import Charge
from fedward.privacy.ledger.ledger import Ledger
from fedward.privacy.sum_noise import shares_of, sum_grid
from fedward.settings import JobSpec, parse, read_site
from fedward.training.networks import initial_weights, trained_keys
from fedward.training.trainer import Private, Trainer
from fedward.training.union.union_model import UnionModel, initial_union
from fedward.weights import MODEL_FILE, Weights
from tests.conftest import tiny_job_content
from tests.integration.conftest import Running, index_all, started

pytestmark = pytest.mark.integration

SITES = sorted(one.site for one in HOSPITALS)
NOISE = 1.5
CLASSIFIER = {"channels": [16, 32, 64], "strides": [2, 2, 2], "norm": ["instance", {"affine": True}]}
UNET = {"channels": [4, 8], "strides": [2], "norm": ["instance", {"affine": True}]}


@dataclass(frozen=True)
class Quiet:
    """A federation whose hospitals add no noise while ``file`` exists."""

    running: Running
    file: Path
    out: Path

    def run(self, job: JobSpec) -> tuple[str, list[dict[str, Any]], Weights, str]:
        job_id = self.running.session.submit(export_job(job, self.out / job.job.name))
        status = self.running.session.wait(job_id, each=self.running.federation.check)
        result = self.running.session.download(job_id, self.out / job.job.name / "results")
        events = list(EventReader(result / EVENTS_FILE))
        assert status == "FINISHED:COMPLETED", [
            one for one in events if one["event"] in ("declined", "dropped", "failed")
        ]
        return job_id, events, load_model(result / MODEL_FILE), status

    def charge(self, site: str, job_id: str) -> Charge:
        policy = read_site(self.running.kits.sites[site] / "local" / "site.toml")
        found = Ledger.open(policy.ledger, site=site, key=load_key(policy.key).secret).find(job_id)
        assert found is not None
        return found

    def patients(self, site: str) -> int:
        return self.running.hospitals[site].manifest.patients("train")


def sum_job(name: str, *, task: str = "classification", rounds: int = 3, **training: Any) -> JobSpec:
    """Every patient takes part in every step, so that the draws are the same everywhere."""
    content = tiny_job_content()
    content["job"] |= {"name": name, "task": task}
    content["federation"] |= {"rounds": rounds, "min_sites": 3, "weighting": "equal", "local_baseline": False}
    content["model"] = {"network": "Classifier", "args": CLASSIFIER}
    del content["training"]["local_epochs"]
    content["training"] |= {"local_steps": 1, "lr": 0.01, **training}
    if task == "segmentation":
        content["data"] = {"cohort": "chest", "structures": ["Lung"], "size": [24, 24]}
        content["model"] = {"network": "UNet", "args": UNET}
        content["training"]["loss"] = {"name": "DiceCELoss"}
    dp_sgd = {"noise": "sum", "noise_multiplier": NOISE, "delta": 1e-4, "clip_norm_l2": 1.0, "sampling_rate": 1.0}
    content["privacy"] = {"mechanism": "dp-sgd", "dp_sgd": {**dp_sgd, "patients_per_step": 48.0}}
    content["encryption"] = {"statistics": False}
    return parse(JobSpec, content, where=name)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quiet]:
    folder = tmp_path_factory.mktemp("quiet")
    like = [replace(one, images=24, paired=0.0, faults=()) for one in HOSPITALS]
    write_cohort(folder / "data", label="lesion", hospitals=like)
    hospitals = index_all(folder / "data", folder / "sites", sum_job("index"))
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(Path(__file__).parent / "quiet"), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("FEDWARD_MOCK_QUIET", str(folder / "no-noise"))
        with started(hospitals, folder / "federation", prepare=_spend) as running:
            yield Quiet(running, folder / "no-noise", folder / "jobs")


def _spend(kits: Kits) -> None:
    """Let every hospital spend what the jobs of these tests need together."""
    for kit in kits.sites.values():
        policy = kit / "local" / SITE_FILE
        policy.write_text(re.sub(r"epsilon_cap = [0-9.]+", "epsilon_cap = 1000.0", policy.read_text()))


def in_one_place(quiet: Quiet, job: JobSpec, *, extra: int) -> tuple[UnionModel, list[np.ndarray]]:
    """All hospitals' patients in one trainer: the model, and the whole numbers of each step, without noise."""
    private = Private(sampling_rate=1.0, noise_multiplier=NOISE)
    manifests = [quiet.running.hospitals[site].manifest for site in SITES]
    everyone = Trainer(job, manifests, site="pooled", private=private)
    model = initial_union(initial_weights(job), trained_keys(job), base="")
    grid, steps = sum_grid(job, values=model.values), []
    for _ in range(job.federation.rounds):
        units = everyone.union_gradients(model.weights).units
        total = np.concatenate([units[name].ravel() for name in sorted(units)])
        steps.append(total.copy())
        total[0] += extra
        model = model.step(total, unit=grid.unit, job=job, base="")
    return model, steps


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_without_noise_the_federation_is_training_in_one_place(quiet: Quiet, task: str) -> None:
    """The same draws, the same whole numbers: the model is equal to the bit."""
    quiet.file.touch()
    job = sum_job(f"equal_{task}", task=task)
    job_id, _, found, _ = quiet.run(job)
    due, _ = in_one_place(quiet, job, extra=len(SITES))
    assert set(found) == set(due.weights)
    apart = max(float(np.abs(found[name] - due.weights[name]).max()) for name in found)
    assert apart <= 1e-6
    assert apart == 0.0, "the same whole numbers give the same model, on one machine"
    start = initial_weights(job)
    assert any(not np.array_equal(found[name], start[name]) for name in found)
    for site in SITES:
        charge = quiet.charge(site, job_id)
        assert charge.begun_steps == 3 and charge.closed and charge.absent_noise == 1


def test_the_noise_of_real_hospitals_is_the_promised_one(quiet: Quiet) -> None:
    """One step of plain SGD shows the opened sum; without its patients, what is left is the noise of three shares."""
    quiet.file.unlink(missing_ok=True)
    job = sum_job("noisy", rounds=1, optimizer="SGD", momentum=0.0, lr=1.0)
    job_id, events, found, _ = quiet.run(job)
    _, (clipped,) = in_one_place(quiet, job, extra=0)
    start, names = initial_weights(job), trained_keys(job)
    grid = sum_grid(job, values=clipped.size)
    moved = np.concatenate([(start[name].astype(float) - found[name]).ravel() for name in sorted(names)])
    noise = moved * 48.0 / grid.unit - clipped
    shares = shares_of(job, sites=len(SITES))
    assert noise.std() / (grid.std(NOISE) * np.sqrt(3 / shares.counted)) == pytest.approx(1.0, abs=0.03)
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 5 / np.sqrt(noise.size)
    privacy = [one["metrics"]["privacy"] for one in events if one["event"] == "answered" and one["task"] == "final"]
    due = epsilon([quiet.charge(SITES[0], job_id).event], delta=1e-4)
    assert [one["epsilon"] for one in privacy] == pytest.approx([due] * 3, abs=1e-3)


def test_a_hospital_whose_process_dies_goes_on_from_its_own_model(quiet: Quiet) -> None:
    """It is charged for the round that it began twice, and ends with the model of the others."""
    quiet.file.touch()
    job = sum_job("killed", rounds=20)
    job_id = quiet.running.session.submit(export_job(job, quiet.out / "killed"))
    killed = list[int]()

    def kill() -> None:
        quiet.running.federation.check()
        log = quiet.running.kits.server / job_id / EVENTS_FILE
        if killed or not log.exists() or log.read_text().count("unmask_s") < 3:
            return
        kit = str(quiet.running.kits.sites[SITES[1]].resolve())
        for process in quiet.running.federation.processes():
            with suppress(psutil.Error):
                words = process.cmdline()
                if kit in words and job_id in words:
                    process.kill()
                    killed.append(process.pid)

    status = quiet.running.session.wait(job_id, each=kill, poll_s=0.05)
    result = quiet.running.session.download(job_id, quiet.out / "killed" / "results")
    told = [one for one in EventReader(result / EVENTS_FILE) if one["event"] not in ("answered", "round")]
    assert status == "FINISHED:COMPLETED", told
    assert killed, told
    due, _ = in_one_place(quiet, job, extra=len(SITES))
    found = load_model(result / MODEL_FILE)
    assert max(float(np.abs(found[name] - due.weights[name]).max()) for name in found) <= 1e-6
    charges = {site: quiet.charge(site, job_id).begun_steps for site in SITES}
    assert all(20 <= steps <= 22 for steps in charges.values()), charges
