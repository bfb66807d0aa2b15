"""Hold the answers to one task, and the reasons why others are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedward.flare.protocol import Reply
from fedward.flare.server.participation import TaskTraffic


@dataclass(slots=True)
class Answers:
    """Answers to one task, filled by FLARE's threads.

    Attributes:
        replies: site -> its answer; of an answer that was taken, only the metrics.
        refusals: site -> reason why its answer does not count, or why it refused.
        silent: site -> reason why there is no answer of it; set when the task is closed.
        parts: site -> its measured traffic.
    """

    replies: dict[str, Reply] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    parts: dict[str, TaskTraffic] = field(default_factory=dict)

    @property
    def missing(self) -> dict[str, str]:
        """Every site whose answer does not count, with the reason."""
        return {**self.silent, **self.refusals}

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Count answers no more that were taken."""
        for site, reason in reasons.items():
            self.replies.pop(site, None)
            self.refusals[site] = reason

    def part(self, site: str) -> TaskTraffic:
        return self.parts.setdefault(site, TaskTraffic())
