"""A hospital's process lies past its own gates: nothing of it counts, the hospital is named, the others go on.

One lie is not recognised, as the threat model says: an update of honest length with its sign changed. It counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pytest

from fedward.demo.hospitals import FEDERATION_KEY
from fedward.encryption.keys.key import create_key
from fedward.encryption.keys.key_file import write_key
from tests.integration.faults.conftest import VICTIM, Player
from tests.integration.faults.fault import Act, Fault, Promised, nothing
from tests.integration.faults.jobs import ROUNDS, SHORT_S, plain, sealed
from tests.integration.faults.play import Federation, Play
from tests.support.rehearsal import rehearsal

pytestmark = pytest.mark.integration


def lying(kind: str) -> Callable[[Federation], AbstractContextManager[None]]:
    @contextmanager
    def around(federation: Federation) -> Iterator[None]:
        file = federation.lies / VICTIM
        file.write_text(kind)
        try:
            yield
        finally:
            file.unlink()
            file.with_name(f"{VICTIM}.told").unlink(missing_ok=True)

    return around


@contextmanager
def another_key(federation: Federation) -> Iterator[None]:
    """The victim has another key than the federation's."""
    path = federation.running.hospitals[VICTIM].config.with_name(FEDERATION_KEY)
    before = path.read_bytes()
    path.unlink()
    write_key(create_key("aes-ctr"), path)
    try:
        yield
    finally:
        path.write_bytes(before)


def told(play: Play) -> None:
    """Until the lie is told."""
    file = play.federation.lies / f"{VICTIM}.told"
    play.until(file.exists, what="the site lies")
    play.begins()


def out(part: str) -> Act:
    """The victim is out of a round with a reason."""

    def act(play: Play) -> None:
        told(play)
        play.until(lambda: play.of("dropped", site=VICTIM), what="the site is out of a round")
        reason = play.of("dropped", site=VICTIM)[0]["reason"]
        assert part in reason, f"the reason is '{reason}'"

    return act


WITHOUT = Promised(
    end=rf"success with 1 site missing at the end: .*, without {VICTIM} .*|success: every round counted",
    lost=ROUNDS,
    within_s=90.0,
)
FAILED = Promised(
    end=rf"failed.*{VICTIM}.*", flare="FINISHED:EXECUTION_EXCEPTION", last="failed", lost=ROUNDS, within_s=90.0
)


def lie(name: str, kind: str, *, does: Act) -> Fault:
    job = partial(plain, grace_s=SHORT_S)
    return Fault(name=name, around=lying(kind), when=nothing, does=does, job=job, promised=WITHOUT)


FAULTS = [
    lie("an update of NaN", "nan", does=out("finite")),
    lie("an update times 1000", "thousand", does=out("norm")),
    Fault(name="an update with its sign changed", around=lying("sign"), when=nothing, does=told, job=plain),
    lie("an answer to another task", "other-task", does=told),
    lie("the answer of the first round again and again", "replay", does=told),
    Fault(
        name="a truncated ciphertext",
        around=lying("truncated"),
        when=nothing,
        does=told,
        job=sealed,
        promised=FAILED,
    ),
    Fault(
        name="another federation key",
        around=another_key,
        when=nothing,
        does=nothing,
        job=sealed,
        promised=FAILED,
    ),
]


@rehearsal("has a hospital lie")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: getattr(fault, "name", None))
def test_a_lie_counts_nowhere_and_its_hospital_is_named(fault: Fault, player: Player) -> None:
    player(fault)
