"""A task comes again: what is answered again, what is counted, and that a lying server gets nothing new by it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvflare.apis.shareable import Shareable

from fedward.errors import BudgetError
from fedward.flare.protocol import (
    CONFIRM,
    MODEL,
    REFUSED_AT_DOOR,
    Model,
    Reply,
    Sum,
    Task,
    global_weights,
    refusal,
    refuse,
    to_reply,
    to_shareable,
)
from fedward.flare.refusal import SENTENCES, Code
from fedward.flare.secagg_context import NONCE
from fedward.privacy.accountant import epsilon, update_noise_event
from fedward.privacy.budget_plan import repeated_rounds
from fedward.privacy.ledger.runs import LEAVE
from fedward.weights import Weights, digest
from tests.support.flare.hospital import PATIENTS, Hospital, assert_refused, parts
from tests.support.flare.three import SITES, Three, first_sum

BEST: dict[str, Any] = {"federation": {"rounds": 3, "select": "best"}}
PRIVACY = ["none", "clipped", "update-noise", "dp-sgd"]


def stopped(received: Shareable) -> str:
    """Return the reason why a task reached no executor."""
    assert "DXO" not in received
    return str(received.get_header(REFUSED_AT_DOOR))


def answered(hospital: Hospital, number: int, *, model: Weights | None = None, seed: int = 0) -> Shareable:
    """Give a round to the hospital, and send an honest update of it."""
    received = hospital.receive(model, number=number)
    assert global_weights(received), received.get_header(REFUSED_AT_DOOR)
    update = hospital.update(seed=seed)
    proof = hospital.proof(update, number=number) if hospital.mechanism == "dp-sgd" else None
    return hospital.send(hospital.answer(update, proof=proof))


def other_model(hospital: Hospital) -> Weights:
    """A model that the gate would take for a round after the first."""
    return {name: array + np.float32(0.001) for name, array in hospital.model.items()}


def left(hospital: Hospital) -> list[int]:
    return [entry.body["round"] for entry in hospital.record.entries() if entry.kind == LEAVE]


# a round


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("privacy", PRIVACY)
def test_the_last_round_is_answered_again_charged_again_and_counted(
    tmp_path: Path, privacy: str, restarted: bool
) -> None:
    hospital = Hospital(tmp_path, privacy, changes={"federation": {"rounds": 4}})
    for number in (0, 0, 1, 1, 2):
        if restarted:
            hospital.restart()
        assert set(parts(answered(hospital, number))) == {"metrics", "update"}
    assert left(hospital) == [0, 0, 1, 1, 2]
    assert hospital.record.require(hospital.job_id).repeats == 2
    charge = hospital.ledger.find(hospital.job_id)
    assert (charge.begun_steps if charge else 5) == {"dp-sgd": 50}.get(privacy, 5)


@pytest.mark.parametrize("restarted", [False, True])
def test_beyond_the_count_the_task_is_refused_and_the_job_goes_on(tmp_path: Path, restarted: bool) -> None:
    hospital = Hospital(tmp_path, changes={"federation": {"rounds": 4}})
    for _ in range(1 + repeated_rounds(4)):
        parts(answered(hospital, 0))
    before = hospital.record.entries()
    if restarted:
        hospital.restart()
    assert "the rounds that this run may repeat are used up" in stopped(hospital.receive(number=0))
    sent = hospital.send(refuse(Code.AT_DOOR))
    assert_refused(sent, says="ingress gate: the rounds that this run may repeat are used up")
    assert hospital.record.entries()[: len(before)] == before and left(hospital) == [0, 0, 0]


def test_a_hospital_that_has_no_repeat_left_takes_the_next_round(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, changes={"federation": {"rounds": 4}})
    for _ in range(3):
        parts(answered(hospital, 0))
    stopped(hospital.receive(number=0))
    parts(answered(hospital, 1))
    assert left(hospital) == [0, 0, 0, 1]
    assert "used up" in stopped(hospital.receive(number=1))


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("privacy", PRIVACY)
def test_the_round_again_with_another_model_ends_the_run(tmp_path: Path, privacy: str, restarted: bool) -> None:
    hospital = Hospital(tmp_path, privacy, changes={"federation": {"rounds": 4}})
    parts(answered(hospital, 1))
    if restarted:
        hospital.restart()
    received = hospital.receive(other_model(hospital), number=1)
    assert "an update of this round left before, for another model" in stopped(received)
    hospital.restart()
    assert "has ended here" in stopped(hospital.receive(number=2))
    assert left(hospital) == [1]


def test_where_nothing_left_the_round_may_come_with_another_model(tmp_path: Path) -> None:
    """The server that chooses a round's model chooses once what it gets an update of."""
    hospital = Hospital(tmp_path, changes={"federation": {"rounds": 4}})
    hospital.receive(number=1)
    model = other_model(hospital)
    parts(answered(hospital, 1, model=model))
    assert hospital.record.require(hospital.job_id).answered == digest(model)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_round_before_the_last_never_comes_again(tmp_path: Path, restarted: bool) -> None:
    hospital = Hospital(tmp_path, changes={"federation": {"rounds": 4}})
    for number in (0, 1):
        parts(answered(hospital, number))
    if restarted:
        hospital.restart()
    assert "out of the job's order" in stopped(hospital.receive(number=0))
    assert left(hospital) == [0, 1]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("task", [Task.VALIDATE, Task.FINAL])
def test_after_the_finalization_began_no_round_comes_again(tmp_path: Path, task: Task, restarted: bool) -> None:
    hospital = Hospital(tmp_path, changes=BEST)
    parts(answered(hospital, 2))
    assert global_weights(hospital.receive(task=task))
    if restarted:
        hospital.restart()
    assert "out of the job's order" in stopped(hospital.receive(number=2))
    assert left(hospital) == [2]


def test_the_same_round_twice_at_once_lets_one_update_out(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, changes={"federation": {"rounds": 4}})
    assert global_weights(hospital.receive()) and global_weights(hospital.receive())
    update, answer = hospital.honest()
    parts(hospital.send(answer))
    assert_refused(hospital.send(hospital.answer(hospital.update(seed=1))), payload=update)
    assert left(hospital) == [0]


def test_repeats_come_to_the_ledgers_ceiling_and_no_further(tmp_path: Path) -> None:
    """The rounds of the plan and those that may be repeated fit; one training more is never charged."""
    hospital = Hospital(tmp_path, "dp-sgd", changes={"federation": {"rounds": 3}})
    for number in (0, 0, 1, 2, 2):
        parts(answered(hospital, number))
    charge = hospital.ledger.find(hospital.job_id)
    assert charge is not None and charge.begun_steps == charge.ceiling.steps == 50
    with pytest.raises(BudgetError, match="ceiling"):
        hospital.proof(hospital.update(), number=2)


def test_a_round_for_which_the_budget_has_no_room_is_refused_and_the_final_model_is_scored(tmp_path: Path) -> None:
    """Noise on the update is charged at the gate; a cap that has room for the plan alone leaves none for a repeat."""
    hospital = Hospital(tmp_path, "update-noise", charged=False)
    event = update_noise_event(3.0, rounds=2)
    who: dict[str, Any] = {"job_id": hospital.job_id, "job": "tiny", "cohort": "chest", "patients": PATIENTS}
    cap = epsilon([event], delta=1e-4) * 1.001
    hospital.ledger.charge(**who, event=event, rounds=2, cap=cap, delta=1e-4, allowance=2)
    for number in (0, 0):
        parts(answered(hospital, number))
    sent = answered(hospital, 1)
    assert_refused(sent, says=SENTENCES[Code.BUDGET], payload=hospital.update())
    assert left(hospital) == [0, 0]
    assert global_weights(hospital.receive(task=Task.FINAL))
    assert set(parts(hospital.send(hospital.answer(), Task.FINAL))) == {"metrics"}


# admission


def test_admission_comes_again_at_any_time_with_the_same_nonce_and_changes_no_position(tmp_path: Path) -> None:
    three = Three(tmp_path, federation={"rounds": 3})
    city, nonces = three.hospitals["city"], set()
    one = first_sum(three)
    for restart in (False, True, True):
        if restart:
            city.restart()
        nonces.add((three.admit("city").sealed or {})[NONCE])
        assert global_weights(three.give("city", Task.ROUND, one, number=1))
        nonces.add((three.admit("city").sealed or {})[NONCE])
    assert nonces == {(three.exchange.roster or {})["city"]}
    assert "out of the job's order" in stopped(three.give("city", Task.ROUND, three.exchange.initial, number=0))


def test_a_run_that_has_ended_is_not_admitted_again(tmp_path: Path) -> None:
    three = Three(tmp_path)
    city = three.hospitals["city"]
    city.record.end(city.job_id)
    for restart in (False, True):
        if restart:
            city.restart()
        assert "has ended here" in stopped(three.give("city", Task.ADMIT, None))


# an encrypted job


def sums(three: Three) -> list[Model]:
    made = [three.exchange.initial]
    for _ in range(3):
        made.append(three.round(made[-1])[0])
    return made[1:]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_sealed_round_again_is_a_message_of_its_own_for_the_same_sum(tmp_path: Path, restarted: bool) -> None:
    three = Three(tmp_path, federation={"rounds": 3})
    one = first_sum(three)
    first = to_reply(three.train("city", one))
    if restarted:
        three.hospitals["city"].restart()
    again = to_reply(three.train("city", one))
    assert first.sealed is not None and again.sealed is not None
    assert first.sealed[MODEL] != again.sealed[MODEL], "a fresh nonce, so that no key stream is used twice"
    opened = []
    for message in (first, again):
        taken = three.exchange.round(one)
        taken.take("city", message)
        for site in ("coast", "north"):
            three.hospitals[site].restart()
            taken.take(site, to_reply(three.train(site, one)))
        opened.append(taken.close())
    two, other = opened
    assert global_weights(three.give("north", Task.ROUND, two, number=2))
    assert "another sum of this round" in stopped(three.give("north", Task.ROUND, other, number=2))
    taken = three.exchange.round(one)
    taken.take("city", first)
    with pytest.raises(Exception, match="already given"):
        taken.take("city", again)


def test_each_task_of_the_finalization_comes_again_with_the_same_content(tmp_path: Path) -> None:
    """The server died after each task in turn, and the hospital's process with it."""
    three = Three(tmp_path, **BEST)
    made, best = sums(three), 1
    city = three.hospitals["city"]

    def twice(task: Task, carried: Model | Sum | list[Sum], counts: Mapping[str, Any] | None = None) -> list[Reply]:
        replies = []
        for _ in range(2):
            city.restart()
            for _ in range(2):
                received = three.give("city", task, carried)
                assert received.get_header(REFUSED_AT_DOOR) is None, received.get_header(REFUSED_AT_DOOR)
                sent = city.send(to_shareable(Reply(counts=counts)), task)
                assert refusal(sent) is None
                replies.append(to_reply(sent))
        return replies

    twice(Task.VALIDATE, made[-1])
    confirmed = three.words(made[best])
    assert all(CONFIRM + MODEL in (reply.sealed or {}) for reply in twice(Task.FINAL, made[best]))
    twice(Task.VALIDATE, made[-1])
    opened = Model(after=made[best].after, sealed=made[best].sealed, confirmed=confirmed)
    found = [reply.model for reply in twice(Task.OPEN, opened)]
    assert len({digest(model) for model in found if model is not None}) == 1 and None not in found
    entries = [entry.kind for entry in city.record.entries()]
    for kind in ("run-validate", "run-final", "run-open"):
        assert entries.count(kind) == 1


@pytest.mark.parametrize("task", [Task.VALIDATE, Task.FINAL, Task.OPEN])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_task_of_the_finalization_again_with_another_model_ends_the_run(
    tmp_path: Path, task: Task, restarted: bool
) -> None:
    three = Three(tmp_path, **BEST)
    made = sums(three)
    assert "DXO" in three.give("city", Task.VALIDATE, made[-1])
    confirmed = three.words(made[1])
    assert refusal(three.open("city", made[1], confirmed)) is None
    if restarted:
        three.hospitals["city"].restart()
    other = Model(after=1, sealed=made[0].sealed, confirmed=confirmed)
    assert stopped(three.give("city", task, other))
    for site in SITES:
        three.hospitals[site].restart()
    assert "has ended here" in stopped(three.give("city", Task.FINAL, made[1]))


def test_a_hospital_that_missed_the_validation_refuses_it_after_the_final_model_and_goes_on(tmp_path: Path) -> None:
    """A server that begins the finalization anew asks this hospital too; it did no wrong."""
    three = Three(tmp_path, **BEST)
    made = sums(three)
    three.words(made[1])
    three.hospitals["city"].restart()
    assert "a final model of this job was confirmed before" in stopped(three.give("city", Task.VALIDATE, made[-1]))
    assert "DXO" in three.give("city", Task.FINAL, made[1])
