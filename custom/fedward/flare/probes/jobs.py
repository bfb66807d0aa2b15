"""Send jobs that must be refused, to check that they are: each differs in one point from a job's canonical form."""

from __future__ import annotations

import io
import json
import tempfile
import uuid
import zipfile
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

from nvflare.private.admin_defs import Message
from nvflare.private.defs import RequestHeader, TrainingTopic

from fedward.flare.admin_session import Console
from fedward.flare.job_checks.form import OWN
from fedward.flare.messages.site_requests import PROCESSORS
from fedward.flare.probes.outcome import Refusal
from fedward.flare.probes.requests import quiet
from fedward.privacy.policy.canonical_job import APP, CONFIG, UNKNOWN_FILE, app_files, job_files, not_canonical
from fedward.settings import JobSpec, parse

NAME = "fedward_doctor"
_NEVER = 100_000
"""Number of hospitals that no federation has: FLARE would never start such a job, even if it was accepted."""
_CLIENT = f"{CONFIG}/config_fed_client.json"
_MORE = "more.json"
Files = Mapping[str, bytes]


def probe_job() -> JobSpec:
    """Return an ordinary job that never runs."""
    content = {
        "job": {"name": NAME, "task": "classification"},
        "federation": {"rounds": 1, "min_sites": _NEVER, "round_timeout_s": 1.0},
        "data": {"cohort": "none", "labels": ["none"], "target": "binary", "size": [8, 8]},
        "model": {"network": "Classifier"},
        "training": {
            "loss": {"name": "BCEWithLogitsLoss"},
            "optimizer": "SGD",
            "lr": 0.1,
            "batch_size": 1,
            "local_epochs": 1,
        },
        "privacy": {"mechanism": "none"},
    }
    return parse(JobSpec, content, where=NAME)


def one_file_more(files: Files, *, folder: str) -> Files:
    """Return the files with one more file, which a job does not have."""
    return {**files, f"{folder}{_MORE}": b"{}\n"}


def another_class(files: Files, *, folder: str) -> Files:
    """Return the files with another class in place of the executor; it builds nothing and does nothing."""
    content = json.loads(files[f"{folder}{_CLIENT}"])
    content["executors"][0]["executor"]["path"] = "nvflare.apis.executor.Executor"
    return {**files, f"{folder}{_CLIENT}": (json.dumps(content, indent=2) + "\n").encode("utf-8")}


_FORMS: tuple[tuple[str, Callable[..., Files], str], ...] = (
    ("has one file more", one_file_more, UNKNOWN_FILE),
    ("names another class", another_class, _CLIENT),
)
UNSIGNED = "is not signed"


def site_refusals(kit: Path, site: str) -> tuple[Refusal, ...]:
    """Pass such jobs to the handler with which a site deploys a job, in this process: no new process, no file of a job.

    The last job is canonical and not signed. It is refused only for its signature, so that the handler accepted its
    form.
    """
    files = app_files(probe_job())
    found = [
        Refusal(what, _deploy(kit, site, change(files, folder="")), expected=str(not_canonical(name)))
        for what, change, name in _FORMS
    ]
    return (*found, Refusal(UNSIGNED, _deploy(kit, site, files)))


class _Engine:
    """Part of a site's engine that FLARE's handler uses before it writes anything; the rest is missing."""

    def __init__(self, kit: Path, site: str) -> None:
        self.args, self._site = Namespace(workspace=str(kit)), site

    def get_client_name(self) -> str:
        return self._site

    def get_all_job_ids(self) -> list[str]:
        return []


def _deploy(kit: Path, site: str, files: Files) -> str | None:
    job, job_id = probe_job(), str(uuid.uuid4())
    meta = {
        "name": job.job.name,
        "resource_spec": {},
        "min_clients": job.federation.min_sites,
        "mandatory_clients": list(job.federation.must_include),
        "deploy_map": {APP: ["@ALL"]},
        "job_id": job_id,
    }
    request = Message(TrainingTopic.DEPLOY, _packed(files))
    request.set_header(RequestHeader.JOB_ID, job_id)
    request.set_header(RequestHeader.JOB_META, meta)
    request.set_header(RequestHeader.APP_NAME, APP)
    (handler,) = (made for made in (one() for one in PROCESSORS) if TrainingTopic.DEPLOY in made.get_topics())
    with quiet():
        try:
            return str(handler.process(request, _Engine(kit, site)).body).removeprefix(OWN)
        except TypeError:  # FLARE's own handler accepts only its own engine: our handler accepted the job
            return None


def server_refusals(console: Console) -> tuple[Refusal, ...]:
    """Submit such jobs, signed by the person who asks. An accepted job is aborted and deleted at once.

    Raises:
        JobError: the person may not submit any job.
        FederationError: an accepted job could not be deleted.
    """
    files = job_files(probe_job())
    found: list[Refusal] = []
    for what, change, name in _FORMS:
        known = name if name == UNKNOWN_FILE else f"{APP}/{name}"
        with tempfile.TemporaryDirectory(prefix="fedward-doctor-") as scratch:
            folder = Path(scratch) / NAME
            for path, content in change(files, folder=f"{APP}/").items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
            reason = console.refusal(folder)
        expected = str(not_canonical(known))
        found.append(
            Refusal(what, expected if reason is not None and expected in reason else reason, expected=expected)
        )
    return tuple(found)


def _packed(files: Files) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()
