"""Check participation in a real federation: bytes and seconds, a required hospital, and last-seen times."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from fedward.flare.job_context import SITE_FILE
from fedward.metrics.store import STORE_FILE
from fedward.provisioning.authority import read_pem
from tests.integration.conftest import Running
from tests.integration.federation.test_federation import named, of, run

pytestmark = pytest.mark.integration


def rows(running: Running, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Query the server's store while other processes write it."""
    connection = sqlite3.connect(f"{(running.kits.server / STORE_FILE).as_uri()}?mode=ro", uri=True)
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()


def assert_stored(running: Running, name: str, events: list[dict[str, Any]]) -> None:
    """The store's rows of a job are its events'."""
    ((key, state, done),) = rows(running, "SELECT key, state, rounds_done FROM jobs WHERE name = ?", name)
    rounds = of(events, "round")
    assert state == ("finished" if of(events, "finished") else "failed") and done == len(rounds)
    told = rows(running, "SELECT round, wall_s, wait_s, add_s, patients FROM rounds WHERE job = ? ORDER BY round", key)
    assert told == [
        (one["round"], one["wall_s"], one["stages"]["wait_s"], one["stages"]["add_s"], one["patients"])
        for one in rounds
    ]
    query = (
        "SELECT round, sites.site, outcome, patients, sent_bytes, received_bytes FROM parts "
        "JOIN sites ON sites.key = parts.site WHERE job = ? ORDER BY round, sites.site"
    )
    fields = ("outcome", "patients", "sent_bytes", "received_bytes")
    assert rows(running, query, key) == [
        (one["round"], site, *(part[name] for name in fields))
        for one in rounds
        for site, part in sorted(one["participation"].items())
    ]


def test_a_job_without_a_hospital_that_must_be_there_ends_failed_and_says_why(running: Running, tmp_path: Path) -> None:
    site, *others = sorted(running.hospitals)
    policy = running.kits.sites[site] / "local" / SITE_FILE
    before = policy.read_text()
    assert 'approved_jobs = "any"' in before
    policy.write_text(before.replace('approved_jobs = "any"', "approved_jobs = []"))
    try:
        job = named("must", federation={"rounds": 1, "must_include": [site], "local_baseline": False})
        status, events, _ = run(running, job, tmp_path)
    finally:
        policy.write_text(before)
    assert status != "FINISHED:COMPLETED"
    (failed,), (uncovered,) = of(events, "failed"), of(events, "uncovered")
    assert f"must_include names {site} (" in failed["reason"] and "not approved here" in failed["reason"]
    assert uncovered["round"] is None
    assert [event["site"] for event in of(events, "admitted")] == others
    assert not of(events, "round") and not of(events, "finished")
    assert_stored(running, "must", events)


def test_the_server_says_when_it_last_saw_each_hospital_and_until_when_its_certificate_holds(running: Running) -> None:
    query = "SELECT site, last_seen, connected, certificate_until FROM sites WHERE connected ORDER BY site"
    until = time.monotonic() + 15
    while not (running.kits.server / STORE_FILE).exists() or len(told := rows(running, query)) < len(running.hospitals):
        assert time.monotonic() < until
        time.sleep(0.5)
    assert [site for site, *_ in told] == sorted(running.hospitals)
    for site, last, _, valid_until in told:
        assert abs(time.time() - last) < 30
        certificate = read_pem(running.kits.sites[site] / "startup" / "client.crt")
        assert valid_until == certificate.not_valid_after_utc.timestamp()
