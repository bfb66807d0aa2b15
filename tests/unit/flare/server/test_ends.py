"""A job has one end, whatever ends it: aborted by whom, failed why, finished without whom."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvflare.apis.fl_context import FLContext
from nvflare.apis.signal import Signal

from fedward.flare.protocol import Task
from fedward.flare.server.asking.broadcast import POLL_S
from fedward.flare.server.checkpoints.earlier import ABORTED, STOPPED, aborted
from fedward.flare.server.finalization import Finalization
from fedward.metrics.events import ENDS, EVENTS_FILE, EventReader
from fedward.metrics.store import Store
from tests.support.flare.restarted import Restarted
from tests.support.flare.server import Rounds, Site, server_context
from tests.support.flare.simulated import Act, Simulated, TinyStore, job_content, on, steady

SITES = ("city", "coast", "north")


def federation(folder: Path, **asked: Any) -> Restarted:
    scripts = {site: steady(5.0) for site in SITES}
    return Restarted(folder, scripts, federation={"rounds": 2, "select": "best", **asked})


def end_of(ran: Simulated) -> dict[str, Any]:
    (end,) = [event for event in ran.events if event["event"] in ENDS]
    return end


# aborted


@pytest.mark.parametrize("second", range(1, 30, 2))
@pytest.mark.parametrize("named", [True, False])
def test_an_abort_in_any_stage_is_noticed_within_a_poll_and_ends_the_job(
    tmp_path: Path, second: int, named: bool
) -> None:
    job = federation(tmp_path)

    def stop() -> None:
        if named:
            (job.run_folder / ABORTED).write_text(json.dumps({"by": "carol@city", "at": 1.5}))
        job.abort.trigger(True)

    job.clock.after(second, stop)
    ran = job.run()
    assert ran.ended_s - second <= POLL_S + 1e-6
    assert all(at <= second for at, *_ in ran.taken)
    end = end_of(ran)
    by = "carol@city" if named else STOPPED
    assert (end["event"], end["by"]) == ("aborted", by)
    assert end["reason"] == "", "its author says it all"
    assert ran.events[-1] == end and ran.panic == ""
    with Store.open(tmp_path / "metrics.db") as store, store.turn() as connection:
        assert connection.execute("SELECT state, reason FROM jobs").fetchall() == [("aborted", by)]


def test_the_stages_that_an_abort_met_are_all_of_them(tmp_path: Path) -> None:
    ran = federation(tmp_path).run()
    begun = {task: min(at for at, _, one, _ in ran.taken if one is task) for _, _, task, _ in ran.taken}
    assert sorted(begun, key=begun.__getitem__) == [Task.ADMIT, Task.ROUND, Task.VALIDATE, Task.FINAL, Task.ALONE]
    assert begun[Task.ALONE] < 29 < ran.ended_s < 32


@pytest.mark.parametrize("method", ["selected", "validated", "open"])
def test_an_abort_during_a_step_of_the_server_sends_no_further_task(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = federation(tmp_path)
    step = getattr(Finalization, method)

    def stopped(*given: Any) -> Any:
        job.abort.trigger(True)
        return step(*given)

    monkeypatch.setattr(Finalization, method, stopped)
    ran = job.run()
    assert end_of(ran)["event"] == "aborted"
    sent = {task for _, _, task, _ in ran.taken}
    assert sent == set(
        [Task.ADMIT, Task.ROUND, Task.VALIDATE, Task.FINAL][: {"selected": 2, "validated": 3, "open": 4}[method]]
    )


class SlowStore(TinyStore):
    """A store whose first model takes as long as the import of a large library."""

    release = threading.Event()

    def load_weights(self, job: Any) -> Any:
        self.release.wait(30)
        return super().load_weights(job)


def test_an_abort_does_not_wait_for_the_initial_model(tmp_path: Path) -> None:
    config = tmp_path / "job-1" / "config"
    config.mkdir(parents=True)
    (config / "job.json").write_text(json.dumps(job_content()))
    context: FLContext = server_context(tmp_path, config.parent, config, list(SITES), "job-1", SlowStore())
    controller, abort = Rounds({site: Site() for site in SITES}), Signal()
    controller.start_controller(context)
    threading.Timer(0.5, lambda: abort.trigger(True)).start()
    start = time.monotonic()
    controller.control_flow(abort, context)
    took = time.monotonic() - start
    SlowStore.release.set()
    controller.stop_controller(context)
    assert took < 2.0
    assert [one["event"] for one in EventReader(tmp_path / "job-1" / EVENTS_FILE)] == ["started", "aborted"]


def test_nothing_is_recorded_after_the_end(tmp_path: Path) -> None:
    job = federation(tmp_path, local_baseline=False)
    job.clock.after(7.0, lambda: job.abort.trigger(True))
    ran = job.run()
    job.clock.sleep(60.0)  # the sites' answers arrive, and nobody has asked
    assert job.log == ran.events and ran.events[-1]["event"] == "aborted"


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"by": 3}', b'{"by": ""}', b'{"by": " \\n"}', b"\xff\xfe", b'{"by": "' + b"x" * 9999 + b'"}'],
)
def test_a_file_that_names_nobody_names_the_server(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ABORTED).write_bytes(content)
    assert aborted(tmp_path) == {"by": STOPPED, "reason": ""}


def test_a_name_is_one_short_line(tmp_path: Path) -> None:
    (tmp_path / ABORTED).write_text(json.dumps({"by": "a\nb " + "c" * 900}))
    assert aborted(tmp_path)["by"] == "a b " + "c" * 196


# finished, and without whom


def script(task: Task, deed: Any, *, rounds: range = range(10_000)) -> Any:
    return on(task, Act(deed, 5.0 if deed == "refuse" else 1e9), rounds=rounds, otherwise=steady(5.0))


@pytest.mark.parametrize(
    ("north", "why"),
    [
        (steady(5.0), None),
        (script(Task.FINAL, "refuse"), "no disk space"),
        (script(Task.FINAL, "vanish"), "no answer in time"),
        (script(Task.ROUND, "refuse", rounds=range(1, 2)), "no disk space"),
        (script(Task.ROUND, "vanish", rounds=range(1, 2)), "no answer in time"),
        (script(Task.ROUND, "refuse", rounds=range(1)), None),
        (script(Task.ALONE, "vanish"), None),
    ],
)
def test_finished_names_the_sites_whose_last_answer_did_not_count(tmp_path: Path, north: Any, why: str | None) -> None:
    scripts = {"city": steady(5.0), "coast": steady(5.0), "north": north}
    ran = Restarted(tmp_path, scripts, federation={"rounds": 2}).run()
    (finished,) = ran.of("finished")
    assert list(finished["missing"]) == ([] if why is None else ["north"])
    assert why is None or finished["missing"]["north"].startswith(why)
    with Store.open(tmp_path / "metrics.db") as store, store.turn() as connection:
        ((state, missing),) = connection.execute("SELECT state, missing FROM jobs").fetchall()
    assert state == "finished" and json.loads(missing) == finished["missing"]


def test_a_site_that_declined_is_named_at_the_end(tmp_path: Path) -> None:
    scripts = {"city": steady(), "coast": steady(), "north": script(Task.ADMIT, "refuse")}
    assert Restarted(tmp_path, scripts).run().of("finished")[0]["missing"] == {"north": "no disk space"}


def test_a_failed_job_has_one_end_too(tmp_path: Path) -> None:
    scripts = {site: script(Task.ROUND, "refuse", rounds=range(1, 2)) for site in SITES}
    ran = Restarted(tmp_path, scripts).run()
    assert end_of(ran)["event"] == "failed" and ran.panic == end_of(ran)["reason"]


def test_an_error_of_the_server_has_one_end_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = federation(tmp_path)
    monkeypatch.setattr(Finalization, "validated", lambda *_: np.linalg.inv(np.zeros((2, 2))))
    with pytest.raises(np.linalg.LinAlgError):
        job.run()
    (end,) = [event for event in job.log if event["event"] in ENDS]
    assert (end["event"], end["reason"]) == ("failed", "LinAlgError at the server; see its log")


# a site that is back


def test_a_site_that_answers_again_is_told(tmp_path: Path) -> None:
    gone = on(Task.ROUND, Act("vanish", 70.0), rounds=range(1, 2), otherwise=steady(20.0))
    refused = on(Task.ROUND, Act("refuse", 20.0), rounds=range(1, 2), otherwise=steady(20.0))
    scripts = {"city": steady(20.0), "coast": steady(20.0), "gone": gone, "refused": refused}
    asked = {"rounds": 6, "round_timeout_s": 90.0, "grace_s": 30.0}
    ran = Restarted(tmp_path, scripts, federation=asked).run()
    (returned,) = ran.of("returned")
    first = min(event["round"] for event in ran.of("round") if event["round"] > 1 and "gone" in event["sites"])
    assert (returned["site"], returned["round"]) == ("gone", first)
