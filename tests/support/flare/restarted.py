"""Kill the server's process of a simulated job at any event, and start another, with or without its run folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nvflare.apis.impl.wf_comm_server import WFCommServer
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from fedward.encryption.fixed_point import FixedPoint
from fedward.encryption.keys.key import FederationKey
from fedward.encryption.masks.graphs.threshold import colluding_of
from fedward.encryption.message import unpack
from fedward.encryption.roster import context_of
from fedward.encryption.schemes import bits_of
from fedward.encryption.secure_sum import SecureSum
from fedward.encryption.sums import identity_of
from fedward.flare.protocol import (
    AFTER,
    CONFIRM,
    COUNTED,
    MODEL,
    ROSTER,
    ROUND_NUMBER,
    Reply,
    Task,
    content_of,
    to_reply,
    to_shareable,
)
from fedward.flare.secagg_context import INITIAL, KEY, NONCE, OPENED, SCHEME, SumContexts
from fedward.flare.server.persistor import ModelStore
from fedward.metrics.events import EVENTS_FILE, EventLog, EventReader
from fedward.privacy.ledger.runs import FinalModel
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import JOB_FILE, JobSpec, parse
from fedward.weights import MODEL_FILE, Weights, add, digest, flatten, layout_hash, layout_of, unflatten
from tests.support.flare.masked_site import MaskedSite
from tests.support.flare.server import server_context
from tests.support.flare.signed import server_kit, signed
from tests.support.flare.simulated import (
    Act,
    Federation,
    Script,
    Simulated,
    SimulatedRounds,
    SimulatedSite,
    TinyStore,
    job_content,
)


class Killed(BaseException):
    """The process is gone: no code of it may catch this."""


class KeptStore(TinyStore):
    """The store of five values, with the files of the real one."""

    keep = ModelStore.keep
    finish = ModelStore.finish


class Killer:
    """Event log whose process is killed at the n-th writing of events, before or after these are in the file."""

    def __init__(self, at: int, *, written: bool) -> None:
        self.at, self.written, self.count, self.happened = at, written, 0, False
        self._put = EventLog.put

    def put(self, log: EventLog, events: Any) -> None:
        self.count += 1
        if self.count == self.at and not self.written:
            self.happened = True
            raise Killed
        self._put(log, events)
        if self.count == self.at:
            self.happened = True
            raise Killed


class Restarted(Federation):
    """Simulated federation whose server's process may be replaced."""

    def __init__(self, folder: Path, sites: Mapping[str, Script], **how: Any) -> None:
        super().__init__(folder, sites, **how)
        self.folder = folder
        self.store = KeptStore()
        self.process()

    @property
    def model(self) -> Weights | None:
        """The final model in the run folder."""
        path = self.run_folder / MODEL_FILE
        return (
            {name: array.numpy() for name, array in torch.load(path, weights_only=True).items()}
            if path.exists()
            else None
        )

    def process(self, *, new_run: bool = False, abort: Signal | None = None, invited: list[str] | None = None) -> None:
        """Begin another process of the server; with ``new_run`` FLARE has removed the old run folder."""
        if new_run:
            content = (self._run_folder / "config" / JOB_FILE).read_bytes()
            shutil.rmtree(self._run_folder)
            (self._run_folder / "config").mkdir(parents=True)
            (self._run_folder / "config" / JOB_FILE).write_bytes(content)
        self.abort = abort or Signal()
        self._communicator = WFCommServer()
        self.controller = SimulatedRounds(self.clock.seam, self._communicator)
        self.controller.wake, self.controller.lost = self._wake, self._lost
        self.clock.before_sleep = self._communicator.check_tasks
        self.store = type(self.store)()
        here = sorted(self.sites) if invited is None else invited
        config = self._run_folder / "config"
        self.context = server_context(self.folder, self._run_folder, config, here, "job-1", self.store)
        self._communicator._engine = self.context.get_engine()
        self.result = Simulated([], "", 0.0, self.store)

    def _answer(self, site: SimulatedSite, act: Act, task: Task, task_id: str, data: Shareable) -> None:
        try:
            super()._answer(site, act, task, task_id, data)
        except Killed:  # the server is gone, not the site
            site.busy = False
            raise

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints" / "job-1"

    @property
    def run_folder(self) -> Path:
        return self._run_folder

    @property
    def log(self) -> list[dict[str, Any]]:
        """Events of the job's log in the checkpoint folder."""
        return list(EventReader(self.checkpoints / EVENTS_FILE))

    def change_job(self, **tables: Any) -> None:
        (self._run_folder / "config" / JOB_FILE).write_text(json.dumps(job_content(**tables)))


class SealedFederation(Restarted):
    """The same with an encrypted job: each site opens, trains and seals as a hospital's gates do, without a record.

    With ``key`` None the job is masked.
    """

    def __init__(self, folder: Path, sites: Mapping[str, Script], *, key: FederationKey | None, **how: Any) -> None:
        how["encryption"] = {"scheme": "masked" if key is None else key.scheme, **how.get("encryption", {})}
        super().__init__(folder, sites, **how)
        self.key = key
        server_kit(folder)
        self.job = parse(JobSpec, json.loads((self._run_folder / "config" / JOB_FILE).read_text()), where="test")
        self.confirmed: dict[tuple[str, str], bytes] = {}
        self.refused: list[tuple[str, str]] = []
        self.nonces = {name: f"{place + 1:032x}" for place, name in enumerate(sorted(sites))}
        self.initial: Weights = TinyStore().load_weights(None)
        assert self.job.encryption is not None
        asked = self.job.encryption
        self._bits = bits_of(asked.scheme, asked.precision)
        run = {"job": job_hash(self.job), "job_id": "job-1", "colluding": colluding_of(self.job)}
        self.masked = {name: MaskedSite(name, nonce=nonce, **run) for name, nonce in self.nonces.items() if key is None}
        self._fixed = FixedPoint(clipping_range=asked.clipping_range, bits=self._bits, max_sites=asked.max_sites)

    def _content(self, site: SimulatedSite, act: Act, task: Task, data: Shareable) -> Shareable:
        if act.deed != "answer":
            return super()._content(site, act, task, data)
        reply = to_reply(self._sealed(site, act, task, data))
        return to_shareable(
            reply if reply.sealed is None else replace(reply, sealed=signed(reply.sealed, site=site.name))
        )

    def _sealed(self, site: SimulatedSite, act: Act, task: Task, data: Shareable) -> Shareable:
        own = self.masked.get(site.name)
        metrics = {"scores": {"auc": 0.8}, "patients": site.patients, "steps": 10}
        if task is Task.ADMIT:
            said = {**self._facts, NONCE: self.nonces[site.name]} if own is None else own.admission()
            return to_shareable(Reply(metrics=metrics, sealed=said))
        if own is not None:
            own.take(data["__headers__"], data.get_header(ROSTER))
        if task is Task.KEY:
            assert own is not None
            return to_shareable(Reply(sealed=own.make_job_key()))
        topics, after = self._topics(data.get_header(ROSTER), own), data.get_header(AFTER)
        if task is Task.UNMASK:
            assert own is not None
            return to_shareable(Reply(sealed=self._help(own, topics, data)))
        facts, sums = self._facts if own is None else own.facts, self._sums(site.name)
        if task is Task.ROUND:
            model = add(self._opened(sums, topics, data, after), self._update(site, after))
            weight = self._fixed.weight_code(1.0)
            codes = np.rint(flatten(model) * (weight / self._fixed.clipping_range)).astype(np.int64)  # no chance in it
            base = INITIAL if after == 0 else identity_of(self._sum(data))
            sealed = sums.seal(np.append(codes, np.int64(weight)), topics.model(after, base=base))
            return to_shareable(Reply(metrics=metrics, sealed={**facts, MODEL: sealed}))
        if task is Task.FINAL:
            found = self._opened(sums, topics, data, after)
            word = topics.confirmation(identity_of(self._sum(data)))
            confirmed = {CONFIRM + MODEL: sums.seal(np.ones(1, np.int64), word), OPENED: digest(found)}
            final, counts = FinalModel(after, identity_of(self._sum(data))), dict[str, bytes]()
            self.final = final
            for purpose in COUNTED:
                topic = topics.counts(purpose, final=final)
                if topic is not None:
                    counts[purpose] = sums.seal(np.ones(topic.length, np.int64), topic)
            return to_shareable(Reply(metrics=metrics, sealed={**facts, **confirmed, **counts}))
        if task is Task.CONFIRM:
            said = {
                CONFIRM + purpose: self._confirm(sums, topics, site, purpose, total)
                for purpose, total in content_of(data, "APP_DEFINED").items()
            }  # type: ignore[arg-type]
            return to_shareable(Reply(sealed={**facts, **said}))
        if task is Task.OPEN:
            return to_shareable(Reply(model=self._opened(sums, topics, data, after)))
        return to_shareable(Reply(metrics=metrics))

    @property
    def _facts(self) -> dict[str, Any]:
        assert self.key is not None
        return {KEY: self.key.key_id, SCHEME: self.key.scheme}

    def _sums(self, site: str) -> SecureSum:
        return self.masked[site].sums if self.key is None else SecureSum(self.key, site=site)

    def _help(self, own: MaskedSite, topics: SumContexts, data: Shareable) -> dict[str, bytes]:
        found = {}
        for purpose, content in content_of(data, "APP_DEFINED").items():  # type: ignore[arg-type]
            number = int(data.get_header(ROUND_NUMBER))
            counted = None if purpose == MODEL else topics.counts(purpose, final=self.final)
            topic = topics.model(number, base=content["base"]) if purpose == MODEL else counted
            assert topic is not None
            found |= own.help(purpose, content, topic)
        return found

    def _update(self, site: SimulatedSite, number: int) -> Weights:
        draw = np.random.default_rng([*site.name.encode(), number])
        return {
            name: np.asarray(draw.normal(0.01, 0.1, array.shape), array.dtype) for name, array in self.initial.items()
        }

    def _confirm(self, sums: SecureSum, topics: SumContexts, site: SimulatedSite, purpose: str, total: bytes) -> bytes:
        """Confirm a sum; a hospital's record refuses a second one of its kind."""
        if self.confirmed.setdefault((site.name, purpose), total) != total:
            self.refused.append((site.name, purpose))
        return sums.seal(np.ones(1, np.int64), topics.confirmation(identity_of(total)))

    def _sum(self, data: Shareable) -> bytes:
        return bytes(content_of(data, "APP_DEFINED")["sum"])  # type: ignore[arg-type]

    def _opened(self, sums: SecureSum, topics: SumContexts, data: Shareable, after: int) -> Weights:
        if after == 0:
            return self.initial
        base = unpack(self._sum(data)).topic.base
        opened = sums.open(self._sum(data), topics.model(after - 1, base=base))
        mean = self._fixed.decode(opened.codes[:-1], weight_code=int(opened.codes[-1]), sites=len(opened.sites))
        return unflatten(mean, layout_of(self.initial))

    def _topics(self, roster: Mapping[str, str], own: MaskedSite | None) -> SumContexts:
        layout = layout_of(self.initial)
        return SumContexts(
            job=self.job,
            job_id="job-1",
            context=context_of(roster, job=job_hash(self.job)) if own is None else own.context,
            layout=layout,
            architecture=layout_hash(layout, network=self.job.model.network, args=self.job.model.args),
            bits=self._bits,
        )


Make = Callable[[Path], Restarted]


def until_killed(federation: Restarted, killer: Killer, monkeypatch: Any) -> Simulated | None:
    """Run one process of the server; None if it was killed."""
    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "put", lambda log, events: killer.put(log, events))
        try:
            return federation.run()
        except Killed:
            return None
