"""Audit logs to test with: memory-backed where the machine can, of drawn acts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import strategies as st

from fedward.audit.actions import ABOUT, ACTIONS
from fedward.audit.log import AuditLog
from tests.support.ledger import FAST

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_VALUES = st.one_of(st.text(max_size=20), st.integers(-(2**40), 2**40), st.lists(st.text(max_size=8), max_size=3))
OWN = ("torn", "keyed", "expired", "undone", "log-restarted")
"""Acts that the log itself records."""
ACTS = st.tuples(
    st.sampled_from([name for name in ACTIONS if name not in OWN]),
    st.text(max_size=20),
    st.dictionaries(st.sampled_from(sorted(ABOUT)), _VALUES, max_size=3),
)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder of one drawn example."""
    with TemporaryDirectory(dir=FAST) as name:
        yield Path(name)


def written(folder: Path, acts: list[tuple[str, str, dict[str, object]]], *, rotate_bytes: int = 10**7) -> AuditLog:
    """A log of these acts, a minute apart."""
    moments = iter(range(10**6))
    log = AuditLog(folder, rotate_bytes=rotate_bytes, clock=lambda: START + timedelta(minutes=next(moments)))
    for what, who, about in acts:
        log.append(what, who=who, about=about)
    return log


def of_rounds(folder: Path, count: int) -> AuditLog:
    """A log of as many rounds."""
    return written(folder, [("round-complete", "own account a", {"round": number}) for number in range(count)])


def numbers(error: BaseException) -> list[int]:
    """Numbers of the entries that an error names."""
    return [int(found) for found in re.findall(r"entr(?:y|ies) (\d+)", str(error))]
