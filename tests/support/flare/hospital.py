"""One hospital and one job as the gates meet them: a site folder, a context, honest tasks and answers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.apis.utils.decomposers import flare_decomposers
from nvflare.app_common.decomposers import common_decomposers
from nvflare.fuel.utils import fobs

from fedward.encryption.keys.key import FederationKey
from fedward.encryption.keys.key_file import write_key
from fedward.flare.gates import gate
from fedward.flare.gates.egress import EgressGate
from fedward.flare.gates.ingress import IngressGate
from fedward.flare.protocol import REFUSAL, Reply, Task, question, to_shareable
from fedward.indexing.site_key import load_key
from fedward.privacy.accountant import Event, update_noise_event
from fedward.privacy.attestation import PROOF, Proof
from fedward.privacy.budget_plan import repeated_rounds
from fedward.privacy.ledger.ledger import Ledger
from fedward.privacy.ledger.run_record import Record
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import JOB_FILE, JobSpec, parse
from fedward.training.networks import initial_weights
from fedward.weights import Weights, digest
from tests.conftest import tiny_job_content
from tests.support.authority import site_kit
from tests.support.flare.signed import federation

PATIENTS = [f"{number:016x}" for number in range(40)]
METRICS = {"scores": {"auc": 0.812, "patients": 40, "images": 60, "positives": 12, "loss": 0.5}, "steps": 10}
DP_SGD = {"noise_multiplier": 1.5, "delta": 1e-5, "clip_norm_l2": 1.0, "patients_per_step": 8.0}
MECHANISMS: dict[str, dict[str, Any]] = {
    "none": {"mechanism": "none"},
    "clipped": {"mechanism": "none", "update": {"clip_norm_l2": 0.01}},
    "update-noise": {
        "mechanism": "update-noise",
        "update": {"clip_norm_l2": 1.0, "noise_multiplier": 3.0, "delta": 1e-5},
    },
    "dp-sgd": {"mechanism": "dp-sgd", "dp_sgd": DP_SGD},
    "sum": {"mechanism": "dp-sgd", "dp_sgd": {**DP_SGD, "noise": "sum", "sampling_rate": 0.2}},
}
_RUNS = itertools.count()


class Hospital:
    """A site's folder with policy, key and ledger, one job in it, and both gates, never used before.

    Args:
        folder: to write to.
        privacy: the job's, a key of ``MECHANISMS``.
        charged: whether the job was charged in the ledger.
        admitted: whether an earlier process of the site took the job's admission, so that rounds may follow.
        cap: whether the cohort has an ε cap, so that the ledger counts for jobs without privacy too.
        site: the hospital's id.
        shared: the federation's key; with it the job is encrypted, unless ``changes`` say otherwise.
        masked: whether the job is encrypted with masks, and no key before it.
        job_id: FLARE's id of the run, where several hospitals share one.
        changes: to the job's tables, and to ``dp_sgd`` within ``privacy``.
    """

    def __init__(
        self,
        folder: Path,
        privacy: str = "none",
        *,
        charged: bool = True,
        admitted: bool = True,
        cap: bool = True,
        site: str = "north",
        shared: FederationKey | None = None,
        masked: bool = False,
        job_id: str | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.job_id, self.site = folder, job_id or f"job-{next(_RUNS)}", site
        content = tiny_job_content() | {"privacy": MECHANISMS[privacy]}
        if masked or shared is not None:
            content["federation"] |= {"min_sites": 3, "weighting": "equal"}
            content["encryption"] = {"clipping_range": 8.0, "scheme": "masked" if shared is None else shared.scheme}
        if privacy == "sum":
            del content["training"]["local_epochs"]
            content["training"]["local_steps"] = 1
        changes = dict(changes or {})
        if dp_sgd := changes.pop("dp_sgd", None):
            content["privacy"] = {**content["privacy"], "dp_sgd": {**content["privacy"]["dp_sgd"], **dp_sgd}}
        for table, values in changes.items():
            content[table] = content.get(table, {}) | values
        self.job = parse(JobSpec, content, where="test")
        self.config, self.local = folder / "config", folder / "local"
        self.config.mkdir(parents=True)
        self.local.mkdir()
        (self.config / JOB_FILE).write_text(json.dumps(content))
        counted = "epsilon_cap = 1000.0, delta = 1e-4, " if cap else ""
        (self.local / "site.toml").write_text(SITE.format(site=site, listed=LISTED, cap=counted))
        if shared is not None:
            write_key(shared, self.local / "federation.key")
        if masked or shared is not None:
            site_kit(folder / "kit", federation(), target="localhost:1", certificate=federation().issue(site))
        self.key = load_key(self.local / "key").secret
        self.ledger = Ledger.create(self.local / "ledger.db", site=site, key=self.key)
        self.ingress, self.egress = IngressGate(), EgressGate()
        self.mechanism: str = MECHANISMS[privacy]["mechanism"]
        if charged:
            self.charge()
        if admitted:
            self.record.begin(self.job_id, job=job_hash(self.job))

    @property
    def steps(self) -> int:
        """Steps of a round."""
        return 1 if self.job.noises_sum else 10

    @property
    def record(self) -> Record:
        """Open the hospital's record anew."""
        return Record.open(self.local / "ledger.db", site=self.site, key=self.key)

    def restart(self) -> None:
        """Let another process of the site continue the job: memory is lost, and the gates are new."""
        for known in (gate._STATES, gate._LATCHED, gate._REFUSED):
            known.pop((self.site, self.job_id), None)
        gate._UNENDED.discard((self.site, self.job_id))
        self.ingress, self.egress = IngressGate(), EgressGate()

    def charge(self, job_id: str | None = None) -> None:
        who = {"job_id": job_id or self.job_id, "job": "tiny", "cohort": "chest", "patients": PATIENTS}
        if self.mechanism == "none":
            self.ledger.unprotected(**who)
            return
        rounds, repeats = self.job.federation.rounds, repeated_rounds(self.job.federation.rounds)
        event = Event(unit="patient", sampling_rate=0.2, noise_multiplier=1.5, steps=self.steps * rounds)
        if self.mechanism == "update-noise":
            event = update_noise_event(3.0, rounds=rounds)
        allowance = repeats * event.steps // rounds
        self.ledger.charge(**who, event=event, rounds=rounds, cap=None, delta=1e-4, allowance=allowance)

    def context(self, task: Task | str) -> FLContext:
        workspace = SimpleNamespace(
            get_app_config_dir=lambda job: str(self.config),
            get_site_config_dir=lambda: str(self.local),
            get_run_dir=lambda job: str(self.folder),
            get_root_dir=lambda: str(self.folder / "kit"),
        )
        context = FLContext()
        context.set_prop(ReservedKey.ENGINE, SimpleNamespace(get_workspace=lambda: workspace), private=True)
        context.set_prop(ReservedKey.RUN_NUM, self.job_id, private=False)
        context.set_prop(ReservedKey.IDENTITY_NAME, self.site, private=False)
        context.set_prop(FLContextKey.TASK_NAME, str(task), private=True)
        return context

    @property
    def model(self) -> Weights:
        return initial_weights(self.job)

    def receive(self, model: Weights | None = None, *, task: Task = Task.ROUND, number: int | None = None) -> Shareable:
        number = (0 if task is Task.ROUND else -1) if number is None else number
        data = question(self.model if model is None else model, round_number=number)
        return self.ingress.process(data, self.context(task))

    def update(self, *, scale: float = 0.001, seed: int = 0) -> Weights:
        rng = np.random.default_rng(seed)
        return {name: rng.normal(0, scale, array.shape).astype(np.float32) for name, array in self.model.items()}

    def proof(self, update: Mapping[str, Any], *, number: int = 0, **changes: Any) -> dict[str, Any]:
        """An honest proof, its round begun in the ledger, but for ``changes``."""
        begun = self.ledger.begin(self.job_id, round_number=number, steps=self.steps).hash
        honest = Proof(
            begun=begun,
            job_id=self.job_id,
            round_number=number,
            mechanism="dp-sgd",
            steps=self.steps,
            sampling_rate=0.2,
            noise_multiplier=1.5,
            clip_norm_l2=1.0,
            digest=digest(update),
        )
        return honest.plain() | changes

    def answer(
        self, update: Any = None, *, proof: object = None, metrics: Mapping[str, Any] | None = None
    ) -> Shareable:
        answer = to_shareable(Reply(metrics=METRICS if metrics is None else metrics, update=update))
        if proof is not None:
            answer.set_header(PROOF, proof)
        return answer

    def honest(self) -> tuple[Weights, Shareable]:
        """An honest update of round 0 and the executor's answer with it."""
        update = self.update()
        return update, self.answer(update, proof=self.proof(update) if self.mechanism == "dp-sgd" else None)

    def send(self, answer: Shareable, task: Task | str = Task.ROUND) -> Shareable:
        return self.egress.process(answer, self.context(task))


LISTED = '"scores", "support", "work", "cohort", "privacy", "pooled", "cohort_statistics"'
SITE = """site = "{site}"
key = "key"
federation_key = "federation.key"
ledger = "ledger.db"
approved_jobs = "any"
disclosure = {{ metrics = [{listed}], decimals = 3, min_count = 5 }}
[cohorts.chest]
images = "images"
index = "index"
max_quarantined_fraction = 0.5
validation_fraction = 0.3
privacy = {{ dp = "not-required", {cap}encryption = "not-required", noise_for_sum = true, sum_min_colluding = 0 }}
"""


def serialised(message: Shareable) -> bytes:
    """The message as FLARE puts it on the wire."""
    flare_decomposers.register()
    common_decomposers.register()
    data: bytes = fobs.dumps(message)
    return data


def assert_refused(message: Shareable, *, says: str = "", payload: Mapping[Any, Any] | None = None) -> str:
    """Check that the message is a refusal of one line without any of the payload."""
    assert set(message) == {ReservedHeaderKey.HEADERS}
    headers = message[ReservedHeaderKey.HEADERS]
    assert set(headers) == {ReservedHeaderKey.RC, REFUSAL}
    reason: str = headers[REFUSAL]
    assert reason and "\n" not in reason and len(reason) <= 300
    assert says in reason, reason
    wire = serialised(message)
    assert len(wire) < 1000
    for secret in (b"DOE", b"MARK"):
        assert secret not in wire
    for array in (payload or {}).values():
        data = np.asarray(array).tobytes() if not isinstance(array, list) else b""
        if len(data) >= 16:
            assert not any(data[at : at + 12] in wire for at in range(0, len(data) - 12, 4))
    return reason


def parts(message: Shareable) -> dict[str, DXO]:
    """The parts of an answer that passed, each kind and meta checked."""
    assert set(message) == {ReservedHeaderKey.HEADERS, "DXO"}
    assert message[ReservedHeaderKey.HEADERS] == {ReservedHeaderKey.CONTENT_TYPE: "DXO"}
    assert set(message["DXO"]) == {"kind", "data", "meta"}
    assert message["DXO"]["kind"] == DataKind.COLLECTION and message["DXO"]["meta"] == {}
    found: dict[str, DXO] = message["DXO"]["data"]
    assert all(part.meta == {} and set(vars(part)) == {"data_kind", "data", "meta"} for part in found.values())
    return found


def nan(update: dict[str, Any], name: str) -> dict[str, Any]:
    """The update with one value of one tensor that is no number."""
    array = update[name].copy()
    array.flat[0] = np.nan
    return update | {name: array}
