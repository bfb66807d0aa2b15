"""What is due, by age, number and size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fedward.settings import Retention
from fedward.upkeep.retention import DAY_S, GB, Unit, due

NOW = 2_000_000_000.0


def unit(name: str, *, days: float, size: int = 1, kept: str | None = None, kind: str = "job") -> Unit:
    return Unit(name=name, kind=kind, paths=(name,), size=size, changed=NOW - days * DAY_S, kept=kept)  # type: ignore[arg-type]


def names(*units: Unit, **limits: float) -> list[str]:
    return [one.unit.name for one in due(units, Retention.model_validate(limits), now=NOW)]


def test_by_age_the_newest_jobs_stay_but_no_log_stays_for_being_new() -> None:
    old = [unit(f"j{days}", days=days) for days in (5, 40, 50, 60)] + [unit("log.txt.1", days=45, kind="log")]
    assert names(*old, keep_days=30, keep_jobs=2) == ["j60", "j50", "log.txt.1"]
    assert names(*old, keep_days=30, keep_jobs=0) == ["j60", "j50", "log.txt.1", "j40"]
    assert names(*old, keep_days=60, keep_jobs=0) == [], "a job of exactly so many days stays"


def test_a_job_that_must_stay_takes_no_place_of_the_newest() -> None:
    open_ = unit("open", days=31, kept="its charge is open")
    assert names(open_, unit("a", days=40), unit("b", days=50), keep_days=30, keep_jobs=1) == ["b"]


def test_by_size_the_oldest_goes_first_and_what_must_stay_counts() -> None:
    kits = [unit("a", days=3, size=GB), unit("b", days=2, size=GB), unit("open", days=9, size=GB, kept="open")]
    assert names(*kits, keep_days=30, max_gb=3) == []
    assert names(*kits, keep_days=30, max_gb=2) == ["a"]
    assert names(*kits, keep_days=30, max_gb=1.5) == ["a", "b"]
    assert names(*kits, keep_days=30, max_gb=0.1) == ["a", "b"], "the open one stays, though it is too large alone"


units = st.lists(
    st.builds(
        unit,
        name=st.uuids().map(str),
        days=st.floats(0, 100),
        size=st.integers(0, 3 * GB),
        kept=st.sampled_from([None, None, "open"]),
        kind=st.sampled_from(["job", "log", "download"]),
    ),
    max_size=12,
    unique_by=lambda one: one.name,
)
limits = st.builds(
    Retention,
    keep_days=st.integers(1, 99),
    keep_jobs=st.integers(0, 6),
    max_gb=st.none() | st.floats(0.01, 20),
)


@given(units, limits)
def test_nothing_that_must_stay_is_due_the_size_goes_below_and_a_second_look_finds_nothing(
    found: list[Unit], retention: Retention
) -> None:
    removals = due(found, retention, now=NOW)
    gone = {one.unit.name for one in removals}
    left = [one for one in found if one.name not in gone]
    assert all(one.unit.kept is None for one in removals)
    assert due(left, retention, now=NOW) == ()
    if retention.max_gb is not None:
        free = [one for one in left if one.kept is None]
        assert not free or sum(one.size for one in left) <= retention.max_gb * GB
    else:
        assert all(one.unit.changed < NOW - retention.keep_days * DAY_S for one in removals)
