"""Remember the usual norm of a job's updates, and find the updates of a round that are too long to count."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedward.aggregation.fednova import accumulation
from fedward.aggregation.norm_bound import KEPT, bound_norms, patient_allowances, update_norm
from fedward.errors import JobError
from fedward.settings import JobSpec
from fedward.weights import Weights

NORMS = "norms"
"""Part of the server's state: the usual norm of each of the last rounds, oldest first."""


class UsualNorms:
    """Norm bound of one job in the clear (``aggregation.norm_bound``), with its memory of the rounds before."""

    def __init__(self, job: JobSpec) -> None:
        self._job = job
        self._history: list[float] = []
        self._reference: float | None = None

    def too_long(
        self, updates: Mapping[str, Weights], *, steps: Mapping[str, int] | None, patients: Mapping[str, int]
    ) -> dict[str, str]:
        """Return the sites of a round whose update does not count, with the reason.

        Args:
            updates: site -> its update.
            steps: site -> its local steps, where updates are weighed by them; None: all count as equal.
            patients: site -> its training patients, where it reports them.
        """
        norms = {site: update_norm(update) for site, update in updates.items()}
        if steps is not None:
            norms = {site: norm / accumulation(self._job, steps[site]) for site, norm in norms.items()}
        by_passes = self._job.training.local_epochs is not None
        bound = bound_norms(
            norms,
            ratio=self._job.federation.max_update_norm_ratio,
            history=self._history,
            allowances=patient_allowances(patients) if by_passes else None,
        )
        self._reference = bound.reference
        return dict(bound.left_out)

    def counted(self) -> None:
        """Remember the usual norm of the round that was judged last: the round counts."""
        if self._reference is not None:
            self._history = [*self._history, self._reference][-KEPT:]

    @property
    def state(self) -> dict[str, Weights]:
        """State for another process; nothing before the first round that counts."""
        return {NORMS: {NORMS: np.array(self._history)}} if self._history else {}

    def restore(self, state: Mapping[str, Weights]) -> dict[str, Weights]:
        """Continue from the state of another process, and return the parts of it that are not this object's.

        Raises:
            JobError: its norms are not positive numbers.
        """
        kept = state.get(NORMS, {NORMS: np.zeros(0)}).get(NORMS)
        if kept is None or kept.ndim != 1 or kept.dtype != np.float64 or not (np.isfinite(kept) & (kept > 0)).all():
            raise JobError("norms of the rounds before are no positive numbers", where="checkpoint")
        self._history = [float(norm) for norm in kept]
        return {name: arrays for name, arrays in state.items() if name != NORMS}
