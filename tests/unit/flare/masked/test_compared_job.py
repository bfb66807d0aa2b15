"""A masked job whose models are compared before they are summed: honest rounds, false hospitals, and a lying server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedward.encryption.distances.holding import Held
from fedward.encryption.distances.packages import open_dealt, split_message
from fedward.encryption.distances.requests import DISTANCES, SKETCH, SketchRequest
from fedward.encryption.distances.sketch import sketch
from fedward.encryption.distances.sketched_sum import read_sketched_sum
from fedward.encryption.masks.agreement import SharedSecrets
from fedward.encryption.masks.run_keys import RUN_KEYS_FILE, read_run_keys
from fedward.encryption.masks.shamir import PRIME, combine
from fedward.encryption.message import unpack
from fedward.flare.gates.sums import comparison
from fedward.flare.protocol import MODEL, REFUSED_AT_DOOR, Model, Reply, Task, Unmask, to_reply, to_shareable
from fedward.flare.secagg_context import INITIAL, SHARES
from fedward.flare.server.averaging.choosing import LATE
from fedward.flare.server.averaging.compared_round import FAR, ComparedRound
from fedward.flare.server.masked_sums import take_masks_off
from fedward.metrics.events import EventReader
from tests.support.flare.three import Three, assert_close, mean

FIVE = ("city", "coast", "north", "valley", "west")
SEVEN = (*FIVE, "yard", "zurich")
COMPARED: dict[str, Any] = {"federation": {"aggregation": "byzsecagg", "min_sites": 5, "weighting": "equal"}}


@pytest.fixture
def five(tmp_path: Path) -> Three:
    """One of five hospitals may side with the server, and one send false models."""
    return Three(tmp_path, key=None, sites=FIVE, **COMPARED)


def uploaded(three: Three, sites: tuple[str, ...] | None = None) -> ComparedRound:
    taken = three.exchange.round(three.exchange.initial)
    assert isinstance(taken, ComparedRound)
    for site in sites or three.sites:
        taken.take(site, to_reply(three.train(site, three.exchange.initial)))
    taken.stop()
    return taken


def falsify(three: Three, site: str, *, scale: float) -> None:
    """Have a hospital send another model than it trained: a large one, of another direction."""
    honest = three.update
    three.update = lambda name, **how: (  # type: ignore[method-assign]
        honest(name, scale=scale) if name == site else honest(name, **how)
    )


def chosen(three: Three, taken: ComparedRound) -> Model:
    assert three.choose(taken, three.exchange.initial) is None
    return three.closed(taken, number=0)


def ask(three: Three, site: str, purpose: str, content: Any, *, number: int = 0) -> str | None:
    """Ask a hospital to compare; return why it refuses, or None."""
    found = three.give(site, Task.UNMASK, Unmask(requests={purpose: content}), number=number)
    reason = found.get_header(REFUSED_AT_DOOR)
    return None if reason is None else str(reason)


def answer(three: Three, site: str) -> Mapping[str, Any]:
    return to_reply(three.hospitals[site].send(to_shareable(Reply()), Task.UNMASK)).sealed or {}


# honest rounds


def test_rounds_give_the_mean_of_those_near_each_other(five: Three) -> None:
    first, taken = five.round(five.exchange.initial)
    assert isinstance(taken, ComparedRound)
    assert len(taken.sites) == 4 and set(taken.left_out.values()) == {FAR}
    assert unpack(first.sealed or b"").sites == tuple(taken.sites)
    for site in FIVE:  # the one that was left out opens it too
        assert_close(five.opened(site, first), mean(five, tuple(taken.sites)))
    second, _ = five.round(first)
    assert second.after == 2 and read_sketched_sum(second.proof).seed != read_sketched_sum(first.proof).seed


@pytest.mark.parametrize("scale", [0.02, 30.0])
def test_a_far_model_is_left_out(tmp_path: Path, scale: float) -> None:
    three = Three(tmp_path, key=None, sites=SEVEN, **COMPARED, encryption={"max_colluding": 1})
    falsify(three, "north", scale=scale)  # honest ones have 0.001
    made, taken = three.round(three.exchange.initial)
    assert taken.left_out == {"north": FAR}
    rest = tuple(site for site in SEVEN if site != "north")
    assert_close(three.opened("west", made), mean(three, rest))


def test_a_hospital_that_restarts_is_left_out_of_that_round_alone(tmp_path: Path) -> None:
    three = Three(tmp_path, key=None, sites=SEVEN, **COMPARED, encryption={"max_colluding": 1})
    taken = uploaded(three)
    three.hospitals["coast"].restart()
    three.lost = {"coast"}
    assert three.choose(taken, three.exchange.initial) is None
    assert taken.left_out["coast"] == LATE and len(taken.left_out) == 2
    three.lost = set()
    first = three.closed(taken, number=0)
    _, again = three.round(first)
    assert LATE not in again.left_out.values()


def test_too_few_are_not_compared(five: Three) -> None:
    taken = uploaded(five, FIVE[:4])
    assert five.choose(taken, five.exchange.initial) == ("4 sites sent their models, and 5 are needed to compare them")


def test_too_few_that_help_compare_nothing(five: Three) -> None:
    taken = uploaded(five)
    five.lost = {"coast"}
    why = five.choose(taken, five.exchange.initial)
    assert why == "4 sites shared their models' sketches, and 5 are needed to compare them"


# false hospitals


def test_a_cheat_that_says_another_model_than_it_sent_makes_no_model(
    five: Three, caplog: pytest.LogCaptureFixture
) -> None:
    """Its sketch is an honest model's, so it is chosen; the sum does not fit what the hospitals said."""
    falsify(five, "north", scale=5.0)
    taken = uploaded(five)
    cheat, honest = (five.secure_aggregation(site).models._comparison for site in ("north", "city"))
    assert cheat is not None and honest is not None
    cheat._round.codes = honest._round.codes
    made = chosen(five, taken)
    assert "north" in unpack(made.sealed or b"").sites
    received = five.give("city", Task.ROUND, made, number=1)
    assert received.get_header(REFUSED_AT_DOOR) is not None
    assert "not of the models that hospitals said they sent" in caplog.text


def test_a_hospital_that_answers_falsely_is_named(five: Three, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, liars = comparison.held, iter([True, False, False, False, False])

    def false(dealt: Any, **how: Any) -> Held:
        found = honest(dealt, **how)
        if not next(liars):
            return found
        return replace(found, distances={pair: (value + 1) % PRIME for pair, value in found.distances.items()})

    monkeypatch.setattr(comparison, "held", false)
    made, taken = five.round(five.exchange.initial)
    assert_close(five.opened("city", made), mean(five, tuple(taken.sites)))
    said = [event for event in EventReader(tmp_path / "events.jsonl") if event["event"] == "suspect"]
    assert [(event["site"], event["reason"]) for event in said] == [
        ("city", "gave false shares of the distances between models")
    ]


# a lying server


def test_one_sketch_of_a_round(five: Three, caplog: pytest.LogCaptureFixture) -> None:
    taken = uploaded(five)
    request = SketchRequest(nonces=taken.nonces, seed=bytes(32), base=INITIAL)
    assert ask(five, "city", SKETCH, request.plain()) is None
    assert answer(five, "city")[SHARES + SKETCH]
    assert ask(five, "city", SKETCH, request.plain()) is None, "the same again: new shares of the same sketch"
    assert ask(five, "city", SKETCH, replace(request, seed=b"1" * 32).plain()) is not None
    assert "compared other models of this round" in caplog.text
    fewer = {site: nonce for site, nonce in taken.nonces.items() if site != "west"}
    assert ask(five, "coast", SKETCH, request.plain()) is None
    assert ask(five, "coast", SKETCH, replace(request, nonces=fewer).plain()) is not None


@pytest.mark.parametrize("kind", ["without", "another"])
def test_a_request_about_another_model_is_refused_and_the_run_goes_on(five: Three, kind: str) -> None:
    taken = uploaded(five)
    nonces = dict(taken.nonces)
    if kind == "without":
        del nonces["city"]
    else:
        nonces["city"] = "0" * 32
    request = SketchRequest(nonces=nonces, seed=bytes(32), base=INITIAL)
    assert "without the one that this process has sent" in str(ask(five, "city", SKETCH, request.plain()))
    assert ask(five, "city", SKETCH, replace(request, nonces=taken.nonces).plain()) is None


@pytest.mark.parametrize("lie", ["another package", "fewer", "another sketch", "no table", "a stranger"])
def test_one_comparison_of_a_round(five: Three, lie: str) -> None:
    taken = uploaded(five)
    choosing = five.exchange.choosing(taken, five.exchange.initial)
    assert choosing is not None and choosing.run(FIVE, ask=five.ask, events=five.events) is None
    honest = choosing._distances("city").plain()
    assert ask(five, "city", DISTANCES, honest) is None, "the same again"
    hashes, packages = dict(honest["hashes"]), dict(honest["packages"])
    if lie == "another package":
        hashes["north"] = "0" * 64
    if lie == "fewer":
        del hashes["north"], packages["north"]
    if lie == "a stranger":
        hashes["ghost"], packages["ghost"] = "1" * 64, packages["north"]
    seed = b"2" * 32 if lie == "another sketch" else honest["seed"]
    content: Any = {**honest, "hashes": hashes, "packages": packages, "seed": seed}
    assert ask(five, "city", DISTANCES, [] if lie == "no table" else content) is not None


def test_packages_that_the_dealer_did_not_send_do_not_open(five: Three) -> None:
    taken = uploaded(five)
    choosing = five.exchange.choosing(taken, five.exchange.initial)
    assert choosing is not None
    tasks = {site: Unmask(requests={SKETCH: choosing._request.plain()}) for site in FIVE}
    five.ask(Task.UNMASK, tasks, list(FIVE), number=0, take=choosing._take_dealt)
    honest = choosing._distances("city").plain()
    swapped = {**honest, "packages": honest["packages"] | {"north": honest["packages"]["west"]}}
    assert ask(five, "city", DISTANCES, swapped) is None
    choosing._take_answer("city", Reply(sealed=answer(five, "city")))
    for site in FIVE[1:]:
        assert ask(five, site, DISTANCES, choosing._distances(site).plain()) is None
        choosing._take_answer(site, Reply(sealed=answer(five, site)))
    assert choosing._answers()["city"].damaged == ("north",)


@pytest.mark.parametrize("kind", ["none", "another round's", "another seed"])
def test_a_sum_needs_its_own_proof(five: Three, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    first, _ = five.round(five.exchange.initial)
    second, _ = five.round(first)
    proof = read_sketched_sum(second.proof)
    lies = {"none": None, "another round's": first.proof, "another seed": replace(proof, seed=bytes(32)).pack()}
    received = five.give("city", Task.FINAL, replace(second, proof=lies[kind]))
    assert received.get_header(REFUSED_AT_DOOR) is not None
    assert "proof of what hospitals said" in caplog.text or "sum " in caplog.text


def test_a_job_that_compares_nothing_refuses_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    three = Three(tmp_path, key=None)
    taken = three.exchange.round(three.exchange.initial)
    nonces = {}
    for site in three.sites:
        reply = to_reply(three.train(site, three.exchange.initial))
        nonces[site] = unpack((reply.sealed or {})[MODEL]).parts[0].nonce.hex()
        taken.take(site, reply)
    request = SketchRequest(nonces=nonces, seed=bytes(32), base=INITIAL)
    assert ask(three, "city", SKETCH, request.plain()) is not None
    assert "compares models in a job that does not" in caplog.text


# what is learnt


def test_server_and_one_hospital_hold_too_few_shares_of_a_sketch_and_two_hospitals_enough(five: Three) -> None:
    taken = uploaded(five)
    compared = five.secure_aggregation("north").models._comparison
    assert compared is not None and compared._round.codes is not None
    codes = compared._round.codes.copy()
    choosing = five.exchange.choosing(taken, five.exchange.initial)
    assert choosing is not None and choosing.run(FIVE, ask=five.ask, events=five.events) is None
    packages = choosing._dealt["north"]
    name, points = choosing._request.name(choosing._topic), {site: number + 1 for number, site in enumerate(FIVE)}

    def shares(site: str) -> tuple[int, ...]:
        hospital = five.hospitals[site]
        keys = read_run_keys(hospital.folder / "kit" / "checkpoints" / hospital.job_id / RUN_KEYS_FILE)
        assert keys is not None
        secrets = SharedSecrets(keys.pair, site=site, publics=keys.publics or {})
        found = open_dealt(packages[site], secrets, dealer="north", site=site, name=name, sites=sorted(FIVE))
        assert found is not None
        return found.sketch

    due = sketch(codes, seed=choosing._request.seed)
    city, coast = shares("city"), shares("coast")
    both = {points["city"]: city[0].to_bytes(32, "little"), points["coast"]: coast[0].to_bytes(32, "little")}
    assert int.from_bytes(combine(both, needed=2), "little") == due[0], "control: two hospitals could read it"
    assert city[0] != due[0]
    hospital = five.hospitals["city"]
    keys = read_run_keys(hospital.folder / "kit" / "checkpoints" / hospital.job_id / RUN_KEYS_FILE)
    assert keys is not None
    secrets = SharedSecrets(keys.pair, site="city", publics=keys.publics or {})
    for other in FIVE[1:]:  # the keys of one hospital open its own package alone
        assert open_dealt(packages[other], secrets, dealer="north", site="city", name=name, sites=sorted(FIVE)) is None


def test_messages_are_as_long_as_the_plan_says(five: Three) -> None:
    taken = uploaded(five)
    request = SketchRequest(nonces=taken.nonces, seed=bytes(32), base=INITIAL)
    assert ask(five, "city", SKETCH, request.plain()) is None
    content = answer(five, "city")[SHARES + SKETCH]
    assert set(split_message(content, holders=FIVE, sites=5)) == set(FIVE)


def test_masks_are_taken_off_for_the_chosen_alone(five: Three) -> None:
    taken = uploaded(five)
    assert five.choose(taken, five.exchange.initial) is None
    assert take_masks_off(taken.sums, FIVE, ask=five.ask, events=five.events, number=0) == {}
    made = taken.close()
    out = next(iter(taken.left_out))
    assert out not in unpack(made.sealed or b"").sites
    run = five.hospitals["city"].record.require(five.hospitals["city"].job_id)
    helped = run.helped(MODEL, 0)
    assert helped is not None and out not in helped["sites"]
