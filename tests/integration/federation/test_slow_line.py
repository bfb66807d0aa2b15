"""A hospital behind 8 Mbit/s: what the plan refuses fails for real, and what it plans completes, as planned."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedward.commands.job.plan_transport import payload_of
from fedward.demo.hospitals import DemoHospital
from fedward.errors import JobError
from fedward.flare.export import export_job
from fedward.flare.kits.central import Kits
from fedward.flare.local_federation import free_port
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.settings import JobSpec, parse
from fedward.transport.measured import measured
from fedward.transport.plan import Line, plan_transport
from tests.conftest import ROOT, tiny_job_content
from tests.integration.conftest import Running, started
from tests.support.rehearsal import rehearsal

pytestmark = pytest.mark.integration

MBIT_S, ROUND_TRIP_MS, STALL_S, IMPATIENT_S = 8.0, 300.0, 1.0, 5.0
LINE = Line(down_mbit_s=MBIT_S, up_mbit_s=MBIT_S, round_trip_s=ROUND_TRIP_MS / 1000.0, stall_s=STALL_S)
WORK_S = 3.0
NETWORK = {"channels": [32, 64, 256, 512], "strides": [2, 2, 2, 1], "num_res_units": 1}


def a_job(name: str, *, round_timeout_s: float, transport: dict[str, float] | None = None) -> JobSpec:
    """A job of 6.6 MB in the clear, which takes 7 s on the line, each way."""
    content = tiny_job_content()
    content["job"]["name"] = name
    content["model"] = {"network": "Classifier", "args": {**NETWORK, "norm": ["instance", {"affine": True}]}}
    more = {"rounds": 1, "min_sites": 3, "round_timeout_s": round_timeout_s, "local_baseline": False}
    content["federation"] |= more
    if transport is not None:
        content["transport"] = transport
    return parse(JobSpec, content, where=name)


@pytest.fixture(scope="module")
def behind(hospitals: list[DemoHospital], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Three sites; the first is behind the line, and its kit gives up on an answer after five seconds."""
    lines: list[subprocess.Popen[str]] = []

    def slow(kits: Kits) -> None:
        path = kits.sites[hospitals[0].site] / "startup" / "fed_client.json"
        content = json.loads(path.read_text())
        service, own = content["servers"][0]["service"], free_port()
        host, port = service["target"].rsplit(":", 1)
        words = (str(own), port, str(MBIT_S), str(ROUND_TRIP_MS), str(STALL_S), "1")
        command = [sys.executable, "-m", "tests.support.federation.slow_line", *words]
        lines.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        assert lines[-1].stdout is not None and lines[-1].stdout.readline() == "ready\n"
        service["target"] = f"{host}:{own}"
        content["client"]["communication_timeout"] = IMPATIENT_S
        path.write_text(json.dumps(content))

    try:
        with started(hospitals, tmp_path_factory.mktemp("slow"), prepare=slow) as up:
            yield up
    finally:
        for line in lines:
            line.kill()
            line.wait()
            assert line.stdout is not None
            line.stdout.close()


def run(running: Running, job: JobSpec, out: Path) -> tuple[str, list[dict[str, Any]]]:
    job_id = running.session.submit(export_job(job, out))
    status = running.session.wait(job_id, each=running.federation.check)
    return status, list(EventReader(running.session.download(job_id, out / "results") / EVENTS_FILE))


@rehearsal("runs a job over 8 Mbit/s")
def test_what_the_plan_refuses_fails_and_what_it_plans_completes(behind: Running, tmp_path: Path) -> None:
    hasty = a_job("hasty", round_timeout_s=12.0)
    payload = payload_of(hasty, sites=3)
    with pytest.raises(JobError, match=r"at 8 Mbit/s an update of 6.6 MB takes 8 s.*round_timeout_s = 12"):
        plan_transport(hasty, payload=payload, line=LINE, work_s=WORK_S)
    status, events = run(behind, hasty, tmp_path)
    assert status != "FINISHED:COMPLETED"
    slow = next(iter(behind.hospitals))
    assert not [event for event in events if event["event"] == "round" and slow in event["sites"]]

    plan = plan_transport(a_job("p", round_timeout_s=90.0), payload=payload, line=LINE, work_s=WORK_S)
    planned = a_job("planned", round_timeout_s=90.0, transport=plan.transport.model_dump())
    assert plan.timeouts.client["submit_task_result_timeout"] > IMPATIENT_S
    status, events = run(behind, planned, tmp_path)
    assert status == "FINISHED:COMPLETED"
    assert [len(event["sites"]) for event in events if event["event"] == "round"] == [3]
    past = measured(events, where="planned")
    assert past.slowest_line == slow and past.mbit_s is not None and 0.4 * MBIT_S < past.mbit_s <= 1.05 * MBIT_S
    (log,) = [path for path in behind.kits.sites[slow].glob("*-*-*-*/log.txt") if "planned" in _job_name(path)]
    assert "failed to send task result" not in log.read_text(), "as it was in the kit's five seconds"


def _job_name(log: Path) -> str:
    return next(log.parent.rglob("job.json")).read_text()
