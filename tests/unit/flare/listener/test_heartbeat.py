"""Check last-seen times: what FLARE and the listener know reaches the store, and never fails the server."""

from __future__ import annotations

import sqlite3
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedward.flare.listener.heartbeat import SILENT_S, SiteWatch, sightings
from fedward.metrics.store import STORE_FILE, SiteSeen
from tests.support.authority import authority

AUTHORITY = authority()
NOW = 1_800_000_000.0


def seen(site: str, last: float, *, connected: bool, until: float | None = None) -> SiteSeen:
    return SiteSeen(site=site, last_seen=last, connected=connected, certificate_until=until)


def rows(path: Path) -> dict[str, tuple[float, int, float | None]]:
    connection = sqlite3.connect(path)
    try:
        found = connection.execute("SELECT site, last_seen, connected, certificate_until FROM sites").fetchall()
    finally:
        connection.close()
    return {site: tuple(rest) for site, *rest in found}


def test_sites_that_are_there_with_the_end_of_their_certificates() -> None:
    certificates = {name: AUTHORITY.issue(name) for name in ("north", "lead@demo.org")}
    found = sightings({"north": NOW - 3, "city": NOW - 1}, certificates, known=[], now=NOW)
    until = certificates["north"].not_valid_after_utc
    assert until > datetime.now(UTC)
    assert found == [
        seen("city", NOW - 1, connected=True),
        seen("north", NOW - 3, connected=True, until=until.timestamp()),
    ]


def test_who_has_gone_or_is_silent_is_not_connected_and_keeps_its_time() -> None:
    first = sightings({"north": NOW, "city": NOW}, {}, known=[], now=NOW)
    later = NOW + SILENT_S + 1
    second = sightings({"city": NOW}, {}, known=first, now=later)
    assert second == [seen("city", NOW, connected=False), seen("north", NOW, connected=False)]
    back = sightings({"north": later}, {}, known=second, now=later)
    assert back == [seen("city", NOW, connected=False), seen("north", later, connected=True)]


@pytest.mark.parametrize("day", [-86_400.0, 86_400.0])
def test_a_clock_that_jumps_a_day_makes_a_silent_site_absent_and_the_next_heartbeat_present(day: float) -> None:
    first = sightings({"north": NOW}, {}, known=[], now=NOW)
    jumped = sightings({"north": NOW}, {}, known=first, now=NOW + day)
    assert [one.connected for one in jumped] == [False]
    later = sightings({"north": NOW + day + 9}, {}, known=jumped, now=NOW + day + 10)
    assert [one.connected for one in later] == [True]


def test_a_look_lands_in_the_store(tmp_path: Path) -> None:
    said: list[str] = []
    path, heard = tmp_path / STORE_FILE, {"north": NOW}
    certificate = AUTHORITY.issue("north")
    watch = SiteWatch(path, clients=lambda: heard, certificates=lambda: {"north": certificate}, log=said.append)
    heard.clear()
    watch.look()
    assert not path.exists(), "no site, no store"
    heard["north"] = datetime.now(UTC).timestamp()
    watch.look()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert rows(path) == {"north": (heard["north"], 1, certificate.not_valid_after_utc.timestamp())}
    last = heard.pop("north")
    watch.look()
    assert rows(path)["north"][:2] == (last, 0)
    for file in tmp_path.iterdir():
        file.unlink()
    heard["north"] = last + 1
    watch.look()
    assert rows(path)["north"][:2] == (last + 1, 1), "a store that was moved away is made anew"
    assert said == []


def test_a_look_never_raises_and_says_each_fault_once(tmp_path: Path) -> None:
    said: list[str] = []
    heard: dict[str, float] = {"north": NOW}

    def clients() -> dict[str, float]:
        if not heard:
            raise RuntimeError("dictionary changed size during iteration")
        return heard

    path = tmp_path / STORE_FILE
    path.write_text("a diary")
    watch = SiteWatch(path, clients=clients, certificates=dict, log=said.append)
    watch.look()
    watch.look()
    assert len(said) == 1 and "not a metrics store" in said[0]
    heard.clear()
    watch.look()
    watch.look()
    assert len(said) == 2 and "RuntimeError" in said[1]
    path.unlink()
    heard["north"] = NOW
    watch.look()
    assert len(said) == 2 and rows(path)["north"][0] == NOW
