"""Check a job of a day: fifty rounds of twenty sites, of which a fifth drops out of each round."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from fedward.flare.protocol import Task
from tests.support.flare.simulated import Act, Federation, SimulatedClock, TinyStore
from tests.support.flare.simulated_checks import GraceWatch, assert_whole

ROUNDS, SITES, GRACE_S, TIMEOUT_S = 50, 20, 300.0, 7200.0
FEDERATION = {
    "rounds": ROUNDS,
    "min_sites": 5,
    "grace_s": GRACE_S,
    "round_timeout_s": TIMEOUT_S,
    "local_baseline": False,
}
HOURS_24 = 24 * 3600.0


def drops_out(task: Task, number: int, draw: random.Random) -> Act:
    """Of a round's sites a fifth drop out, in one of the ways in which sites do."""
    if task is not Task.ROUND or draw.random() >= 0.2:
        return Act("answer", draw.uniform(900.0, 1300.0))
    return draw.choice(
        [
            Act("vanish", draw.uniform(60.0, 9000.0)),
            Act("refuse", 5.0),
            Act("answer", draw.uniform(2000.0, 7000.0)),
            Act("nan", 1300.0),
            Act("other", 1300.0),
            Act("twice", 1300.0),
        ]
    )


def federation(tmp_path: Path, **how: Any) -> Federation:
    sites = {f"site-{place:02}": drops_out for place in range(SITES)}
    return Federation(tmp_path, sites, seed=7, clock=SimulatedClock(tick_s=5.0), federation=FEDERATION, **how)


def test_a_day_of_drop_outs_is_whole_and_the_same_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = federation(tmp_path / "first")
    watch = GraceWatch(first, monkeypatch)
    ran = first.run()
    assert ran.of("finished") and len(ran.of("round")) == ROUNDS
    assert 0.9 * HOURS_24 < ran.ended_s < 1.5 * HOURS_24
    assert_whole(ran, patients={name: site.patients for name, site in first.sites.items()})
    assert watch.most and max(watch.most.values()) <= GRACE_S + 5.0
    dropped = sum(part["outcome"] == "dropped" for e in ran.of("round") for part in e["participation"].values())
    assert 0.1 < dropped / (ROUNDS * SITES) < 0.3
    again = federation(tmp_path / "again").run()
    assert again.timeless == ran.timeless and again.ended_s == ran.ended_s


def test_its_memory_does_not_grow(tmp_path: Path) -> None:
    """Traced at rounds 10 and 50; one update kept in each round would be forty times its size."""
    store = TinyStore(25_000, last=True)
    held, size, traced = federation(tmp_path, store=store, record=False), 100_000, dict[int, int]()
    keep, seen = store.keep, 0

    def traces(model: Any) -> None:
        nonlocal seen
        keep(model)
        seen += 1
        traced[seen] = tracemalloc.get_traced_memory()[0]

    store.keep = traces  # type: ignore[method-assign]
    tracemalloc.start()
    try:
        assert held.run().of("finished")
    finally:
        tracemalloc.stop()
    early, late = (min(traced[number] for number in range(last - 4, last + 1)) for last in (14, ROUNDS))
    assert late - early < 5 * size, f"{(late - early) / 1e6:.1f} MB more"
