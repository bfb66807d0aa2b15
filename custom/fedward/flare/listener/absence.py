"""Say why a site is not there, from the row that the server's parent process keeps of it in the metrics store.

A job's process at the server sees only that a site does not answer. The parent knows its last heartbeat and the end of
its certificate (``heartbeat.SiteWatch``).
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from pathlib import Path

from fedward.errors import StoreError
from fedward.flare.listener.heartbeat import SILENT_S
from fedward.metrics.queries import Site, sites
from fedward.metrics.store import Store

_log = logging.getLogger("fedward.door")


def absent_reason(store_path: Path, site: str, now: float) -> str | None:
    """Return why a site is absent, as a phrase; None if the store does not tell.

    A store that cannot be read is logged and tells nothing: a reason never stops a job.

    Args:
        store_path: the server's ``metrics.db``.
        site: its id.
        now: seconds since the epoch.
    """
    try:
        with Store.open(store_path) as store, store.turn() as connection:
            row = next((one for one in sites(connection) if one.site == site), None)
    except StoreError as error:
        _log.warning(f"no reason for the absence of {site}: {error}")
        return None
    return None if row is None else reason_of(row, now=now)


def absence(store_path: Path, site: str) -> str:
    """Return ``absent_reason`` at this moment as the end of a sentence; "" if the store does not tell."""
    known = absent_reason(store_path, site, time.time()) if store_path.exists() else None
    return "" if known is None else f"; {known}"


def reason_of(row: Site, *, now: float) -> str | None:
    """Return the reason that a row tells: the certificate's end before the silence that follows from it."""
    if row.certificate_until is not None and row.certificate_until < now:
        return f"its certificate ended on {_utc(row.certificate_until):%Y-%m-%d}"
    if row.last_seen is None or (row.connected != 0 and abs(now - row.last_seen) <= SILENT_S):
        return None
    last = _utc(row.last_seen)
    same_day = last.date() == _utc(now).date()
    return f"not heard of since {last.strftime('%H:%M' if same_day else '%Y-%m-%d %H:%M')} UTC"


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
