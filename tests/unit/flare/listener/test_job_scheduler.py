"""Check that a job waits at the server for the hospitals that it needs, for as long as it takes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.impl.job_def_manager import SimpleJobDefManager
from nvflare.apis.job_def import Job, RunStatus, job_from_meta
from nvflare.apis.server_engine_spec import ServerEngineSpec
from nvflare.app_common.job_schedulers.job_scheduler import DefaultJobScheduler
from nvflare.app_common.storages.filesystem_storage import FilesystemStorage

from fedward.flare.listener import job_scheduler
from fedward.flare.listener.job_scheduler import MOST_LINES, RETRY_S, WaitingScheduler, schedule_again
from fedward.privacy.policy.canonical_job import _meta
from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content

WEEK_S = 7 * 86_400
JOB_ID = "6a3f1f0e-6a35-4a7e-9c3e-1f3a4b5c6d7e"


class Engine(ServerEngineSpec):  # type: ignore[misc]
    """The server's engine as far as the scheduler asks it: connected sites, each with room for a job."""

    def __init__(self, *sites: str) -> None:
        self.sites = list(sites)
        self.manager = FLContextManager(engine=self, identity_name="server", job_id="")

    def get_clients(self) -> list[Any]:
        return [SimpleNamespace(name=site) for site in self.sites]

    def new_context(self) -> FLContext:
        return self.manager.new_context()

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        pass

    def check_client_resources(self, job: Job, resource_reqs: Any, fl_ctx: FLContext) -> dict[str, tuple[bool, str]]:
        return dict.fromkeys(resource_reqs, (True, "token"))


Engine.__abstractmethods__ = frozenset()


class Store:
    """The server's job store: a job's meta, and how often it was written."""

    def __init__(self, meta: dict[str, Any]) -> None:
        self.meta, self.written, self.status = meta, 0, "SUBMITTED"

    def job(self) -> Job:
        return job_from_meta({**self.meta, "schedule_history": list(self.meta.get("schedule_history", []))})

    def refresh_meta(self, job: Job, keys: list[str], fl_ctx: FLContext) -> None:
        self.written += 1
        self.meta |= {key: job.meta[key] for key in keys}

    def set_status(self, job_id: str, status: Any, fl_ctx: FLContext) -> None:
        self.status = status.value


def job_meta(**limits: Any) -> dict[str, Any]:
    content = tiny_job_content()
    content["federation"] |= limits
    job = parse(JobSpec, content, where="tiny")
    return {**_meta(job, (), None), "job_id": JOB_ID, "submit_time": 1.0, "submitter_name": "lead@uni.org"}


class Server:
    """A server that waits: ``tries`` runs its scheduler once a second, as FLARE does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, scheduler: Any, store: Store, engine: Engine) -> None:
        self.scheduler, self.store, self.engine, self.now = scheduler, store, engine, 1e6
        clock = SimpleNamespace(monotonic=lambda: self.now, time=lambda: self.now, strftime=lambda _: f"{self.now:.0f}")
        monkeypatch.setattr(job_scheduler, "time", clock)

    def tries(self, seconds: int, *, step_s: float = 1.0) -> dict[str, Any] | None:
        """Return where the job is sent, or None if it still waits afterwards."""
        for _ in range(int(seconds / step_s)):
            self.now += step_s
            with self.engine.new_context() as context:
                job, sites = self.scheduler.schedule_job(self.store, [self.store.job()], context)
            if job is not None:
                return dict(sites)
        return None


def test_a_job_waits_a_week_for_a_hospital_that_it_must_include(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, store = Engine("south", "west"), Store(job_meta(must_include=["north"]))
    server = Server(monkeypatch, WaitingScheduler(max_jobs=4), store, engine)
    assert server.tries(60) is None
    assert server.tries(WEEK_S, step_s=300.0) is None, "2,000 tries: FLARE's own pause overflows after 1,024"
    assert store.status == "SUBMITTED"
    assert [line.split(": ", 1)[1] for line in store.meta["schedule_history"]] == ["missing required site north"]
    assert store.written == 1
    engine.sites.append("north")
    found = server.tries(int(RETRY_S) + 1)
    assert found is not None and set(found) == {"server", "north", "south", "west"}


def test_flares_own_scheduler_gives_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, FLARE has changed: ``WaitingScheduler`` may have become needless."""
    stock = DefaultJobScheduler(max_jobs=4, min_schedule_interval=0.0)
    store = Store(job_meta(must_include=["north"]))
    assert Server(monkeypatch, stock, store, Engine("south", "west")).tries(60) is None
    assert store.status == "FINISHED:CAN_NOT_SCHEDULE"


def test_too_few_sites_are_waited_for_too(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, store = Engine("south"), Store(job_meta(min_sites=2))
    server = Server(monkeypatch, WaitingScheduler(), store, engine)
    assert server.tries(60) is None
    engine.sites.append("west")
    assert server.tries(3) is not None


@given(st.lists(st.sampled_from([(), ("south",), ("south", "west"), ("west",)]), max_size=400))
def test_the_history_of_a_link_that_comes_and_goes_is_bounded(seen: list[tuple[str, ...]]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        engine, store = Engine(), Store(job_meta(min_sites=3))
        server = Server(patched, WaitingScheduler(), store, engine)
        for sites in seen:
            engine.sites = list(sites)
            assert server.tries(3) is None
        lines = store.meta.get("schedule_history", [])
        assert len(lines) <= MOST_LINES
        said = [line.split(": ", 1)[1] for line in lines]
        assert all(one != other for one, other in pairwise(said))


def test_two_tries_are_seconds_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, tried = WaitingScheduler(), []
    server = Server(monkeypatch, scheduler, Store(job_meta(min_sites=3)), Engine("south"))
    real = scheduler._try_job
    monkeypatch.setattr(scheduler, "_try_job", lambda job, context: tried.append(server.now) or real(job, context))
    server.tries(20)
    assert 9 <= len(tried) <= 11


def test_a_job_that_flare_has_done_with_is_scheduled_again(tmp_path: Path) -> None:
    """If the first part fails, FLARE no longer marks jobs: ``schedule_again`` needs only the status."""
    engine, manager = Engine(), SimpleJobDefManager(uri_root="jobs")
    store = FilesystemStorage(root_dir=str(tmp_path))
    engine.get_component = lambda name: store
    with engine.new_context() as context:
        store.create_object(manager.job_uri(JOB_ID), b"", job_meta(min_sites=2) | {"status": "SUBMITTED"})
        waiting = [job.job_id for job in manager.get_jobs_to_schedule(context)]
        manager.set_status(JOB_ID, RunStatus.FINISHED_ABORTED, context)
        assert (waiting, manager.get_jobs_to_schedule(context)) == ([JOB_ID], [])
        manager.set_status(JOB_ID, RunStatus.SUBMITTED, context)
        assert manager.get_jobs_to_schedule(context) == []
        for _ in range(2):
            schedule_again(manager, JOB_ID, context)
            assert [job.job_id for job in manager.get_jobs_to_schedule(context)] == [JOB_ID]
