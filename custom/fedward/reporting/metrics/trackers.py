"""Write the table of a job's scores for TensorBoard, and for a server of MLflow.

TensorBoard's event files are written through its own library, the extra ``tensorboard``. For MLflow a JSON file holds
the calls of its REST API ``runs/log-batch``: MLflow's own client brings 16 libraries along, and its files of a run
are no longer read by default.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedward.errors import FedwardError
from fedward.files import write_atomic
from fedward.privacy.policy.job_hash import job_hash
from fedward.reporting.metrics.table import FEDERATED, Row
from fedward.settings import JobSpec, plain

MLFLOW_METRICS, MLFLOW_PARAMS, MLFLOW_TEXT = 1000, 100, 6000
"""Most metrics and parameters of one call, and characters of a parameter, that MLflow's REST API accepts."""


def write_tensorboard(folder: Path, rows: Sequence[Row], *, at: float) -> None:
    """Write a TensorBoard event file: one scalar for each measure and site, its step the round.

    The ends of an interval are scalars of their own, ``auc_low`` and ``auc_high``. A model that a site trained alone
    has no round, and so no scalar.

    Args:
        folder: folder for ``tensorboard --logdir``; it must not exist yet, since files in it would be drawn together.
        rows: the table.
        at: time of the end of the job, seconds since the epoch.

    Raises:
        FedwardError: tensorboard is not installed, or the folder exists.
        OSError: the disk does not accept it.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        remedy = "run `pip install -c constraints.txt tensorboard`, or write CSV"
        raise FedwardError("its library is not installed", where="TensorBoard", remedy=remedy) from None
    if folder.exists():
        raise FedwardError("exists already", where=folder, remedy="name a new folder")
    with SummaryWriter(log_dir=str(folder)) as writer:
        for row in rows:
            for name, value in _values(row):
                if row.round is not None:
                    writer.add_scalar(name, value, row.round, walltime=at)


def write_mlflow(path: Path, job: JobSpec, rows: Sequence[Row], *, at: float) -> None:
    """Write a JSON file with a run's name and the bodies of the calls ``runs/log-batch`` that make it.

    Args:
        path: the file.
        job: settings of the job, which are the run's parameters.
        rows: the table.
        at: time of the end of the job, seconds since the epoch.

    Raises:
        OSError: the disk does not accept it.
    """
    metrics = [
        {"key": name.replace("/", "."), "value": value, "timestamp": round(1000 * at), "step": row.round or 0}
        for row in rows
        for name, value in _values(row)
    ]
    params = [{"key": key, "value": text} for key, text in _settings(plain(job)) if text and len(text) <= MLFLOW_TEXT]
    tags = [{"key": "fedward.job_hash", "value": job_hash(job)}]
    calls = [{"metrics": part} for part in _parts(metrics, MLFLOW_METRICS)]
    calls += [{"params": part} for part in _parts(params, MLFLOW_PARAMS)]
    content = {"experiment_name": "fedward", "run_name": job.job.name, "log_batch": [*calls, {"tags": tags}]}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def _values(row: Row) -> Iterator[tuple[str, float]]:
    model, label = "" if row.model == FEDERATED else f"{row.model}_", f".{row.label}" if row.label else ""
    for end, value in (("", row.value), ("_low", row.low), ("_high", row.high)):
        if value is not None:
            yield f"{model}{row.measure}{end}/{row.site}{label}", value


def _settings(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{above}{key}.")
        elif value is not None:
            yield f"{above}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _parts(items: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + most] for start in range(0, len(items), most))
