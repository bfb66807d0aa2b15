"""A hospital's ledger or images are gone, older or other than they were: it takes no part, and says why."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from fedward.flare.refusal import SENTENCES, Code
from fedward.indexing.index import index_cohort
from fedward.indexing.site_key import load_key
from fedward.privacy.ledger.ledger import Ledger
from fedward.settings import read_site
from tests.integration.faults.conftest import VICTIM, Player
from tests.integration.faults.fault import Fault, Promised, nothing
from tests.integration.faults.jobs import ROUNDS, private
from tests.integration.faults.play import Federation, Play
from tests.support.rehearsal import rehearsal

pytestmark = pytest.mark.integration
ASIDE = ".aside"


def ledger_of(federation: Federation) -> Path:
    return read_site(federation.running.hospitals[VICTIM].config).ledger


@contextmanager
def gone(path: Path) -> Iterator[None]:
    aside = path.with_name(path.name + ASIDE)
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


@contextmanager
def ledger_gone(federation: Federation) -> Iterator[None]:
    with gone(ledger_of(federation)):
        yield


@contextmanager
def ledger_older(federation: Federation) -> Iterator[None]:
    """The ledger of a moment ago, before its newest entry; its head is today's."""
    path, policy = ledger_of(federation), read_site(federation.running.hospitals[VICTIM].config)
    older, newer = path.with_name("older"), path.with_name("newer")
    shutil.copy(path, older)
    ledger = Ledger.open(path, site=VICTIM, key=load_key(policy.key).secret)
    patients = {row.patient for row in federation.running.hospitals[VICTIM].manifest.rows}
    for number in range(2):
        ledger.unprotected(job_id=f"newer-{number}", job="newer", cohort="chest", patients=patients)
    path.rename(newer)
    older.rename(path)
    try:
        yield
    finally:
        newer.replace(path)


@contextmanager
def images_gone(federation: Federation) -> Iterator[None]:
    policy = read_site(federation.running.hospitals[VICTIM].config)
    (cohort,) = policy.cohorts.values()
    assert cohort.images is not None
    with gone(cohort.images):
        yield


def says(code: Code) -> partial[None]:
    return partial(declined, code=code)


def declined(play: Play, *, code: Code) -> None:
    """The victim declines with that reason."""
    play.until(lambda: play.of("declined", site=VICTIM), what="the site declines")
    (first, *_) = play.of("declined", site=VICTIM)
    assert SENTENCES[code] in first["reason"], f"the reason is '{first['reason']}'"


def indexed_anew(play: Play) -> None:
    """The same images are indexed again, and the job's process starts anew with that index."""
    config = play.federation.running.hospitals[VICTIM].config
    index_cohort(read_site(config), "chest", workers=0)
    play.kill(VICTIM, job=True)


def without(code: Code) -> Promised:
    """Promise of a job that succeeds without the victim, and says why."""
    reason = re.escape(SENTENCES[code])
    end = rf'success with 1 site missing at the end: every round counted, without {VICTIM} .*{reason}"'
    return Promised(end=end, lost=ROUNDS, within_s=90.0)


FAULTS = [
    Fault(
        name="ledger deleted", around=ledger_gone, when=nothing, does=says(Code.LEDGER), promised=without(Code.LEDGER)
    ),
    Fault(
        name="ledger older than its head",
        around=ledger_older,
        when=nothing,
        does=says(Code.LEDGER),
        promised=without(Code.LEDGER),
    ),
    Fault(name="DICOM folder gone", around=images_gone, when=nothing, does=nothing, promised=without(Code.COHORT)),
    Fault(name="cohort indexed anew during the job", does=indexed_anew, job=private, promised=Promised(lost=2)),
]


@rehearsal("takes ledgers and images away")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_hospital_without_what_it_needs_says_so(fault: Fault, player: Player) -> None:
    player(fault)
