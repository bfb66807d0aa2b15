"""SIGKILL of writers of an audit log, at drawn moments and at every line: no entry that was acknowledged is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.audit_log import scratch

pytestmark = pytest.mark.integration
CHILD = Path(__file__).with_name("audit_child.py")


def run(*words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(CHILD), *words], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    print(done.stdout)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_writers_that_are_killed_at_any_moment_lose_nothing(tmp_path: Path) -> None:
    """On the disk: three at once, each killed within 20 ms and followed by another."""
    found = run("moments", str(tmp_path), "7", "220")
    assert found["kills"] >= 220 and found["acknowledged"] > 220


def test_a_writer_that_is_killed_at_every_line_loses_nothing() -> None:
    with scratch() as folder:
        assert run("lines", str(folder))["kills"] >= 400
