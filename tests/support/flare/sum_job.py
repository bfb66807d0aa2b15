"""Make a small job with noise for the sum."""

from __future__ import annotations

from typing import Any

from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content


def sum_job(*, encryption: Any = None, training: Any = None, federation: Any = None, **dp_sgd: Any) -> JobSpec:
    """Return the job with these changes; ``encryption=False`` leaves the table out."""
    content = tiny_job_content()
    content["federation"] |= {"rounds": 60, "min_sites": 3, "weighting": "equal", **(federation or {})}
    del content["training"]["local_epochs"]
    content["training"] |= {"local_steps": 1, **(training or {})}
    table = {"noise": "sum", "noise_multiplier": 1.5, "delta": 1e-5, "clip_norm_l2": 1.0, "sampling_rate": 0.1}
    content["privacy"] = {"mechanism": "dp-sgd", "dp_sgd": {**table, "patients_per_step": 40.0, **dp_sgd}}
    if encryption is not False:
        content["encryption"] = encryption or {}
    return parse(JobSpec, content, where="sum")
