"""Train on all hospitals' images at the job's ε in a process of its own, beside a demo's other trainings."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection

from fedward.dataset.manifest import Manifest
from fedward.errors import FedwardError, JobError
from fedward.settings import JobSpec
from fedward.weights import Weights


def train_beside(job: JobSpec, cohorts: Mapping[str, Manifest]) -> Callable[[], Weights]:
    """Begin to train with noise for the sum, all images in one place; return a function that waits for the model.

    The process ends with this one. The function raises ``FedwardError`` where the training failed.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(theirs, job, dict(cohorts)), daemon=True)
    process.start()
    theirs.close()

    def made() -> Weights:
        try:
            found = ours.recv()
        except EOFError:
            raise JobError("the process that trains on all images ended before its work did") from None
        process.join()
        if isinstance(found, str):
            raise JobError(found)
        return dict(found)

    return made


def _train(sender: Connection, job: JobSpec, cohorts: Mapping[str, Manifest]) -> None:
    from fedward.demo.simulate import run_pooled, take_part

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's, who ends this process
    try:
        sender.send(run_pooled(job, take_part(job, cohorts)[0]))
    except FedwardError as error:
        sender.send(str(error))
