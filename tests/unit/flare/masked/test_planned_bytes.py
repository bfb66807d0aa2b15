"""The bytes that ``fedward job plan`` tells, beside those that the gates of simulated hospitals send and receive.

The model is tiny, so that masks, shares and sketches are most of a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from nvflare.apis.shareable import Shareable

from fedward.commands.job.plan_bytes import round_bytes
from fedward.flare.protocol import Model, Task, to_reply
from tests.support.flare.three import Three

ROOM = 0.2
"""Part by which the plan may be off: certificates and hospitals' names differ in length."""
JOBS: dict[str, tuple[int, dict[str, Any]]] = {
    "masked": (5, {}),
    "grouped-median": (9, {"federation": {"aggregation": "grouped-median", "min_sites": 9}}),
    "byzsecagg": (7, {"federation": {"aggregation": "byzsecagg", "min_sites": 7, "weighting": "equal"}}),
}


def size(content: Any) -> int:
    """Return the bytes of all words and bytes in a table, list or dataclass."""
    if isinstance(content, (bytes, str)):
        return len(content)
    if isinstance(content, Mapping):
        return sum(size(name) + size(value) for name, value in content.items())
    if isinstance(content, (list, tuple)):
        return sum(map(size, content))
    return sum(size(getattr(content, one.name)) for one in fields(content)) if is_dataclass(content) else 0


def whole_round(three: Three, model: Model) -> Model:
    taken = three.exchange.round(model)
    for site in three.sites:
        taken.take(site, to_reply(three.train(site, model)))
    assert three.choose(taken, model) is None  # type: ignore[arg-type]
    return three.closed(taken, number=model.after)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", JOBS)
def test_a_round_has_the_bytes_of_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    count, changes = JOBS[kind]
    sites = tuple(f"site-{number}" for number in range(count))
    three = Three(tmp_path, key=None, sites=sites, **changes, encryption={"max_colluding": 1})
    hospital, found = three.hospitals["site-1"], {"up": 0, "down": 0}
    model = whole_round(three, three.exchange.initial)
    give, send = three.give, hospital.send

    def given(site: str, task: Task, carried: Any, *, number: int = -1) -> Shareable:
        found["down"] += size(carried) if site == "site-1" else 0
        return give(site, task, carried, number=number)

    def sent(*arguments: Any) -> Shareable:
        answer = send(*arguments)
        found["up"] += size(to_reply(answer).sealed)
        return answer

    three.give, hospital.send = given, sent  # type: ignore[method-assign]
    whole_round(three, model)
    monkeypatch.setattr("fedward.training.networks.initial_weights", lambda job: hospital.model)
    planned = round_bytes(hospital.job, sites=count)
    assert found["up"] == pytest.approx(planned.up, rel=ROOM)
    assert found["down"] == pytest.approx(planned.down, rel=ROOM)
