"""Private jobs in a real federation: what leaves, what is charged, and what a second and third job may still spend."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedward.demo.compare import load_model
from fedward.flare.export import export_job
from fedward.flare.refusal import SENTENCES, Code
from fedward.indexing.site_key import load_key
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.privacy.accountant import Event, epsilon
from fedward.privacy.ledger.ledger import Ledger
from fedward.settings import JobSpec, parse, read_site
from fedward.weights import MODEL_FILE
from tests.conftest import tiny_job_content
from tests.integration.conftest import Running

pytestmark = pytest.mark.integration

NOISE, EXPECTED, DELTA, STEPS = 2.0, 4.0, 1e-3, 3


def private_job(name: str) -> JobSpec:
    content = tiny_job_content()
    content["job"]["name"] = name
    content["federation"] |= {"rounds": 1, "local_baseline": False}
    del content["training"]["local_epochs"]
    content["training"]["local_steps"] = STEPS
    private = {"noise_multiplier": NOISE, "delta": DELTA, "clip_norm_l2": 1.0, "patients_per_step": EXPECTED}
    content["privacy"] = {"mechanism": "dp-sgd", "dp_sgd": private}
    return parse(JobSpec, content, where=name)


def event(running: Running, site: str) -> Event:
    patients = running.hospitals[site].manifest.patients("train")
    return Event(unit="patient", sampling_rate=EXPECTED / patients, noise_multiplier=NOISE, steps=STEPS)


@pytest.fixture
def capped(running: Running, tmp_path: Path) -> Iterator[dict[str, Path]]:
    """Each hospital insists on privacy, with room for two jobs, and lets out an AUC and nothing else of the scores."""
    before, ledgers = {}, {}
    for site, kit in running.kits.sites.items():
        file = kit / "local" / "site.toml"
        before[file] = file.read_text()
        one = event(running, site)
        cap = (epsilon([one] * 2, delta=DELTA) + epsilon([one] * 3, delta=DELTA)) / 2
        ledgers[site] = tmp_path / f"{site}.db"
        new = f'privacy = {{ dp = "required", epsilon_cap = {cap}, delta = {DELTA}, encryption = "not-required" }}'
        text = re.sub(r"privacy = \{.*\}", new, before[file])
        text = re.sub(r'ledger = ".*"', f'ledger = "{ledgers[site]}"', text)
        listed = '"auc", "patients", "epsilon", "delta", "spent", "mechanism", "train_s"'
        text = re.sub(r"metrics = \[.*?\]", f"metrics = [{listed}]", text)
        file.write_text(text)
        policy = read_site(file)
        Ledger.create(policy.ledger, site=site, key=load_key(policy.key).secret)
    yield ledgers
    for file, text in before.items():
        file.write_text(text)


def run(running: Running, job: JobSpec, out: Path) -> tuple[str, list[dict[str, Any]], Path]:
    """The job's status, the server's events and the downloaded result; whatever its end, no charge stays open."""
    job_id = running.session.submit(export_job(job, out))
    status = running.session.wait(job_id, each=running.federation.check)
    result = running.session.download(job_id, out / "results")
    for site in running.kits.sites:
        charge = ledger(running, site).find(job_id)
        assert charge is None or charge.closed
    return status, list(EventReader(result / EVENTS_FILE)), result


def ledger(running: Running, site: str) -> Ledger:
    policy = read_site(running.kits.sites[site] / "local" / "site.toml")
    return Ledger.open(policy.ledger, site=site, key=load_key(policy.key).secret)


def spent(running: Running, site: str) -> float:
    rows = running.hospitals[site].manifest.rows
    return ledger(running, site).spent({row.patient for row in rows if row.split == "train"}, delta=DELTA)


def test_jobs_compose_until_the_cap_and_the_third_is_refused_before_it_trains(
    running: Running, capped: dict[str, Path], tmp_path: Path
) -> None:
    models = []
    for number in (1, 2):
        status, events, result = run(running, private_job(f"private{number}"), tmp_path / str(number))
        assert status == "FINISHED:COMPLETED", [one for one in events if one["event"] in ("declined", "dropped")]
        models.append(load_model(result / MODEL_FILE))
        for site in running.kits.sites:
            assert spent(running, site) == pytest.approx(
                epsilon([event(running, site)] * number, delta=DELTA), abs=1e-3
            )
        answers = [one["metrics"] for one in events if one["event"] == "answered"]
        assert answers
        for metrics in answers:
            assert set(metrics) <= {"scores", "patients", "privacy", "train_s"}, "the training loss stays"
    assert any(not np.array_equal(models[0][name], models[1][name]) for name in models[0]), "one seed, two noises"

    status, events, _ = run(running, private_job("private3"), tmp_path / "3")
    assert status != "FINISHED:COMPLETED"
    declined = {one["site"]: one["reason"] for one in events if one["event"] == "declined"}
    assert set(declined) == set(running.kits.sites)
    assert set(declined.values()) == {SENTENCES[Code.BUDGET]}, "a patient's ε stays"
    assert not [one for one in events if one["event"] == "answered"]


def test_a_job_without_privacy_is_refused_where_privacy_is_required(
    running: Running, capped: dict[str, Path], tmp_path: Path
) -> None:
    content = tiny_job_content()
    content["job"]["name"] = "bare"
    status, events, _ = run(running, parse(JobSpec, content, where="bare"), tmp_path)
    assert status != "FINISHED:COMPLETED"
    declined = [one for one in events if one["event"] == "declined"]
    assert len(declined) == len(running.kits.sites)
    assert all("differential privacy" in one["reason"] for one in declined)
