"""The server's clock, versions and line, by hand-worked figures."""

from __future__ import annotations

import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import fedward
from fedward.doctor.context import Case
from fedward.doctor.site import server
from fedward.errors import FederationError
from fedward.provisioning.network.health import Hello
from fedward.provisioning.stamp import package_hash
from tests.support.doctor_case import answer, asked, case_of, levels, write_kit


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    return write_kit(tmp_path / "kit")


@pytest.mark.parametrize(
    ("ahead_s", "round_trip_s", "level"),
    [
        (0.0, 0.0, "pass"),
        (60.0, 0.0, "pass"),
        (61.0, 0.0, "warn"),
        (61.0, 4.0, "pass"),  # 61 s, give or take 2 s, may be 59 s
        (-61.0, 0.0, "warn"),
        (-61.0, 4.0, "pass"),
        (299.0, 0.0, "warn"),
        (301.0, 0.0, "fail"),
        (-301.0, 0.0, "fail"),
        (301.0, 4.0, "warn"),
        (1e9, 4.0, "fail"),
        (float("nan"), 0.0, "fail"),
        (float("inf"), 0.0, "fail"),
    ],
)
def test_a_clock_counts_by_what_the_way_does_not_explain(
    kit: Path, ahead_s: float, round_trip_s: float, level: str
) -> None:
    now = 1_000_000.0
    reply = answer(server_time=now - ahead_s, sent_at=now - round_trip_s / 2, received_at=now + round_trip_s / 2)
    case = case_of(kit, ask=asked(reply), now=lambda: time.time())
    assert levels(server.clock(case)) == {level}


@pytest.mark.parametrize(("name", "level"), [(None, "pass"), ("fedward", "fail"), ("flare", "fail"), ("wheel", "fail")])
def test_a_server_with_anything_else_than_ours_is_found(kit: Path, name: str | None, level: str) -> None:
    ours: dict[str, Any] = {
        "fedward": fedward.__version__,
        "flare": metadata.version("nvflare"),
        "wheel": package_hash(),
    }
    if name is not None:
        ours[name] = "f" * 64
    assert levels(server.server_match(case_of(kit, ask=asked(answer(**ours))))) == {level}


def test_a_slow_line_is_told_in_seconds_of_a_model(kit: Path) -> None:
    """28 MB at 0.1 MB/s are 280 s up; at 1 MB/s 28 s down; half the model takes half as long."""
    slow = answer(upload_bytes_per_s=1e5, download_bytes_per_s=1e6)
    up, down = server.bandwidth(case_of(kit, ask=asked(slow)))
    assert (up.level, down.level) == ("warn", "pass")
    assert "280.0 s" in up.what and "28.0 s" in down.what
    up, _ = server.bandwidth(case_of(kit, ask=asked(slow), model_mb=14.0))
    assert "140.0 s" in up.what


@pytest.mark.parametrize("rate", [None, 0.0, float("nan")])
def test_a_line_without_a_rate_is_not_taken_for_a_fast_one(kit: Path, rate: float | None) -> None:
    reply = answer(upload_bytes_per_s=rate, download_bytes_per_s=1e9)
    assert [finding.level for finding in server.bandwidth(case_of(kit, ask=asked(reply)))] == ["warn", "pass"]


def test_a_server_that_refuses_is_told_in_its_words(kit: Path) -> None:
    def refuse(kit: Path, *, timeout_s: float, payload_bytes: int = 0) -> Hello:
        raise FederationError("server refuses this kit, certificate revoked", remedy="ask the operator")

    case: Case = case_of(kit, ask=refuse)
    (finding,) = server.server_answer(case)
    assert (finding.level, finding.remedy) == ("fail", "ask the operator") and "revoked" in finding.what
    assert levels(server.bandwidth(case)) == {"warn"}
