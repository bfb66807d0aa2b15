"""Run one job on a federation of local processes and follow it to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedward.demo.hospitals import DemoHospital
from fedward.demo.keys import share_key
from fedward.ends import end_of
from fedward.errors import FederationError, JobError
from fedward.flare.admin_session import Console, console
from fedward.flare.export import export_job
from fedward.flare.job_context import SITE_FILE
from fedward.flare.kits.central import Kits, provision
from fedward.flare.local_federation import LocalFederation
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.reporting.data.ending import state_of
from fedward.settings import FederationSpec, Hospital, JobSpec, Person, Server
from fedward.weights import MODEL_FILE

NAME, HOST, LEAD = "demo", "localhost", "lead@demo.org"
CONNECT_S = 60.0

OnEvent = Callable[[str | None, dict[str, Any]], None]
"""Called with the site (None: the server) and each event as it happens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Result of a finished job.

    Attributes:
        model: ``FL_global_model.pt`` as the data scientist downloaded it.
        events: events of the server, in order.
        local_only: each site's own model, if it trained one; readable here because the demo owns every hospital.
        alone: each site's scores of that model, from its own log, for the same reason.
        wall_s: seconds from submit to finish.
    """

    model: Path
    events: tuple[dict[str, Any], ...]
    local_only: dict[str, Path] = field(default_factory=dict)
    alone: dict[str, dict[str, Any]] = field(default_factory=dict)
    wall_s: float = 0.0

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one kind."""
        return [event for event in self.events if event["event"] == kind]


def federation_of(sites: Sequence[str], *, port: int) -> FederationSpec:
    """Describe a federation of ``sites`` on this machine's loopback, with one data scientist."""
    return FederationSpec(
        name=NAME,
        server=Server(host=HOST, port=port, organisation="operator"),
        hospitals=tuple(Hospital(site=site, organisation=site.replace("-", "_")) for site in sites),
        people=(Person(email=LEAD, organisation="operator", role="lead"),),
    )


def federate(
    job: JobSpec,
    hospitals: Sequence[DemoHospital],
    folder: Path,
    *,
    port: int,
    on_event: OnEvent,
    threads: int,
) -> Outcome:
    """Provision, share a key if the job's scheme has one, start, submit, follow, download, stop.

    Raises:
        FederationError: a port in use, a participant that dies or does not connect, or a job that does not end as
            completed; always after every process has been stopped.
    """
    spec = federation_of([hospital.site for hospital in hospitals], port=port)
    kits = provision(spec, folder)
    for hospital in hospitals:
        (kits.sites[hospital.site] / "local" / SITE_FILE).write_bytes(hospital.config.read_bytes())
    if job.encryption is not None and job.encryption.scheme != "masked":
        share_key(kits, {one.site: one.config for one in hospitals}, scheme=job.encryption.scheme)
    exported = export_job(job, folder / "jobs")
    with LocalFederation(spec, kits, threads=threads) as federation, console(kits.people[LEAD]) as session:
        await_sites(federation, session, kits, spec)
        start = time.monotonic()
        job_id = session.submit(exported)
        follower = _Follower(kits, job_id, on_event)

        def each() -> None:
            federation.check()
            follower.read()

        try:
            status = session.wait(job_id, each=each)
        except KeyboardInterrupt:
            with suppress(FederationError):  # the federation is stopped next in any case
                session.abort(job_id)
            raise
        wall_s = time.monotonic() - start
        result = session.download(job_id, folder / "results")
    return _outcome(result, kits, job_id, status, follower, wall_s=wall_s)


def await_sites(
    federation: LocalFederation, session: Console, kits: Kits, spec: FederationSpec, *, timeout_s: float = CONNECT_S
) -> None:
    """Wait until every site is connected; name one that is not."""
    end = time.monotonic() + timeout_s
    while missing := set(kits.sites) - session.connected():
        federation.check()
        if time.monotonic() > end:
            site = min(missing)
            raise FederationError(
                f"{site} does not reach the server at {spec.server.host}:{spec.server.port}",
                where=kits.sites[site] / "console.log",
                remedy="check host and port in startup/fed_client.json, the firewall, and the log",
            )
        time.sleep(0.1)


class _Follower:
    """Reader of the server's and the sites' events of one job while they are written."""

    def __init__(self, kits: Kits, job_id: str, on_event: OnEvent) -> None:
        self._on_event = on_event
        self.server = EventReader(kits.server / job_id / EVENTS_FILE)
        self._sites = {site: EventReader(kit / job_id / EVENTS_FILE) for site, kit in kits.sites.items()}
        self.seen: list[dict[str, Any]] = []

    def read(self) -> None:
        for site, reader in self._sites.items():
            for event in reader:
                self._on_event(site, event)
        for event in self.server:
            self.note(event)

    def note(self, event: dict[str, Any]) -> None:
        self.seen.append(event)
        self._on_event(None, event)


def _outcome(result: Path, kits: Kits, job_id: str, status: str, follower: _Follower, *, wall_s: float) -> Outcome:
    """Read the remaining events from the download: the server archives its run folder when the job ends."""
    events = tuple(EventReader(result / EVENTS_FILE))
    for event in events[len(follower.seen) :]:
        follower.note(event)
    started = next((event for event in events if event["event"] == "started"), None)
    end = end_of(status, None if started is None else state_of(events, asked=started["rounds"]))
    if not end.success:
        raise JobError(end.words, remedy=f"read log.txt and the sites' logs below {kits.folder}")
    from fedward.flare.site.own_files import LOCAL_ONLY_FILE

    local = {site: kit / job_id / LOCAL_ONLY_FILE for site, kit in kits.sites.items()}
    return Outcome(
        model=result / MODEL_FILE,
        events=events,
        local_only={site: path for site, path in local.items() if path.is_file()},
        alone={
            site: event["scores"]
            for site, path in local.items()
            for event in EventReader(path.with_name(EVENTS_FILE))
            if event["event"] == "alone"
        },
        wall_s=wall_s,
    )
