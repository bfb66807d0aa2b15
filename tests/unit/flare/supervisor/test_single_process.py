"""One process at a time works for a job; an orphan ends, and a process of another job is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from fedward.errors import FederationError
from fedward.flare.supervisor import single_process
from fedward.flare.supervisor.single_process import CHECKPOINTS, LOCK_FILE, hold

_HOLD = """
import sys, time
from pathlib import Path
from fedward.flare.supervisor.single_process import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def orphan(tmp_path: Path) -> tuple[subprocess.Popen[str], str]:
    job_id = str(uuid.uuid4())
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path), "-n", job_id], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process, job_id


def test_an_orphan_is_killed_after_its_patience(
    orphan: tuple[subprocess.Popen[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_process, "PATIENCE_S", 0.3)
    process, job_id = orphan
    with process:
        hold(tmp_path, ["x", "-n", job_id])
        assert process.wait(10) == -signal.SIGKILL
    assert (tmp_path / CHECKPOINTS / job_id / LOCK_FILE).read_text() == str(os.getpid())


def test_another_job_needs_not_wait(orphan: tuple[subprocess.Popen[str], str], tmp_path: Path) -> None:
    process, _ = orphan
    with process:
        hold(tmp_path, ["x", "-n", str(uuid.uuid4())])
        assert process.poll() is None
        process.kill()


def test_a_process_that_is_not_of_the_job_is_never_killed(
    orphan: tuple[subprocess.Popen[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock's file names another process: this one."""
    monkeypatch.setattr(single_process, "PATIENCE_S", 0.2)
    process, job_id = orphan
    with process:
        (tmp_path / CHECKPOINTS / job_id / LOCK_FILE).write_text(str(os.getpid()))
        with pytest.raises(FederationError, match="does not end"):
            hold(tmp_path, ["x", "-n", job_id])
        assert process.poll() is None
        process.kill()


@pytest.mark.parametrize("arguments", [["x"], ["x", "-n"], ["x", "-n", "../up"], ["x", "-n", ""]])
def test_a_process_without_a_job_does_not_start(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(FederationError, match="without a job"):
        hold(tmp_path, arguments)
    assert list(tmp_path.iterdir()) == []
