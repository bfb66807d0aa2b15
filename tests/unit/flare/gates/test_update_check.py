"""A proof of protection, and the ledger behind it: where they do not hold, nothing leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fedward.flare.protocol import Task
from tests.support.flare.hospital import Hospital, assert_refused, parts

Make = Callable[..., Hospital]


def test_no_proof(make: Make) -> None:
    hospital = make("dp-sgd")
    update = hospital.update()
    hospital.proof(update)
    assert_refused(hospital.send(hospital.answer(update)), says="update has no proof of its protection", payload=update)


def test_a_proof_where_none_is_due(make: Make) -> None:
    for task, update in ((Task.FINAL, None), (Task.ROUND, 1)):
        hospital = make("none")
        answer = hospital.answer(hospital.update() if update else None, proof={"MARK": hospital.model})
        assert_refused(hospital.send(answer, task), payload=hospital.model)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"digest": "0" * 64}, "update is not the one that its proof is for"),
        ({"job_id": "another"}, "proof is of another job or round"),
        ({"round_number": 1}, "proof is of another job or round"),
        ({"begun": "0" * 64}, "ledger has no such round of this job"),
        ({"steps": 9}, "ledger has no such round of this job"),
        ({"sampling_rate": 0.1}, "another sampling rate or noise than was charged"),
        ({"noise_multiplier": 1.4}, "another sampling rate or noise than was charged"),
        ({"noise_multiplier": 2.0}, "another sampling rate or noise than was charged"),
        ({"clip_norm_l2": 1.5}, "larger clip or less noise than the job's"),
        ({"mechanism": "none"}, "proof of protection has no usable …"),
        ({"more": 1}, "proof of protection has other fields"),
    ],
)
def test_a_proof_that_does_not_hold(make: Make, changes: dict[str, Any], says: str) -> None:
    hospital = make("dp-sgd")
    update = hospital.update()
    answer = hospital.answer(update, proof=hospital.proof(update, **changes))
    before = len(hospital.ledger.entries())
    assert_refused(hospital.send(answer), says=says, payload=update)
    assert [entry.kind for entry in hospital.ledger.entries()[before:]] == ["run-end"]  # nothing was released


def test_a_proof_for_an_update_that_was_changed_afterwards(make: Make) -> None:
    hospital = make("dp-sgd")
    update = hospital.update()
    proof = hospital.proof(update)
    update[min(update)] = update[min(update)] + np.float32(1e-6)
    assert_refused(hospital.send(hospital.answer(update, proof=proof)), says="not the one that", payload=update)


def test_a_begun_round_of_another_job_or_round(make: Make) -> None:
    hospital = make("dp-sgd")
    update = hospital.update()
    hospital.charge("elsewhere")
    begun = hospital.ledger.begin("elsewhere", round_number=0, steps=10).hash
    answer = hospital.answer(update, proof=hospital.proof(update, begun=begun))
    assert_refused(hospital.send(answer), says="ledger has no such round of this job", payload=update)
    hospital = make("dp-sgd")
    begun = hospital.ledger.begin(hospital.job_id, round_number=1, steps=10).hash
    answer = hospital.answer(update, proof=hospital.proof(update, begun=begun))
    assert_refused(hospital.send(answer), says="ledger has no such round of this job", payload=update)


def test_a_begun_round_is_good_for_one_update(make: Make) -> None:
    hospital = make("dp-sgd")
    first = hospital.update()
    proof = hospital.proof(first)
    hospital.ledger.release(proof["begun"], digest=proof["digest"])  # and killed, before the round was recorded as left
    hospital.restart()
    hospital.receive()
    second = hospital.update(seed=1)
    replay = hospital.answer(second, proof=hospital.proof(second, begun=proof["begun"]))
    assert_refused(hospital.send(replay), says="the privacy ledger does not vouch for it", payload=second)


@pytest.mark.parametrize("privacy", ["none", "dp-sgd", "update-noise"])
@pytest.mark.parametrize("damage", ["missing", "flipped", "another site's", "no key", "another key", "not charged"])
def test_a_ledger_that_does_not_vouch(make: Make, damage: str, privacy: str) -> None:
    hospital = make(privacy, charged=damage != "not charged")
    update = hospital.update()
    if damage == "not charged":
        hospital.charge("elsewhere")
    proof = None
    if privacy == "dp-sgd":
        owner = hospital.job_id if damage != "not charged" else "elsewhere"
        mine, hospital.job_id = hospital.job_id, owner
        proof = hospital.proof(update) | {"job_id": mine}
        hospital.job_id = mine
    ledger, key = hospital.local / "ledger.db", hospital.local / "key"
    if damage == "missing":
        ledger.unlink()
    elif damage == "flipped":
        content = bytearray(ledger.read_bytes())
        at = content.rfind(b"chest")
        content[at] ^= 1
        ledger.write_bytes(bytes(content))
    elif damage == "another site's":
        other = make(privacy, received=False)
        site = (other.local / "site.toml").read_text().replace('"north"', '"south"')
        (hospital.local / "site.toml").write_text(site)
        hospital = _reborn(hospital)
    elif damage == "no key":
        key.unlink()
    elif damage == "another key":
        key.write_text("11" * 32 + "\n")
    reason = assert_refused(hospital.send(hospital.answer(update, proof=proof)), payload=update)
    assert reason.startswith("egress gate: ")
    assert not (damage == "no key" and key.exists())


def _reborn(hospital: Hospital) -> Hospital:
    """The same hospital in a process that knows nothing of it yet."""
    hospital.job_id += "-again"
    return hospital


def test_without_its_record_no_job_sends_anything_with_a_cap_or_without(make: Make) -> None:
    """Without one, nothing stops a server from asking for one round a hundred times."""
    hospital = make("none", cap=False, charged=False)
    (hospital.local / "ledger.db").unlink()
    update, answer = hospital.honest()
    assert_refused(hospital.send(answer), says="ledger does not vouch", payload=update)


def test_without_a_cap_an_unprotected_job_needs_no_entry_of_its_patients(make: Make) -> None:
    hospital = make("none", cap=False, charged=False)
    assert set(parts(hospital.send(hospital.honest()[1]))) == {"update", "metrics"}


def test_a_closed_job_sends_no_more(make: Make) -> None:
    hospital = make("update-noise")
    hospital.ledger.close(hospital.job_id)
    update, answer = hospital.honest()
    assert_refused(hospital.send(answer), says="ledger does not vouch", payload=update)


@pytest.mark.parametrize("file", ["site.toml", "job.json"])
@pytest.mark.parametrize("content", [None, "", "nonsense = [", '{"job": "MARK"}'])
def test_settings_that_cannot_be_read(make: Make, file: str, content: str | None) -> None:
    hospital = make(received=False)
    path = (hospital.local if file == "site.toml" else hospital.config) / file
    path.unlink() if content is None else path.write_text(content)
    update, answer = hospital.honest()
    reason = assert_refused(hospital.send(answer), payload=update)
    assert str(hospital.folder) not in reason
    assert_refused(hospital.send(hospital.answer(), Task.FINAL), says=reason)


def test_a_policy_that_the_job_does_not_meet(make: Make) -> None:
    hospital = make("none", received=False)
    site = hospital.local / "site.toml"
    site.write_text(site.read_text().replace('"not-required", epsilon', '"required", epsilon'))
    update, answer = hospital.honest()
    assert_refused(hospital.send(answer), says="jobs with differential privacy", payload=update)
    assert_refused(hospital.send(hospital.answer(), Task.ADMIT), says="jobs with differential privacy")
