"""Check a simulated job: what must hold whatever its sites did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

import numpy as np
import pytest

from fedward.flare.server.asking.waiting import Wait
from tests.support.flare.simulated import Federation, Simulated

ENDS = ("finished", "failed", "aborted")


def assert_whole(ran: Simulated, *, patients: dict[str, int]) -> None:
    """One end; every admitted site once in every round; rounds without a gap; every model the mean of who counted."""
    assert len([event for event in ran.events if event["event"] in ENDS]) == 1 and ran.events[-1]["event"] in ENDS
    admitted = [event["site"] for event in ran.of("admitted")]
    rounds = ran.of("round")
    assert [event["round"] for event in rounds] == list(range(len(rounds)))
    assert not admitted or len(admitted) == len(set(admitted))
    for event in rounds:
        parts = event["participation"]
        assert sorted(parts) == sorted(admitted)
        assert event["sites"] == [site for site in sorted(parts) if parts[site]["outcome"] == "accepted"]
        assert all((part["reason"] is None) == (part["outcome"] == "accepted") for part in parts.values())
    answered = Counter((e["site"], e["round"]) for e in ran.of("answered") if e["task"] == "round")
    counted = [(site, event["round"]) for event in rounds for site in event["sites"]]
    assert all(times == 1 for times in answered.values()) and set(counted) <= set(answered)
    _assert_means(ran, [{site: event["participation"][site] for site in event["sites"]} for event in rounds], patients)


def _assert_means(ran: Simulated, rounds: list[dict[str, Any]], patients: dict[str, int]) -> None:
    """Restate each model in NumPy: the one before, and the mean by patients of who counted, normalised by the steps."""
    model: Any = ran.store.load_weights(None)
    assert len(ran.store.kept) == len(rounds)
    for number, parts in enumerate(rounds):
        share = np.array([patients[site] for site in parts], np.float64)
        share /= share.sum()
        steps = np.array([part["steps"] for part in parts.values()], np.float64)
        factors = share * (share @ steps) / steps
        for name in model:
            stack = np.stack([ran.sent[site, number][name] for site in parts]).astype(np.float64)
            due = model[name] + np.tensordot(factors, stack, axes=1)
            np.testing.assert_allclose(ran.store.kept[number][name], due, rtol=1e-5, atol=1e-5)
        model = ran.store.kept[number]


class GraceWatch:
    """Count, independently of ``Patience``, the seconds for which each site was awaited after others were enough.

    A site that takes a task after its grace is used up is awaited within the deadline: these seconds are not counted.
    """

    def __init__(self, federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
        self._clock, self.wasted, self._at = federation.clock, Counter[str](), 0.0
        self.most: Counter[str] = Counter()
        before, answered = Wait.awaited, Wait.answered

        def awaited(wait: Wait, **how: Any) -> set[str]:
            found = before(wait, **how)
            if wait.need == "enough" and wait._enough_at is not None:
                self._count(wait, found)
            self._at = self._clock.now
            return found

        def note(wait: Wait, site: str, *, now: float, counts: bool) -> None:
            answered(wait, site, now=now, counts=counts)
            if counts:
                self.wasted[site] = 0

        monkeypatch.setattr(Wait, "awaited", awaited)
        monkeypatch.setattr(Wait, "answered", note)

    def _count(self, wait: Wait, found: Collection[str]) -> None:
        since = max(self._at, wait._enough_at or 0.0)
        for site in found:
            if not wait._parts[site].back:
                self.wasted[site] += max(self._clock.now - since, 0.0)
                self.most[site] = max(self.most[site], self.wasted[site])
