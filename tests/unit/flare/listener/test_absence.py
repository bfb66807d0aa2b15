"""The reason for a site's absence, from what the server's parent process knows of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedward.flare.listener.absence import absent_reason, reason_of
from fedward.metrics.queries import Site
from fedward.metrics.store import SiteSeen, Store

NOW = datetime(2026, 11, 29, 14, 30, tzinfo=UTC).timestamp()
DAY = 86_400.0


def row(*, last: float | None = 5.0, connected: int | None = 1, left: float | None = 90 * DAY) -> Site:
    seen, until = None if last is None else NOW - last, None if left is None else NOW + left
    return Site(key=1, site="north", last_seen=seen, connected=connected, certificate_until=until, version=None)


@pytest.mark.parametrize(
    ("site", "reason"),
    [
        (row(), None),
        (row(left=None), None),
        (row(last=None, connected=None), None),
        (row(connected=None), None),
        (row(last=60.0), None),
        (row(last=-10.0), None),
        (row(last=61.0), "not heard of since 14:28 UTC"),
        (row(last=27 * 60, connected=0), "not heard of since 14:03 UTC"),
        (row(connected=0), "not heard of since 14:29 UTC"),
        (row(last=2 * DAY, connected=0), "not heard of since 2026-11-27 14:30 UTC"),
        (row(left=0.0), None),
        (row(left=-1.0), "its certificate ended on 2026-11-29"),
        (row(last=2 * DAY, connected=0, left=-2 * DAY), "its certificate ended on 2026-11-27"),
        (row(last=None, connected=None, left=-DAY), "its certificate ended on 2026-11-28"),
    ],
)
def test_the_certificates_end_comes_before_the_silence(site: Site, reason: str | None) -> None:
    assert reason_of(site, now=NOW) == reason


def test_the_stores_row_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.db"
    with Store.open(path, create=True) as store:
        gone = SiteSeen(site="north", last_seen=NOW - 300, connected=False, certificate_until=NOW - 290)
        here = SiteSeen(site="south", last_seen=NOW - 3, connected=True, certificate_until=None)
        store.seen([gone, here])
    assert absent_reason(path, "north", NOW) == "its certificate ended on 2026-11-29"
    assert absent_reason(path, "south", NOW) is None
    assert absent_reason(path, "west", NOW) is None


@pytest.mark.parametrize("content", [None, b"", b"not a store"])
def test_a_store_that_cannot_be_read_tells_nothing_and_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    path = tmp_path / "metrics.db"
    if content is not None:
        path.write_bytes(content)
    assert absent_reason(path, "north", NOW) is None
    assert "no reason for the absence of north" in caplog.text
