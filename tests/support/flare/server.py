"""Run the server's controller without a network: hospitals that answer from a script replace FLARE's sending."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from nvflare.apis.client import Client
from nvflare.apis.controller_spec import ClientTask
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from fedward.flare.protocol import ROUND_NUMBER, Reply, Task, global_weights, refuse, to_shareable
from fedward.flare.server.controller import FederatedRounds
from fedward.flare.server.persistor import ModelStore
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.metrics.store import STORE_FILE
from fedward.settings import JOB_FILE
from tests.conftest import tiny_job_content
from tests.support.flare.signed import server_kit

JOB_ID = "job-1"
Script = Callable[[Task, int], str | float | None]
"""Hospital's reaction to a task of a round: a reason to refuse, seconds until its answer, None: never."""


@dataclass
class Site:
    """One hospital.

    Attributes:
        script: what it does; by default it answers at once.
        patients: number of training patients that it reports; None: no report.
        step: of its update, whose values are drawn around it.
        lost: whether FLARE reports it as lost.
    """

    script: Script = lambda task, number: 0.0
    patients: int | None = 10
    step: float = 0.01
    lost: bool = False

    def answer(self, task: Task, data: Shareable, *, seed: int) -> Shareable:
        said = {} if self.patients is None else {"patients": self.patients}
        if task is not Task.ROUND:
            return to_shareable(Reply(metrics={"scores": {"auc": 0.8}}))
        model, rng = global_weights(data), np.random.default_rng(seed)
        update = {
            name: (rng.normal(self.step, 0.01, array.shape) * (self.step != 0)).astype(array.dtype)
            for name, array in model.items()
        }
        return to_shareable(Reply(metrics={"scores": {"auc": 0.8}, **said}, update=update))


class Rounds(FederatedRounds):
    """FLARE's part: each task goes to each hospital in a thread of its own."""

    def __init__(self, sites: Mapping[str, Site]) -> None:
        super().__init__()
        self.sites, self.panic = sites, ""
        self._threads: list[threading.Thread] = []

    def broadcast(self, task: Any, fl_ctx: FLContext, targets: list[str], min_responses: int) -> None:
        for seed, name in enumerate(sorted(targets)):
            how = {"name": name, "seed": seed, "data": task.data, "sent": task.before_task_sent_cb}
            how["received"] = task.result_received_cb
            self._threads.append(threading.Thread(target=self._hospital, args=(task,), kwargs=how, daemon=True))
            self._threads[-1].start()

    def _hospital(self, task: Any, *, name: str, seed: int, data: Any, sent: Any, received: Any) -> None:
        site, asked = self.sites[name], Task(task.name)
        number = int(data.get_header(ROUND_NUMBER))
        act = site.script(asked, number)
        mine = ClientTask(Client(name, ""), task)
        sent(client_task=mine, fl_ctx=None)
        if act is None:
            return
        if isinstance(act, float):
            time.sleep(act)
        mine.result = refuse(act) if isinstance(act, str) else site.answer(asked, data, seed=seed)
        if task.completion_status is None:
            received(client_task=mine, fl_ctx=None)

    def cancel_task(self, task: Any, *_: object) -> None:
        task.completion_status = "cancelled"

    def cancel_all_tasks(self, *_: object) -> None:
        for thread in self._threads:
            thread.join(5)

    def get_client_disconnect_time(self, client_name: str) -> float | None:
        return 1.0 if self.sites[client_name].lost else None

    def system_panic(self, reason: str, fl_ctx: FLContext) -> None:
        self.panic = reason


@dataclass
class Ran:
    """A job that has run to its end."""

    events: list[dict[str, Any]]
    panic: str
    store: Path
    run: Path
    wall_s: float = field(default=0.0)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]


def run(
    folder: Path,
    sites: Mapping[str, Site],
    *,
    invited: list[str] | None = None,
    job_id: str = JOB_ID,
    abort: Signal | None = None,
    **tables: Any,
) -> Ran:
    """Run the tiny job, with other values in its tables, over these hospitals."""
    content = tiny_job_content()
    content["federation"] |= {"local_baseline": False, "round_timeout_s": 20.0, "grace_s": 20.0}
    for table, values in tables.items():
        content[table] = content.get(table, {}) | values
    kit = folder / "kit"
    run_folder, config = kit / job_id, kit / job_id / "config"
    config.mkdir(parents=True)
    (config / JOB_FILE).write_text(json.dumps(content))
    controller = Rounds(sites)
    controller.start_controller(context := server_context(kit, run_folder, config, invited or sorted(sites), job_id))
    start = time.monotonic()
    controller.control_flow(abort or Signal(), context)
    wall_s = time.monotonic() - start
    controller.stop_controller(context)
    return Ran(list(EventReader(run_folder / EVENTS_FILE)), controller.panic, kit / STORE_FILE, run_folder, wall_s)


def server_context(
    kit: Path, run_folder: Path, config: Path, invited: list[str], job_id: str, store: ModelStore | None = None
) -> FLContext:
    """Return a context like FLARE's: its engine has the job's folders, its model store and the connected sites."""
    server_kit(kit)
    workspace = SimpleNamespace(
        get_app_config_dir=lambda job: str(config),
        get_run_dir=lambda job: str(run_folder),
        get_root_dir=lambda: str(kit),
    )
    held = store or ModelStore()
    engine = SimpleNamespace(
        get_workspace=lambda: workspace,
        get_component=lambda name: held,
        get_clients=lambda: [Client(name, "") for name in invited],
    )
    engine.new_context = FLContextManager(engine=engine, job_id=job_id).new_context
    engine.fire_event = lambda event, context: None
    return engine.new_context()
