"""Read the model file that a hospital received: return its job and weights, or one line with the reason of refusal.

A model of another network, an untrained or a damaged one may load without an error and still give a number. So the
file is checked for the job's layout, finite values and the properties of a trained network before an image is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from fedward.errors import GateError, JobError, SettingsError
from fedward.settings import JOB_FILE, JobSpec, read_job, read_sent
from fedward.weights import MODEL_FILE, Weights, require_stored

RESULT_MODEL = Path("workspace") / MODEL_FILE
"""Path of the final model in a downloaded result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Model as a hospital received it.

    Attributes:
        job: job with which the model was trained.
        weights: tensors in the job's own layout, finite.
        sha256: hash of the file.
        took_part: sites that trained it, if the result names them; empty for a bare file.
    """

    job: JobSpec
    weights: Weights
    sha256: str
    took_part: frozenset[str]


def read_given(model: Path, job: Path | None) -> Given:
    """Read a model file with its job, or a downloaded result that holds both.

    Args:
        model: ``FL_global_model.pt``, or a result's folder with ``job/`` and ``workspace/``.
        job: folder with job.toml or an exported job; needed for a file.

    Raises:
        SettingsError: no job, or one that differs from the result's job.
        JobError: no model, or one that does not belong to the job.
    """
    took_part: frozenset[str] = frozenset()
    spec = None if job is None else _job(job)
    file = model
    if model.is_dir():
        from fedward.privacy.policy.job_hash import job_hash
        from fedward.reporting.result import from_a_server, read_result

        with from_a_server(model):
            own, events = read_result(model)
        if spec is not None and job_hash(spec) != job_hash(own):
            remedy = "leave --job out, and give --threshold where only the threshold is another"
            raise SettingsError("not the job that the result is of", where=job, remedy=remedy)
        spec, file = own, model / RESULT_MODEL
        took_part = frozenset(str(event["site"]) for event in events if event["event"] == "admitted")
        if not file.is_file():
            remedy = "its job keeps the final model at the hospitals (encryption.open_final), or it did not finish"
            raise JobError("result holds no final model", where=model, remedy=remedy)
    if spec is None:
        raise SettingsError("a model file alone does not say its job", where=model, remedy="give --job JOB")
    content, digest = read_file(file)
    return Given(job=spec, weights=check_weights(content, spec, where=file), sha256=digest, took_part=took_part)


def check_weights(content: Mapping[str, Any], job: JobSpec, *, where: Path) -> Weights:
    """Check that a model's tensors belong to the job, and return a fresh copy of them.

    Raises:
        JobError: a tensor that is missing, extra, of another shape or type, not finite, all zero although training does
            not leave it so, or a copy of another; or a job whose normalisation layers stay at its hospitals.
    """
    from fedward.privacy.incoming import check_traps
    from fedward.privacy.outgoing import check_tensors
    from fedward.training.networks import initial_weights
    from fedward.weights import layout_of

    if job.model.batch_norm == "local":
        remedy = (
            "ask for a job without model.batch_norm = 'local': its layers never leave the hospitals that trained it"
        )
        raise JobError("model is not whole", where=where, remedy=remedy)
    initial = initial_weights(job)
    try:
        weights = check_tensors(dict(content), layout_of(initial))
        check_traps(weights, initial)
    except GateError as refusal:
        remedy = "give the final model of this very job, downloaded anew"
        raise JobError(f"not a model of job {job.job.name}, {refusal.what}", where=where, remedy=remedy) from None
    if all((weights[name] == initial[name]).all() for name in weights):
        raise JobError("model was never trained", where=where, remedy="give the final model of a job that ran")
    return weights


def _job(path: Path) -> JobSpec:
    """Read the settings from a job's folder: ``job.toml``, or an exported job's ``app/config/job.json``."""
    found = sorted(path.glob(f"app*/config/{JOB_FILE}")) if path.is_dir() else []
    if (path / "job.toml").is_file() or len(found) != 1:
        return read_job(path)
    return read_sent(found[0])


def read_file(path: Path) -> tuple[dict[str, Any], str]:
    """Read a state dict's arrays, and the file's SHA-256; no pickled object is ever executed (``weights_only``).

    Raises:
        JobError: no such file, or it holds something else than plain tensors.
    """
    import torch

    content, digest = read_torch(path)
    remedy = "give FL_global_model.pt of a finished job"
    if not isinstance(content, dict) or not content:
        raise JobError("not a model file, no table of tensors", where=path, remedy=remedy)
    arrays = {}
    for name, tensor in content.items():
        plain = isinstance(tensor, torch.Tensor) and tensor.layout is torch.strided and not tensor.is_quantized
        if not isinstance(name, str) or not plain or tensor.dtype is torch.bfloat16:
            raise JobError("not a model file, an entry is no plain tensor", where=path, remedy=remedy)
        arrays[name] = tensor.detach().numpy()
    return arrays, digest


def read_torch(path: Path) -> tuple[Any, str]:
    """Read what ``torch.save`` wrote, with ``weights_only``, and the file's SHA-256.

    Raises:
        JobError: no such file, one that may unpack to more than its size, or one that holds other objects than tensors.
    """
    import torch

    remedy = "give FL_global_model.pt of a finished job, or a state dict that torch.save wrote"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise JobError(f"model cannot be read, {error.strerror}", where=path, remedy=remedy) from None
    try:
        if not data.startswith(_ZIP):
            raise ValueError("no zip archive, as torch.save writes")
        require_stored(BytesIO(data))
        content = torch.load(BytesIO(data), weights_only=True, map_location="cpu")
    except Exception:  # noqa: BLE001 - torch's reader raises many kinds for a damaged file
        raise JobError("not a model file, or it holds more than tensors", where=path, remedy=remedy) from None
    return content, hashlib.sha256(data).hexdigest()


_ZIP = b"PK\x03\x04"
