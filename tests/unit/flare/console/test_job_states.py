"""Check how a console learns how a job stands: FLARE's own answer with one more entry, which the console distrusts."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nvflare.apis.impl.job_def_manager import SimpleJobDefManager
from nvflare.fuel.hci.proto import MetaKey
from nvflare.private.fed.server.job_cmds import JobCommandModule

from fedward.ends import JobState, Missing, worded
from fedward.flare.console import job_states
from fedward.flare.console.job_states import ENTRY, recorded, standing
from fedward.metrics.store import STORE_FILE, Store

ID = "6a3f1f0e-6a35-4a7e-9c3e-1f3a4b5c6d7e"
META = {"status": "RUNNING", "min_clients": 2, "mandatory_clients": ["north"], "schedule_history": ["t: scheduled"]}


def stored(folder: Path, *events: dict[str, Any]) -> Path:
    with Store.open(folder / STORE_FILE, create=True) as store:
        for at, event in enumerate(events):
            store.write(ID, {"at": float(at), **event})
    return folder / STORE_FILE


STARTED = {"event": "started", "job": "tiny", "task": "classification", "rounds": 2, "sites": ["north", "south"]}


def round_of(number: int, *sites: str) -> dict[str, Any]:
    return {"event": "round", "round": number, "sites": list(sites), "wall_s": 1.0}


PATHS: list[tuple[list[dict[str, Any]], str]] = [
    ([], "running, round 1 of 2"),
    ([round_of(0, "north")], "running, round 2 of 2"),
    (
        [round_of(0, "north"), {"event": "resumed", "round": 1, "by": "server process", "attempt": 3}],
        "resuming after round 1 of 2 (attempt 3): the job's process at the server was gone",
    ),
    ([round_of(0, "north"), {"event": "paused", "reason": "disk full"}], "paused after round 1 of 2: disk full"),
    (
        [{"event": "aborted", "by": "lead@uni.org", "reason": "was stopped"}],
        "aborted by lead@uni.org after 0 of 2 rounds: was stopped",
    ),
    (
        [
            {"event": "uncovered", "round": 0, "reason": "round 0 does not count: north is missing"},
            {"event": "failed", "reason": "tiny: round 0 does not count: north is missing"},
        ],
        "failed: round 1 did not count: north is missing",
    ),
    (
        [
            {"event": "uncovered", "round": 0, "reason": "round 0 does not count: north is missing"},
            {"event": "failed", "reason": "tiny: round 0 does not count: north is missing"},
            {"event": "resumed", "round": 0, "by": "person", "attempt": 1},
            {"event": "failed", "reason": "no model"},
        ],
        "failed after 0 of 2 rounds: no model",
    ),
    (
        [round_of(0, "north", "south"), round_of(1, "north"), {"event": "finished", "rounds": 2, "missing": {}}],
        "success: every round counted",
    ),
    (
        [
            round_of(0, "north", "south"),
            round_of(1, "north"),
            {"event": "finished", "rounds": 2, "missing": {"south": "no answer in time"}},
        ],
        "success with 1 site missing at the end: every round counted, without south since round 2, no answer in time",
    ),
]


@pytest.mark.parametrize(("events", "words"), PATHS)
def test_the_store_and_the_events_tell_the_same(events: list[dict[str, Any]], words: str, tmp_path: Path) -> None:
    from fedward.reporting.data.ending import state_of

    entry = recorded(stored(tmp_path, STARTED, *events), ID)
    assert json.loads(json.dumps(entry)) == entry
    assert entry["sites"] == ["north", "south"]
    found = standing({**META, ENTRY: entry}).job
    assert found is not None and worded(found) == words
    assert worded(state_of([STARTED, *events], asked=2)) == words


def test_without_a_store_or_an_event_nothing_is_told(tmp_path: Path) -> None:
    assert recorded(tmp_path / STORE_FILE, ID) == {"job": None, "sites": []}
    (tmp_path / STORE_FILE).write_text("no store")
    assert recorded(tmp_path / STORE_FILE, ID) == {"job": None, "sites": []}
    assert standing(META).job is None


def test_flares_answer_has_one_more_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, FLARE answers ``get_job_meta`` in another way."""
    monkeypatch.setattr(JobCommandModule, "get_job_meta", JobCommandModule.get_job_meta)
    job_states.install(stored(tmp_path, STARTED))
    module = JobCommandModule()
    manager = SimpleJobDefManager()
    monkeypatch.setattr(manager, "get_job", lambda jid, fl_ctx: SimpleNamespace(meta=META))
    told: list[Any] = []
    connection = SimpleNamespace(
        app_ctx=SimpleNamespace(job_def_manager=manager, new_context=_Nothing),
        get_prop=lambda name: ID,
        append_dict=lambda data, meta=None: told.append((data, meta)),
    )
    module.get_job_meta(connection, ["get_job_meta", ID])
    [(data, meta)] = told
    found = meta[MetaKey.JOB_META]
    assert {key: found[key] for key in META} == META
    assert found[ENTRY] == data[ENTRY] and found[ENTRY]["job"]["state"] == "running"
    assert ENTRY not in META


class _Nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
KEYS = st.sampled_from([*META, ENTRY])
TOLD = st.sampled_from([*asdict(JobState(state="running")), "sites"])


@given(
    st.dictionaries(KEYS, JSON),
    st.dictionaries(st.sampled_from(["job", "sites"]), JSON | st.dictionaries(TOLD, JSON | st.just("finished"))),
)
def test_whatever_a_server_tells_is_one_printable_line(meta: dict[str, Any], entry: dict[str, Any]) -> None:
    found = standing({**meta, ENTRY: entry})
    lines = [found.flare, found.why, *found.required, *found.known]
    if found.job is not None:
        lines.append(worded(found.job))
    assert all(line.isprintable() for line in lines)


def test_a_state_comes_through_as_it_was_sent() -> None:
    job = JobState(
        state="finished",
        rounds_done=2,
        rounds_asked=2,
        missing=(Missing(site="a", reason="b", since=1),),
    )
    sent = {**asdict(job), "missing": [asdict(one) for one in job.missing]}
    assert standing({**META, ENTRY: {"job": sent, "sites": []}}).job == job
