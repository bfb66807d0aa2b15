"""Run FLARE's command line in a separate process: it exits on errors, prints, and writes into its user's home."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fedward.errors import FederationError
from fedward.screen import UTF8_CHILD

_TIMEOUT_S = 120.0


def nvflare(*arguments: str | Path) -> dict[str, Any]:
    """Run ``nvflare <arguments>`` in an empty home and return its answer.

    Raises:
        FederationError: FLARE refuses (its reason is in the error), or does not answer.
    """
    with tempfile.TemporaryDirectory() as home:
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "nvflare.cli", "--format", "json", *map(str, arguments)],
                env={**os.environ, **UTF8_CHILD, "HOME": home},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise FederationError("FLARE's command does not end", value=f"nvflare {arguments[0]}") from None
    answer = _answer(done.stdout)
    if done.returncode != 0 or answer.get("status") != "ok":
        message = " ".join(str(answer.get(part, "")) for part in ("message", "hint")).strip()
        raise FederationError(f"FLARE refuses, {message or 'and says nothing'}", where=f"nvflare {arguments[0]}")
    data = answer.get("data")
    return data if isinstance(data, dict) else {}


def _answer(printed: str) -> dict[str, Any]:
    for line in reversed(printed.splitlines()):
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict):
            return content
    return {}
