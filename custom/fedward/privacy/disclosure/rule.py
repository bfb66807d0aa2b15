"""Define the rule for one job's metrics at one hospital: its list, decimals, minimum count, and withheld metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from fedward.privacy.disclosure.metric_registry import Metric, clean, held_back, known_name, listed
from fedward.settings import Disclosure, JobSpec


@dataclass(frozen=True, slots=True)
class Rule:
    """Terms of the decision in ``fedward.privacy.disclosure.release.release``.

    Attributes:
        disclosure: the hospital's list, decimals and minimum count.
        private: True if the job has differential privacy: metrics from training data without noise then stay.
        alone: True for metrics of the model that this hospital trained alone; under ``private`` its scores stay.
        names: labels, classes and structures of the job; entries of other names are left out. None: any short name.
        exclusive: True if each image has one of the names, as with classes: a hidden name may then follow from the
            others, and more is hidden. False only for yes-or-no labels.
    """

    disclosure: Disclosure
    private: bool
    alone: bool = False
    names: frozenset[str] | None = None
    exclusive: bool = True

    @classmethod
    def of(cls, job: JobSpec, disclosure: Disclosure, *, private: bool, alone: bool = False) -> Self:
        """Return the rule for a job's own names."""
        return cls(disclosure, private, alone, frozenset(job.names), job.exclusive)

    def listed(self, group: str, name: str) -> bool:
        """True if the list has the metric, or one that depends on it."""
        return listed(self.disclosure.metrics, group, name)

    def free(self, group: str, name: str) -> bool:
        """True if the metric is listed and not withheld."""
        return self.listed(group, name) and not held_back(group, name, private=self.private, alone=self.alone)

    def entry(self, name: object, metric: Metric | None = None) -> bool:
        """True if the name is a label, class or structure of the job, or an entry of the metric's table."""
        if metric is not None and metric.entries:
            return type(name) is str and name in metric.entries
        return known_name(name) and (self.names is None or name in self.names)

    def clean(self, metric: Metric, value: object) -> object:
        """Return a value, rounded as it may leave, or None."""
        return clean(metric.kind, value, decimals=self.disclosure.decimals, min_count=self.disclosure.min_count)
