"""Answer a round's task at one hospital: score the model, then train it, or sum the gradients of one step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from fedward.aggregation.fednova import steps_taken
from fedward.flare.protocol import ROUND_NUMBER, STEPS, Reply, global_weights
from fedward.flare.site.job_privacy import Protection
from fedward.flare.site.own_files import OwnFiles
from fedward.weights import difference

if TYPE_CHECKING:
    from fedward.settings import JobSpec
    from fedward.training.trainer import Progress, Trainer
    from fedward.weights import Weights


class AbortedError(Exception):
    """The job was stopped while this site was working on a task."""


class RoundAnswers:
    """Rounds of one job at one hospital.

    Args:
        job: the job.
        protection: its privacy rules here.
        own: files that only the hospital reads.
        run: name by which a kept state knows its run.
        begin: records that so many steps of a round begin, and returns the entry's hash, or None without DP-SGD.
    """

    def __init__(
        self,
        job: JobSpec,
        protection: Protection,
        own: OwnFiles,
        *,
        run: str,
        begin: Callable[[int, int], str | None],
    ) -> None:
        self._job, self._protection, self._own, self._run, self._begin = job, protection, own, run, begin

    def answer(self, trainer: Trainer, data: Shareable, *, abort: Signal) -> Reply:
        """Return the round's update, or with noise for the sum its clipped gradients, with the scores of its model."""
        weights, number = global_weights(data), int(data.get_header(ROUND_NUMBER))
        trainer.kept.go_back(number)
        scored = self._scored(trainer, weights, number)
        if self._job.noises_sum:
            return self._gradients(trainer, weights, number, scored, abort)
        return self._trained(trainer, weights, number, scored, abort, asked=data.get_header(STEPS))

    def _scored(self, trainer: Trainer, weights: Weights, number: int) -> dict[str, Any]:
        """Return the scores of a round's model, where the job asks for them in this round, and their time."""
        if not self._job.federation.validates(number):
            return {}
        scores, validate_s = timed(lambda: trainer.validate(weights))
        return {"scores": scores.plain(), "validate_s": round(validate_s, 3)}

    def _trained(
        self,
        trainer: Trainer,
        weights: Weights,
        number: int,
        scored: Mapping[str, Any],
        abort: Signal,
        *,
        asked: int | None,
    ) -> Reply:
        steps = steps_taken(trainer.steps, asked)
        begun, progress = self._begin(number, steps), follow(self._own, number, abort)
        trained, train_s = timed(lambda: trainer.train(weights, round_number=number, steps=steps, on_progress=progress))
        self._own.state(trainer.kept, run=self._run)
        update = difference(trained.weights, weights)
        return Reply(
            update=update,
            proof=self._protection.proof(begun, trained, update, round_number=number),
            patients=trained.patients if self._job.encryption is not None else None,
            metrics={
                **scored,
                "loss": trained.loss,
                "patients": trained.patients,
                "images": trained.images,
                "steps": trained.steps,
                "train_s": round(train_s, 3),
            },
        )

    def _gradients(
        self, trainer: Trainer, weights: Weights, number: int, scored: Mapping[str, Any], abort: Signal
    ) -> Reply:
        """Return clipped gradients of one step; the gate adds this hospital's share of the noise."""
        if abort.triggered:
            raise AbortedError
        begun = self._begin(number, 1)
        summed, support = trainer.union_gradients(weights), trainer.support
        loss = summed.loss if np.isfinite(summed.loss) else None
        self._own.event("progress", round=number, step=1, steps=1, loss=loss, seconds=round(summed.seconds, 3))
        return Reply(
            update=dict(summed.units),
            proof=self._protection.proof(begun, summed, summed.units, round_number=number),
            metrics={
                **scored,
                "loss": summed.loss,
                "patients": support.train_patients,
                "images": support.train_images,
                "steps": 1,
                "train_s": round(summed.seconds, 3),
            },
        )


def follow(own: OwnFiles, number: int | None, abort: Signal) -> Callable[[Progress], None]:
    """Return a callback: log progress for this hospital only, at most twice a second; stop when the job stops."""
    last = 0.0

    def report(progress: Progress) -> None:
        nonlocal last
        if abort.triggered:
            raise AbortedError
        now = time.monotonic()
        if now - last >= 0.5 or progress.step == progress.steps:
            last = now
            loss = progress.loss if np.isfinite(progress.loss) else None
            own.event("progress", round=number, step=progress.step, steps=progress.steps, loss=loss)

    return report


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result, and the seconds that it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start
