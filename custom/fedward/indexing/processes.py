"""Examine files in worker processes, which are forks of this process or, where it must not be copied, of a fresh one.

A fork of a process in which gRPC runs may crash in what another thread left half done, and a crash counts as the
decoder's: a good file would be refused. There a fresh Python, which has loaded no gRPC, forks the workers. It ends, and
its workers with it, when its caller stops asking or ends for any reason.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from fedward.indexing.quality import FileFacts, examine
from fedward.indexing.workers import examine_by_forks
from fedward.settings import CohortPolicy

_START = "import sys; from fedward.indexing.processes import serve; serve(int(sys.argv[1]))"


def examine_all(
    seen: Sequence[FileFacts], roots: dict[str, Path], cohort: CohortPolicy, *, workers: int | None = None
) -> Generator[FileFacts]:
    """Examine every file, in no particular order.

    Args:
        seen: files from ``walk``.
        roots: folder of each role's paths.
        cohort: policy that states which files the hospital takes.
        workers: number of processes; None for one per CPU that this process may use; 0 for this process itself, which
            then ends if a decoder crashes.
    """
    if workers == 0:
        return (examine(finding, roots[finding.role], cohort) for finding in seen)
    if "grpc" in sys.modules:
        return examine_from_fresh_process(seen, roots, cohort, workers)
    return examine_by_forks(seen, roots, cohort, workers)


def examine_from_fresh_process(
    seen: Sequence[FileFacts], roots: dict[str, Path], cohort: CohortPolicy, workers: int | None
) -> Generator[FileFacts]:
    """Examine every file in forks of a fresh process.

    Raises:
        RuntimeError: the process ended before its work did.
    """
    paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)
    ours, theirs = Pipe()
    with ours:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, str(theirs.fileno())],
                env=os.environ | {"PYTHONPATH": paths},
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C reaches the caller alone
            )
        try:
            ours.send((seen, roots, cohort, workers))
            while (found := ours.recv()) is not None:
                yield found
        except (EOFError, ConnectionError) as error:
            raise RuntimeError("the process that examines the files ended before its work did") from error
        finally:
            ours.close()
            process.wait()


def serve(descriptor: int) -> None:
    """Receive one request over ``descriptor``, send each finding, then None."""
    with Connection(descriptor) as caller:
        request = caller.recv()
        threading.Thread(target=_end_with, args=(caller,), daemon=True).start()
        for found in examine_by_forks(*request):
            caller.send(found)
        caller.send(None)


def _end_with(caller: Connection) -> None:
    """End this process when the caller, who sends one request alone, has gone."""
    caller.poll(None)
    os._exit(1)
