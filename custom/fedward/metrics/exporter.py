"""Export the metrics store as Prometheus text: a collector in a separate registry reads the store at each scrape.

A job is no longer shown ``ENDED_S`` after its end, or ``QUIET_S`` after its last event if it never ended: the scrape is
bounded by the jobs of a day, not by the federation's history.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from fedward.ends import ENDS, STATES
from fedward.metrics import queries
from fedward.metrics.catalogue import CATALOGUE
from fedward.metrics.queries import Job, Round, Seat, Site
from fedward.metrics.store import DAY_S, Store

ENDED_S = DAY_S
QUIET_S = 7 * DAY_S
Labels = Mapping[str, str]
Value = float | int | None
Values = Iterator[tuple[str, Labels, Value]]


class StoreCollector(Collector):
    """Collector that reads a store at every scrape.

    Args:
        store: returns the store, or None while there is none; then there are no values.
        ended_s: seconds for which a job is shown after its end.
        clock: seconds since the epoch.
    """

    def __init__(
        self, store: Callable[[], Store | None], *, ended_s: float = ENDED_S, clock: Callable[[], float] = time.time
    ) -> None:
        self._store, self._ended_s, self._clock = store, ended_s, clock

    def collect(self) -> Iterable[Family]:
        families = {metric.name: _family(metric.name, metric.help, metric.kind) for metric in CATALOGUE}
        store = self._store()
        if store is not None:
            for name, labels, value in self._values(store):
                if value is not None:
                    families[name].samples.append(Sample(name, labels, value))  # type: ignore[arg-type]
        return families.values()

    def _values(self, store: Store) -> Values:
        now = self._clock()
        with store.turn() as connection:
            jobs = [job for job in queries.jobs(connection) if self._shown(job, now)]
            seats = {job.key: queries.seats(connection, job=job.key) for job in jobs}
            sites, last = queries.sites(connection), queries.last_rounds(connection)
        for job in jobs:
            yield from _of_job(job, last.get(job.key))
            for seat in seats[job.key]:
                if seat.declined is None:
                    yield from _of_seat(job, seat)
        for site in sites:
            yield from _of_site(site, now)
        yield "fedward_store_bytes", {}, store.bytes()

    def _shown(self, job: Job, now: float) -> bool:
        return now - job.updated_at <= (self._ended_s if job.state in ENDS else QUIET_S)


def exposition(collector: StoreCollector) -> bytes:
    """Return the text that Prometheus scrapes (text format 0.0.4), with only the catalogue's names in it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)


def _family(name: str, help: str, kind: str) -> Family:
    return Family(name.removesuffix("_total") if kind == "counter" else name, help, kind)


def _of_job(job: Job, last: Round | None) -> Values:
    labels = {"fl_job": job.id, "job_name": job.name or ""}
    for state in STATES:
        yield f"fedward_job_{state}", labels, int(job.state == state)
    if job.state == "finished":
        yield "fedward_job_missing_sites", labels, len(job.missing or ())
    yield "fedward_rounds_asked", labels, job.rounds_asked
    yield "fedward_rounds_done", labels, job.rounds_done
    yield "fedward_job_updated_timestamp_seconds", labels, job.updated_at
    if last is not None:
        yield "fedward_round_seconds", labels, last.wall_s
        yield "fedward_server_stage_seconds", {**labels, "stage": "wait"}, last.wait_s
        yield "fedward_server_stage_seconds", {**labels, "stage": "add"}, last.add_s


def _of_seat(job: Job, seat: Seat) -> Values:
    labels = {"fl_job": job.id, "job_name": job.name or "", "site": seat.site}
    yield f"fedward_{job.measure}_ratio", labels, seat.value
    yield f"fedward_{job.measure}_low_ratio", labels, seat.low
    yield f"fedward_{job.measure}_high_ratio", labels, seat.high
    yield "fedward_hd95_mm", labels, seat.hd95_mm
    yield "fedward_training_loss", labels, seat.training_loss
    yield "fedward_validation_loss", labels, seat.validation_loss
    yield "fedward_validation_patients", labels, seat.patients
    yield "fedward_validation_positive_patients", labels, seat.positives
    yield "fedward_validation_images", labels, seat.images
    yield "fedward_epsilon_charged", labels, seat.charged
    yield "fedward_epsilon_spent", labels, seat.spent
    yield "fedward_epsilon_cap", labels, seat.cap
    yield "fedward_epsilon_left", labels, seat.left
    for stage, seconds in _stages(seat).items():
        if seconds is not None:
            yield "fedward_stage_seconds", {**labels, "stage": stage}, seconds
    if job.encryption is not None:
        yield "fedward_encryption_seconds", labels, seat.seal_s
    yield "fedward_sent_bytes_total", labels, seat.sent_bytes
    yield "fedward_received_bytes_total", labels, seat.received_bytes
    yield "fedward_rounds_accepted_total", labels, seat.accepted
    yield "fedward_rounds_dropped_total", labels, seat.dropped
    if seat.accepted + seat.dropped:
        yield "fedward_participation_ratio", labels, seat.accepted / (seat.accepted + seat.dropped)
    yield "fedward_reported_timestamp_seconds", labels, seat.reported_at
    yield "fedward_suspect_updates_total", labels, seat.suspect


def _stages(seat: Seat) -> dict[str, float | None]:
    return {"validate": seat.validate_s, "train": seat.train_s, "seal": seat.seal_s, "rest": seat.rest_s}


def _of_site(site: Site, now: float) -> Values:
    labels = {"site": site.site}
    yield "fedward_site_last_seen_timestamp_seconds", labels, site.last_seen
    yield "fedward_site_connected", labels, site.connected
    if site.certificate_until is not None:
        yield "fedward_certificate_left_days", labels, (site.certificate_until - now) / DAY_S
