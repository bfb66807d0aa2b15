"""Write the job that goes on from a finished one: its settings, more rounds, its final model as the start.

The new job is a run of its own. Its hospitals approve it, draw new keys and new noise, and charge it to their ledgers.
Only the order of images, the augmentation and the learning rate count on from the rounds before.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedward.bundle.checkpoint import read_checkpoint
from fedward.coldstart.model import RESULT_MODEL
from fedward.errors import FedwardError, JobError
from fedward.privacy.policy.job_hash import job_hash
from fedward.reporting.data.event_lookup import Event, last_of, of_kind
from fedward.reporting.data.protection import SitePrivacy, site_privacy
from fedward.reporting.result import from_a_server, read_result
from fedward.settings import START_FILE, JobSpec, read_job
from fedward.toml_text import toml_value
from fedward.training.networks import initial_weights
from fedward.weights import save_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued:
    """Job that was written.

    Attributes:
        folder: its folder, with ``job.toml`` and the start.
        job: its settings.
        differs: why it does not give, bit for bit, the model of all the rounds in one job; empty: it does.
        spent: what the job before cost each hospital's patients; a hospital without differential privacy has none.
        patients: training patients of each hospital in the job before, where the hospital told.
    """

    folder: Path
    job: JobSpec
    differs: tuple[str, ...]
    spent: Mapping[str, SitePrivacy]
    patients: Mapping[str, int]


def continue_job(result: Path, out: Path, *, rounds: int) -> Continued:
    """Write the job that goes on from a result.

    Args:
        result: as downloaded, with ``job/`` and ``workspace/``.
        out: a folder that does not exist yet.
        rounds: further rounds.

    Raises:
        FedwardError: no result of a job that finished, it has no final model, or the folder exists.
    """
    if out.exists():
        raise JobError("folder exists already", where=out, remedy="name a new one with --out")
    with from_a_server(result):
        parent, events = read_result(result)
        spent = {site: found for site, found in _spent(events) if found is not None}
        patients = dict(_patients(events))
    if last_of(events, "finished") is None:
        remedy = "go on with a job that finished; `fedward job resume` takes up a failed one"
        raise JobError("job did not finish", where=result, value=parent.job.name, remedy=remedy)
    file = result / RESULT_MODEL
    if not file.is_file():
        remedy = "its job keeps the final model at the hospitals; give it encryption.open_final = true"
        raise JobError("result holds no final model", where=result, remedy=remedy)
    model = read_checkpoint(file)
    try:
        out.mkdir(parents=True)
        save_weights(model.weights, out / START_FILE)
        lineage = {
            "job_hash": job_hash(parent),
            "model_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "rounds": parent.first_round + parent.federation.rounds,
        }
        content = _content(parent, rounds=rounds, lineage=lineage, start=(out / START_FILE).read_bytes())
        (out / "job.toml").write_text(toml(content), encoding="utf-8")
        job = read_job(out)
        initial_weights(job)  # the model is of this job's network
    except (FedwardError, OSError):
        shutil.rmtree(out, ignore_errors=True)
        raise
    return Continued(folder=out, job=job, differs=differs(parent), spent=spent, patients=patients)


def differs(parent: JobSpec) -> tuple[str, ...]:
    """Say why more rounds do not give, bit for bit, the model of all the rounds in one job; empty: they do.

    They do on one kind of processor, if the same hospitals answer every round with the same images.
    """
    federation, training, found = parent.federation, parent.training, list[str]()
    if parent.privacy.mechanism != "none":
        found.append("noise and the draw of patients are secret and never repeat")
    if parent.encryption is not None:
        found.append("an encrypted sum rounds at random")
    if parent.noises_sum or training.keep_optimizer:
        found.append("the optimizer's momenta stay at the hospitals with the finished job, and begin anew")
    if parent.model.batch_norm == "local":
        found.append("the layers that each hospital keeps (batch_norm = 'local') begin anew")
    if federation.aggregation == "fedadam":
        found.append("the moments of the server's Adam begin anew")
    if federation.select == "best":
        found.append("it goes on from the chosen model, which need not be the last round's")
    if training.lr_schedule != "constant" or training.warmup:
        found.append("the finished job's learning rate changed over its own rounds; it now changes over all rounds")
    if federation.stragglers == "fewer_steps":
        found.append("hospitals may be asked for other numbers of steps")
    return tuple(found)


def toml(content: Mapping[str, Any]) -> str:
    """Return settings as TOML: a table for each topic, what stands deeper within one line."""
    lines: list[str] = []
    for name, table in content.items():
        lines += [f"[{name}]", *(f"{key} = {toml_value(value)}" for key, value in _given(table).items()), ""]
    return "\n".join(lines)


def _content(parent: JobSpec, *, rounds: int, lineage: Mapping[str, Any], start: bytes) -> dict[str, Any]:
    """Return the settings of the new job: those that the parent gives, and what goes on."""
    content: dict[str, Any] = json.loads(parent.model_dump_json(exclude_defaults=True))
    content["federation"] |= {"rounds": rounds, "local_baseline": False}
    content["model"] = {name: value for name, value in content["model"].items() if name != "start_layers"}
    content["model"] |= {"start": START_FILE, "start_sha256": hashlib.sha256(start).hexdigest()}
    return content | {"parent": dict(lineage)}


def _given(value: Any) -> Any:
    """Leave out, in every table, what is None: TOML has no such value."""
    if isinstance(value, Mapping):
        return {str(key): _given(one) for key, one in value.items() if one is not None}
    return [_given(one) for one in value] if isinstance(value, list | tuple) else value


def _spent(events: Sequence[Event]) -> Iterator[tuple[str, SitePrivacy | None]]:
    for event in of_kind(events, "admitted"):
        yield str(event["site"]), site_privacy(event, events, str(event["site"]))


def _patients(events: Sequence[Event]) -> Iterator[tuple[str, int]]:
    for event in of_kind(events, "admitted"):
        count = (event.get("support") or {}).get("train_patients")
        if type(count) is int:
            yield str(event["site"]), count
