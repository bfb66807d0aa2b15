"""Jobs of the rehearsal: with noise, without it and fixed by a seed, and encrypted; a round takes a second or two."""

from __future__ import annotations

from typing import Any

from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content

ROUNDS, STEPS, PRIVATE_STEPS = 4, 60, 20
GRACE_S, SHORT_S = 30.0, 6.0
"""Seconds that a site may be late: time for a process to start on a busy machine; and none."""


def _job(name: str, *, steps: int, federation: dict[str, Any], **more: Any) -> JobSpec:
    content = tiny_job_content()
    content["job"]["name"] = name
    content["federation"] |= {"rounds": ROUNDS, "local_baseline": False, "grace_s": GRACE_S, "round_timeout_s": 180.0}
    content["federation"] |= federation
    del content["training"]["local_epochs"]
    content["training"]["local_steps"] = steps
    return parse(JobSpec, content | more, where=name)


def plain(name: str, *, steps: int = STEPS, **federation: Any) -> JobSpec:
    """Without noise: two undisturbed runs give one model, bit for bit."""
    return _job(name, steps=steps, federation=federation)


def private(name: str, *, steps: int = PRIVATE_STEPS, **federation: Any) -> JobSpec:
    """DP-SGD with fixed noise: each step that begins is in a ledger."""
    noise = {"noise_multiplier": 2.0, "delta": 1e-3, "clip_norm_l2": 1.0, "patients_per_step": 4.0}
    privacy = {"mechanism": "dp-sgd", "dp_sgd": noise}
    return _job(name, steps=steps, federation=federation, privacy=privacy)


def sealed(name: str, *, steps: int = STEPS, **federation: Any) -> JobSpec:
    """Encrypted: the server adds what it cannot read."""
    least = {"min_sites": 3, "weighting": "equal"}
    return _job(name, steps=steps, federation=least | federation, encryption={})
