"""Run the quality gate over many files in worker processes, and survive crashes of decoders.

A decoder written in C may crash on hostile bytes and end its process. Then the files that were being read are tried
again one by one, and a file that crashes a process again is refused as undecodable. Workers ignore Ctrl-C, which the
parent handles: they stop after their current file. They end when the parent ends, for any reason. They are forks: no
other thread of this process may be at work, and ``processes`` sees to it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path

from fedward.dicom.header import silence
from fedward.indexing.quality import FileFacts, examine
from fedward.settings import CohortPolicy

_stopped: Callable[[], bool] = bool
"""In a worker: True if the parent has asked it to stop."""
_CHUNK = 32
"""Most files that a worker takes at once; fewer where there are few, so that every worker has some."""
_MEMORY_BYTES = 4 * 2**30
"""Memory that one worker may take beyond its start; a small compressed file may request any amount."""


def examine_by_forks(
    seen: Sequence[FileFacts], roots: dict[str, Path], cohort: CohortPolicy, workers: int | None
) -> Generator[FileFacts]:
    """Examine every file, in no particular order.

    Args:
        seen: files from ``walk``.
        roots: folder of each role's paths.
        cohort: policy that states which files the hospital takes.
        workers: number of processes; None for one per CPU that this process may use.
    """
    count = workers or _cpus()
    size = max(1, min(_CHUNK, len(seen) // (4 * count)))
    waiting = [list(seen[start : start + size]) for start in range(0, len(seen), size)][::-1]
    while waiting:
        suspects: list[list[FileFacts]] = []
        yield from _run(waiting, suspects, roots, cohort, min(count, len(waiting)))
        for finding in (one for chunk in suspects for one in chunk):
            yield from _alone(finding, roots, cohort)


def _run(
    waiting: list[list[FileFacts]],
    suspects: list[list[FileFacts]],
    roots: dict[str, Path],
    cohort: CohortPolicy,
    workers: int,
) -> Iterator[FileFacts]:
    """Take chunks from ``waiting`` until it is empty or a process dies; then add unfinished ones to ``suspects``."""
    stop = multiprocessing.Event()
    pool = ProcessPoolExecutor(workers, initializer=_prepare, initargs=(stop,))
    under_way: dict[Future[list[FileFacts]], list[FileFacts]] = {}
    try:
        while waiting or under_way:
            while waiting and len(under_way) < 2 * workers:
                with _ctrl_c_waits():
                    under_way[pool.submit(_examine_chunk, waiting[-1], roots, cohort)] = waiting[-1]
                waiting.pop()
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                yield from future.result()
                del under_way[future]
    except BrokenProcessPool:
        suspects.extend(under_way.values())
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _alone(finding: FileFacts, roots: dict[str, Path], cohort: CohortPolicy) -> Iterator[FileFacts]:
    with ProcessPoolExecutor(1, initializer=_prepare, initargs=(multiprocessing.Event(),)) as pool:
        try:
            with _ctrl_c_waits():
                future = pool.submit(_examine_chunk, [finding], roots, cohort)
            yield from future.result()
        except BrokenProcessPool:
            yield replace(finding, reason="undecodable", detail="the decoder crashed")


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Block Ctrl-C while processes start: a worker inherits the signal mask, so Ctrl-C cannot end it at its start."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _examine_chunk(chunk: Sequence[FileFacts], roots: dict[str, Path], cohort: CohortPolicy) -> list[FileFacts]:
    return [examine(finding, roots[finding.role], cohort) for finding in chunk if not _stopped()]


def _prepare(stop: Event) -> None:
    """Leave Ctrl-C to the parent and end with it; discard the decoders' output, which may quote a header."""
    global _stopped
    _stopped = stop.is_set
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    silence()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _limit_memory() -> None:
    """Make an allocation past the limit fail, which is caught, so that the machine does not run out of memory."""
    try:
        import resource

        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = used + _MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard < 0 else min(wanted, hard), hard))
    except (ImportError, OSError, ValueError):
        return  # not Linux: the machine's own limits apply


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
