"""Start the fuzzing of one format in a process of its own, and judge what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from fedward.screen import UTF8_CHILD

COUNT = 5_000
SEED = 1


def fuzzed(module: str, target: str, folder: Path, *, count: int = COUNT, expects: int = 50) -> dict[str, Any]:
    """Check that ``count`` inputs gave no fault, and that at least ``expects`` were accepted and as many refused."""
    child = [sys.executable, "-m", f"tests.fuzz.{module}", target, str(count), str(SEED), str(folder)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        child, cwd=root, env={**os.environ, **UTF8_CHILD}, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *other, last = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(last)
    assert found["faults"] == {}, found
    assert not other and not done.stderr, "it writes elsewhere than in its errors"
    assert found["given"] == count == found["accepted"] + found["refused"], found
    assert min(found["accepted"], found["refused"]) >= expects, found
    return found
