"""A new process of the server goes on from the last whole round: the same model to the bit, and no event twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedward.encryption.keys.key import create_key
from fedward.flare.protocol import Task
from fedward.flare.server.averaging.signed_sum import SignedSum
from fedward.flare.server.checkpoints.checkpoint import load, save
from fedward.flare.server.checkpoints.earlier import BY_PERSON, MOST_ATTEMPTS
from fedward.metrics.events import ENDS, EVENTS_FILE, EventLog, EventReader
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import JobSpec, parse
from fedward.weights import Weights
from tests.support.flare.restarted import Killed, Killer, Make, Restarted, SealedFederation, until_killed
from tests.support.flare.simulated import Act, job_content, on, steady

SITES = ("city", "coast", "north")
ROUNDS = 2
KEYS = {"aes-ctr": create_key(), "bfv": create_key("bfv"), "masked": None}
JOBS: dict[str, dict[str, Any]] = {
    "mean": {},
    "fedadam": {"aggregation": "fedadam"},
    "best": {"aggregation": "median", "select": "best"},
}


def plain(folder: Path, **federation: Any) -> Restarted:
    scripts = {site: steady(1.0 + place / 10) for place, site in enumerate(SITES)}
    return Restarted(folder, scripts, federation={"rounds": ROUNDS, "local_baseline": False, **federation})


def sealed(folder: Path, scheme: str) -> Restarted:
    federation = {"rounds": ROUNDS, "min_sites": 3, "local_baseline": False, "weighting": "equal"}
    encryption = {"clipping_range": 8.0}
    scripts = {site: steady() for site in SITES}
    return SealedFederation(folder, scripts, key=KEYS[scheme], federation=federation, encryption=encryption)


def same(one: Weights | None, other: Weights | None) -> bool:
    assert one is not None and other is not None
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and one[name].tobytes() == other[name].tobytes() for name in one
    )


def assert_once(events: list[dict[str, Any]], *, rounds: int) -> None:
    """Every whole round, the beginning and the end are there once, in their order; no event is there twice."""
    counted = Counter(json.dumps(event, sort_keys=True) for event in events)
    assert max(counted.values()) == 1
    assert [event["round"] for event in events if event["event"] == "round"] == list(range(rounds))
    assert [event["event"] for event in events if event["event"] in ENDS] == ["finished"]
    assert [event["event"] for event in events].count("started") == 1


@pytest.mark.parametrize("name", [*JOBS, *KEYS])
def test_a_job_killed_at_any_event_ends_with_the_same_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make: Make = lambda folder: sealed(folder, name) if name in KEYS else plain(folder, **JOBS[name])  # noqa: E731
    whole = Killer(0, written=False)
    undisturbed = make(tmp_path / "undisturbed")
    ran = until_killed(undisturbed, whole, monkeypatch)
    assert ran is not None and ran.of("finished") and whole.count > 4 * ROUNDS
    for at in range(1, whole.count + 1, 6 if name == "bfv" else 1):
        for written in (False, True):
            federation = make(tmp_path / f"{at}-{written}")
            assert until_killed(federation, Killer(at, written=written), monkeypatch) is None
            federation.process(new_run=at % 2 == 0)
            ran = federation.run()
            ended = at == whole.count and written
            begun = at > 1 or written
            assert ran.panic == ""
            assert_once(federation.log, rounds=ROUNDS)
            assert (federation.run_folder / EVENTS_FILE).read_bytes() == (
                federation.checkpoints / EVENTS_FILE
            ).read_bytes()
            assert same(federation.model, undisturbed.model), (at, written)
            assert getattr(federation, "refused", []) == [] and not ran.of("unopened")
            if ended:  # the first process had made everything but its exit
                assert ran.taken == [] and not ran.of("resumed")
                continue
            by = "server" if at % 2 == 0 else "server process"
            assert [(event["by"], event["attempt"]) for event in ran.of("resumed")] == ([(by, 1)] if begun else [])


@pytest.mark.parametrize("after", [False, True], ids=["before it", "after it"])
def test_a_server_that_dies_while_hospitals_help_asks_them_for_the_same_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """At each answer with shares, of the rounds and of the counts: hospitals help for one set of messages only."""
    undisturbed = sealed(tmp_path / "undisturbed", "masked")
    undisturbed.run()
    helped, seen = SignedSum.help, 0
    for at in range(1, 3 * (ROUNDS + 2) + 1):
        federation, seen = sealed(tmp_path / str(at), "masked"), 0

        def dies(one: SignedSum, *args: Any, due: int = at, **named: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == due and not after:
                raise Killed
            helped(one, *args, **named)
            if seen == due:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(SignedSum, "help", dies)
            with pytest.raises(Killed):
                federation.run()
        federation.process(new_run=at % 2 == 0)
        ran = federation.run()
        assert ran.panic == "" and ran.of("finished") and not ran.of("unopened")
        assert_once(federation.log, rounds=ROUNDS)
        assert same(federation.model, undisturbed.model)
        assert all(one.refused == [] for one in federation.masked.values())  # type: ignore[attr-defined]
        assert all("unmask_s" in event["stages"] for event in ran.of("round"))


def test_the_same_integers_are_summed_with_masks_and_without(tmp_path: Path) -> None:
    masked, shared = (sealed(tmp_path / name, name) for name in ("masked", "aes-ctr"))
    masked.run()
    shared.run()
    assert same(masked.model, shared.model)


def test_a_round_in_progress_is_asked_again_and_no_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = plain(tmp_path)
    count = Killer(0, written=False)
    until_killed(plain(tmp_path / "count"), count, monkeypatch)
    first = 4 + 3 + 1  # started, three admitted, three answers, the round
    assert until_killed(federation, Killer(first + 2, written=True), monkeypatch) is None
    federation.process(new_run=True)
    ran = federation.run()
    assert [(task, number) for _, site, task, number in ran.taken if site == "north"] == [
        (Task.ADMIT, -1),
        (Task.ROUND, 1),
        (Task.FINAL, -1),
    ]
    (resumed,) = ran.of("resumed")
    assert resumed["round"] == 1


def test_a_job_is_resumed_a_few_times_without_a_whole_round_and_then_fails(tmp_path: Path) -> None:
    def dies(*_: object) -> None:
        raise SystemExit

    federation = plain(tmp_path)
    federation.clock.after(1.5, dies)  # in round 0
    with pytest.raises(SystemExit):
        federation.run()
    for _ in range(MOST_ATTEMPTS):
        federation.process(new_run=True)
        federation.clock.after(1.5, dies)
        with pytest.raises(SystemExit):
            federation.run()
    federation.process(new_run=True)
    ran = federation.run()
    assert [event["attempt"] for event in ran.of("resumed")] == list(range(1, MOST_ATTEMPTS + 1))
    (failed,) = ran.of("failed")
    assert "resumed 3 times without one more whole round" in failed["reason"] and failed["reason"] == ran.panic
    # a person may have it resumed all the same
    federation.process(new_run=True)
    (federation.checkpoints / BY_PERSON).write_text("{}")
    ran = federation.run()
    assert ran.of("resumed")[-1]["by"] == "person" and ran.of("resumed")[-1]["attempt"] == 1
    assert ran.of("finished") and not (federation.checkpoints / BY_PERSON).exists()


def test_a_resumption_that_the_servers_parent_told_is_not_told_again_and_counts_as_one_attempt(tmp_path: Path) -> None:
    def dies(*_: object) -> None:
        raise SystemExit

    scripts = {site: on(Task.ROUND, Act("refuse"), rounds=range(1, 2)) for site in SITES}
    federation = Restarted(tmp_path, scripts, federation={"rounds": 2, "local_baseline": False})
    assert federation.run().of("failed")
    (federation.checkpoints / BY_PERSON).write_text("{}")
    EventLog(federation.checkpoints / EVENTS_FILE).append("resumed", round=1, by="person", attempt=1)
    federation.process(new_run=True)
    federation.clock.after(0.5, dies)  # in its admission
    with pytest.raises(SystemExit):
        federation.run()
    assert not (federation.checkpoints / BY_PERSON).exists()
    federation.process(new_run=True)
    ran = federation.run()
    assert [(event["by"], event["attempt"]) for event in ran.of("resumed")] == [("person", 1), ("server", 2)]
    assert (federation.run_folder / EVENTS_FILE).read_bytes() == (federation.checkpoints / EVENTS_FILE).read_bytes()


def test_a_failed_job_stays_failed(tmp_path: Path) -> None:
    scripts = {site: on(Task.ROUND, Act("refuse"), rounds=range(1, 2)) for site in SITES}
    federation = Restarted(tmp_path, scripts, federation={"rounds": 2, "local_baseline": False})
    (failed,) = federation.run().of("failed")
    federation.process(new_run=True)
    ran = federation.run()
    assert ran.panic == failed["reason"] and ran.taken == []
    assert ran.of("failed") == [failed] and not ran.of("resumed")


def test_a_job_that_is_never_resumed_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = plain(tmp_path, resume="never")
    assert until_killed(federation, Killer(7, written=True), monkeypatch) is None
    assert sorted(path.name for path in federation.checkpoints.iterdir()) == [EVENTS_FILE]
    federation.process(new_run=True)
    ran = federation.run()
    assert ran.taken == [] and 'resume = "never"' in ran.panic
    (failed,) = ran.of("failed")
    assert failed["reason"] == ran.panic and not ran.of("resumed")


@pytest.mark.parametrize("what", ["another job", "another id"])
def test_the_checkpoint_of_another_job_is_not_used(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = plain(tmp_path)
    assert until_killed(federation, Killer(9, written=True), monkeypatch) is None
    if what == "another job":
        federation.change_job(job={"seed": 4}, federation={"rounds": ROUNDS, "local_baseline": False})
    else:
        spec = parse(JobSpec, job_content(federation={"rounds": ROUNDS, "local_baseline": False}), where="test")
        found, _ = load(federation.checkpoints, job=job_hash(spec), job_id="job-1")
        assert found is not None
        save(federation.checkpoints, replace(found, job_id="job-2"))
    federation.process()
    ran = federation.run()
    assert "checkpoint of another job" in ran.panic and ran.taken == [] and federation.model is None


def test_sites_that_are_gone_are_asked_again_in_the_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = plain(tmp_path)
    assert until_killed(federation, Killer(9, written=True), monkeypatch) is None
    federation.process(invited=["city", "coast"])  # north signs in later
    ran = federation.run()
    asked = [(site, task) for _, site, task, _ in ran.taken]
    assert ("north", Task.ADMIT) not in asked and ("north", Task.ROUND) in asked
    assert ran.of("finished")[0]["missing"] == {}


def test_a_site_without_its_record_is_left_out_of_an_encrypted_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = (*SITES, "south")
    federation = {"rounds": 2, "min_sites": 3, "local_baseline": False, "weighting": "equal"}
    encryption = {"clipping_range": 8.0, "statistics": False}
    key = create_key()
    scripts = {site: steady() for site in sites}
    job = SealedFederation(tmp_path, scripts, key=key, federation=federation, encryption=encryption)
    assert until_killed(job, Killer(12, written=True), monkeypatch) is None
    job.nonces["coast"] = "f" * 32
    job.process()
    ran = job.run()
    (dropped,) = [event for event in ran.of("dropped") if event["round"] is None]
    assert dropped["site"] == "coast" and "without its record of this run" in dropped["reason"]
    assert ran.of("round")[-1]["sites"] == ["city", "north", "south"]
    assert ran.of("finished")[0]["missing"] == {"coast": dropped["reason"]}


def test_the_log_that_flare_removed_is_there_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = plain(tmp_path)
    assert until_killed(federation, Killer(9, written=True), monkeypatch) is None
    before = federation.log
    with (federation.checkpoints / EVENTS_FILE).open("ab") as file:
        file.write(b'{"event": "answe')
    federation.process(new_run=True)
    ran = federation.run()
    assert ran.events[: len(before)] == before and ran.events == federation.log
    assert list(EventReader(federation.run_folder / EVENTS_FILE)) == ran.events


def test_the_store_counts_a_resumed_job_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fedward.metrics.store import Store

    federation = plain(tmp_path)
    assert until_killed(federation, Killer(10, written=True), monkeypatch) is None
    federation.process()
    federation.run()
    with Store.open(tmp_path / "metrics.db") as store, store.turn() as connection:
        assert connection.execute("SELECT accepted, dropped FROM seats").fetchall() == [(ROUNDS, 0)] * 3
        state = connection.execute("SELECT state, rounds_done, missing, taken FROM jobs").fetchall()
    assert state == [("finished", ROUNDS, "{}", len(federation.log))]


Change = Callable[[Path], None]


def test_a_checkpoint_that_the_disk_damaged_costs_a_round_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = plain(tmp_path / "undisturbed")
    undisturbed.run()
    federation = plain(tmp_path / "damaged")
    assert until_killed(federation, Killer(14, written=True), monkeypatch) is None
    newest = max(federation.checkpoints.glob("g-*"))
    content = bytearray((newest / "model.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (newest / "model.npz").write_bytes(content)
    federation.process()
    ran = federation.run()
    assert ran.of("finished") and same(federation.model, undisturbed.model)


def test_admission_of_known_sites_costs_no_more_than_their_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = plain(tmp_path)
    assert until_killed(federation, Killer(9, written=True), monkeypatch) is None
    start = federation.clock.now
    federation.process()
    ran = federation.run()
    first = min(at for at, _, task, _ in ran.taken if task is Task.ROUND)
    assert first - start < 1.5  # one answer of the slowest site takes 1.2 s


def test_models_are_compared_to_the_bit() -> None:
    one = {"a": np.zeros(2, np.float32)}
    assert same(one, {"a": np.zeros(2, np.float32)})
    assert not same(one, {"a": np.array([0.0, -0.0], np.float32)})
