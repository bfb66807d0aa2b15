"""The rule for one job's metrics at one hospital: its list, decimals and floor, and what a private job holds back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from fedward.privacy.disclosure.metric_registry import Metric, clean, held_back, known_name, listed
from fedward.settings import Disclosure, JobSpec


@dataclass(frozen=True, slots=True)
class Rule:
    """By what ``fedward.privacy.disclosure.release.release`` decides.

    Attributes:
        disclosure: the hospital's list, decimals and floor.
        private: the job has differential privacy: what is computed from training data without noise stays.
        alone: the metrics are those of the model that this hospital trained alone; under ``private`` its scores stay.
        names: labels, classes and structures of the job; entries of other names are left out. None: any short name.
        exclusive: each image has one of the names, as classes have it: one that is hidden may follow from the others,
            and more is hidden. False only for yes-or-no labels.
    """

    disclosure: Disclosure
    private: bool
    alone: bool = False
    names: frozenset[str] | None = None
    exclusive: bool = True

    @classmethod
    def of(cls, job: JobSpec, disclosure: Disclosure, *, private: bool, alone: bool = False) -> Self:
        """The rule for a job's own names."""
        return cls(disclosure, private, alone, frozenset(job.names), job.exclusive)

    def listed(self, group: str, name: str) -> bool:
        """Whether the list has the metric, or one that rests on it."""
        return listed(self.disclosure.metrics, group, name)

    def free(self, group: str, name: str) -> bool:
        """Whether it is listed and not held back."""
        return self.listed(group, name) and not held_back(group, name, private=self.private, alone=self.alone)

    def entry(self, name: object, metric: Metric | None = None) -> bool:
        """Whether a label, class or structure of the job is called so, or the metric's table has such an entry."""
        if metric is not None and metric.entries:
            return name in metric.entries
        return known_name(name) and (self.names is None or name in self.names)

    def clean(self, metric: Metric, value: object) -> object:
        """A value as coarse as it may leave, or None."""
        return clean(metric.kind, value, decimals=self.disclosure.decimals, min_count=self.disclosure.min_count)
