"""Check rounds at the server: which sites it awaits, when a round counts, how a job ends, its events on each site."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from nvflare.apis.signal import Signal

from fedward.flare.protocol import Task
from fedward.flare.server.persistor import LATEST_FILE
from fedward.settings import JobSpec, parse
from fedward.training.networks import initial_weights
from fedward.weights import MODEL_FILE
from tests.conftest import tiny_job_content
from tests.support.flare.server import Ran, Script, Site, run

MODEL_BYTES = sum(array.nbytes for array in initial_weights(parse(JobSpec, tiny_job_content(), where="t")).values())


def refuses(task: Task, reason: str, *, number: int | None = None) -> Script:
    return lambda asked, at: reason if asked is task and number in (None, at) else 0.0


def slow(task: Task, seconds: float | None) -> Script:
    return lambda asked, at: seconds if asked is task else 0.0


def three(**changed: Site) -> dict[str, Site]:
    return {"city": Site(), "coast": Site(), "north": Site(), **changed}


def assert_failed(ran: Ran, *, number: int | None, says: tuple[str, ...]) -> None:
    """It ended as failed, for coverage alone, and says why in the event, in the end and to FLARE."""
    (uncovered,), (failed,) = ran.of("uncovered"), ran.of("failed")
    assert uncovered["round"] == number
    for words in says:
        assert words in uncovered["reason"] and words in failed["reason"] and words in ran.panic
    assert ran.of("finished") == []
    assert "submit the job again" in failed["reason"]


def test_the_events_of_a_job_that_went_well(tmp_path: Path) -> None:
    sites = three(north=Site(refuses(Task.ROUND, "no disk space", number=1), patients=None), city=Site(patients=25))
    federation = {"must_include": ["city"], "weighting": "equal"}
    ran = run(tmp_path, sites, acceptance={"threshold": 0.7}, federation=federation)
    (started,) = ran.of("started")
    assert started["sites"] == ["city", "coast", "north"]
    assert started["coverage"] == {"min_sites": 2, "must_include": ["city"], "min_patients": None}
    assert (started["task"], started["rounds"], started["threshold"]) == ("classification", 2, 0.7)

    first, second = ran.of("round")
    assert (first["round"], first["sites"], first["patients"]) == (0, ["city", "coast", "north"], 35)
    assert (second["round"], second["sites"], second["patients"]) == (1, ["city", "coast"], 35)
    told = first["participation"]["city"]
    assert (told["outcome"], told["reason"], told["trained"], told["patients"]) == ("accepted", None, True, 25)
    assert (told["sent_bytes"], told["received_bytes"]) == (MODEL_BYTES, MODEL_BYTES)
    assert 0 <= told["seconds"] <= first["wall_s"]
    assert first["participation"]["north"]["patients"] is None
    dropped = second["participation"]["north"]
    assert (dropped["outcome"], dropped["reason"], dropped["trained"]) == ("dropped", "no disk space", False)
    assert (dropped["sent_bytes"], dropped["received_bytes"]) == (MODEL_BYTES, 0)
    for event in (first, second):
        stages = event["stages"]
        assert set(stages) == {"wait_s", "add_s"} and min(stages.values()) >= 0
        assert sum(stages.values()) == pytest.approx(event["wall_s"], abs=2e-3)

    answered = [event for event in ran.of("answered") if event["task"] == "round"]
    assert [(event["site"], event["round"]) for event in answered].count(("north", 1)) == 0
    assert all((event["sent_bytes"], event["received_bytes"]) == (MODEL_BYTES, MODEL_BYTES) for event in answered)
    final = [event for event in ran.of("answered") if event["task"] == "final"]
    assert len(final) == 3
    assert all((one["round"], one["received_bytes"], one["sent_bytes"]) == (-1, 0, MODEL_BYTES) for one in final)
    assert ran.of("finished") and not ran.of("failed") and not ran.of("uncovered") and ran.panic == ""


def test_the_store_has_what_the_events_have(tmp_path: Path) -> None:
    ran = run(tmp_path, three())
    assert ran.store.stat().st_mode & 0o777 == 0o600
    connection = sqlite3.connect(ran.store)
    try:
        (job,) = connection.execute("SELECT id, name, state, rounds_done FROM jobs").fetchall()
        parts = connection.execute("SELECT count(*) FROM parts").fetchone()[0]
        accepted = connection.execute("SELECT site, accepted FROM seats").fetchall()
    finally:
        connection.close()
    assert job == ("job-1", "tiny", "finished", 2)
    assert parts == sum(len(event["participation"]) for event in ran.of("round")) == 6
    assert [times for _, times in accepted] == [2, 2, 2]


def test_a_store_that_cannot_be_had_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "kit" / "metrics.db").mkdir(parents=True)
    ran = run(tmp_path, three())
    assert ran.of("finished") and ran.panic == ""


# who is waited for


@pytest.mark.parametrize("named", [True, False])
def test_a_slow_hospital_is_waited_for_where_it_must_be_included_and_only_there(tmp_path: Path, named: bool) -> None:
    sites = three(north=Site(slow(Task.ROUND, 0.7)))
    federation = {"rounds": 1, "grace_s": 0.1, "must_include": ["north"] if named else []}
    ran = run(tmp_path, sites, federation=federation)
    (told,) = ran.of("round")
    assert ("north" in told["sites"]) == named
    assert told["participation"]["north"]["outcome"] == ("accepted" if named else "dropped")
    assert ran.of("finished")


def test_patients_are_waited_for_too(tmp_path: Path) -> None:
    sites = three(north=Site(slow(Task.ROUND, 0.7), patients=50))
    ran = run(tmp_path, sites, federation={"rounds": 1, "grace_s": 0.1, "min_patients": 60})
    assert ran.of("round")[0]["patients"] == 70


@pytest.mark.parametrize("named", [True, False])
def test_a_hospital_that_is_lost_is_waited_for_until_the_time_out_where_it_must_be_included(
    tmp_path: Path, named: bool
) -> None:
    sites = three(north=Site(slow(Task.ROUND, None), lost=True))
    federation = {"rounds": 1, "round_timeout_s": 1.0, "must_include": ["north"] if named else []}
    ran = run(tmp_path, sites, federation=federation)
    if named:
        assert ran.wall_s >= 1.0
        assert_failed(
            ran,
            number=0,
            says=(
                "round 0 does not count",
                'north ("no answer in time: must_include names it, and round_timeout_s, 1 s, is over")',
            ),
        )
    else:
        assert ran.of("finished")


# what does not count


def test_a_hospital_that_declines_and_must_be_included_ends_the_job_before_a_round(tmp_path: Path) -> None:
    sites = three(north=Site(refuses(Task.ADMIT, "job is not approved here")))
    ran = run(tmp_path, sites, federation={"must_include": ["north"]})
    assert_failed(ran, number=None, says=("north (job is not approved here)",))
    assert ran.of("declined")[0]["site"] == "north"
    assert ran.of("answered") == [] and ran.of("round") == []


def test_a_hospital_that_is_not_there_and_must_be_included_ends_it_too(tmp_path: Path) -> None:
    ran = run(tmp_path, three(), federation={"must_include": ["south"]})
    assert_failed(ran, number=None, says=("south (was not connected when the job began)",))


def test_too_few_sites(tmp_path: Path) -> None:
    sites = three(north=Site(refuses(Task.ADMIT, "no")), coast=Site(refuses(Task.ADMIT, "no")))
    assert_failed(run(tmp_path, sites), number=None, says=("1 sites where min_sites is 2",))


def test_a_round_without_a_hospital_that_must_be_included_does_not_count_and_the_model_before_is_kept(
    tmp_path: Path,
) -> None:
    sites = three(north=Site(refuses(Task.ROUND, "no disk space", number=1)))
    ran = run(tmp_path, sites, federation={"must_include": ["north"]})
    assert_failed(ran, number=1, says=("north (no disk space)",))
    assert [event["round"] for event in ran.of("round")] == [0]
    assert (ran.run / LATEST_FILE).exists() and not (ran.run / MODEL_FILE).exists()


def test_patients_that_are_not_said_count_nothing_and_the_reason_says_so(tmp_path: Path) -> None:
    sites = three(north=Site(patients=None))
    federation = {"min_patients": 21, "weighting": "equal"}
    ran = run(tmp_path, sites, federation=federation)
    assert_failed(ran, number=0, says=("20 patients where min_patients is 21", "by north"))


def test_a_final_model_that_was_not_validated_where_it_must_be_is_kept_and_is_no_success(tmp_path: Path) -> None:
    sites = three(north=Site(refuses(Task.FINAL, "out of memory")))
    assert run(tmp_path / "free", sites).of("finished")
    ran = run(tmp_path / "named", sites, federation={"must_include": ["north"]})
    assert_failed(ran, number=None, says=("final model was not validated at north",))
    assert len(ran.of("round")) == 2 and (ran.run / MODEL_FILE).exists()


def test_an_update_that_no_training_explains_is_told_and_used(tmp_path: Path) -> None:
    ran = run(tmp_path, three(north=Site(step=0.0)), federation={"rounds": 1})
    (suspect,) = ran.of("suspect")
    assert (suspect["site"], suspect["round"]) == ("north", 0) and "changes nothing" in suspect["reason"]
    assert ran.of("round")[0]["sites"] == ["city", "coast", "north"]


def test_under_differential_privacy_nobody_is_held_to_it(tmp_path: Path) -> None:
    update = {"clip_norm_l2": 1.0, "noise_multiplier": 1.0, "delta": 1e-5}
    privacy = {"mechanism": "update-noise", "update": update}
    assert run(tmp_path, three(north=Site(step=0.0)), privacy=privacy).of("suspect") == []


def test_the_events_of_an_aborted_job_say_that_it_was(tmp_path: Path) -> None:
    abort = Signal()

    def stop(asked: Task, at: int) -> float:
        if asked is Task.ROUND and at == 1:
            abort.trigger(True)
        return 0.0

    ran = run(tmp_path, three(city=Site(stop)), abort=abort)
    (aborted,) = ran.of("aborted")
    assert (aborted["by"], aborted["reason"]) == ("the server was stopped", "")
    assert [one["round"] for one in ran.of("round")] == [0]
    assert ran.of("finished") == ran.of("failed") == ran.of("uncovered") == []
