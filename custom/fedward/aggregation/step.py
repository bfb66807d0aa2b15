"""What the server makes of a round's differences: a difference of its own, to be added to the model."""

from __future__ import annotations

from collections.abc import Mapping

from fedward.aggregation.fedadam import FedAdam
from fedward.aggregation.fedavg import weighted_mean
from fedward.aggregation.median import coordinate_median
from fedward.settings import JobSpec
from fedward.weights import Weights


class ServerStep:
    """The job's ``federation.aggregation``; what it remembers from round to round is kept here."""

    def __init__(self, job: JobSpec) -> None:
        self._kind = job.federation.aggregation
        self._adam = FedAdam(job.federation.server_lr) if self._kind == "fedadam" else None
        self.last: Weights | None = None
        """What the round before changed in the model; None before the first."""

    def difference(self, updates: Mapping[str, tuple[Weights, float]]) -> Weights:
        """What a round changes in the model.

        Args:
            updates: site -> (difference, what the site counts for; a median counts every site alike).

        Raises:
            JobError: as ``weighted_mean``.
        """
        if self._kind == "median":
            self.last = coordinate_median({site: update for site, (update, _) in updates.items()})
            return self.last
        mean = weighted_mean(updates)
        self.last = mean if self._adam is None else self._adam.step(mean)
        return self.last
