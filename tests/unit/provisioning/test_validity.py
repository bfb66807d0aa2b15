"""Judge certificates by the clock: which are valid, which end soon, and that every view warns on the same day."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fedward.errors import EncryptionError, FederationError
from fedward.provisioning.participants import Kind
from fedward.provisioning.validity import (
    CLOCK_TOLERANCE,
    SOON_DAYS,
    KitCertificate,
    fault,
    first_fault,
    kit_certificates,
    notice,
    require_valid,
    soon,
)
from tests.support.authority import authority, pem, site_kit

DAY = timedelta(days=1)
BEGINS = datetime(2026, 1, 10, 12, 30, tzinfo=UTC)
ENDS = datetime(2026, 11, 28, 12, 30, tzinfo=UTC)
OWN = KitCertificate(whose="site's", where=Path("startup/client.crt"), begins=BEGINS, ends=ENDS, renewal="renew it")
ROOT = KitCertificate(
    whose="authority's", where=Path("startup/rootCA.pem"), begins=BEGINS, ends=ENDS + 900 * DAY, renewal="make another"
)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (
            BEGINS - timedelta(seconds=301),
            "not valid yet: 'from 2026-01-10 12:30 UTC on; clock of this machine 2026-01-10 12:24",
        ),
        (BEGINS - 20 * 365 * DAY, "clock of this machine 2006-01-15 12:30 UTC'; set this machine's clock"),
        (
            ENDS + timedelta(seconds=1),
            "has expired: '2026-11-28 12:30 UTC; clock of this machine 2026-11-28 12:30 UTC'",
        ),
        (ENDS + 400 * DAY, "; renew it"),
    ],
)
def test_a_certificate_that_is_not_valid_is_told_with_file_day_clock_and_remedy(now: datetime, words: str) -> None:
    why = fault(OWN, now=now)
    assert why is not None
    assert str(why).startswith("startup/client.crt: site's certificate ")
    assert words in str(why)
    assert "\n" not in str(why)


@pytest.mark.parametrize("now", [BEGINS, BEGINS + DAY, ENDS - 30 * DAY, ENDS - DAY, ENDS, BEGINS - CLOCK_TOLERANCE])
def test_both_ends_belong_to_the_validity_and_a_clock_may_be_a_little_behind(now: datetime) -> None:
    """RFC 5280, 4.1.2.5: from notBefore through notAfter, inclusive."""
    assert fault(OWN, now=now) is None


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (30 * DAY, None),
        (30 * DAY - timedelta(seconds=1), "ends in 29 days"),
        (2 * DAY, "ends in 2 days"),
        (1.5 * DAY, "ends tomorrow"),
        (0.5 * DAY, "ends within a day"),
        (0 * DAY, "ends within a day"),
    ],
)
def test_an_end_that_is_near_is_told_from_thirty_days_on(left: timedelta, words: str | None) -> None:
    line = soon(OWN, now=ENDS - left)
    assert (line is None) if words is None else (words in str(line) and str(line).endswith("; renew it"))


@given(st.integers(-(10**9), 10**9))
def test_each_moment_has_one_of_three_verdicts(seconds: int) -> None:
    now = ENDS + timedelta(seconds=seconds)
    expired, early, near = seconds > 0, now < BEGINS - CLOCK_TOLERANCE, -SOON_DAYS * 86_400 < seconds <= 0
    assert (fault(OWN, now=now) is not None) is (expired or early)
    assert (soon(OWN, now=now) is not None) is near
    assert (notice((OWN, ROOT), now=now) is None) is not (expired or early or near)


def test_a_fault_of_the_authority_counts_as_the_sites_own_does() -> None:
    late = ROOT.ends + DAY
    younger = KitCertificate(whose="site's", where=OWN.where, begins=BEGINS, ends=late + 99 * DAY, renewal="renew it")
    assert "authority's certificate has expired" in str(first_fault((younger, ROOT), now=late))
    assert "authority's" in str(notice((younger, ROOT), now=ROOT.ends - DAY))


@pytest.mark.parametrize(
    ("kind", "file", "renewal"),
    [
        (
            Kind.site,
            "client.crt",
            "as before) and start the service again",
        ),
        (
            Kind.person,
            "client.crt",
            "ask the operator for `fedward federation renew north`, put what they send into this kit",
        ),
        (Kind.server, "server.crt", "run `fedward federation renew north`, put its certificate into this kit"),
    ],
)
def test_a_kit_of_every_kind_is_held_to_its_own_certificate(
    kind: Kind, file: str, renewal: str, tmp_path: Path
) -> None:
    of = authority()
    kit = site_kit(tmp_path / "kit", of, target="localhost:1")
    (kit / "startup" / "client.crt").unlink()
    with pytest.raises(EncryptionError, match="cannot be read"):
        require_valid(kit, kind)
    (kit / "startup" / file).write_bytes(pem(of.issue("north", days=3)))
    require_valid(kit, kind)
    own, root = kit_certificates(kit, kind)
    assert renewal in own.renewal and "another authority" in root.renewal
    with pytest.raises(FederationError, match=f"{file}: {kind}'s certificate has expired"):
        require_valid(kit, kind, now=datetime.now(UTC) + 4 * DAY)
    (kit / "startup" / "rootCA.pem").write_bytes(b"no certificate")
    with pytest.raises(EncryptionError, match="not a certificate"):
        require_valid(kit, kind)


def test_dashboard_and_alert_warn_on_the_same_day(root: Path) -> None:
    words = (root / "custom/fedward/dashboard/static/words.js").read_text(encoding="utf-8")
    assert re.findall(r"CERTIFICATE_WARNING_DAYS = (\d+);", words) == [str(SOON_DAYS)]
    groups = yaml.safe_load((root / "deploy/monitoring/alerts/sites.yml").read_text(encoding="utf-8"))["groups"]
    rules = [rule["expr"] for group in groups for rule in group["rules"] if rule.get("alert") == "CertificateEnds"]
    assert rules == [f"fedward_certificate_left_days < {SOON_DAYS} >= 7", "fedward_certificate_left_days < 7"]
    for page in ("monitoring", "runbook"):
        assert f"below {SOON_DAYS}" in (root / f"docs/{page}.md").read_text(encoding="utf-8")
