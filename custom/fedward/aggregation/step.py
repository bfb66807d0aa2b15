"""Aggregate a round's differences into one difference that the server adds to the model."""

from __future__ import annotations

from collections.abc import Mapping

from fedward.aggregation.fedadam import FedAdam
from fedward.aggregation.fedavg import weighted_mean
from fedward.aggregation.fednova import accumulation, normalised_mean
from fedward.aggregation.median import coordinate_median
from fedward.settings import JobSpec
from fedward.weights import Weights


class ServerStep:
    """Aggregation of the job's ``federation.aggregation``, with the state that it keeps from round to round."""

    def __init__(self, job: JobSpec) -> None:
        self._job, self._kind = job, job.federation.aggregation
        self._adam = FedAdam(job.federation.server_lr) if self._kind == "fedadam" else None
        self.last: Weights | None = None
        """Change of the model in the last round; None before the first."""

    def difference(
        self, updates: Mapping[str, tuple[Weights, float]], *, steps: Mapping[str, int] | None = None
    ) -> Weights:
        """Compute a round's change of the model.

        Args:
            updates: site -> (difference, weight of the site; a median counts every site once).
            steps: site -> its local steps, by which the mean is then normalised; None: all count as equal.

        Raises:
            JobError: as in ``weighted_mean``.
        """
        if self._kind == "median":
            self.last = coordinate_median({site: update for site, (update, _) in updates.items()})
            return self.last
        norms = {site: accumulation(self._job, taken) for site, taken in (steps or {}).items()}
        mean = weighted_mean(updates) if steps is None else normalised_mean(updates, norms)
        self.last = mean if self._adam is None else self._adam.step(mean)
        return self.last
