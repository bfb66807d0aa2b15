"""Payloads that FLARE carries between server and hospital: as bytes, and as objects that were unpacked."""

from __future__ import annotations

import copy
import logging
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.fuel.utils import fobs

from fedward.errors import FedwardError
from fedward.flare import payload_types
from fedward.flare.gates import gate
from fedward.flare.protocol import (
    REFUSAL,
    REFUSED_AT_DOOR,
    ROSTER,
    Reply,
    Task,
    question,
    refusal,
    to_reply,
    to_shareable,
)
from tests.fuzz.child import Target, main
from tests.fuzz.mutations import MARK
from tests.support.flare.hospital import Hospital, serialised
from tests.support.flare.three import Three

_ODD: tuple[Any, ...] = (
    None, True, -1, 10**400, float("nan"), float("inf"), "", MARK, "\ud800", "\x1b[2J\n" + MARK, b"", b"\xff" * 40, {},
    [[[]]], {MARK: MARK}, {1: 2}, {"purpose": "model"}, "x" * 5000, np.zeros(3), np.full((2, 2), np.nan),
    np.float64("nan"),     np.array(["a"]), np.zeros((0, 3)),
    np.zeros(3, np.complex64), DataKind.WEIGHTS, DataKind.METRICS, DXO(DataKind.METRICS, data={}),
    "confirm model", "admit",
)  # fmt: skip
"""What takes the place of any value of a message; FLARE's serializer can carry each."""


def gates(folder: Path) -> Target:
    """Each input is the seed of one message, mutated as an object: the gates and the server see what was unpacked.

    Whatever comes in, a gate passes its own rebuilt message or one refusal of a line, and fails in no other way.
    """
    plain, three = Hospital(folder / "plain"), Three(folder / "three")
    sealed = three.hospitals["city"]
    honest = _honest(plain, three)
    facts: Counter[str] = Counter()
    failed = _unexpected()

    def given(content: bytes) -> None:
        drawn = random.Random(content)
        to, task, message = drawn.choice(honest)
        message = copy.deepcopy(message)
        for _ in range(drawn.choice((1, 1, 2, 3))):
            _odd_value(drawn, message)
        hospital = sealed if to.startswith("sealed") else plain
        hospital.restart()
        if to == "server":
            _at_the_server(message)
            return
        task = drawn.choice(list(Task)) if drawn.random() < 0.1 else task
        door = hospital.egress if to.endswith("egress") else hospital.ingress
        passed = door.process(message, hospital.context(task))
        headers = passed[ReservedHeaderKey.HEADERS]
        said = headers.get(REFUSED_AT_DOOR, headers.get(REFUSAL))
        facts["refused at a gate" if said else "passed a gate"] += 1
        if said is not None:
            assert type(said) is str and said.isprintable() and len(said) <= 300 and MARK not in said, repr(said)
        if failed:
            raise failed.pop()

    return Target(
        [b"%d" % number for number in range(40)], given, edits=(lambda drawn, _: drawn.randbytes(8),), facts=facts
    )


def _at_the_server(message: Shareable) -> None:
    """Read an answer as the server does: a reply, a reason of one line, or a ``ValueError``."""
    said = refusal(message)
    assert said is None or (said.isprintable() and len(said) <= 300), said
    try:
        to_reply(message)
    except ValueError as error:
        raise FedwardError(f"a reply is refused, {type(error).__name__}") from None


def _unexpected() -> list[BaseException]:
    """Errors that a gate did not foresee: it fails closed after them too, with a traceback in the site's log."""
    found: list[BaseException] = []
    before = gate.Gate.fail

    def fail(self: gate.Gate, error: Exception, context: Any) -> Any:
        if not isinstance(error, FedwardError):
            found.append(error)
        return before(self, error, context)

    gate.Gate.fail = fail  # type: ignore[method-assign]
    logging.disable(logging.CRITICAL)
    return found


def _honest(plain: Hospital, three: Three) -> list[tuple[str, Task, Shareable]]:
    """Messages as they arrive, each with the door that it arrives at."""
    update = to_shareable(Reply(metrics={"scores": {"auc": 0.8, "patients": 40}, "steps": 3}, update=plain.update()))
    roster = question(three.exchange.initial, round_number=0)
    roster.set_header(ROSTER, three.exchange.roster)
    task = question(plain.model, round_number=0)
    task.set_cookie_jar({"__task_id__": "abc"})
    admitted = to_shareable(Reply(metrics={}, sealed={"key": "a" * 32, "model": b"sum", MARK: MARK}))
    return [
        ("ingress", Task.ROUND, task),
        ("ingress", Task.ADMIT, question(None, round_number=-1)),
        ("ingress", Task.FINAL, question(plain.model, round_number=-1)),
        ("egress", Task.ROUND, update),
        ("egress", Task.ADMIT, to_shareable(Reply(metrics={"support": {"train_patients": 40}}))),
        ("sealed ingress", Task.ROUND, roster),
        ("sealed egress", Task.ADMIT, to_shareable(Reply())),
        ("server", Task.ROUND, update),
        ("server", Task.ADMIT, admitted),
    ]


def _odd_value(drawn: random.Random, message: Any) -> None:
    """Put another value in the place of one, at any depth, remove it, or add one."""
    place: Any = message
    while True:
        inner = place.__dict__ if isinstance(place, DXO) else place
        names = sorted(inner, key=str)
        if not names:
            inner["added"] = drawn.choice(_ODD)
            return
        name = drawn.choice(names)
        if isinstance(inner[name], dict | DXO) and drawn.random() < 0.75:
            place = inner[name]
            continue
        way = drawn.random()
        if way < 0.15 and not isinstance(place, DXO):  # FLARE's serializer builds no such object
            del inner[name]
        elif way < 0.25:
            inner[drawn.choice((MARK, "DXO", ReservedHeaderKey.RC, REFUSAL, "\x1b", 7))] = drawn.choice(_ODD)
        elif isinstance(inner[name], np.ndarray) and inner[name].dtype == np.float32 and way < 0.6:
            inner[name] = drawn.choice(
                (inner[name].astype(np.float16), inner[name][..., None], inner[name].astype(np.float64))
            )
        else:
            inner[name] = drawn.choice(_ODD)
        return


def payload(folder: Path) -> Target:
    """Bytes that FLARE's serializer unpacks behind the closed list of classes, then read by server and gate."""
    plain = Hospital(folder / "plain")
    small = {"a": np.zeros(3, np.float32), "b": np.ones((2, 2), np.float32)}
    messages = [
        to_shareable(Reply(metrics={"scores": {"auc": 0.8}, "words": MARK}, update=small)),
        question(small, round_number=0),
        to_shareable(Reply(metrics={}, sealed={"model": b"sum"})),
    ]
    corpus = [serialised(one) for one in messages]
    payload_types.install()
    failed = _unexpected()

    def given(content: bytes) -> None:
        try:
            message = fobs.loads(content)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - FLARE's reader: the cell refuses the message
            raise FedwardError(f"a payload is refused, {type(error).__name__}") from None
        if not isinstance(message, Shareable):
            raise FedwardError("a payload is no message")
        plain.restart()
        plain.ingress.process(message, plain.context(Task.ROUND))
        if failed:
            raise failed.pop()
        _at_the_server(message)

    return Target(corpus, given, edits=(_halves,))


def _halves(drawn: random.Random, content: bytes) -> bytes:
    at = drawn.randrange(len(content) + 1)
    return content[:at] + drawn.randbytes(1) + content[at + 1 :]


if __name__ == "__main__":
    main({"gates": gates, "payload": payload})
