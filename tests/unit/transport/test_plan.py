"""Time-outs from a line, plans and refusals: numbers worked by hand, and what holds for every line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.errors import JobError, SettingsError
from fedward.privacy.policy.canonical_job import app_files
from fedward.settings import JobSpec, Transport, parse
from fedward.transport.measured import measured
from fedward.transport.plan import Line, Payload, plan_transport
from fedward.transport.timeouts import KIT_COMM, flare_timeouts, pieces, stream_pause_s
from tests.conftest import tiny_job_content

LEAST = {
    "get_task_timeout": 10.0,
    "submit_task_result_timeout": 300.0,
    "np_streaming_per_request_timeout": 10.0,
    "np_min_download_timeout": 600.0,
    "task_check_timeout": 5.0,
    "runner_sync_timeout": 2.0,
    "max_runner_sync_timeout": 600.0,
    "dead_client_grace_period": 60.0,
}


def a_job(transport: dict[str, Any] | None = None, **federation: float) -> JobSpec:
    content = tiny_job_content()
    content["federation"] |= federation
    if transport is not None:
        content["transport"] = transport
    return parse(JobSpec, content, where="job.toml")


def line(mbit_s: float, **more: float) -> Line:
    return Line(down_mbit_s=mbit_s, up_mbit_s=mbit_s, **more)


def test_an_update_that_does_not_fit_is_refused_with_its_seconds() -> None:
    """118 MB and 5 % of framing are 991.2 Mbit: 124 s at 8 Mbit/s."""
    payload = Payload(down=118_000_000, up=118_000_000)
    with pytest.raises(JobError) as refusal:
        plan_transport(a_job(round_timeout_s=60.0), payload=payload, line=line(8.0), work_s=10.0)
    said = str(refusal.value)
    assert "at 8 Mbit/s an update of 118 MB takes 124 s" in said
    assert "258 s; round_timeout_s = 60" in said and "write round_timeout_s = 520" in said
    assert len(said.splitlines()) == 1
    plan = plan_transport(a_job(round_timeout_s=520.0), payload=payload, line=line(8.0), work_s=10.0)
    assert (plan.down_s, plan.round_s) == (pytest.approx(123.9), pytest.approx(257.8))
    assert plan.timeouts.client["submit_task_result_timeout"] == 300.0, "twice 124 s is less than FLARE's own"


def test_time_outs_worked_by_hand() -> None:
    """400 MB at 8 Mbit/s: 400 s; 200 pieces and 4 more round trips of 0.3 s: 61.2 s; a stall of 30 s."""
    found = flare_timeouts(Transport(mbit_s=8.0, message_mb=400.0, round_trip_ms=300.0, stall_s=30.0))
    assert found.client["submit_task_result_timeout"] == 983.0  # 2 · 491.2, rounded up
    assert found.client["get_task_timeout"] == 66.0  # 2 · (30 + 2) + 4 · 0.3, rounded up
    assert found.client["task_check_timeout"] == 32.0  # 4 · 0.3 + 30, rounded up
    assert found.client["max_runner_sync_timeout"] == 600.0
    assert found.server["np_min_download_timeout"] == found.client["np_min_download_timeout"] == 983.0
    assert found.server["dead_client_grace_period"] == 60.0


lines = st.builds(
    Transport,
    mbit_s=st.floats(0.01, 1e4),
    message_mb=st.floats(0.001, 4000),
    round_trip_ms=st.floats(0, 5000),
    stall_s=st.floats(0, 600),
)


@given(lines)
def test_no_time_out_is_below_flares_own_or_below_what_must_fit(transport: Transport) -> None:
    found = flare_timeouts(transport)
    both = {**found.client, **found.server}
    assert both.keys() == LEAST.keys() and all(both[name] >= value for name, value in LEAST.items())
    most = 7 * 86_400.0
    trips = pieces(transport.message_mb) * transport.round_trip_ms / 1000
    whole = transport.transfer_s + transport.stall_s + trips
    for name in ("submit_task_result_timeout", "np_min_download_timeout"):
        assert both[name] >= min(whole, most)
    assert both["task_check_timeout"] >= transport.stall_s
    assert both["max_runner_sync_timeout"] >= both["runner_sync_timeout"]


@given(lines, lines)
def test_a_slower_line_never_gets_a_shorter_time_out(one: Transport, other: Transport) -> None:
    slower = Transport(
        mbit_s=min(one.mbit_s, other.mbit_s),
        message_mb=max(one.message_mb, other.message_mb),
        round_trip_ms=max(one.round_trip_ms, other.round_trip_ms),
        stall_s=max(one.stall_s, other.stall_s),
    )
    for found, least in ((flare_timeouts(slower).client, flare_timeouts(one).client),):
        assert all(found[name] >= least[name] for name in least)


def test_a_job_without_a_line_has_the_files_that_it_had() -> None:
    files = app_files(a_job())
    for name in ("config_fed_client.json", "config_fed_server.json"):
        assert not LEAST.keys() & json.loads(files[f"config/{name}"]).keys()


def test_a_job_with_a_line_carries_its_time_outs_where_flare_reads_them() -> None:
    transport = {"mbit_s": 8.0, "message_mb": 50.0, "round_trip_ms": 300.0}
    job = a_job(transport, round_timeout_s=900.0)
    files, due = app_files(job), flare_timeouts(job.transport)
    client, server = (json.loads(files[f"config/config_fed_{side}.json"]) for side in ("client", "server"))
    assert {name: client[name] for name in due.client} == due.client
    assert {name: server[name] for name in due.server} == due.server
    assert client["executors"] and server["workflows"], "beside what was there"


def test_a_job_that_contradicts_itself_cannot_be_read() -> None:
    with pytest.raises(SettingsError, match=r"at 8 Mbit/s a message of 118 MB takes 118 s.*round_timeout_s is 60"):
        a_job({"mbit_s": 8.0, "message_mb": 118.0}, round_timeout_s=60.0)


def test_a_table_of_a_faster_line_or_a_smaller_model_is_refused() -> None:
    payload = Payload(down=10_000_000, up=10_000_000)
    plan = plan_transport(a_job(round_timeout_s=900.0), payload=payload, line=line(8.0), work_s=1.0)
    table = plan.transport.model_dump()
    plan_transport(a_job(table, round_timeout_s=900.0), payload=payload, line=line(8.0), work_s=1.0)
    for change in ({"mbit_s": 80.0}, {"message_mb": 1.0}):
        with pytest.raises(JobError, match=f"write {next(iter(change))} = "):
            job = a_job(table | change, round_timeout_s=900.0)
            plan_transport(job, payload=payload, line=line(8.0), work_s=1.0)
    with pytest.raises(JobError, match=r"round_trip_ms = 300, stall_s = 5"):
        job = a_job(table, round_timeout_s=900.0)
        plan_transport(job, payload=payload, line=line(8.0, round_trip_s=0.3, stall_s=5.0), work_s=1.0)


def test_a_server_line_is_shared() -> None:
    shared = line(100.0).through(30.0, sites=3)
    assert (shared.down_mbit_s, shared.up_mbit_s) == (10.0, 10.0)
    assert line(8.0).through(30.0, sites=3) == line(8.0)
    assert line(8.0).through(None, sites=300) == line(8.0)


def test_a_grace_shorter_than_the_transfers_is_a_warning() -> None:
    payload = Payload(down=10_000_000, up=10_000_000)
    plan = plan_transport(a_job(round_timeout_s=900.0, grace_s=5.0), payload=payload, line=line(8.0), work_s=1.0)
    assert "grace_s = 5 is shorter than the 21 s" in plan.warnings[0]
    job = a_job(round_timeout_s=900.0, grace_s=60.0)
    assert plan_transport(job, payload=payload, line=line(8.0), work_s=1.0).warnings == ()


def test_when_the_kits_streams_must_wait_longer_the_plan_says_so() -> None:
    sealed = Payload(down=100_000_000, up=100_000_000, in_pieces=False)
    job = a_job(round_timeout_s=10_000.0)
    assert plan_transport(job, payload=sealed, line=line(8.0), work_s=1.0).kit == {}
    assert plan_transport(job, payload=sealed, line=line(0.5), work_s=1.0).kit == dict(KIT_COMM)
    assert plan_transport(job, payload=sealed, line=line(8.0, stall_s=360.0), work_s=1.0).kit == dict(KIT_COMM)
    with pytest.raises(JobError, match="no kit waits so long"):
        plan_transport(job, payload=sealed, line=line(8.0, stall_s=700.0), work_s=1.0)
    assert stream_pause_s(Transport(mbit_s=8.0, message_mb=100.0)) == pytest.approx(4.2)
    assert stream_pause_s(Transport(mbit_s=8.0, message_mb=1.0)) == pytest.approx(1.0), "a short message is one piece"


def answered(site: str, *, seconds: float, train_s: float, size: int, task: str = "round") -> dict[str, Any]:
    sizes = {"sent_bytes": size, "received_bytes": size}
    metrics = {"train_s": train_s, "validate_s": 1.0, "seal_s": None}
    return {"event": "answered", "task": task, "site": site, "seconds": seconds, "metrics": metrics, **sizes}


def test_an_earlier_run_tells_the_slowest_line_and_the_slowest_work() -> None:
    events = [
        answered("near", seconds=21.0, train_s=19.5, size=10_000_000),  # 160 Mbit in 0.5 s
        answered("far", seconds=22.0, train_s=1.0, size=10_000_000),  # 160 Mbit in 20 s
        answered("far", seconds=900.0, train_s=1.0, size=10_000_000, task="alone"),
        {"event": "round"},
    ]
    found = measured(events, where="run")
    assert (found.mbit_s, found.slowest_line) == (pytest.approx(8.0), "far")
    assert (found.work_s, found.slowest_work) == (20.5, "near")
    quick = measured([answered("near", seconds=2.0, train_s=1.0, size=10)], where="run")
    assert quick.mbit_s is None
    with pytest.raises(JobError, match="no answer with its seconds"):
        measured([{"event": "round"}], where="run")
