"""Record in the metrics store each hospital's last heartbeat at the server and the end of its certificate.

This runs in FLARE's server process and must never stop it: a failure is logged once and tried again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from cryptography import x509

from fedward.errors import StoreError
from fedward.flare.repeating import repeat
from fedward.metrics.store import SiteSeen, Store

PERIOD_S = 5.0
SILENT_S = 60.0
"""Seconds of silence after which a site counts as not connected, although FLARE's server waits ten minutes: FLARE's
clients send a heartbeat every 10 s."""


def sightings(
    heard: Mapping[str, float], certificates: Mapping[str, x509.Certificate], *, known: Iterable[SiteSeen], now: float
) -> list[SiteSeen]:
    """Return every site that is signed in, or was at the last look.

    Args:
        heard: site, as its certificate names it -> seconds since the epoch of its last heartbeat.
        certificates: last certificate admitted, by name; those of others than sites are ignored.
        known: result of the last look; a site that has left since is not connected.
        now: seconds since the epoch.

    Returns:
        One entry per site, by name. ``certificate_until`` is None if the site was not admitted since the server
        started.
    """
    before = {one.site: one for one in known}
    times = {**{site: one.last_seen for site, one in before.items()}, **heard}
    found = []
    for site, last in sorted(times.items()):
        certificate = certificates.get(site)
        until = None if certificate is None else certificate.not_valid_after_utc.timestamp()
        there = site in heard and abs(now - last) <= SILENT_S  # a clock that was set back makes last times late
        found.append(SiteSeen(site=site, last_seen=last, connected=there, certificate_until=until))
    return found


class SiteWatch:
    """Watch that writes the sites' last heartbeats every ``PERIOD_S``, in a thread that ends with the process.

    Args:
        path: file of the metrics store; made if absent.
        clients: last heartbeat of each site that is signed in.
        certificates: last certificate admitted, by name.
        log: writes to the server's log.
    """

    def __init__(
        self,
        path: Path,
        *,
        clients: Callable[[], Mapping[str, float]],
        certificates: Callable[[], Mapping[str, x509.Certificate]],
        log: Callable[[str], None],
    ) -> None:
        self._path, self._clients, self._certificates, self._log = path, clients, certificates, log
        self._store: Store | None = None
        self._known: list[SiteSeen] = []
        self._fault: str | None = None

    def start(self) -> None:
        repeat(self.look, every_s=PERIOD_S, name="watch over last-seen times", log=self._log)

    def look(self) -> None:
        """Look once and write the result; never raise."""
        try:
            self._look()
            self._fault = None
        except Exception as error:  # noqa: BLE001 - figures for a dashboard must not stop the server
            fault = str(error) if isinstance(error, StoreError) else type(error).__name__
            if fault != self._fault:
                self._log(f"last-seen times are not in the metrics store, trying again: {fault}")
            self._fault = fault

    def _look(self) -> None:
        found = sightings(self._clients(), self._certificates(), known=self._known, now=time.time())
        if not found:
            return
        self._known = found
        if self._store is None or not self._path.exists():  # moved away while the server runs: make a new one
            if self._store is not None:
                self._store.close()
            self._store = Store.open(self._path, create=True)
        self._store.seen(found)
