"""Check the metrics that Prometheus scrapes, with prometheus_client's own parser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from fedward import ends
from fedward.metrics.catalogue import CATALOGUE, NAMES
from fedward.metrics.exporter import ENDED_S, QUIET_S, StoreCollector, exposition
from fedward.metrics.store import DAY_S, SiteSeen, Store
from tests.support.metrics_store import DROPPED, STATES, SUPPRESSED, fill, fill_states, site_name

NOW = 1_800_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "metrics.db", create=True) as opened:
        yield opened


def scraped(store: Store | None, *, now: float = NOW) -> list[Sample]:
    text = exposition(StoreCollector(lambda: store, clock=lambda: now)).decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def value(samples: list[Sample], name: str, **labels: str) -> float | None:
    """The one sample with these labels among its own, or None where there is none."""
    found = [one.value for one in samples if one.name == name and labels.items() <= one.labels.items()]
    assert len(found) <= 1, (name, labels, found)
    return found[0] if found else None


def test_every_name_of_the_catalogue_is_scraped_with_its_labels_and_no_other(store: Store) -> None:
    fill(store, sites=3, jobs=1, now=NOW)
    fill(store, sites=3, jobs=1, now=NOW, task="segmentation", first=1)
    samples = scraped(store)
    assert {sample.name for sample in samples} == set(NAMES)
    labels = {metric.name: set(metric.labels) for metric in CATALOGUE}
    assert all(set(sample.labels) == labels[sample.name] for sample in samples)


def test_the_catalogue_follows_its_own_rules() -> None:
    assert len(set(NAMES)) == len(NAMES)
    for metric in CATALOGUE:
        assert metric.name.startswith("fedward_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert "job" not in metric.labels, "Prometheus has a label of that name"


def test_kinds_and_help_reach_prometheus(store: Store) -> None:
    text = exposition(StoreCollector(lambda: store)).decode()
    for metric in CATALOGUE:
        assert f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n" in text


def test_values_are_the_stores(store: Store) -> None:
    (job,) = fill(store, sites=4, rounds=5, now=NOW)
    samples, north = scraped(store), {"site": "north", "fl_job": job}
    assert value(samples, "fedward_auc_ratio", **north) == 0.69
    assert value(samples, "fedward_epsilon_left", **north) == 5.5
    assert value(samples, "fedward_received_bytes_total", **north) == 5 * 2_000_000 + 4_000
    assert value(samples, "fedward_stage_seconds", stage="train", **north) == 24.0
    assert value(samples, "fedward_stage_seconds", stage="rest", **north) == 36.0 - 24.0 - 2.0 - 1.5
    assert value(samples, "fedward_encryption_seconds", **north) == 1.5
    assert value(samples, "fedward_participation_ratio", site=site_name(DROPPED)) == 4 / 5
    assert value(samples, "fedward_rounds_dropped_total", site=site_name(DROPPED)) == 1
    assert value(samples, "fedward_job_running", fl_job=job) == 0
    assert value(samples, "fedward_certificate_left_days", site="north") == 5
    assert value(samples, "fedward_auc_ratio", site=site_name(3)) is None, "it declined the job"


def test_what_is_withheld_or_unmeasured_has_no_sample(store: Store) -> None:
    fill(store, sites=3, now=NOW, private=False)
    samples, few = scraped(store), site_name(SUPPRESSED)
    for name in (
        "auc_ratio",
        "auc_low_ratio",
        "auc_high_ratio",
        "validation_positive_patients",
        "dice_ratio",
        "hd95_mm",
    ):
        assert value(samples, f"fedward_{name}", site=few) is None, name
    assert value(samples, "fedward_validation_patients", site=few) == 122
    assert value(samples, "fedward_validation_images", site=few) == 162
    assert not [sample for sample in samples if "epsilon" in sample.name]
    assert all(sample.value == sample.value for sample in samples)


def test_names_from_outside_cannot_break_a_line(store: Store) -> None:
    name = 'quoted " back\\slash\nand a line'
    store.write("a", {"event": "started", "at": NOW, "job": "x", "task": "classification", "rounds": 1, "sites": []})
    store.seen([SiteSeen(site=name, last_seen=NOW, connected=True, certificate_until=None)])
    assert value(scraped(store), "fedward_site_connected", site=name) == 1


def test_a_job_leaves_a_day_after_its_end_and_a_silent_one_after_a_week(store: Store) -> None:
    fill(store, jobs=1, now=NOW)
    fill(store, jobs=1, now=NOW, finished=False, first=1)
    names = ("00000000-made-up", "00000001-made-up")
    for later, shown in ((ENDED_S, names), (ENDED_S + 1, names[1:]), (QUIET_S + DAY_S, ())):
        samples = scraped(store, now=NOW + later)
        assert tuple(job for job in names if value(samples, "fedward_job_running", fl_job=job) is not None) == shown
        assert value(samples, "fedward_site_last_seen_timestamp_seconds", site="north") == NOW


def test_no_store_yet_is_no_sample_and_no_fault() -> None:
    assert scraped(None) == []


@pytest.mark.parametrize("state", [*STATES, "missing"])
def test_a_job_is_in_one_state_and_only_what_goes_on_is_scraped_for_a_week(store: Store, state: str) -> None:
    job = fill_states(store, now=NOW)[state]
    found = {one: value(scraped(store), f"fedward_job_{one}", fl_job=job) for one in ends.STATES}
    is_in = "finished" if state == "missing" else state
    assert found == {one: float(one == is_in) for one in ends.STATES}
    assert value(scraped(store), "fedward_job_missing_sites", fl_job=job) == (1.0 if state == "missing" else None)
    later = value(scraped(store, now=NOW + 2 * DAY_S), f"fedward_job_{is_in}", fl_job=job)
    assert later == (None if is_in in ends.ENDS else 1.0)
