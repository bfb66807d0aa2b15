"""A hospital killed in the middle of a private job and started again: what was spent stays spent, noise stays noise."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedward.demo.hospitals import DemoHospital
from fedward.flare.refusal import SENTENCES, Code
from fedward.indexing.site_key import load_key
from fedward.privacy.accountant import Event, epsilon
from fedward.privacy.budget_plan import repeated_rounds
from fedward.privacy.ledger.ledger import Ledger
from fedward.settings import JobSpec, parse, read_site
from fedward.training.networks import initial_weights
from fedward.weights import load_weights, save_weights
from tests.conftest import ROOT, tiny_job_content
from tests.support.federation.one_site import INCOMING, open_kit

pytestmark = pytest.mark.integration

ROUNDS, STEPS, NOISE, CLIP, EXPECTED, LR, DELTA = 3, 2, 8.0, 1e-3, 4.0, 1.0, 1e-3
JOB_ID = "0f0e0d0c-job"
BUDGET = SENTENCES[Code.BUDGET]
"""Sentence that the server receives; the site's log has the numbers."""


def private_job() -> JobSpec:
    """Plain SGD with a small clip and much noise, so that the update's spread is the noise's."""
    content = tiny_job_content()
    content["federation"] |= {"rounds": ROUNDS, "local_baseline": False, "weighting": "equal"}
    del content["training"]["local_epochs"]
    content["training"] |= {"optimizer": "SGD", "momentum": 0.0, "lr": LR, "local_steps": STEPS}
    private = {"noise_multiplier": NOISE, "delta": DELTA, "clip_norm_l2": CLIP, "patients_per_step": EXPECTED}
    content["privacy"] = {"mechanism": "dp-sgd", "dp_sgd": private}
    return parse(JobSpec, content, where="private")


@pytest.fixture
def kit(tmp_path: Path, hospitals: list[DemoHospital]) -> Path:
    return make_kit(tmp_path, hospitals[0], cap=8.0)


def make_kit(folder: Path, hospital: DemoHospital, *, cap: float) -> Path:
    """A kit of the hospital with a fresh ledger and a cap."""
    config = folder / "site.toml"
    text = re.sub(
        r"privacy = \{.*\}",
        f'privacy = {{ dp = "required", epsilon_cap = {cap}, delta = {DELTA}, encryption = "not-required" }}',
        hospital.config.read_text(),
    )
    config.write_text(re.sub(r'ledger = ".*"', f'ledger = "{folder / "ledger.db"}"', text))
    policy = read_site(config)
    Ledger.create(policy.ledger, site=policy.site, key=load_key(policy.key).secret)
    kit = open_kit(folder / "kit", config, private_job(), JOB_ID)
    save_weights(initial_weights(private_job()), kit / INCOMING)
    return kit


def deploy(kit: Path, job_id: str) -> None:
    """The same job once more, under an id of its own."""
    open_kit(kit, kit / "local" / "site.toml", private_job(), job_id)


def hospital(kit: Path, *tasks: str, job_id: str = JOB_ID) -> int:
    """Run the hospital's process; returns its exit code."""
    command = [sys.executable, "-m", "tests.support.federation.one_site", str(kit), job_id, *tasks]
    return subprocess.run(command, cwd=ROOT, timeout=180, check=False).returncode


def said(kit: Path, task: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((kit / f"{task}.json").read_text())
    return answer


def spread(kit: Path, task: str) -> float:
    """Standard deviation over all coordinates of the update that left."""
    return float(np.concatenate([one.ravel() for one in load_weights(kit / f"{task}.npz").values()]).std())


def ledger(kit: Path) -> Ledger:
    policy = read_site(kit / "local" / "site.toml")
    return Ledger.open(policy.ledger, site=policy.site, key=load_key(policy.key).secret)


def test_after_a_kill_in_round_2_epsilon_and_noise_are_as_promised(kit: Path) -> None:
    assert hospital(kit, "admit", "round:0", "round:1", "--kill", "1") == -signal.SIGKILL
    assert (kit / "round-0.npz").exists()
    assert not (kit / "round-1.npz").exists()
    charge = ledger(kit).find(JOB_ID)
    assert charge is not None
    assert (charge.begun_steps, charge.counted.steps) == (2 * STEPS, ROUNDS * STEPS)

    assert hospital(kit, "round:1", "round:2", "final", "close") == 0
    promised = NOISE * CLIP / EXPECTED * LR * STEPS**0.5
    for task in ("round-0", "round-1", "round-2"):
        assert spread(kit, task) == pytest.approx(promised, rel=0.05)

    after = ledger(kit).find(JOB_ID)
    assert after is not None
    assert after.closed
    assert after.counted.steps == (ROUNDS + 1) * STEPS, "the round that was killed is paid twice"
    spent = Event(
        unit="patient",
        sampling_rate=charge.event.sampling_rate,
        noise_multiplier=NOISE,
        steps=(ROUNDS + 1) * STEPS,
    )
    privacy = said(kit, "final")["privacy"]
    assert privacy["epsilon"] == pytest.approx(epsilon([spent], delta=DELTA), abs=1e-3)
    assert privacy["noise_multiplier"] == NOISE


def test_a_repeated_round_that_does_not_fit_the_cap_trains_nothing(
    tmp_path: Path, hospitals: list[DemoHospital]
) -> None:
    rate = EXPECTED / said_patients(hospitals[0])
    planned = Event(unit="patient", sampling_rate=rate, noise_multiplier=NOISE, steps=ROUNDS * STEPS)
    kit = make_kit(tmp_path, hospitals[0], cap=epsilon([planned], delta=DELTA) * 1.001)
    assert hospital(kit, "admit", "round:0", "--kill", "0") == -signal.SIGKILL
    assert hospital(kit, "round:0", "round:1", "round:2", "final") == 0
    assert (kit / "round-1.npz").exists()
    assert said(kit, "round-2")["refused"] == BUDGET
    charge = ledger(kit).find(JOB_ID)
    assert charge is not None and charge.counted.steps == ROUNDS * STEPS
    assert not (kit / "round-2.npz").exists()


def said_patients(hospital: DemoHospital) -> int:
    return hospital.manifest.patients("train")


def test_a_job_comes_to_its_own_ceiling_and_not_to_the_cap_however_often_it_is_asked(
    tmp_path: Path, hospitals: list[DemoHospital]
) -> None:
    """Deployed and killed repeatedly in one round, under a cap with room for hundreds."""
    kit = make_kit(tmp_path, hospitals[0], cap=1000.0)
    assert hospital(kit, "admit", "round:0", "--kill", "0") == -signal.SIGKILL
    for _ in range(ROUNDS + repeated_rounds(ROUNDS) - 1):
        assert hospital(kit, "round:0", "--kill", "0") == -signal.SIGKILL
    assert hospital(kit, "round:0", "round:1", "close") == 0
    for task in ("round-0", "round-1"):
        assert said(kit, task)["refused"] == BUDGET
    charge = ledger(kit).find(JOB_ID)
    assert charge is not None
    assert charge.counted.steps == (ROUNDS + repeated_rounds(ROUNDS)) * STEPS == charge.ceiling.steps
    assert not list(kit.glob("round-*.npz"))


def test_a_round_is_answered_again_a_few_times_and_paid_each_time(
    tmp_path: Path, hospitals: list[DemoHospital]
) -> None:
    """Requested again for round 0, then for one ahead and back; and after the run's end for anything."""
    kit = make_kit(tmp_path, hospitals[0], cap=1000.0)
    assert hospital(kit, "admit", "round:0") == 0
    for again in range(1, 1 + repeated_rounds(ROUNDS)):
        assert hospital(kit, "round:0") == 0
        assert "refused" not in said(kit, "round-0")
        charge = ledger(kit).find(JOB_ID)
        assert charge is not None and charge.begun_steps == (1 + again) * STEPS
    assert hospital(kit, "round:0") == 0
    assert "the rounds that this run may repeat are used up" in said(kit, "round-0")["refused"]
    assert ledger(kit).find(JOB_ID) == charge, "and cost nobody anything"
    assert hospital(kit, "round:1", "final", "close") == 0
    assert (kit / "round-1.npz").exists()
    assert hospital(kit, "admit", "round:2") == 0
    for task in ("admit", "round-2"):
        assert "has ended here" in said(kit, task)["refused"]
    assert not (kit / "round-2.npz").exists()


def test_one_seed_does_not_give_one_noise(kit: Path, tmp_path: Path) -> None:
    assert hospital(kit, "admit", "round:0") == 0
    shutil.copy(kit / "round-0.npz", tmp_path / "first.npz")
    other_run = "0f0e0d0c-again"
    deploy(kit, other_run)
    assert hospital(kit, "admit", "round:0", job_id=other_run) == 0
    one, other = load_weights(tmp_path / "first.npz"), load_weights(kit / "round-0.npz")
    flat = [np.concatenate([array.ravel() for array in each.values()]) for each in (one, other)]
    assert abs(np.corrcoef(flat)[0, 1]) < 0.1


def test_without_its_ledger_nothing_leaves(kit: Path) -> None:
    policy = read_site(kit / "local" / "site.toml")
    policy.ledger.unlink()
    assert hospital(kit, "admit", "round:0", "final") == 0
    for task in ("admit", "round-0", "final"):
        assert "ledger" in said(kit, task)["refused"]
    assert not list(kit.glob("round-*.npz"))


def test_a_byte_of_the_ledger_flipped_between_rounds_ends_the_job_here(kit: Path) -> None:
    assert hospital(kit, "admit", "round:0") == 0
    policy = read_site(kit / "local" / "site.toml")
    content = bytearray(policy.ledger.read_bytes())
    at = content.find(b'"steps":')
    assert at > 0, "the ledger's entries are readable"
    content[at + 8] ^= 1
    policy.ledger.write_bytes(bytes(content))
    assert hospital(kit, "round:1") == 0
    assert "ledger" in said(kit, "round-1")["refused"]
    assert not (kit / "round-1.npz").exists()
