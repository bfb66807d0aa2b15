"""A masked job with a sparse graph as its hospitals' gates see it, and the lies of a server about the graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedward.encryption.masks.graphs.drawing import Drawing
from fedward.encryption.message import unpack
from fedward.flare.protocol import REFUSED_AT_DOOR, MaskedRun, Task
from fedward.metrics.events import EventReader
from tests.support.flare.signed import signer
from tests.support.flare.three import Three, assert_close, mean

MANY = tuple(f"site-{number:02}" for number in range(32))
SPARSE: dict[str, Any] = {
    "federation": {"min_sites": 30},
    "encryption": {"graph": "ccesa", "max_colluding": 8, "max_lost": 0.0, "max_sites": 32},
}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Three:
    """A job that has begun at every hospital, each of which has drawn its part of the graph."""
    return Three(tmp_path_factory.mktemp("many"), key=None, sites=MANY, **SPARSE)


def shown(three: Three, site: str, masked: MaskedRun) -> str | None:
    """Show a hospital these keys and this graph with the first round; return why it refuses, or None."""
    honest, three.exchange.masked = three.exchange.masked, masked
    try:
        received = three.give(site, Task.ROUND, three.exchange.initial, number=0)
    finally:
        three.exchange.masked = honest
    found = received.get_header(REFUSED_AT_DOOR)
    return None if found is None else str(found)


def test_a_round_is_summed_over_a_sparse_graph(many: Three) -> None:
    graph = many.exchange._graph
    assert graph is not None
    pairs = sum(len(graph.neighbours(site)) for site in MANY)
    assert pairs < len(MANY) * (len(MANY) - 1), "some two hospitals have no mask"
    made, taken = many.round(many.exchange.initial)
    assert taken.sites == [*MANY] and unpack(made.sealed or b"").sites == MANY
    assert_close(many.opened(MANY[3], made), mean(many, MANY))


def lies(masked: MaskedRun, victim: str) -> dict[str, tuple[MaskedRun, str]]:
    """What a server may show a hospital in place of the honest graph, and the refusal."""
    drawn = dict(masked.drawn or {})
    own, one, other = drawn[victim], drawn["site-20"], drawn["site-21"]
    chosen = {"seed": bytes(32), "signature": one["signature"]}
    signature = Drawing(site="site-20", context="f" * 64, seed=bytes(32)).sign(signer("site-20"))
    unsigned = "hospital did not sign its part of the mask graph of this run"
    fewer = {site: content for site, content in drawn.items() if site != victim}
    return {
        "seed of the server": (replace(masked, drawn=drawn | {"site-20": chosen}), unsigned),
        "signed for another run": (
            replace(masked, drawn=drawn | {"site-20": {"seed": bytes(32), "signature": signature}}),
            unsigned,
        ),
        "swapped": (replace(masked, drawn=drawn | {"site-20": other, "site-21": one}), unsigned),
        "one for two": (replace(masked, drawn=drawn | {"site-20": other}), unsigned),
        "without its own": (replace(masked, drawn=fewer), "without what this hospital drew"),
        "a stranger's": (replace(masked, drawn=drawn | {"ghost": one}), "no mask graph of the hospitals"),
        "too few": (replace(masked, drawn={victim: own, "site-20": one}), "too few hospitals have drawn"),
        "none": (replace(masked, drawn=None), "no task has brought the mask graph"),
        "no table": (replace(masked, drawn=drawn | {"site-20": {}}), "hospital sent no part of the mask graph"),
    }


NO_GRAPH = MaskedRun(members={}, drawn={site: {"seed": b"", "signature": b""} for site in MANY})


@pytest.fixture(scope="module")
def lied_to(many: Three) -> Three:
    return many.again()


@pytest.mark.parametrize(("number", "name"), [*enumerate(lies(NO_GRAPH, MANY[0]))])
def test_a_graph_that_the_hospitals_did_not_draw_is_refused(
    lied_to: Three, number: int, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    victim = MANY[number]
    assert lied_to.exchange.masked is not None
    masked, why = lies(lied_to.exchange.masked, victim)[name]
    assert shown(lied_to, victim, masked) is not None
    assert why in caplog.text


def test_the_first_graph_stays(lied_to: Three, caplog: pytest.LogCaptureFixture) -> None:
    masked, site = lied_to.exchange.masked, MANY[12]
    assert masked is not None and masked.drawn is not None
    assert shown(lied_to, site, masked) is None
    lied_to.introduced.discard(site)
    fewer = {name: one for name, one in masked.drawn.items() if name != "site-31"}
    assert shown(lied_to, site, replace(masked, drawn=fewer)) is not None
    assert "another mask graph than the first one" in caplog.text


def test_a_hospital_draws_once_in_a_run(many: Three, lied_to: Three) -> None:
    masked, site = lied_to.exchange.masked, MANY[13]
    assert masked is not None and masked.drawn is not None
    lied_to.hospitals[site].restart()
    lied_to.exchange.masked = replace(masked, maker=None, drawn=None)  # as the first task of the run was
    again = lied_to.ask(Task.KEY, None, [site])[site].sealed or {}
    lied_to.exchange.masked = masked
    assert again["drawn"]["seed"] == masked.drawn[site]["seed"]
    other = many.exchange.masked
    assert other is not None and other.drawn is not None and other.drawn[site]["seed"] != again["drawn"]["seed"]


def test_a_hospital_that_draws_too_late_is_left_out(tmp_path: Path) -> None:
    sites = (*MANY, *(f"site-{number:02}" for number in range(32, 48)))
    more = {"federation": {"min_sites": 46}, "encryption": {**SPARSE["encryption"], "max_lost": 0.05, "max_sites": 48}}

    class Late(Three):
        def begin(self) -> None:
            self.lost = {"site-07"}
            super().begin()

    three = Late(tmp_path, key=None, sites=sites, **more)
    assert "site-07" not in three.sites and len(three.sites) == 47
    said = [event for event in EventReader(tmp_path / "events.jsonl") if event["event"] == "dropped"]
    assert [(event["site"], event["reason"]) for event in said] == [
        ("site-07", "drew no part of the mask graph in time")
    ]
    made, taken = three.round(three.exchange.initial, three.sites[1:])  # and one more sends nothing
    assert len(taken.sites) == 46
    assert_close(three.opened("site-03", made), mean(three, three.sites[1:]))


def test_a_complete_graph_takes_no_parts(tmp_path: Path) -> None:
    three = Three(tmp_path, key=None)
    assert three.exchange.masked is not None
    found = shown(three, "city", replace(three.exchange.masked, drawn={}))
    assert found is not None and "without what this hospital drew" in found
