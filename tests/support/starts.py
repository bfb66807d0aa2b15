"""A small private job, with or without a public start, and weights for one."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np

from fedward.settings import JobSpec, parse
from fedward.training.networks import initial_weights
from fedward.weights import Weights
from tests.conftest import tiny_job_content

SMALL = {
    "network": "Classifier",
    "args": {"channels": [4, 8], "strides": [2, 2], "norm": ["instance", {"affine": True}]},
}


def job_of(content: bytes | None = None, *, noise: str = "sum", **model: Any) -> JobSpec:
    spec = tiny_job_content()
    del spec["training"]["local_epochs"]
    spec["training"] |= {"local_steps": 1}
    spec["federation"] |= {"min_sites": 3, "weighting": "equal"}
    spec["model"] = {**SMALL, **model}
    if content is not None:
        spec["model"] |= {"start": "public.npz", "start_sha256": hashlib.sha256(content).hexdigest()}
    dp_sgd = {"noise": noise, "noise_multiplier": 1.0, "delta": 1e-5, "clip_norm_l2": 1.0, "patients_per_step": 8.0}
    spec["privacy"] = {"mechanism": "dp-sgd", "dp_sgd": dp_sgd | ({"sampling_rate": 0.1} if noise == "sum" else {})}
    spec["encryption"] = {}
    job = parse(JobSpec, spec, where="test")
    return job if content is None else job.model_copy(update={"model": job.model.with_start(content)})


def trained() -> Weights:
    """Weights of the small network that were not drawn from the job's seed."""
    rng = np.random.default_rng(5)
    drawn = initial_weights(job_of())
    return {name: (value + 0.1 * rng.normal(size=value.shape)).astype(np.float32) for name, value in drawn.items()}


def npz(weights: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **weights)
    return file.getvalue()
