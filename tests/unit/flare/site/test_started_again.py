"""A hospital's process ends and another goes on: what it keeps of its own, when its run ends, and what is closed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.signal import Signal

from fedward.errors import JobError
from fedward.flare.gates import gate
from fedward.flare.protocol import Task, to_reply
from fedward.flare.refusal import Code, code_of
from fedward.flare.site.executor import HospitalExecutor
from fedward.flare.site.settlement import settle
from fedward.flare.site.site_job import SiteJob
from fedward.privacy.ledger.runs import FinalModel
from fedward.settings import read_site
from fedward.weights import Weights, add
from tests.unit.flare.site.conftest import HospitalSite, MakeSite

ROUNDS = 4
FEDBN: dict[str, Any] = {
    "federation": {"rounds": ROUNDS},
    "training": {"keep_optimizer": True},
    "model": {
        "batch_norm": "local",
        "args": {"init_features": 8, "growth_rate": 4, "block_config": [2, 2], "bn_size": 2, "norm": "batch"},
    },
}


def rounds(site: HospitalSite, *, anew_at: set[int]) -> list[Weights]:
    """Train through all rounds, alone; a new process begins before each of some rounds. Return the updates."""
    job, weights, updates = site.start(), site.hospital.model, []
    for number in range(ROUNDS):
        if number in anew_at:
            job = site.start()
        update = to_reply(site.ask(job, Task.ROUND, number=number, model=weights)).update
        assert update is not None
        updates.append(update)
        weights = add(weights, update)
    return updates


def equal(one: list[Weights], other: list[Weights]) -> bool:
    return all(
        a[name].tobytes() == b[name].tobytes() for a, b in zip(one, other, strict=True) for name in a
    )  # fmt: skip


@pytest.mark.parametrize("anew_at", [{2}, {1, 2, 3}])
def test_a_process_that_goes_on_makes_the_same_updates_bit_for_bit(make_site: MakeSite, anew_at: set[int]) -> None:
    through = rounds(make_site(changes=FEDBN), anew_at=set())
    assert equal(rounds(make_site(changes=FEDBN), anew_at=anew_at), through)


def kept_files(site: HospitalSite) -> list[Path]:
    return sorted((site.hospital.folder / "kit" / "checkpoints" / site.hospital.job_id).glob("*"))


@pytest.mark.parametrize("task", [Task.ROUND, Task.VALIDATE, Task.FINAL])
def test_a_state_that_does_not_verify_is_refused_and_never_used(make_site: MakeSite, task: Task) -> None:
    site = make_site(changes=FEDBN)
    site.ask(site.start(), Task.ROUND, number=0)
    (path,) = kept_files(site)
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    number = 1 if task is Task.ROUND else -1
    with pytest.raises(JobError, match="does not verify, and is not used") as refused:
        site.ask(site.start(), task, number=number)
    assert code_of(refused.value) is Code.JOB and "delete it" in str(refused.value)
    path.unlink()
    site.ask(site.start(), task, number=number)


def test_a_state_that_is_missing_or_old_is_told_in_the_sites_log(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site(changes=FEDBN)
    job = site.start()
    for number in range(2):
        site.ask(job, Task.ROUND, number=number)
        site.hospital.record.leave(site.hospital.job_id, round_number=number, model="a" * 64, repeats=2)
    first, second = kept_files(site)
    second.unlink()
    with caplog.at_level(logging.WARNING):
        site.ask(site.start(), Task.ROUND, number=2)
    assert "round 1 has left, and the hospital has kept its state after round 0" in caplog.text
    for path in kept_files(site):
        path.unlink()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        site.ask(site.start(), Task.ROUND, number=3)
    assert "has kept nothing" in caplog.text and first not in kept_files(site)


def test_a_job_that_keeps_nothing_writes_nothing(make_site: MakeSite) -> None:
    site = make_site()
    site.ask(site.start(), Task.ROUND, number=0)
    assert kept_files(site) == []


# the end of a process


def end(site: HospitalSite, *, started: bool, aborted: bool) -> None:
    """End a process as FLARE does."""
    gate._STATES.clear()
    context, executor = site.hospital.context(Task.ADMIT), HospitalExecutor()
    if started:
        executor._site = SiteJob(context)
    if aborted:
        context.set_prop(FLContextKey.RUN_ABORT_REQUESTED, True, private=True, sticky=False)
        executor.handle_event(EventType.ABORT_TASK, context)
    executor.handle_event(EventType.END_RUN, context)


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("aborted", [False, True])
@pytest.mark.parametrize("final", [False, True])
def test_the_run_ends_only_where_the_job_is_done_and_the_ledger_closes_always(
    make_site: MakeSite, started: bool, aborted: bool, final: bool
) -> None:
    site = make_site("dp-sgd")
    job = site.start()
    site.ask(job, Task.ADMIT)
    site.ask(job, Task.ROUND, number=0)
    if final:
        site.hospital.record.finish(site.hospital.job_id, FinalModel(2, "a" * 64))
    end(site, started=started, aborted=aborted)
    charge = site.hospital.ledger.find(site.hospital.job_id)
    assert charge is not None and charge.closed and charge.refunded_steps == charge.event.steps - charge.begun_steps > 0
    run = site.hospital.record.require(site.hospital.job_id)
    assert run.ended is (final and not aborted)


def test_the_kept_state_goes_with_the_run(make_site: MakeSite) -> None:
    site = make_site(changes=FEDBN)
    job = site.start()
    site.ask(job, Task.ROUND, number=0)
    job.close(ordinary=True)
    assert len(kept_files(site)) == 1
    site.hospital.record.finish(site.hospital.job_id, FinalModel(2, "a" * 64))
    job.close(ordinary=False)
    assert len(kept_files(site)) == 1
    job.close(ordinary=True)
    assert kept_files(site) == []


def test_a_task_that_was_aborted_is_not_the_end_of_the_run(make_site: MakeSite) -> None:
    """FLARE fires ABORT_TASK for one task too, without ``RUN_ABORT_REQUESTED``."""
    site = make_site("dp-sgd")
    site.ask(site.start(), Task.ADMIT)
    site.hospital.record.finish(site.hospital.job_id, FinalModel(2, "a" * 64))
    context, executor = site.hospital.context(Task.ADMIT), HospitalExecutor()
    executor.handle_event(EventType.ABORT_TASK, context)
    executor.handle_event(EventType.END_RUN, context)
    assert site.hospital.record.require(site.hospital.job_id).ended


def test_a_hospital_without_a_ledger_ends_a_process_without_an_error(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site()
    (site.hospital.local / "ledger.db").unlink()
    with caplog.at_level(logging.ERROR):
        end(site, started=False, aborted=False)
    assert caplog.text == ""


# a process that is gone


@pytest.mark.parametrize("same_process", [True, False])
def test_settling_gives_back_what_never_began_and_the_job_may_go_on(make_site: MakeSite, same_process: bool) -> None:
    site = make_site("dp-sgd")
    job = site.start()
    site.ask(job, Task.ADMIT)
    site.ask(job, Task.ROUND, number=0)
    policy, job_id = read_site(site.hospital.local / "site.toml"), site.hospital.job_id
    open_charge = site.hospital.ledger.find(job_id)
    done = settle(policy, job_id)
    assert open_charge is not None
    assert done.refunded_steps == open_charge.event.steps - done.begun_steps > 0
    patients = site.hospital.ledger.patients_of(job_id)
    assert done.epsilon == site.hospital.ledger.spent(patients, delta=open_charge.delta) > 0
    assert settle(policy, job_id) == done, "safe to repeat"
    assert not site.hospital.record.require(job_id).ended
    with pytest.raises(Exception, match="closed and can begin no round"):
        site.ask(job, Task.ROUND, number=1)
    site.ask(job if same_process else site.start(), Task.ROUND, number=1)
    reopened = site.hospital.ledger.find(job_id)
    assert reopened is not None and not reopened.closed and reopened.reopened == 1


def test_settling_a_job_that_nobody_knows_is_an_error(make_site: MakeSite) -> None:
    site = make_site()
    with pytest.raises(Exception, match="no such job in the ledger"):
        settle(read_site(site.hospital.local / "site.toml"), "never")


def test_the_executor_goes_on_after_an_abort_signal(make_site: MakeSite) -> None:
    """A round that was stopped in the middle leaves what the hospital keeps as it was before."""
    site = make_site(changes=FEDBN)
    job, stop = site.start(), Signal()
    site.ask(job, Task.ROUND, number=0)
    before = [path.read_bytes() for path in kept_files(site)]
    stop.trigger(True)
    from fedward.flare.protocol import question

    with pytest.raises(Exception):  # noqa: B017 - AbortedError, from the trainer's callback
        job.answer(Task.ROUND, question(site.hospital.model, round_number=1), abort=stop)
    assert [path.read_bytes() for path in kept_files(site)] == before
    assert np.isfinite(next(iter(site.hospital.model.values()))).all()
