"""Run the server's real controller against simulated sites in simulated time: no processes, no threads, no sleeps.

FLARE's own bookkeeping of tasks (``WFCommServer``) stands between them, so that a task is sent again to a site that
came back, and an answer to a closed task goes where FLARE sends it. Everything follows from the scripts and the seed.
"""

from __future__ import annotations

import heapq
import itertools
import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from nvflare.apis.client import Client
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.wf_comm_server import WFCommServer
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from fedward.aggregation.fednova import steps_taken
from fedward.flare.protocol import ROUND_NUMBER, STEPS, Reply, Task, global_weights, refuse, to_shareable
from fedward.flare.server.clock import Clock
from fedward.flare.server.controller import FederatedRounds
from fedward.flare.server.persistor import ModelStore
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.settings import JOB_FILE
from fedward.weights import Weights
from tests.conftest import tiny_job_content
from tests.support.flare.server import server_context

FETCH_S = 0.01
"""Seconds after which an idle site takes a new task."""
FOREVER = math.inf
LOCAL_STEPS = 16
"""Steps of every site in a round; a site that is asked for fewer is done sooner."""
TOO_LONG_S = 30 * 86_400.0
Deed = Literal["answer", "refuse", "vanish", "twice", "other", "nan", "huge", "flipped"]


@dataclass(frozen=True, slots=True)
class Act:
    """A site's reaction to a task that it took.

    Attributes:
        deed: answer; refuse; vanish (its process is gone, without an answer); answer twice; answer another task; send
            NaN, its update times 1000, or its update with the sign changed.
        seconds: time until it is done; of a site that vanishes, until it is back.
    """

    deed: Deed = "answer"
    seconds: float = 1.0


Script = Callable[[Task, int, random.Random], Act]
"""Function of a task, its round (-1: none) and the site's own random numbers."""


def steady(seconds: float = 1.0) -> Script:
    return lambda task, number, draw: Act("answer", seconds)


def on(task: Task, act: Act, *, rounds: range = range(10_000), otherwise: Script | None = None) -> Script:
    """A site that does ``act`` at a task in some rounds; a task without a round is in none, and is always meant."""
    rest = otherwise or steady()
    return lambda asked, number, draw: (
        act if asked is task and (number < 0 or number in rounds) else rest(asked, number, draw)
    )


class SimulatedClock:
    """Clock whose time passes only in ``sleep``; deeds that are due happen in it, in order.

    Args:
        tick_s: shortest sleep; a simulation of days takes longer steps than the server's poll.
    """

    def __init__(self, tick_s: float = 0.0) -> None:
        self._now, self._tick_s, self._count = 0.0, tick_s, itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self.before_sleep: Callable[[], None] = lambda: None

    @property
    def seam(self) -> Clock:
        return Clock(now=lambda: self._now, sleep=self.sleep, wait=lambda news, seconds: self.sleep(seconds))

    @property
    def now(self) -> float:
        return self._now

    def after(self, seconds: float, deed: Callable[[], None]) -> None:
        if math.isfinite(seconds):
            heapq.heappush(self._agenda, (self._now + seconds, next(self._count), deed))

    def sleep(self, seconds: float) -> None:
        until = self._now + max(seconds, self._tick_s)
        if until > TOO_LONG_S:
            raise AssertionError("the simulated job never ends")
        self.before_sleep()
        while self._agenda and self._agenda[0][0] <= until:
            self._now, _, deed = heapq.heappop(self._agenda)
            deed()
        self._now = until


@dataclass
class SimulatedSite:
    """One site: at most one task at a time.

    Attributes:
        process: number of its processes so far; what an earlier one had in hand is lost.
    """

    name: str
    script: Script
    draw: random.Random
    patients: int
    process: int = 0
    here: bool = True
    busy: bool = False
    last_id: str = "none"


class TinyStore(ModelStore):
    """Store of a model of five values or more, in memory.

    Args:
        values: size of the model's larger tensor.
        last: whether only the last round's model is kept.
    """

    def __init__(self, values: int = 4, *, last: bool = False) -> None:
        super().__init__()
        self.values, self._last = values, last
        self.kept: list[Weights] = []
        self.final: Weights | None = None

    def load_weights(self, job: Any) -> Weights:
        return {"bias": np.zeros(1, np.float32), "weight": np.arange(self.values, dtype=np.float32).reshape(2, -1)}

    def keep(self, model: Any) -> None:
        self.kept = [model.weights] if self._last else [*self.kept, model.weights]

    def finish(self, weights: Weights) -> Path:
        self.final = weights
        return Path("nowhere")


class SimulatedRounds(FederatedRounds):
    """The controller, over FLARE's bookkeeping; each new task wakes the idle sites."""

    def __init__(self, clock: Clock, communicator: WFCommServer) -> None:
        super().__init__(clock)
        self.panic = ""
        self.wake: Callable[[], None] = lambda: None
        self.lost: Callable[[str], bool] = lambda site: False
        self.set_communicator(communicator)

    def broadcast(self, *args: Any, **kwargs: Any) -> None:
        super().broadcast(*args, **kwargs)
        self.wake()

    def get_client_disconnect_time(self, client_name: str) -> float | None:
        return 1.0 if self.lost(client_name) else None

    def system_panic(self, reason: str, fl_ctx: FLContext) -> None:
        self.panic = reason


@dataclass
class Simulated:
    """A simulated job that has run to its end.

    Attributes:
        ended_s: simulated seconds at its end.
        sent: site and round -> update that the site answered with, also where it did not count.
        taken: each task that a site took: seconds, site, task, round.
    """

    events: list[dict[str, Any]]
    panic: str
    ended_s: float
    store: TinyStore
    sent: dict[tuple[str, int], Weights] = field(default_factory=dict)
    taken: list[tuple[float, str, Task, int]] = field(default_factory=list)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]

    @property
    def timeless(self) -> list[dict[str, Any]]:
        """Events without the times that a real clock gave."""
        return [_without(event, "at", "stages") for event in self.events]

    @property
    def walls(self) -> list[float]:
        return [event["wall_s"] for event in self.of("round")]


class Federation:
    """Simulated sites of one job, and the server's controller."""

    def __init__(
        self,
        folder: Path,
        sites: Mapping[str, Script],
        *,
        seed: int = 0,
        clock: SimulatedClock | None = None,
        lost_after_s: float = FOREVER,
        store: TinyStore | None = None,
        record: bool = True,
        patients: Callable[[int], int] = lambda place: 10 + place,
        **tables: Any,
    ) -> None:
        self.clock, self.abort, self._lost_after_s = clock or SimulatedClock(), Signal(), lost_after_s
        self._record = record
        self.sites = {
            name: SimulatedSite(name, script, random.Random(f"{seed} {name}"), patients(place))
            for place, (name, script) in enumerate(sorted(sites.items()))
        }
        self._gone_at: dict[str, float] = {}
        self._communicator = WFCommServer()
        self.controller = SimulatedRounds(self.clock.seam, self._communicator)
        self.controller.wake, self.controller.lost = self._wake, self._lost
        self.clock.before_sleep = self._communicator.check_tasks
        self._run_folder = folder / "job-1"
        config = self._run_folder / "config"
        config.mkdir(parents=True)
        content = job_content(**tables)
        self.stragglers = content["federation"].get("stragglers", "cut")
        (config / JOB_FILE).write_text(json.dumps(content))
        self.store = store or TinyStore()
        self.context = server_context(folder, self._run_folder, config, sorted(sites), "job-1", self.store)
        self._communicator._engine = self.context.get_engine()
        self.result = Simulated([], "", 0.0, self.store)

    def run(self) -> Simulated:
        self.controller.start_controller(self.context)
        self.controller.control_flow(self.abort, self.context)
        self.result.ended_s = self.clock.now
        self.controller.stop_controller(self.context)
        self.result.events = list(EventReader(self._run_folder / EVENTS_FILE))
        self.result.panic = self.controller.panic
        return self.result

    def leave(self, name: str, *, for_s: float = FOREVER) -> None:
        """End a site's process; another takes its place after a while."""
        site = self.sites[name]
        site.process, site.here, site.busy = site.process + 1, False, False
        self._gone_at[name] = self.clock.now
        process = site.process
        self.clock.after(for_s, lambda: self._back(site, process))

    def _back(self, site: SimulatedSite, process: int) -> None:
        if site.process == process:
            site.here = True
            self._gone_at.pop(site.name, None)
            self._request(site)

    def _lost(self, name: str) -> bool:
        gone = self._gone_at.get(name)
        return gone is not None and self.clock.now - gone > self._lost_after_s

    def _wake(self) -> None:
        for site in self.sites.values():
            self.clock.after(FETCH_S, lambda site=site: self._request(site))

    def _request(self, site: SimulatedSite) -> None:
        if not site.here or site.busy:
            return
        client = Client(site.name, "")
        name, task_id, data = self._communicator.process_task_request(client, self.context)
        if not name:
            return
        task, number = Task(name), int(data.get_header(ROUND_NUMBER))
        if self._record:
            self.result.taken.append((self.clock.now, site.name, task, number))
        act = site.script(task, number, site.draw)
        if act.deed == "vanish":
            self.leave(site.name, for_s=act.seconds)
            return
        site.busy, process = True, site.process

        def done() -> None:
            if site.process == process:
                self._answer(site, act, task, task_id, data)

        share = _steps(data) / LOCAL_STEPS if task is Task.ROUND else 1.0
        self.clock.after(act.seconds * share, done)

    def _answer(self, site: SimulatedSite, act: Act, task: Task, task_id: str, data: Shareable) -> None:
        client, answer = Client(site.name, ""), self._content(site, act, task, data)
        named = site.last_id if act.deed == "other" else task_id
        for _ in range(2 if act.deed == "twice" else 1):
            self._communicator.process_submission(client, task.value, named, answer, self.context)
        site.last_id, site.busy = task_id, False
        self._request(site)

    def _content(self, site: SimulatedSite, act: Act, task: Task, data: Shareable) -> Shareable:
        if act.deed == "refuse":
            return refuse("no disk space")  # type: ignore[arg-type]
        metrics: dict[str, Any] = {"scores": {"auc": 0.8}}
        if task is not Task.ROUND:
            return to_shareable(Reply(metrics=metrics))
        number = int(data.get_header(ROUND_NUMBER))
        draw = np.random.default_rng([*site.name.encode(), number])
        update = {
            name: np.asarray(draw.normal(0.01, 0.1, array.shape), array.dtype)
            for name, array in global_weights(data).items()
        }
        factor = {"huge": 1000, "flipped": -1}.get(act.deed, 1)
        update = {name: np.asarray(array * factor, array.dtype) for name, array in update.items()}
        if act.deed == "nan":
            update["bias"][0] = np.nan
        if self._record:
            self.result.sent[site.name, number] = update
        return to_shareable(Reply(metrics={**metrics, "patients": site.patients, "steps": _steps(data)}, update=update))


def simulate(folder: Path, sites: Mapping[str, Script], **how: Any) -> Simulated:
    return Federation(folder, sites, **how).run()


def job_content(**tables: Any) -> dict[str, Any]:
    """The tiny job with other values in its tables: eight rounds, and a grace of a minute."""
    content = tiny_job_content()
    content["training"] |= {"local_epochs": None, "local_steps": LOCAL_STEPS}
    content["federation"] |= {"rounds": 8, "round_timeout_s": 600.0, "grace_s": 60.0, "local_baseline": True}
    for table, values in tables.items():
        content[table] = content.get(table, {}) | values
    return content


def _steps(data: Shareable) -> int:
    return steps_taken(LOCAL_STEPS, data.get_header(STEPS))


def _without(content: Any, *names: str) -> Any:
    return {name: value for name, value in content.items() if name not in names}
