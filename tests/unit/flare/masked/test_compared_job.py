"""A masked job whose models are compared before they are summed: honest rounds, false hospitals, and a lying server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedward.encryption.distances.checking import Checks, about, checked, read_checks
from fedward.encryption.distances.dealing import Dealt
from fedward.encryption.distances.field import PRIME, value_at
from fedward.encryption.distances.packages import hash_of, name_of_dealing, open_dealt, split_message
from fedward.encryption.distances.reed_solomon import decode
from fedward.encryption.distances.requests import CHECK, DISTANCES, SKETCH, SketchRequest, read_check_request
from fedward.encryption.distances.sketch import sketch
from fedward.encryption.distances.sketched_sum import read_sketched_sum
from fedward.encryption.masks.agreement import SharedSecrets
from fedward.encryption.masks.run_keys import RUN_KEYS_FILE, read_run_keys
from fedward.encryption.message import pack, unpack
from fedward.errors import EncryptionError
from fedward.flare.gates.sums import comparison
from fedward.flare.protocol import MODEL, REFUSED_AT_DOOR, Model, Reply, Task, Unmask, to_reply, to_shareable
from fedward.flare.secagg_context import INITIAL, SHARES
from fedward.flare.server.averaging import choosing as server_choosing
from fedward.flare.server.averaging.choosing import FALSE, LATE, Choosing
from fedward.flare.server.averaging.compared_round import FAR, ComparedRound
from fedward.flare.server.masked_sums import take_masks_off
from fedward.metrics.events import EventReader
from tests.support.flare.signed import signer
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


def dealt(three: Three, choosing: Any, *, dealer: str, to: str, by: str) -> Dealt | None:
    """Open a package with the keys in a hospital's own file, as one that sides with the server does."""
    hospital = three.hospitals[by]
    keys = read_run_keys(hospital.folder / "kit" / "checkpoints" / hospital.job_id / RUN_KEYS_FILE)
    assert keys is not None
    secrets = SharedSecrets(keys.pair, site=by, publics=keys.publics or {})
    name = choosing._request.name(choosing._topic)
    return open_dealt(
        choosing._dealt[dealer][to],
        secrets,
        dealer=dealer,
        site=by,
        name=name,
        sites=three.sites,
        dealing=name_of_dealing(choosing._hashes[dealer], dealer=dealer, name=name),
    )


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
    assert why == "4 sites shared their models' sketches, and 5 are needed"


@pytest.mark.parametrize("purpose", [CHECK, DISTANCES])
def test_a_hospital_that_is_lost_while_models_are_compared_costs_nothing(tmp_path: Path, purpose: str) -> None:
    three = Three(tmp_path, key=None, sites=SEVEN, **COMPARED, encryption={"max_colluding": 1})
    taken, asking = uploaded(three), three.ask

    def ask(task: Task, carried: Any, sites: list[str], **how: Any) -> Any:
        three.lost = {"coast"} if purpose in next(iter(carried.values())).requests else set()
        return asking(task, carried, sites, **how)

    three.ask = ask  # type: ignore[method-assign]
    made = chosen(three, taken)
    assert_close(three.opened("city", made), mean(three, unpack(made.sealed or b"").sites))


@pytest.mark.parametrize("restarted", [2, 3])
def test_too_few_that_can_prove_a_sum_open_nothing(five: Three, restarted: int) -> None:
    """Processes that were restarted after they compared have no shares of the sketches, and the run goes on."""
    taken = uploaded(five)
    assert five.choose(taken, five.exchange.initial) is None
    for site in FIVE[:restarted]:
        five.hospitals[site].restart()
    shut = take_masks_off(taken.sums, FIVE, ask=five.ask, events=five.events, number=0)
    few = {MODEL: "2 of the 3 hospitals that must help to check the sum did"}
    assert shut == ({} if restarted == 2 else few)


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


def test_false_shares_of_a_dealer_and_of_its_helper_make_no_false_model(tmp_path: Path) -> None:
    """Two of seven: one shares an honest sketch with most, and its false model's with two, which its helper follows."""
    changes = {**COMPARED, "federation": {**COMPARED["federation"], "max_malicious": 2, "min_sites": 7}}
    three = Three(tmp_path, key=None, sites=SEVEN, **changes, encryption={"max_colluding": 1})
    points = {site: number + 1 for number, site in enumerate(SEVEN)}
    near, apart = dict[str, Any](), dict[str, list[int]]()
    seal, honest_deal, honest_sketch = comparison.seal_share, comparison.deal, comparison.sketch

    def deal(numbers: Any, *, others: Any, **how: Any) -> Any:
        if "north" in others:
            return honest_deal(numbers, others=others, **how)
        made = honest_deal(honest_sketch(near["codes"], seed=near["seed"]), others=others, **how)
        x = points["west"]  # the two polynomials meet at an honest hospital
        slopes = [(p - q) * pow(x, -1, PRIME) % PRIME for p, q in zip(made["west"].sketch, numbers, strict=True)]
        false = {h: [(q + m * points[h]) % PRIME for q, m in zip(numbers, slopes, strict=True)] for h in points}
        for liar in ("north", "city"):
            apart[liar] = [(q - p) % PRIME for q, p in zip(false[liar], made[liar].sketch, strict=True)]
        return made | {victim: replace(made[victim], sketch=tuple(false[victim])) for victim in ("coast", "valley")}

    def sealing(shares: Any, key: Any, *, site: str, name: str) -> bytes:
        return seal([*shares, apart[site]] if site in apart else shares, key, site=site, name=name)

    def sketching(codes: Any, *, seed: bytes) -> list[int]:
        near["seed"] = seed
        return honest_sketch(codes, seed=seed)

    falsify(three, "north", scale=3.0)
    taken = uploaded(three)
    other = three.secure_aggregation("west").models._comparison
    assert other is not None
    near["codes"] = other._round.codes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "deal", deal)
        patch.setattr(comparison, "seal_share", sealing)
        patch.setattr(comparison, "sketch", sketching)
        patch.setattr(server_choosing, "surely_false", lambda *_, **__: frozenset())  # as a server on its side would
        assert three.choose(taken, three.exchange.initial) is None
        assert "north" not in taken.left_out, "it is chosen for its honest sketch"
        made = three.closed(taken, number=0)
    for site in SEVEN:
        assert three.give(site, Task.ROUND, made, number=1).get_header(REFUSED_AT_DOOR) is not None


NINE = (*SEVEN, "yonder", "zealand")


@pytest.mark.parametrize("then", ["withhold", "lie"])
@pytest.mark.parametrize(
    "victims", [(("north", "valley"), ("west", "yard")), (("north", "valley"), ("north", "valley"))]
)
def test_dealers_that_put_honest_hospitals_off_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str, victims: tuple[tuple[str, str], ...]
) -> None:
    """Two of nine, so that with their own part in the sum's proof too few honest hospitals would be left for it."""
    changes = {**COMPARED, "federation": {**COMPARED["federation"], "max_malicious": 2, "min_sites": 9}}
    three = Three(tmp_path, key=None, sites=NINE, **changes, encryption={"max_colluding": 1})
    liars = dict(zip(("city", "coast"), victims, strict=True))
    honest_deal, honest_seal = comparison.deal, comparison.seal_share

    def deal(numbers: Any, *, others: Any, **how: Any) -> Any:
        made = honest_deal(numbers, others=others, **how)
        (site,) = set(NINE) - set(others)
        off = {one: replace(made[one], sketch=tuple(reversed(made[one].sketch))) for one in liars.get(site, ())}
        return made | off

    def seal(shares: Any, key: Any, *, site: str, name: str) -> bytes | None:
        if site in liars and then == "withhold":
            return None
        return honest_seal([[3] * 1024] if site in liars else shares, key, site=site, name=name)

    monkeypatch.setattr(comparison, "deal", deal)
    monkeypatch.setattr(comparison, "seal_share", seal)
    taken = uploaded(three)
    assert three.choose(taken, three.exchange.initial) is None
    if victims[0] != victims[1]:  # else it may as well be the two victims that lie
        assert taken.left_out == dict.fromkeys(liars, FALSE)
    made = three.closed(taken, number=0)
    assert_close(three.opened("zurich", made), mean(three, tuple(taken.sites)))


def lies_when_checking(
    three: Three, monkeypatch: pytest.MonkeyPatch, liars: tuple[str, ...], *, of: tuple[str, ...]
) -> None:
    """Have hospitals send false values about some dealers; the others' are true."""
    honest = Choosing._take_checks

    def take(choosing: Choosing, site: str, reply: Reply) -> None:
        sealed = dict(reply.sealed or {})
        if site in liars:
            start = sealed[SHARES + CHECK].index(b"{")
            own = read_checks(sealed[SHARES + CHECK][start:], dealers=three.sites)
            values = {one: ((a + 1) % PRIME, b) if one in of else (a, b) for one, (a, b) in own.values.items()}
            content = sealed[SHARES + CHECK][:start] + Checks(values, own.damaged).pack()
            signature = signer(site).sign(content, choosing._topic, site=site)
            sealed |= {SHARES + CHECK: content, "signature " + SHARES + CHECK: signature}
        honest(choosing, site, replace(reply, sealed=sealed))

    monkeypatch.setattr(Choosing, "_take_checks", take)


def test_one_that_lies_about_all_others_has_no_far_model_summed(five: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    falsify(five, "coast", scale=5.0)
    lies_when_checking(five, monkeypatch, ("coast",), of=tuple(site for site in FIVE if site != "coast"))
    made, taken = five.round(five.exchange.initial)
    assert "coast" not in taken.sites and taken.left_out["coast"] == FALSE and len(taken.sites) == 4
    assert_close(five.opened("city", made), mean(five, tuple(taken.sites)))


def test_two_that_contradict_one_honest_hospital_have_no_far_model_summed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either two lie, or one other: were the one left out for it, one far model less would be left out."""
    changes = {**COMPARED, "federation": {**COMPARED["federation"], "max_malicious": 2, "min_sites": 9}}
    three = Three(tmp_path, key=None, sites=NINE, **changes, encryption={"max_colluding": 2})
    falsify(three, "city", scale=5.0)
    lies_when_checking(three, monkeypatch, ("city", "coast"), of=("zurich",))
    honest = comparison.deal

    def deal(numbers: Any, *, others: Any, **how: Any) -> Any:
        made = honest(numbers, others=others, **how)
        if {"city", "coast"} <= set(others):
            return made
        return made | {"zurich": replace(made["zurich"], sketch=tuple(reversed(made["zurich"].sketch)))}

    monkeypatch.setattr(comparison, "deal", deal)
    taken = uploaded(three)
    assert three.choose(taken, three.exchange.initial) is None
    assert "city" not in taken.sites and len(taken.sites) == 7


def test_a_check_names_this_hospitals_own_upload(five: Three) -> None:
    """Else repeated rounds of one hospital would do to learn more of its sketch; the others need not send again."""
    choosing = prepared(five)
    plain = choosing.checking("city").plain()
    plain["nonces"] = plain["nonces"] | {"city": "0" * 32}
    assert "without the one that this process has sent" in str(ask(five, "city", CHECK, plain))


def test_a_false_weight_is_refused(five: Three, caplog: pytest.LogCaptureFixture) -> None:
    models = five.secure_aggregation("north").models
    honest = models._fixed.weight_code
    models._fixed.__class__.weight_code = lambda self, weight: 1  # type: ignore[method-assign,assignment]
    try:
        answer = five.train("north", five.exchange.initial)
    finally:
        models._fixed.__class__.weight_code = honest.__func__  # type: ignore[method-assign]
    taken = five.exchange.round(five.exchange.initial)
    taken.take("north", to_reply(answer))
    for site in FIVE:
        if site != "north":
            taken.take(site, to_reply(five.train(site, five.exchange.initial)))
    taken.stop()
    assert isinstance(taken, ComparedRound)
    compared = models._comparison
    other = five.secure_aggregation("city").models._comparison
    assert compared is not None and other is not None
    made = chosen(five, taken)
    if "north" in unpack(made.sealed or b"").sites:
        assert five.give("city", Task.ROUND, made, number=1).get_header(REFUSED_AT_DOOR) is not None
        assert "another weight than its hospitals together" in caplog.text or "not of the models" in caplog.text


def test_a_hospital_that_checks_falsely_is_named(five: Three, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, liars = comparison.checks_of, iter([True, False, False, False, False])

    def false(dealt: Any, **how: Any) -> Checks:
        found = honest(dealt, **how)
        return Checks(dict.fromkeys(found.values, (1, 2))) if next(liars) else found

    monkeypatch.setattr(comparison, "checks_of", false)
    made, taken = five.round(five.exchange.initial)
    assert_close(five.opened("coast", made), mean(five, tuple(taken.sites)))
    said = [event for event in EventReader(tmp_path / "events.jsonl") if event["event"] == "suspect"]
    assert [(event["site"], event["reason"]) for event in said] == [("city", FALSE)]


def test_a_message_of_another_length_or_with_anothers_nonce_is_not_taken(five: Three) -> None:
    taken = five.exchange.round(five.exchange.initial)
    reply = to_reply(five.train("city", five.exchange.initial))
    message = unpack((reply.sealed or {})[MODEL])
    topic = message.topic
    for bad in (
        pack(replace(message, payload=message.payload[:-4])),
        pack(replace(message, payload=message.payload + b"0000")),
    ):
        signature = signer("city").sign(bad, topic, site="city")
        sealed = {**(reply.sealed or {}), MODEL: bad, "signature " + MODEL: signature}
        with pytest.raises(EncryptionError, match="another length"):
            taken.take("city", replace(reply, sealed=sealed))
    taken.take("city", reply)
    other = to_reply(five.train("coast", five.exchange.initial))
    copied = unpack((other.sealed or {})[MODEL])
    bad = pack(replace(copied, parts=(replace(copied.parts[0], nonce=message.parts[0].nonce),)))
    sealed = {**(other.sealed or {}), MODEL: bad, "signature " + MODEL: signer("coast").sign(bad, topic, site="coast")}
    with pytest.raises(EncryptionError, match="with the nonce of another's"):
        taken.take("coast", replace(other, sealed=sealed))


# a lying server


def prepared(three: Three, *, until: str = "") -> Any:
    """A comparison whose sketches are dealt, and checked if it goes on until the distances."""
    taken = uploaded(three)
    choosing = three.exchange.choosing(taken, three.exchange.initial)
    assert choosing is not None
    tasks = {site: Unmask(requests={SKETCH: choosing._request.plain()}) for site in FIVE}
    three.ask(Task.UNMASK, tasks, list(FIVE), number=0, take=choosing._take_dealt)
    if until == DISTANCES:
        tasks = {site: Unmask(requests={CHECK: choosing.checking(site).plain()}) for site in FIVE}
        three.ask(Task.UNMASK, tasks, list(FIVE), number=0, take=choosing._take_checks)
    return choosing


def test_one_sketch_of_an_upload(five: Three) -> None:
    taken = uploaded(five)
    request = SketchRequest(nonces=taken.nonces, seed=bytes(32), base=INITIAL)
    assert ask(five, "city", SKETCH, request.plain()) is None
    assert answer(five, "city")[SHARES + SKETCH]
    assert ask(five, "city", SKETCH, request.plain()) is None, "the same again: new shares of the same sketch"
    again = ask(five, "city", SKETCH, replace(request, seed=b"1" * 32).plain())
    assert again is not None and "compared other models of this round" in again
    fewer = {site: nonce for site, nonce in taken.nonces.items() if site != "west"}
    assert ask(five, "city", SKETCH, replace(request, nonces=fewer).plain()) is not None
    assert ask(five, "city", SKETCH, request.plain()) is None, "the run goes on"


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


def test_other_packages_under_the_name_of_those_before_are_refused(
    five: Three, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a server could read a sketch by asking again and again, each time with other shares of a hospital on its
    side."""
    choosing = prepared(five)
    honest = choosing.checking("city").plain()
    assert ask(five, "city", CHECK, honest) is None and ask(five, "city", CHECK, honest) is None
    own = honest["packages"]["north"]
    other = bytes([own[0] ^ 1]) + own[1:]
    assert ask(five, "city", CHECK, {**honest, "packages": honest["packages"] | {"north": other}}) is not None
    assert "are not those that the task names" in caplog.text


@pytest.mark.parametrize("lie", ["another package", "fewer", "another sketch", "no table", "a stranger", "short"])
def test_one_check_of_a_round(five: Three, lie: str) -> None:
    choosing = prepared(five)
    honest = choosing.checking("city").plain()
    assert ask(five, "city", CHECK, honest) is None
    hashes, packages = dict(honest["hashes"]), dict(honest["packages"])
    if lie == "another package":
        packages["north"] = packages["west"]
        hashes["north"] = [hash_of(packages["north"]), *hashes["north"][1:]]
    if lie == "fewer":
        del hashes["north"], packages["north"]
    if lie == "a stranger":
        hashes["ghost"], packages["ghost"] = hashes["north"], packages["north"]
    if lie == "short":
        hashes["north"] = hashes["north"][:-1]
    seed = b"2" * 32 if lie == "another sketch" else honest["seed"]
    content: Any = {**honest, "hashes": hashes, "packages": packages, "seed": seed}
    assert ask(five, "city", CHECK, [] if lie == "no table" else content) is not None


def test_packages_that_the_dealer_did_not_send_do_not_open(five: Three) -> None:
    choosing = prepared(five)
    honest = choosing.checking("city")
    swapped = honest.packages | {"north": honest.packages["west"]}
    hashes = dict(honest.hashes) | {"north": (hash_of(swapped["north"]), *honest.hashes["north"][1:])}
    request = replace(honest, packages=swapped, hashes=hashes)
    assert ask(five, "city", CHECK, request.plain()) is None
    content = answer(five, "city")[SHARES + CHECK]
    found = read_checks(checked(content, name=request.name(choosing._topic)), dealers=sorted(FIVE))
    assert found.damaged == ("north",)


def test_one_dealing_is_combined_once_whatever_the_server_names_beside_it(five: Three) -> None:
    """The server names another package of its own hospital to each honest one.

    Were the factors of an honest dealer's shares others each time, the differences would be equations of its sketch.
    """
    choosing, values = prepared(five), {}
    for number, holder in enumerate(FIVE[:4]):
        plain = choosing.checking(holder).plain()
        plain["hashes"]["west"] = [*plain["hashes"]["west"][:4], hash_of(b"%d" % number + bytes(32))]
        request = read_check_request(plain, holder=holder, graph=choosing._graph)
        assert ask(five, holder, CHECK, plain) is None
        content = checked(answer(five, holder)[SHARES + CHECK], name=request.name(choosing._topic))
        found = read_checks(content, dealers=FIVE)
        assert found.damaged == ("west",), "the hospital on the server's side did not deal these together"
        values[number + 1] = found.values["north"]
    for which, degree in ((0, 1), (1, 2)):
        on = decode({point: value[which] for point, value in values.items()}, degree=degree, malicious=0)
        assert on is not None, "all values are of one combination"


@pytest.mark.parametrize("other", ["of another package", "in another order", "none"])
def test_a_dealer_of_which_a_server_names_other_packages_is_not_combined(five: Three, other: str) -> None:
    choosing = prepared(five)
    plain = choosing.checking("city").plain()
    own, *rest = plain["hashes"]["north"]
    lies = {
        "of another package": [own, hash_of(bytes(40)), *rest[1:]],
        "in another order": [own, *reversed(rest)],
        "none": [own, *["0" * 64] * 4],
    }
    plain["hashes"]["north"] = lies[other]
    request = read_check_request(plain, holder="city", graph=choosing._graph)
    assert ask(five, "city", CHECK, plain) is None
    content = checked(answer(five, "city")[SHARES + CHECK], name=request.name(choosing._topic))
    assert read_checks(content, dealers=FIVE).damaged == ("north",)


def test_shares_that_were_dealt_again_hide_the_same_sketch_anew(five: Three) -> None:
    """A repeated answer has other shares, hidden by other numbers, and other factors: no difference tells of it."""
    choosing = prepared(five)
    first = dict(choosing._dealt["north"])
    five.ask(
        Task.UNMASK,
        {"north": Unmask(requests={SKETCH: choosing._request.plain()})},
        ["north"],
        number=0,
        take=choosing._take_dealt,
    )
    assert all(choosing._dealt["north"][site] != first[site] for site in FIVE)


LIES = ["unsigned", "another's", "of another check", "few", "own missing", "changed", "no table"]


@pytest.mark.parametrize("lie", LIES)
def test_values_that_hospitals_did_not_sign_are_refused(five: Three, lie: str) -> None:
    choosing = prepared(five, until=DISTANCES)
    honest = choosing.computing().plain()
    checks = {holder: dict(one) for holder, one in honest["checks"].items()}
    if lie == "unsigned":
        checks["north"]["signature"] = bytes(256)
    if lie == "another's":
        checks["north"] = checks["west"]
    if lie == "of another check":
        checks["north"]["answer"] = checks["north"]["answer"].replace(b"FWCHECK1\n", b"FWCHECK1\n0", 1)
    if lie == "few":
        checks = dict([*checks.items()][:4])
    if lie == "changed":
        checks["north"]["answer"] = checks["north"]["answer"][:-4] + b'0"}'
    content: Any = {**honest, "checks": [] if lie == "no table" else checks}
    if lie == "own missing":
        del content["checks"]["city"]
    assert ask(five, "city", DISTANCES, content) is not None


def test_one_set_of_values_of_a_round(five: Three) -> None:
    """With other values, which a hospital on the server's side signs, an honest one would compute on other shares."""
    choosing = prepared(five, until=DISTANCES)
    honest = choosing.computing().plain()
    assert ask(five, "city", DISTANCES, honest) is None and ask(five, "city", DISTANCES, honest) is None
    name = choosing.checking("city").name(choosing._topic)
    other = about(name) + Checks({}, tuple(FIVE)).pack()
    signed = {**honest["checks"]["north"], "answer": other}
    signed["signature"] = signer("north").sign(other, choosing._topic, site="north")
    again = ask(five, "city", DISTANCES, {**honest, "checks": honest["checks"] | {"north": signed}})
    assert again is not None and "compared other models of this round" in again


def test_distances_before_any_check_are_refused_and_the_run_goes_on(five: Three) -> None:
    choosing = prepared(five, until=DISTANCES)
    five.hospitals["city"].restart()
    honest = choosing.computing().plain()
    assert "not those that this process has checked" in str(ask(five, "city", DISTANCES, honest))
    assert ask(five, "city", CHECK, choosing.checking("city").plain()) is None
    assert ask(five, "city", DISTANCES, honest) is None


def test_models_are_compared_in_one_run_of_a_job_alone(five: Three, caplog: pytest.LogCaptureFixture) -> None:
    prepared(five)
    again = five.again()
    taken = uploaded(again)
    request = SketchRequest(nonces=taken.nonces, seed=bytes(32), base=INITIAL)
    assert ask(again, "city", SKETCH, request.plain()) is not None
    assert "were compared in another run of this job" in caplog.text


def test_a_sum_of_another_message_than_was_compared_has_no_proof(five: Three) -> None:
    taken = uploaded(five)
    assert five.choose(taken, five.exchange.initial) is None
    compared = five.secure_aggregation("city").models._comparison
    assert compared is not None
    topic = five.exchange.topics.model(0, base=INITIAL)
    nonces = {site: compared._round.nonces[site] for site in taken.sites}
    assert compared.share_of_sum(topic, nonces) is not None
    assert compared.share_of_sum(topic, nonces | {taken.sites[0]: "0" * 32}) is None


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
    points = {site: number + 1 for number, site in enumerate(FIVE)}

    def shares(site: str) -> tuple[int, ...]:
        found = dealt(five, choosing, dealer="north", to=site, by=site)
        assert found is not None
        return found.sketch

    due = sketch(codes, seed=choosing._request.seed)
    city, coast = shares("city"), shares("coast")
    two = sorted((points["city"], points["coast"]))
    assert value_at(two, [city[0], coast[0]], 0) == due[0], "control: two hospitals could read it"
    assert city[0] != due[0]
    for other in FIVE[1:]:  # the keys of one hospital open its own package alone
        assert dealt(five, choosing, dealer="north", to=other, by="city") is None


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
