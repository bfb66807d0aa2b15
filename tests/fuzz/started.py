"""Start the fuzzing of one format in a process of its own, and judge what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fedward.screen import UTF8_CHILD
from tests.support.ledger import FAST

COUNT = 5_000
SEED = 1


def fuzzed(module: str, target: str, *, count: int = COUNT, expects: int = 50) -> dict[str, Any]:
    """Check that ``count`` inputs gave no fault, and that at least ``expects`` were accepted and as many refused."""
    child = [sys.executable, "-m", f"tests.fuzz.{module}", target, str(count), str(SEED)]
    how: dict[str, Any] = {"cwd": Path(__file__).resolve().parents[2], "env": {**os.environ, **UTF8_CHILD}}
    with TemporaryDirectory(dir=FAST) as folder:
        done = subprocess.run([*child, folder], capture_output=True, text=True, check=False, timeout=900, **how)
    assert done.returncode == 0, done.stderr[-3000:]
    *other, last = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(last)
    assert found["faults"] == {}, found
    assert not other and not done.stderr, "it writes elsewhere than in its errors"
    assert found["given"] == count == found["accepted"] + found["refused"], found
    assert min(found["accepted"], found["refused"]) >= expects, found
    return found
