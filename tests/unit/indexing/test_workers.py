"""Worker processes: the same answers as one process, and no harm from a file that takes a process with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fedward.indexing import workers
from fedward.indexing.processes import examine_all, examine_from_fresh_process
from fedward.indexing.quality import FileFacts, examine
from fedward.indexing.workers import examine_by_forks
from fedward.settings import CohortPolicy
from tests.support.images.dicom_files import image, save, seen, site


def folder(root: Path, count: int) -> tuple[list[FileFacts], dict[str, Path], CohortPolicy]:
    for number in range(count):
        save(image(name=number), root / "images" / f"{number:03}.dcm")
    return [seen(f"{n:03}.dcm") for n in range(count)], {"image": root / "images"}, site(root).cohorts["chest"]


@pytest.mark.parametrize("count", [None, 1, 2])
def test_workers_find_what_one_process_finds(tmp_path: Path, count: int | None) -> None:
    files, roots, cohort = folder(tmp_path, 21)
    alone = list(examine_all(files, roots, cohort, workers=0))
    together = list(examine_all(files, roots, cohort, workers=count))
    assert sorted(together, key=lambda one: one.path) == alone
    assert {one.reason for one in alone} == {""}


def test_a_process_with_grpc_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its forks would crash: here the stand-in crashes each fork of this process, and no file is refused."""
    files, roots, cohort = folder(tmp_path, 21)
    monkeypatch.setitem(sys.modules, "grpc", sys)
    monkeypatch.setattr(workers, "examine", lambda *_: os._exit(11))
    assert [one.reason for one in examine_all(files, roots, cohort, workers=2)] == [""] * 21


def test_a_fresh_process_ends_with_what_started_it(tmp_path: Path) -> None:
    """In the middle of the work: where nothing asks for the next finding, nothing is left."""
    files, roots, cohort = folder(tmp_path, 40)
    before = set(psutil.Process().children(recursive=True))
    examined = examine_from_fresh_process(files, roots, cohort, 2)
    assert next(examined).reason == ""
    started = set(psutil.Process().children(recursive=True)) - before
    assert started
    examined.close()
    _, alive = psutil.wait_procs(started, timeout=10)
    assert not alive


def test_a_fresh_process_that_dies_is_no_empty_answer(tmp_path: Path) -> None:
    files, roots, cohort = folder(tmp_path, 40)
    before = set(psutil.Process().children())
    examined = examine_from_fresh_process(files, roots, cohort, 2)
    next(examined)
    (started,) = set(psutil.Process().children()) - before
    started.kill()
    with pytest.raises(RuntimeError, match="ended before its work did"):
        list(examined)


def test_no_files_need_no_process(tmp_path: Path) -> None:
    assert list(examine_all([], {"image": tmp_path}, site(tmp_path).cohorts["chest"])) == []


def crash(finding: FileFacts, root: Path, policy: CohortPolicy) -> FileFacts:
    """Stands for a decoder with a fault of its own."""
    if finding.path in ("003.dcm", "025.dcm"):
        os._exit(11)
    return examine(finding, root, policy)


@pytest.mark.skipif(sys.platform != "linux", reason="the stand-in for a crash reaches workers by fork")
def test_a_decoder_that_crashes_costs_its_own_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, roots, cohort = folder(tmp_path, 40)
    monkeypatch.setattr(workers, "examine", crash)
    found = {one.path: one for one in examine_by_forks(files, roots, cohort, 2)}
    assert sorted(found) == [one.path for one in files]
    refused = {path: (one.reason, one.detail) for path, one in found.items() if one.reason}
    assert refused == dict.fromkeys(("003.dcm", "025.dcm"), ("undecodable", "the decoder crashed"))


def interrupt(finding: FileFacts, root: Path, policy: CohortPolicy) -> FileFacts:
    """Ctrl-C, as it reaches a worker."""
    os.kill(os.getpid(), signal.SIGINT)
    return examine(finding, root, policy)


@pytest.mark.skipif(sys.platform != "linux", reason="the stand-in reaches workers by fork")
def test_workers_leave_ctrl_c_to_their_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, roots, cohort = folder(tmp_path, 9)
    monkeypatch.setattr(workers, "examine", interrupt)
    assert [one.reason for one in examine_by_forks(files, roots, cohort, 2)] == [""] * 9


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_decoder_that_wants_all_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, roots, cohort = folder(tmp_path, 1)
    monkeypatch.setattr("fedward.indexing.quality.parse", lambda data: bytearray(64 * 2**30))
    (found,) = examine_by_forks(files, roots, cohort, 1)
    assert (found.reason, found.detail) == ("unreadable", "MemoryError")


SLOW = """
import sys, time
from pathlib import Path
from fedward.indexing import workers
from fedward.indexing.processes import examine_all, examine_from_fresh_process
from fedward.indexing.quality import FileFacts
from fedward.settings import CohortPolicy, CohortPrivacy

def slow(finding, root, policy):
    print("at work", flush=True)
    time.sleep(0.4)
    return finding

workers.examine = slow
root = Path(sys.argv[1])
cohort = CohortPolicy(images=root, index=root, max_quarantined_fraction=1, validation_fraction=0.5,
    privacy=CohortPrivacy(dp="not-required", epsilon_cap=None, delta=None, encryption="not-required"))
files = [FileFacts(path=str(n), size=0, mtime_ns=0, role="image") for n in range(2000)]
for found in workers.examine_by_forks(files, {"image": root}, cohort, 2):
    pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the slow stand-in reaches workers by fork")
@pytest.mark.parametrize("to_all", [True, False])
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_parent(tmp_path: Path, stop: signal.Signals, to_all: bool) -> None:
    """Ctrl-C reaches the whole group, `kill` the parent alone; either way nothing is left, and workers say nothing.

    The one traceback allowed is the parent's own KeyboardInterrupt, of which the command line makes one line.
    """
    run = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert run.stdout is not None
        assert run.stdout.readline().startswith("at work")
        children = psutil.Process(run.pid).children(recursive=True)
        assert children
        if to_all:
            os.killpg(run.pid, stop)
        else:
            run.send_signal(stop)
        _, said = run.communicate(timeout=20)
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive
        assert said.count("Traceback") <= 1
    finally:
        run.kill()
