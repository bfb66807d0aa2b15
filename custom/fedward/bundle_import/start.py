"""Take a bundle's weights as the start of its job, where they fit and a job can carry them."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import monai.networks.nets as nets
import numpy as np
import torch

from fedward.bundle_import.axes import turned_weights
from fedward.bundle_import.job import Draft
from fedward.coldstart.model import read_file
from fedward.errors import JobError, shown
from fedward.settings import LARGEST_START, JobSpec
from fedward.training.networks import build_network, initial_weights, predict
from fedward.weights import Weights, save_weights

MODEL = Path("models") / "model.pt"
FILE = "start.npz"
SAME = 1e-3
"""Largest difference between outputs of the bundle's network and of the job's, in parts of the largest output."""
_MOST = 5


def start_of(bundle: Path, draft: Draft) -> tuple[bytes | None, str]:
    """Return the start's file and a line for a person; without a file the line has the reason.

    Guarantee: on an image, the job's network with the start computes what the bundle's network computes.
    """
    path = bundle / MODEL
    if not path.is_file():
        return None, f"no start: the bundle has no {MODEL}"
    try:
        content, _ = read_file(path)
        weights = _fitting(content, draft)
        data = _file(weights)
        if len(data) > LARGEST_START:
            raise JobError(f"it has {len(data) >> 20} MiB, and a job carries {LARGEST_START >> 20} MiB")
        initial_weights(_with_start(draft.job, data))
        _require_same(draft, content, weights)
    except JobError as error:
        return None, f"no start from {MODEL}: {error}"
    return data, f"start: {MODEL}"


def _fitting(content: dict[str, Any], draft: Draft) -> Weights:
    due = initial_weights(draft.job)
    turned = turned_weights({name: np.asarray(one) for name, one in content.items()}, dims=len(draft.job.data.size))
    more = sorted(name for name in turned if name not in due and turned[name].dtype.kind == "f")
    less = sorted(name for name in due if name not in turned)
    other = sorted(
        name
        for name in due
        if name in turned and (turned[name].shape, turned[name].dtype) != (due[name].shape, due[name].dtype)
    )
    found = {"too many": more, "missing": less, "of another shape or type": other}
    if any(found.values()):
        words = [
            f"{len(names)} {word}, such as {', '.join(map(shown, names[:_MOST]))}"
            for word, names in found.items()
            if names
        ]
        raise JobError(f"its tensors do not fit the job's network: {'; '.join(words)}")
    return {name: turned[name] for name in due}


def _file(weights: Weights) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        save_weights(weights, path)
        return path.read_bytes()


def _with_start(job: JobSpec, data: bytes) -> JobSpec:
    named = {"start": FILE, "start_sha256": hashlib.sha256(data).hexdigest()}
    model = job.model.model_copy(update=named).with_start(data)
    return job.model_copy(update={"model": model})


def _require_same(draft: Draft, content: dict[str, Any], weights: Weights) -> None:
    """Refuse weights with which the job's network computes something else on a turned image than the bundle's."""
    job, dims = draft.job, len(draft.job.data.size)
    ours = build_network(job)
    ours.load_state_dict(ours.state_dict() | {name: torch.from_numpy(array) for name, array in weights.items()})
    with torch.random.fork_rng(devices=[]):
        theirs = getattr(nets, job.model.network)(**_arguments(draft))
    theirs.load_state_dict({name: torch.from_numpy(np.asarray(one)) for name, one in content.items()}, strict=False)
    image = torch.randn((1, 1, *job.data.size), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = predict(ours.eval(), image)
        due = predict(theirs.eval(), _turned(image, dims))
    due = _turned(due, dims) if due.ndim == dims + 2 else due
    if found.shape != due.shape or not float((found - due).abs().max()) <= SAME * float(due.abs().max()):
        raise JobError("the job's network computes something else with them, because axes have another order here")


def _arguments(draft: Draft) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) and len(value) == 2 and isinstance(value[1], dict) else value
        for name, value in draft.network.args.items()
    }


def _turned(tensor: torch.Tensor, dims: int) -> torch.Tensor:
    return tensor.permute(0, 1, *range(dims + 1, 1, -1))
