"""What one hospital says of one job's metrics: its list, its decimals, its floor, and what a private job holds back."""

from __future__ import annotations

from dataclasses import dataclass

from fedward.privacy.disclosure.metric_registry import Metric, clean, held_back, known_name, listed
from fedward.settings import Leaving


@dataclass(frozen=True, slots=True)
class Rule:
    """The hospital's word and the job's facts, as ``fedward.privacy.disclosure.release.release`` is given them."""

    leaving: Leaving
    private: bool
    alone: bool
    names: frozenset[str] | None
    exclusive: bool = True
    """Whether each image has one of the names, as classes have it; where that is not so less follows and less hides."""

    def listed(self, group: str, name: str) -> bool:
        """Whether the list has the metric, or one that rests on it."""
        return listed(self.leaving.metrics, group, name)

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
        return clean(metric.kind, value, decimals=self.leaving.decimals, min_count=self.leaving.min_count)
