"""What a killed process left open in a hospital's ledger is settled by its service, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fedward.encryption.masks.agreement import KeyPair
from fedward.encryption.masks.run_keys import RUN_KEYS_FILE, RunKeys, write_run_keys
from fedward.flare.job_context import SITE_FILE, open_ledger, open_record
from fedward.flare.supervisor import left_open
from fedward.privacy.accountant import Event
from fedward.settings import SitePolicy, read_site
from tests.support.flare.hospital import Hospital

EVENT = Event(sampling_rate=0.1, noise_multiplier=1.0, steps=40)


@pytest.fixture
def kit(tmp_path: Path) -> tuple[Path, SitePolicy]:
    hospital = Hospital(tmp_path / "hospital", "dp-sgd")
    return hospital.local.parent, read_site(hospital.local / SITE_FILE)


def charged(policy: SitePolicy, *job_ids: str, begun: int) -> None:
    ledger = open_ledger(policy)
    for job_id in job_ids:
        ledger.charge(
            job_id=job_id, job="j", cohort="c", event=EVENT, rounds=4, patients={"0" * 16}, cap=None, delta=1e-5
        )
        for number in range(begun):
            ledger.begin(job_id, round_number=number, steps=10)


@pytest.mark.parametrize(
    "settle",
    [lambda kit, log: left_open.settle_after(kit, "one", log=log), lambda kit, log: left_open.settle_all(kit, log=log)],
)
def test_steps_that_never_began_are_given_back(settle: Callable[..., None], kit: tuple[Path, SitePolicy]) -> None:
    folder, policy = kit
    charged(policy, "one", begun=1)
    said: list[str] = []
    settle(folder, said.append)
    charge = open_ledger(policy).find("one")
    assert charge is not None and charge.closed
    assert charge.counted.steps == 10
    (line,) = [line for line in said if line.startswith("job one:")]
    assert "10 steps stay charged, 30 that never began do not" in line
    settle(folder, said.append)
    assert len([line for line in said if "10 steps" in line]) == 1, "once"


def test_the_end_of_one_process_settles_no_other_job(kit: tuple[Path, SitePolicy]) -> None:
    folder, policy = kit
    charged(policy, "one", "other", begun=1)
    left_open.settle_after(folder, "one", log=lambda line: None)
    other = open_ledger(policy).find("other")
    assert other is not None and not other.closed


def test_a_damaged_ledger_is_said_and_stops_no_service(kit: tuple[Path, SitePolicy]) -> None:
    folder, policy = kit
    charged(policy, "one", begun=1)
    policy.ledger.write_bytes(b"no ledger")
    said: list[str] = []
    left_open.settle_all(folder, log=said.append)
    assert len(said) == 1 and "stay open" in said[0]


def test_without_a_policy_or_a_ledger_nothing_is_settled(tmp_path: Path) -> None:
    said: list[str] = []
    left_open.settle_after(tmp_path, "one", log=said.append)
    assert len(said) == 1


def test_keys_of_runs_that_have_ended_are_destroyed_when_the_service_starts(kit: tuple[Path, SitePolicy]) -> None:
    folder, policy = kit
    record, paths = open_record(policy), {}
    for job_id in ("ended", "open", "unknown"):
        if job_id != "unknown":
            record.begin(job_id, job="a" * 64)
        paths[job_id] = folder / "checkpoints" / job_id / RUN_KEYS_FILE
        write_run_keys(RunKeys(pair=KeyPair.new()), paths[job_id])
    record.end("ended")
    left_open.settle_all(folder, log=lambda line: None)
    assert {job_id: path.exists() for job_id, path in paths.items()} == {"ended": False, "open": True, "unknown": False}
