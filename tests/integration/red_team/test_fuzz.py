"""Frames mutated from those of a real federation, given to FLARE's own reader behind the guard."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.red_team.scene import Scene

pytestmark = pytest.mark.integration

FRAMES = 24_000


def fuzzed(frames: Path, root: Path, count: int) -> dict[str, Any]:
    child = [sys.executable, "-m", "tests.integration.red_team.fuzz_child", str(frames), str(count), "1"]
    done = subprocess.run(child, cwd=root, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_no_mutated_frame_reaches_a_handler_off_the_list_or_ends_the_process(
    stage: Scene, running_job: str, root: Path
) -> None:
    assert stage.session.status(running_job).startswith("RUNNING"), "frames of a job are among those recorded"
    found = fuzzed(stage.tap / "frames", root, FRAMES)
    assert found["given"] == FRAMES and found["frames"] > 200, found
    assert found["off"] == [], found
    assert found["reached"] > 100, "some are left whole enough to pass"
