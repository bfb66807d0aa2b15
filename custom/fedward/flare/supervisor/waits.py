"""Set FLARE's waiting times of a job's process, so that it soon notices that the process at the other end is gone."""

from __future__ import annotations

import os
from collections.abc import Mapping

from fedward.transport.timeouts import IDLE_S, SYNC_S

WAITS_S: Mapping[str, float] = {
    # seconds without a byte of a piece of a model; FLARE's default is 600, four times
    "np_streaming_per_request_timeout": IDLE_S,
    # pauses between two attempts to hand in an answer; FLARE's default is 5
    "task_check_interval": 1.0,
    # a process that is started while the server's is not there yet; FLARE's default is 60
    "max_runner_sync_timeout": SYNC_S,
}
"""FLARE's name of a setting -> seconds; a job with ``[transport]`` has its own."""
_PREFIX = "NVFLARE_"


def set_waits() -> None:
    """Set what the environment does not set; FLARE reads the environment when the job's process begins."""
    for name, seconds in WAITS_S.items():
        os.environ.setdefault(f"{_PREFIX}{name.upper()}", str(seconds))
