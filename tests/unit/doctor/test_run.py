"""Whatever a check does, the others go on, and what could not be looked at is never taken for sound."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedward.doctor.checks import CHECKS, Check
from fedward.doctor.context import Case
from fedward.doctor.findings import Finding, Voice
from fedward.doctor.run import examine
from fedward.errors import CohortError
from tests.support.doctor_case import case_of, write_kit

SECRET = "Jane Doe 1970-01-01"
NAMES = [check.name for check in CHECKS]
WITHOUT_A_CASE = {"processors", "gpu"}
"""They look at the machine alone."""
WITHOUT_A_KIT = {"memory", "bandwidth"}
"""``memory`` takes its limits from the case alone; to ``bandwidth`` a server that no longer answers is a slow line."""


def passes(case: Case) -> Iterator[Finding]:
    yield Voice("x").passed("fine")


def throws(case: Case) -> Iterator[Finding]:
    yield Voice("x").passed("fine so far")
    raise ValueError(SECRET)


def refuses(case: Case) -> Iterator[Finding]:
    raise CohortError("cannot be listed", where=f"/images/{SECRET}")
    yield


def fails_to_read(case: Case) -> Iterator[Finding]:
    raise PermissionError(13, "Permission denied", f"/images/{SECRET}")
    yield


def exits(case: Case) -> Iterator[Finding]:
    raise SystemExit(0)
    yield


def says_nothing(case: Case) -> Iterator[Finding]:
    yield from ()


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case_of(write_kit(tmp_path_factory.mktemp("made") / "kit"))


def test_names_are_of_one_form_and_once_and_needs_come_before() -> None:
    assert len(set(NAMES)) == len(NAMES)
    for number, check in enumerate(CHECKS):
        assert check.name == check.name.lower() and " " not in check.name and "_" not in check.name
        assert set(check.needs) <= set(NAMES[:number]), check.name


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("look", [throws, refuses, fails_to_read, exits, says_nothing])
@pytest.mark.parametrize("name", NAMES)
def test_each_check_that_breaks_has_failed_and_all_others_go_on(case: Case, name: str, look: Any) -> None:
    checks = [replace(check, look=look if check.name == name else passes) for check in CHECKS]
    heard = {one.check.name: one for one in examine(case, checks=checks)}
    assert list(heard) == NAMES
    failed = [finding for finding in heard[name].findings if finding.level == "fail"]
    assert failed and "could not be checked" in failed[0].what and failed[0].remedy
    assert not heard[name].through
    for other in CHECKS:
        if other.name != name:
            needing = _rests_on(other, name)
            assert {finding.level for finding in heard[other.name].findings} == ({"skip"} if needing else {"pass"})
    assert SECRET not in repr([one.findings for one in heard.values()])


class Broken:
    """A site of which nothing can be read at all."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(SECRET)


@pytest.mark.parametrize("check", [check for check in CHECKS if check.name not in WITHOUT_A_CASE], ids=lambda c: c.name)
def test_each_real_check_fails_where_nothing_can_be_read(check: Check) -> None:
    case = Case(kit=Path("/nowhere"), site_toml=Path("/nowhere/site.toml"), environment={})
    broken: Any = Broken()
    with pytest.raises(RuntimeError):
        list(check.look(broken))
    (heard,) = examine(case, checks=[replace(check, needs=())])
    assert not heard.through or check.name in WITHOUT_A_KIT, heard.findings


def test_one_that_hangs_has_failed_in_its_time_and_holds_nothing_up(case: Case) -> None:
    held = threading.Event()

    def hangs(case: Case) -> Iterator[Finding]:
        held.wait(30)
        yield Voice("x").passed("too late")

    checks = [
        Check(name="hangs", room="x", look=hangs, limit_s=0.2),
        Check(name="next", room="x", look=passes),
        Check(name="needs", room="x", look=passes, needs=("hangs",)),
    ]
    start = time.monotonic()
    hung, after, resting = examine(case, checks=checks)
    assert time.monotonic() - start < 5
    held.set()
    assert hung.findings[0].level == "fail" and "0.2 s" in hung.findings[0].what
    assert after.through and resting.findings[0].level == "skip"


def test_ctrl_c_stops_it(case: Case) -> None:
    def stop(name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine(case, on_check=stop)


def test_offline_asks_nobody(case: Case) -> None:
    def cries(case: Case) -> Iterator[Finding]:
        raise AssertionError

    checks = [replace(check, look=cries if check.online else passes, needs=()) for check in CHECKS]
    heard = examine(replace(case, offline=True), checks=checks)
    assert {one.check.name for one in heard if one.findings[0].level == "skip"} == {
        "dns", "port", "tls", "server-answer", "clock", "server-match", "bandwidth",
    }  # fmt: skip


@pytest.mark.parametrize("field", ["what", "where", "value", "remedy"])
def test_no_line_goes_below_a_cohorts_folder(case: Case, field: str) -> None:
    images = case.policy.cohorts["chest"].images

    def careless(case: Case) -> Iterator[Finding]:
        said = {"what": "x", "remedy": "y", field: f"read {images}/{SECRET}/1.dcm or not"}
        yield Finding(check="x", level="fail", **said)  # type: ignore[arg-type]

    (heard,) = examine(case, checks=[Check(name="x", room="x", look=careless)])
    assert SECRET not in repr(heard.findings)
    assert str(images) in repr(heard.findings)


def test_a_dead_network_takes_less_than_half_a_minute() -> None:
    """However it is dead, one check waits for its limit and what rests on it is skipped."""
    online = [check for check in CHECKS if check.online]
    chain = [check for check in online if check.name in ("dns", "port", "tls", "server-answer")]
    assert sum(check.limit_s for check in chain) <= 32
    for check in online[1:]:
        assert check.needs


def _rests_on(check: Check, name: str) -> bool:
    by_name = {one.name: one for one in CHECKS}
    return name in check.needs or any(_rests_on(by_name[needed], name) for needed in check.needs)
