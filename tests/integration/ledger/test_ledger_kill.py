"""SIGKILL at any line of the ledger, and at any moment: what was acknowledged is there, and nothing counts less."""

from __future__ import annotations

import json
import random
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedward.privacy.ledger.chain_head import head_path
from fedward.privacy.ledger.ledger import Ledger
from tests.integration.ledger.ledger_child import KEY, STEPS
from tests.support.ledger import FAST

pytestmark = pytest.mark.integration
CHILD = Path(__file__).with_name("ledger_child.py")
KILLS = 40


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where the machine can: SIGKILL loses nothing that the system was given."""
    with tempfile.TemporaryDirectory(dir=FAST) as name:
        yield Path(name)


@pytest.mark.parametrize(("what", "at_least"), [("lines", 400), ("creations", 100)])
def test_killed_at_every_line(folder: Path, what: str, at_least: int) -> None:
    done = subprocess.run(
        [sys.executable, str(CHILD), what, str(folder)], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    tried = json.loads(done.stdout)["lines"]
    print(f"{what}: killed at {tried} lines")
    assert tried >= at_least


def test_killed_at_random_moments_within_sqlite_too(tmp_path: Path) -> None:
    """On the disk, in one ledger that goes on; the moment is a drawn number of answers and then of microseconds."""
    path = tmp_path / "ledger.db"
    drawn = random.Random(7)
    Ledger.create(path, site="north", key=KEY)
    acknowledged: list[tuple[str, str]] = []
    for _ in range(KILLS):
        child = subprocess.Popen([sys.executable, str(CHILD), "loop", str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(drawn.randint(1, 13))]
        select.select([], [], [], drawn.random() * 0.008)
        child.kill()
        rest, _ = child.communicate()
        acknowledged += [tuple(json.loads(line)) for line in [*lines, *rest.splitlines()]]
        book = Ledger.open(path, site="north", key=KEY)
        hashes = {entry.hash for entry in book.entries()}
        charges = {charge.job_id: charge for charge in book.charges()}
        assert all(not what or what in (charges if kind == "charge" else hashes) for kind, what in acknowledged)
        assert sum(charge.begun_steps for charge in charges.values()) >= STEPS * sum(
            kind == "begin" for kind, _ in acknowledged
        )
    assert len(book.entries()) <= len(acknowledged) + 1 + KILLS
    assert json.loads(head_path(path).read_text())["count"] == len(book.entries())
