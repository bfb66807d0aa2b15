"""A process of FLARE ends before it connects with a certificate that is not valid; a running one says what is due."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedward.errors import EncryptionError
from fedward.flare.listener import certificate_watch
from fedward.flare.listener.certificate_watch import CertificateWatch, guard_process, require_certificates
from fedward.provisioning.participants import Kind
from fedward.provisioning.validity import NOT_VALID
from tests.support.authority import authority, pem, site_kit

AUTHORITY = authority()
DAY, JOB = timedelta(days=1), "0b7a1c1e-5b0e-4c7a-9f00-000000000001"


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    return site_kit(tmp_path / "kit", AUTHORITY, target="localhost:1", certificate=AUTHORITY.issue("north", days=40))


def put(kit: Path, *, days: int) -> None:
    (kit / "startup" / "client.crt").write_bytes(pem(AUTHORITY.issue("north", days=days)))


@pytest.mark.parametrize(("job", "log"), [("", "log.txt"), (JOB, f"{JOB}/log.txt"), ("absent", "log.txt")])
def test_an_expired_certificate_ends_the_process_with_one_line_in_its_log(
    kit: Path, capsys: pytest.CaptureFixture[str], job: str, log: str
) -> None:
    (kit / JOB).mkdir()
    put(kit, days=-1)
    with pytest.raises(SystemExit) as caught:
        require_certificates(kit, Kind.site, job=job)
    assert caught.value.code == NOT_VALID
    (line,) = capsys.readouterr().err.splitlines()
    subject = f"job {job} of this site" if job else "site"
    assert line.startswith(
        f"fedward: {subject} does not start: {kit}/startup/client.crt: site's certificate has expired"
    )
    (logged,) = (kit / log).read_text().splitlines()
    assert " - fedward.door - ERROR - " in logged and logged.endswith(line.removeprefix("fedward: "))


def test_a_clock_that_is_behind_ends_it_too(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        require_certificates(kit, Kind.site, now=lambda: datetime.now(UTC) - 50 * DAY)
    assert caught.value.code == NOT_VALID
    assert "not valid yet" in (said := capsys.readouterr().err) and "set this machine's clock" in said


def test_a_log_that_cannot_be_written_hides_no_reason(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (kit / "log.txt").mkdir()
    put(kit, days=-1)
    with pytest.raises(SystemExit):
        require_certificates(kit, Kind.site)
    assert "has expired" in (said := capsys.readouterr().err) and "cannot be written" in said


@pytest.mark.parametrize(("days", "lines"), [(31, 0), (29, 1)])
@pytest.mark.parametrize("job", ["", JOB])
def test_an_end_that_is_near_is_said_at_start_by_the_parent_alone(
    kit: Path, capsys: pytest.CaptureFixture[str], days: int, lines: int, job: str
) -> None:
    put(kit, days=days)
    require_certificates(kit, Kind.site, job=job)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == (0 if job else lines)
    assert all("site's certificate ends in 28 days" in line for line in said)


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def test_a_running_process_says_each_change_once_and_again_each_day(kit: Path) -> None:
    clock, said = Clock(), list[str]()
    watch = CertificateWatch(kit, Kind.site, log=said.append, error=said.append, now=clock)

    def looks(count: int, *, every: timedelta) -> list[str]:
        said.clear()
        for _ in range(count):
            clock.now += every
            watch.look()
        return [next(word for word in ("ends", "expired", "valid again", "cannot") if word in line) for line in said]

    assert looks(9 * 24, every=timedelta(hours=1)) == []  # 31 days are left
    assert looks(29 * 24, every=timedelta(hours=1)) == ["ends"] * 29  # 2 days are left
    assert looks(3 * 24 * 60, every=timedelta(minutes=1)) == ["ends", "expired", "expired"]
    put(kit, days=100)
    assert looks(60, every=timedelta(minutes=1)) == ["valid again"]
    (kit / "startup" / "client.crt").unlink()
    assert looks(60, every=timedelta(minutes=1)) == ["cannot"]


def test_a_clock_that_jumps_back_a_year_is_said(kit: Path) -> None:
    clock, said, warned = Clock(), list[str](), list[str]()
    watch = CertificateWatch(kit, Kind.site, log=warned.append, error=said.append, now=clock)
    clock.now -= 365 * DAY
    watch.look()
    watch.look()
    assert len(said) == 1 and "not valid yet" in said[0] and not warned, "an error, not a warning"


@pytest.mark.parametrize(
    ("arguments", "watched"),
    [(["-m", "{kit}", "-s", "x"], True), (["-s", "x", "-m", "{kit}", "-n", JOB], False), ([], True)],
)
def test_flares_arguments_tell_kit_and_job(
    kit: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], watched: bool
) -> None:
    started: list[float] = []
    monkeypatch.setattr(certificate_watch, "repeat", lambda step, *, every_s, name, log: started.append(every_s))
    monkeypatch.chdir(kit.parent if arguments else kit)
    log = logging.getLogger("test")
    guard_process(Kind.site, log=log, arguments=["main", *(one.format(kit=kit) for one in arguments)])
    assert started == ([60.0] if watched else [])
    put(kit, days=-1)
    with pytest.raises(SystemExit):
        guard_process(Kind.site, log=log, arguments=["main", *(one.format(kit=kit) for one in arguments)])
    with pytest.raises(EncryptionError, match="cannot be read"):
        guard_process(Kind.server, log=log, arguments=["main", "-m", str(kit)])
