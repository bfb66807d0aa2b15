"""Set FLARE's waiting times, so that a process soon notices that the one at the other end is gone, or there again."""

from __future__ import annotations

import os
from collections.abc import Mapping

from nvflare.fuel.f3.sfm import conn_manager

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
RECONNECT_S = 4.0
"""Longest pause of a site between two attempts to reach the server; FLARE's is 10, after a few attempts."""
_PREFIX = "NVFLARE_"


def reconnect_soon() -> None:
    """Let this process's lost connections be tried again every ``RECONNECT_S``, however long the other end is away.

    FLARE logs only the attempts that follow a pause of ``SILENT_RECONNECT_TIME``; these are still logged.
    """
    conn_manager.MAX_WAIT = conn_manager.SILENT_RECONNECT_TIME = RECONNECT_S


def set_waits() -> None:
    """Set what the environment does not set, in a job's process; FLARE reads the environment when it begins."""
    for name, seconds in WAITS_S.items():
        os.environ.setdefault(f"{_PREFIX}{name.upper()}", str(seconds))
