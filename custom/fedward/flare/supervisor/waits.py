"""Set FLARE's waiting times of a site's job process, so that it soon notices a server's job process that is gone."""

from __future__ import annotations

import os
from collections.abc import Mapping

WAITS_S: Mapping[str, float] = {
    # idle seconds, of a request whose bytes do not move; FLARE's default is 300, or none at all
    "get_task_timeout": 15.0,
    # pauses between two attempts to hand in an answer; FLARE's default is 5
    "task_check_interval": 1.0,
    # a process that is started while the server's is not there yet; FLARE's default is 60
    "max_runner_sync_timeout": 600.0,
}
"""FLARE's name of a setting -> seconds."""
_PREFIX = "NVFLARE_"


def set_waits() -> None:
    """Set what the environment does not set; FLARE reads the environment when the job's process begins."""
    for name, seconds in WAITS_S.items():
        os.environ.setdefault(f"{_PREFIX}{name.upper()}", str(seconds))
