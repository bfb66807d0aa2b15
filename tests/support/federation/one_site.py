"""One hospital's side of a job in one process, without a network: gates, executor and ledger as FLARE would call them.

``python -m tests.support.federation.one_site KIT JOB_ID TASK...`` does tasks in order ("admit", "round:N", "final",
"close"). It reads the model that a round starts from from KIT/incoming.npz, and writes what passed the hospital's gate
to KIT: ``TASK.npz`` (the update) and ``TASK.json`` (metrics, or the refusal). With ``--kill N`` the process ends itself
with SIGKILL in the middle of round N.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from pathlib import Path

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FilterKey, FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.apis.workspace import Workspace
from nvflare.private.privacy_manager import Scope

from fedward.flare.gates.egress import EgressGate
from fedward.flare.gates.ingress import IngressGate
from fedward.flare.protocol import Task, question, refusal, to_reply
from fedward.flare.site.executor import HospitalExecutor
from fedward.metrics.events import EventLog
from fedward.settings import JobSpec, plain, read_site
from fedward.settings.read import JOB_FILE
from fedward.weights import load_weights, save_weights

INCOMING = "incoming.npz"


def open_kit(folder: Path, site_toml: Path, job: JobSpec, job_id: str) -> Path:
    """A kit's folders with a site's policy and one deployed job, as FLARE lays them out."""
    config = folder / job_id / f"app_{read_site(site_toml).site}" / "config"
    for path in (folder / "startup", folder / "local", config):
        path.mkdir(parents=True, exist_ok=True)
    if not (folder / "local" / "site.toml").exists():
        shutil.copy(site_toml, folder / "local" / "site.toml")
    (config / JOB_FILE).write_text(json.dumps(plain(job)))
    return folder


class EngineStandIn:
    """The one method that Fedward calls of FLARE's engine."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def get_workspace(self) -> Workspace:
        return self._workspace


def context_of(kit: Path, job_id: str) -> FLContext:
    """Return the context that FLARE gives to an executor and to filters."""
    site = read_site(kit / "local" / "site.toml").site
    context = FLContext()
    context.set_prop(ReservedKey.ENGINE, EngineStandIn(Workspace(str(kit), site)), private=True, sticky=True)
    context.set_prop(ReservedKey.IDENTITY_NAME, site, private=False, sticky=True)
    context.set_prop(ReservedKey.RUN_NUM, job_id, private=False, sticky=True)
    context.set_prop(FLContextKey.SCOPE_OBJECT, scope(), private=True, sticky=True)
    return context


def scope() -> Scope:
    """The one privacy scope of a kit, as FLARE builds it from ``privacy.json``."""
    made = Scope()
    made.set_name("hospital")
    made.add_task_data_filter(IngressGate(), FilterKey.IN)
    made.add_task_result_filter(EgressGate(), FilterKey.OUT)
    return made


class Hospital:
    """A site's job process, with the gates where FLARE puts a site's privacy scope."""

    def __init__(self, kit: Path, job_id: str) -> None:
        self.context, self.executor = context_of(kit, job_id), HospitalExecutor()
        doors = self.context.get_prop(FLContextKey.SCOPE_OBJECT)
        (self.ingress,) = doors.task_data_filters[FilterKey.IN]
        (self.egress,) = doors.task_result_filters[FilterKey.OUT]

    def do(self, task: Task, data: Shareable) -> Shareable:
        """Do one task, from the server's request to the answer that leaves."""
        self.context.set_prop(FLContextKey.TASK_NAME, task.value, private=True, sticky=False)
        received = self.ingress.process(data, self.context)
        result = self.executor.execute(task.value, received, self.context, Signal())
        return self.egress.process(result, self.context)

    def close(self) -> None:
        self.executor.handle_event(EventType.END_RUN, self.context)


def main() -> None:
    ask = argparse.ArgumentParser()
    ask.add_argument("kit", type=Path)
    ask.add_argument("job_id")
    ask.add_argument("tasks", nargs="+")
    ask.add_argument("--kill", type=int)
    given = ask.parse_args()
    if given.kill is not None:
        _kill_in(given.kill)
    hospital = Hospital(given.kit, given.job_id)
    for name in given.tasks:
        if name == "close":
            hospital.close()
            continue
        word, _, number = name.partition(":")
        task = Task[word.upper()]
        weights = load_weights(given.kit / INCOMING) if task in (Task.ROUND, Task.FINAL) else None
        answer = hospital.do(task, question(weights, round_number=int(number or -1)))
        _write(given.kit / name.replace(":", "-"), answer)


def _write(path: Path, answer: Shareable) -> None:
    reason = refusal(answer)
    if reason is not None:
        path.with_suffix(".json").write_text(json.dumps({"refused": reason}))
        return
    reply = to_reply(answer)
    path.with_suffix(".json").write_text(json.dumps(dict(reply.metrics)))
    if reply.update is not None:
        save_weights(reply.update, path.with_suffix(".npz"))


def _kill_in(round_number: int) -> None:
    """Kill the process when the trainer reports its first step in that round."""
    append = EventLog.append

    def deadly(self: EventLog, event: str, **fields: object) -> None:
        append(self, event, **fields)
        if event == "progress" and fields.get("round") == round_number:
            os.kill(os.getpid(), signal.SIGKILL)

    EventLog.append = deadly  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(main())
