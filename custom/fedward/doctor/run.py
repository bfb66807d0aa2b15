"""Run every check separately: one that throws or takes too long has failed, and the others continue."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fedward.doctor.checks import CHECKS, Check
from fedward.doctor.context import Visit
from fedward.doctor.findings import Finding, Voice
from fedward.doctor.wording import discreet
from fedward.errors import FedwardError

_REMEDY = "mend what it says, if you can; else send the operator this report, `--format json`"


@dataclass(frozen=True, slots=True)
class Heard:
    """Check and its findings."""

    check: Check
    findings: tuple[Finding, ...]

    @property
    def through(self) -> bool:
        """True if the checks that need this one can run: it neither failed nor was skipped."""
        return all(finding.level in ("pass", "warn") for finding in self.findings)


def examine(
    case: Visit, *, checks: Sequence[Check] = CHECKS, on_check: Callable[[str], None] | None = None
) -> tuple[Heard, ...]:
    """Run the checks in order.

    Args:
        case: the site, or the server.
        checks: checks to run, which must be for such a case.
        on_check: called with each check's name before it runs.

    Returns:
        Each check with one finding or more. A check fails closed: one that throws, exceeds its limit or finds nothing
        has failed, and the checks that need it are skipped. No finding has a path below a cohort's folders.
    """
    heard: list[Heard] = []
    through: set[str] = set()
    for check in checks:
        if on_check is not None:
            on_check(check.name)
        missing = [name for name in check.needs if name not in through]
        found: tuple[Finding, ...]
        if case.offline and check.online:
            found = (Voice(check.name).skipped("needs the server, and --offline leaves it out"),)
        elif missing:
            found = (Voice(check.name).skipped(f"not looked at: {', '.join(missing)} did not go through"),)
        else:
            found = _looked(check, case)
        heard.append(Heard(check, tuple(discreet(finding, case) for finding in found)))
        if heard[-1].through:
            through.add(check.name)
    return tuple(heard)


def _looked(check: Check, case: Visit) -> tuple[Finding, ...]:
    """Return the check's findings. It runs in a thread, so that a hanging disk or name server blocks nothing."""
    answer: list[tuple[Finding, ...]] = []
    beside = threading.Thread(target=lambda: answer.append(tuple(_safely(check, case))), daemon=True)
    beside.start()
    beside.join(check.limit_s)
    if not answer:
        return (_unknown(check, f"no answer in {check.limit_s:g} s"),)
    return answer[0] or (_unknown(check, "it gave no answer"),)


def _safely(check: Check, case: Visit) -> Iterator[Finding]:
    try:
        yield from check.look(case)
    except FedwardError as error:
        yield _unknown(check, error.what, remedy=error.remedy)
    except OSError as error:  # never show its file: the name may be a patient's
        yield _unknown(check, error.strerror or type(error).__name__)
    except Exception as error:  # noqa: BLE001 - any check that throws has failed, and must not stop the others
        yield _unknown(check, type(error).__name__)


def _unknown(check: Check, reason: str, *, remedy: str | None = None) -> Finding:
    return Voice(check.name).failed(f"could not be checked: {reason}", remedy=remedy or _REMEDY)
