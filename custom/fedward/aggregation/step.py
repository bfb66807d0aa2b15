"""Aggregate a round's differences into one difference that the server adds to the model."""

from __future__ import annotations

from collections.abc import Mapping

from fedward.aggregation.fedadam import FedAdam
from fedward.aggregation.fedavg import weighted_mean
from fedward.aggregation.median import coordinate_median
from fedward.errors import JobError
from fedward.settings import JobSpec
from fedward.weights import Weights

LAST, MEAN, SQUARE = "last", "mean", "square"
"""Parts of the state: change of the model in the last round, and the moments of FedAdam."""


class ServerStep:
    """Aggregation of the job's ``federation.aggregation``, with the state that it keeps from round to round."""

    def __init__(self, job: JobSpec) -> None:
        self._kind = job.federation.aggregation
        self._adam = FedAdam(job.federation.server_lr) if self._kind == "fedadam" else None
        self.last: Weights | None = None
        """Change of the model in the last round; None before the first."""

    def difference(self, updates: Mapping[str, tuple[Weights, float]]) -> Weights:
        """Compute a round's change of the model.

        Args:
            updates: site -> (difference, weight of the site; a median counts every site once).

        Raises:
            JobError: as in ``weighted_mean``.
        """
        if self._kind == "median":
            self.last = coordinate_median({site: update for site, (update, _) in updates.items()})
            return self.last
        mean = weighted_mean(updates)
        self.last = mean if self._adam is None else self._adam.step(mean)
        return self.last

    @property
    def state(self) -> dict[str, Weights]:
        """State for another process, by name; what is not there yet is left out. No array is copied."""
        mean, square = ({}, {}) if self._adam is None else self._adam.moments
        known = {LAST: self.last or {}, MEAN: mean, SQUARE: square}
        return {name: arrays for name, arrays in known.items() if arrays}

    def restore(self, state: Mapping[str, Weights]) -> None:
        """Continue from the state of another object of the same job.

        Raises:
            JobError: the state is that of another aggregation.
        """
        unknown = set(state) - ({LAST} if self._adam is None else {LAST, MEAN, SQUARE})
        if unknown or (self._adam is not None and (MEAN in state) != (SQUARE in state)):
            raise JobError("state of another aggregation", where="federation.aggregation", value=self._kind)
        self.last = state.get(LAST)
        if self._adam is not None and MEAN in state:
            self._adam.restore(state[MEAN], state[SQUARE])
