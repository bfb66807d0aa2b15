"""A server that replays, deploys an id again, asks again, backwards or ahead, and shows hospitals different models."""

from __future__ import annotations

import copy
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nvflare.apis.shareable import Shareable

from fedward.encryption.fixed_point import FixedPoint
from fedward.encryption.roster import context_of
from fedward.encryption.secure_sum import Aggregator, SecureSum
from fedward.encryption.sum_context import SumContext
from fedward.encryption.sums import identity_of
from fedward.errors import GateError, LedgerError
from fedward.flare.gates import gate
from fedward.flare.gates.egress import EgressGate
from fedward.flare.protocol import (
    CONFIRM,
    MODEL,
    REFUSED_AT_DOOR,
    Model,
    Reply,
    Task,
    global_weights,
    question,
    refusal,
    to_reply,
    to_shareable,
)
from fedward.flare.secagg_context import INITIAL, OPENED, SumContexts
from fedward.privacy.budget_plan import repeated_rounds
from fedward.privacy.ledger.run_record import NONCE_BYTES, Record
from fedward.privacy.ledger.runs import FinalModel
from fedward.privacy.policy.job_hash import job_hash
from fedward.weights import digest, flatten, layout_hash, layout_of
from tests.support.flare.hospital import Hospital, assert_refused
from tests.support.flare.three import KEY, SITES, Three, first_sum
from tests.support.ledger import FAST

BEST: dict[str, Any] = {"federation": {"rounds": 3, "select": "best"}}


def refused(received: Shareable) -> str:
    """Return the reason why the hospital's ingress gate kept a task from its executor."""
    assert "DXO" not in received
    reason = received.get_header(REFUSED_AT_DOOR)
    assert reason
    return str(reason)


def refused_anew(three: Three, site: str, *task: Any) -> str:
    """Return the reason why another process of the hospital refuses a task."""
    three.hospitals[site].restart()
    return refused(three.give(site, *task))


def sums(three: Three) -> list[Model]:
    """The sums of every round of a job, opened by all its hospitals as the next round began."""
    made = [three.exchange.initial]
    for _ in range(three.hospitals["city"].job.federation.rounds):
        made.append(three.round(made[-1])[0])
    return made[1:]


# an id again


def test_another_process_of_the_site_opens_the_same_sum_and_no_other(tmp_path: Path) -> None:
    """The server deploys the id again after round 0 and asks three hospitals of four for another sum of it."""
    three = Three(tmp_path, sites=(*SITES, "west"), federation={"rounds": 3})
    honest, other = first_sum(three), three.another_sum(("city", "coast", "north"))
    city = three.hospitals["city"]
    assert global_weights(three.give("city", Task.ROUND, honest, number=1))
    city.restart()
    assert global_weights(three.give("city", Task.ROUND, honest, number=1)), "the same sum, and its round has not left"
    city.restart()
    assert "another sum of this round" in refused(three.give("city", Task.ROUND, other, number=1))
    city.restart()
    assert "has ended here" in refused(three.give("city", Task.ROUND, honest, number=1)), "a lie ends the run"


def test_an_id_that_stands_for_another_job_is_refused(tmp_path: Path) -> None:
    three = Three(tmp_path, federation={"rounds": 3})
    city = three.hospitals["city"]
    first_sum(three)
    other = Three(tmp_path / "other", federation={"rounds": 2}).hospitals["city"]
    city.config, city.job = other.config, other.job
    city.restart()
    assert "another job was begun here" in refused(three.give("city", Task.ADMIT, None))


def test_a_run_that_has_ended_is_not_continued(three: Three) -> None:
    city = three.hospitals["city"]
    city.record.end(city.job_id)
    city.restart()
    for task in (Task.ADMIT, Task.ROUND):
        city.restart()
        number = 0 if task is Task.ROUND else -1
        assert "has ended here" in refused(three.give("city", task, three.exchange.initial, number=number))


def test_a_run_that_never_began_here_has_no_round(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, admitted=False)
    assert "before this hospital was asked to admit" in refused(hospital.receive())
    assert hospital.record.find(hospital.job_id) is None


def test_sums_of_an_earlier_run_under_the_same_id_are_not_opened_where_the_record_forgot_it(tmp_path: Path) -> None:
    """Ledgers restored from a backup of before the run: the nonces of the new run are others."""
    one = Three(tmp_path / "one", job_id="the-same-id", federation={"rounds": 2})
    earlier = first_sum(one)
    for hospital in one.hospitals.values():
        hospital.restart()
    two = Three(tmp_path / "two", job_id="the-same-id", federation={"rounds": 2})
    assert one.exchange.roster != two.exchange.roster
    first_sum(two)
    assert "sealed for another … than this sum's" in refused(two.give("city", Task.ROUND, earlier, number=1))


# the hospitals' own nonces


ROSTERS: dict[str, tuple[Callable[[dict[str, str]], Any], str]] = {
    "none": (lambda roster: None, "does not say which hospitals"),
    "no table": (lambda roster: [*roster], "does not say which hospitals"),
    "empty": (lambda roster: {}, "does not say which hospitals"),
    "not this hospital": (lambda roster: {k: v for k, v in roster.items() if k != "city"}, "another nonce for this"),
    "its nonce chosen": (lambda roster: roster | {"city": "0" * 32}, "another nonce for this"),
    "two of one nonce": (lambda roster: roster | {"west": roster["coast"]}, "two hospitals one nonce"),
    "no nonce": (lambda roster: roster | {"west": "abc"}, "in another form"),
    "no hospital": (lambda roster: roster | {"../west": "1" * 32}, "in another form"),
    "one hospital more": (lambda roster: roster | {"west": "1" * 32}, "not those of its first task"),
    "one hospital fewer": (lambda roster: {k: roster[k] for k in ("city", "coast")}, "not those of its first task"),
    "another's nonce changed": (lambda roster: roster | {"coast": "2" * 32}, "not those of its first task"),
}


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("lie", ROSTERS)
def test_a_roster_that_lies_or_changes_within_a_run_is_refused(three: Three, lie: str, restarted: bool) -> None:
    change, says = ROSTERS[lie]
    three.give("city", Task.ROUND, three.exchange.initial, number=0)
    if restarted:
        three.hospitals["city"].restart()
    three.exchange.roster = change(dict(three.exchange.roster or {}))
    carried = three.exchange.initial if restarted else first_model(three)
    assert says in refused(three.give("city", Task.ROUND, carried, number=carried.after))


def first_model(three: Three) -> Model:
    """A sum whose content nobody comes to look at."""
    return Model(after=1, sealed=b"never read")


def test_a_hospital_keeps_its_nonce_and_two_runs_never_share_one(tmp_path: Path) -> None:
    three = Three(tmp_path)
    before = dict(three.exchange.roster or {})
    assert three.exchange.agree_on_key({site: three.admitted_again(site) for site in SITES}) == {}
    assert three.exchange.roster == before
    assert len(set(before.values()) | set((Three(tmp_path / "next").exchange.roster or {}).values())) == 6


def test_a_site_that_says_no_nonce_takes_no_part(three: Three) -> None:
    replies = {site: three.admitted_again(site) for site in SITES}
    sealed = {name: value for name, value in (replies["coast"].sealed or {}).items() if name != "nonce"}
    odd = three.exchange.agree_on_key(replies | {"coast": Reply(sealed=sealed)})
    assert odd == {"coast": "sent no nonce for this run"}
    assert set(three.exchange.roster or {}) == {"city", "north"}


def test_a_context_is_of_the_job_the_hospitals_and_their_nonces() -> None:
    roster = {"a": "1" * 32, "b": "2" * 32}
    one = context_of(roster, job="c" * 64)
    assert one == context_of(dict(reversed(roster.items())), job="c" * 64)
    others = [
        context_of(roster, job="d" * 64),
        context_of(roster | {"b": "3" * 32}, job="c" * 64),
        context_of({"a": "1" * 32}, job="c" * 64),
    ]
    assert len({one, *others}) == 4


# rounds again, backwards, ahead


@pytest.mark.parametrize("privacy", ["none", "clipped", "update-noise", "dp-sgd"])
def test_a_rounds_update_leaves_forwards_or_again_for_the_last_round(tmp_path: Path, privacy: str) -> None:
    hospital = Hospital(tmp_path, privacy, changes={"federation": {"rounds": 40}})
    left = []
    for number in (0, 0, 3, 3, 1, 0, 2, 5, 3, 5):
        hospital.restart()
        if REFUSED_AT_DOOR in hospital.receive(number=number)["__headers__"]:
            continue
        update = hospital.update(seed=number)
        proof = hospital.proof(update, number=number) if privacy == "dp-sgd" else None
        if refusal(hospital.send(hospital.answer(update, proof=proof))) is None:
            left.append(number)
        if number in (1, 2):  # a lie: the run is over here
            break
    assert left == [0, 0, 3, 3]


def test_of_many_processes_of_one_site_at_once_each_update_of_a_round_counts(tmp_path: Path) -> None:
    hospital, states = Hospital(tmp_path), []
    for _ in range(5):
        hospital.restart()
        hospital.receive()
        states.append(gate._STATES[hospital.site, hospital.job_id])
    for seed, state in enumerate(states):
        hospital.restart()
        gate._STATES[hospital.site, hospital.job_id] = state
        update = hospital.update(seed=seed)
        sent = EgressGate().process(hospital.answer(update), hospital.context(Task.ROUND))
        if seed > 2:
            assert_refused(sent, says="the rounds that this run may repeat are used up", payload=update)
        else:
            assert refusal(sent) is None
    assert hospital.record.require(hospital.job_id).repeats == 2


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("after", ["written", "not written"])
def test_a_kill_around_the_record_of_a_round_is_counted_as_if_its_update_had_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encrypted: bool, after: str
) -> None:
    """Killed once the entry is durable, the round comes again as a repeat; killed before it, nothing had left."""
    three = Three(tmp_path)
    hospital = three.hospitals["city"] if encrypted else Hospital(tmp_path / "clear")

    def ask() -> Shareable:
        if encrypted:
            return three.give("city", Task.ROUND, three.exchange.initial, number=0)
        return hospital.receive()

    leave = Record.leave

    def killed(self: Record, job_id: str, **answer: Any) -> None:
        if after == "written":
            leave(self, job_id, **answer)
        raise KeyboardInterrupt

    ask()
    monkeypatch.setattr(Record, "leave", killed)
    with pytest.raises(KeyboardInterrupt):
        hospital.send(hospital.answer(hospital.update()))
    monkeypatch.undo()
    hospital.restart()
    assert "DXO" in ask()
    assert refusal(hospital.send(hospital.answer(hospital.update()))) is None
    assert hospital.record.require(hospital.job_id).repeats == (after == "written")


@pytest.mark.parametrize("after", ["written", "not written"])
def test_a_kill_around_the_record_of_a_sum_leaves_no_second_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    three = Three(tmp_path, federation={"rounds": 3})
    honest, other = first_sum(three), three.another_sum()
    open_sum = Record.open_sum

    def killed(self: Record, job_id: str, **words: Any) -> None:
        if after == "written":
            open_sum(self, job_id, **words)
        raise KeyboardInterrupt

    monkeypatch.setattr(Record, "open_sum", killed)
    with pytest.raises(KeyboardInterrupt):
        three.give("city", Task.ROUND, honest, number=1)
    monkeypatch.undo()
    three.hospitals["city"].restart()
    received = three.give("city", Task.ROUND, other, number=1)
    assert ("DXO" in received) == (after == "not written"), "no executor has seen the first, or none sees the second"


@pytest.mark.parametrize("damage", ["missing", "flipped", "no key", "head"])
def test_where_the_record_cannot_be_had_nothing_is_opened_and_nothing_leaves(three: Three, damage: str) -> None:
    model, city = first_sum(three), three.hospitals["city"]
    ledger = city.local / "ledger.db"
    if damage == "missing":
        ledger.unlink()
    elif damage == "flipped":
        content = bytearray(ledger.read_bytes())
        content[content.rfind(b'"nonce"') + 12] ^= 1
        ledger.write_bytes(bytes(content))
    elif damage == "no key":
        (city.local / "key").unlink()
    else:
        (city.local / "ledger.db.head").write_text("{}")
    city.restart()
    assert "ledger" in refused(three.give("city", Task.ROUND, model, number=1))
    assert_refused(city.send(city.answer(city.update())), payload=city.update())


# one final model


def test_no_hospital_opens_another_round_than_the_one_that_all_confirmed(tmp_path: Path) -> None:
    """The server has city open round 1, coast round 2 and north round 3, with every word that it can collect."""
    three = Three(tmp_path, **BEST)
    made = sums(three)
    shown = dict(zip(SITES, made, strict=True))
    replies = {site: three.final(site, model) for site, model in shown.items()}
    for site, model in shown.items():
        tally = three.exchange.confirmation(MODEL, model.sealed or b"")
        tally.take({other: reply for other, reply in replies.items() if shown[other] is model})
        assert tally.close() is None, "of one hospital's word there is no sum"
        for other in SITES:
            if other != site:
                assert refusal(three.open(other, model, None)) is not None
        assert refusal(three.open(site, model, None)) is not None


@pytest.mark.parametrize("restarted", [False, True])
def test_a_hospital_confirms_one_final_model_a_job_and_opens_that(tmp_path: Path, restarted: bool) -> None:
    three = Three(tmp_path, **BEST)
    made = sums(three)
    confirmed = three.words(made[0])
    if restarted:
        for hospital in three.hospitals.values():
            hospital.restart()
    second = three.give("city", Task.FINAL, made[1])
    assert "another final model of this job" in refused(second)
    if not restarted:  # a lie ends the run here: two hospitals are left to ask
        assert "has ended here" in refused_anew(three, "city", Task.FINAL, made[0])
    reply = to_reply(three.open("coast", made[0], confirmed))
    assert reply.model is not None and digest(reply.model) == (three.said["coast"].sealed or {})[OPENED]
    three.hospitals["coast"].restart()
    again = three.open("coast", made[1], confirmed)
    assert refusal(again) is not None


def test_to_score_the_last_model_confirms_nothing(tmp_path: Path) -> None:
    three = Three(tmp_path, **BEST)
    made = sums(three)
    for site in SITES:
        assert "DXO" in three.give(site, Task.VALIDATE, made[-1])
        reply = to_reply(three.hospitals[site].send(to_shareable(Reply()), Task.VALIDATE))
        assert set(reply.sealed or {}) == {"key", "scheme", "certificate"}
        assert three.hospitals[site].record.require(three.hospitals[site].job_id).final is None
    assert three.words(made[0]) is not None, "and the best one is confirmed by all"


def test_after_the_last_model_was_scored_no_update_leaves(tmp_path: Path) -> None:
    three = Three(tmp_path, **BEST)
    one = first_sum(three)
    two, _ = three.round(one)
    made = three.round(two)[0]
    city = three.hospitals["city"]
    three.give("city", Task.VALIDATE, made)
    with pytest.raises(GateError, match="last validation"):
        city.record.leave(city.job_id, round_number=9, model="a" * 64, repeats=2)
    city.restart()
    assert "out of the job's order" in refused(three.give("city", Task.ROUND, two, number=2))


def test_score_histograms_are_those_of_one_final_model(tmp_path: Path) -> None:
    three = Three(tmp_path, **BEST)
    topics = three.secure_aggregation("city")
    made = [FinalModel(1, "a" * 64), FinalModel(1, "b" * 64), FinalModel(2, "a" * 64)]
    three.give("city", Task.ROUND, three.exchange.initial, number=0)
    of = topics._topics.all
    found = {of.counts("scores", final=one) for one in made}
    assert len(found) == 3 and None not in found
    assert of.counts("scores", final=None) is None, "without a final model there are no histograms of one"


def test_histograms_of_one_model_are_not_opened_as_those_of_another(tmp_path: Path) -> None:
    from fedward.flare.summed_counts import counts_length

    three = Three(tmp_path, **BEST)
    made = sums(three)
    counts = {"scores": np.ones(counts_length(three.hospitals["city"].job, "scores"), np.int64)}
    tally = three.exchange.tally("scores", final=made[1])
    assert tally is not None
    replies = {site: three.final(site, made[1], counts) for site in SITES}
    wrong = three.exchange.tally("scores", final=made[0])
    assert wrong is not None and set(wrong.take(replies)) == set(SITES)
    assert tally.take(replies) == {}
    total = tally.close()
    assert total is not None
    received = three.give("city", Task.POOL, replace(total, confirmed=three.confirmed(total)))
    np.testing.assert_array_equal(received["DXO"]["data"]["counts"], 3 * counts["scores"])


# any sequence of moves


ROUNDS = 3
NONCE = "ab" * 16
MOVES = st.one_of(
    st.tuples(st.just("admit")),
    st.tuples(st.just("round"), st.integers(0, ROUNDS - 1), st.integers(0, 1), st.integers(0, 1)),
    st.tuples(st.just("validate"), st.just(ROUNDS), st.integers(0, 1), st.integers(0, 1)),
    st.tuples(st.just("final"), st.integers(1, ROUNDS), st.integers(0, 1), st.integers(0, 1)),
    st.tuples(st.just("open"), st.integers(1, ROUNDS), st.integers(0, 1), st.integers(0, 1)),
    st.tuples(st.just("restart")),
)
HONEST: tuple[tuple[Any, ...], ...] = (
    ("admit",),
    *(("round", number, 0, 0) for number in range(ROUNDS)),
    ("validate", ROUNDS, 0, 0),
    ("final", 2, 0, 0),
    ("open", 2, 0, 0),
)


@st.composite
def one_lie(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """An honest job up to some task, its process killed in the middle of it or after, and the same task with a lie.

    A lie ends the run, so there is one, late; any moves may follow.
    """
    upto = draw(st.sampled_from([2, 3, 4, 5, 6, 6, 7, 7]))
    *before, (kind, after, *_) = HONEST[:upto]
    lies = [(after, 1, 0), (after, 0, 1)] + ([(1, 0, 0), (3, 0, 0)] if kind in ("final", "open") else [])
    lie = draw(st.sampled_from(lies))
    middle = [("cut", kind, after, 0, 0)] if draw(st.booleans()) else [(kind, after, 0, 0), ("restart",)]
    return [*before, *middle, (kind, *lie), *draw(st.lists(MOVES, max_size=4))]


@dataclass
class Seen:
    """Facts that a hospital disclosed to a server, as the server sees them."""

    opened: dict[int, set[tuple[int, int]]] = field(default_factory=dict)
    confirmed: set[tuple[int, int, int]] = field(default_factory=set)
    revealed: set[str] = field(default_factory=set)
    left: list[int] = field(default_factory=list)


class Adversary:
    """It has the hospitals' key, which no server has, and so a sum of its own for every round, variant and roster."""

    rosters = (
        {"city": NONCE, "coast": "1" * 32, "north": "2" * 32},
        {"city": NONCE, "coast": "3" * 32, "west": "4" * 32},
    )

    def __init__(self, job: Any, model: Any, *, job_id: str) -> None:
        self._model, self._layout = model, layout_of(model)
        self._fixed = FixedPoint(clipping_range=8.0, bits=32, max_sites=job.encryption.max_sites)
        architecture = layout_hash(self._layout, network=job.model.network, args=job.model.args)
        self._topics = [
            SumContexts(
                job=job,
                job_id=job_id,
                context=context_of(roster, job=job_hash(job)),
                layout=self._layout,
                architecture=architecture,
                bits=32,
            )
            for roster in self.rosters
        ]
        self.sums: dict[tuple[int, int, int], bytes] = {}
        for after in range(1, ROUNDS + 1):
            for variant in range(2):
                for roster in range(2):
                    self.sums[after, variant, roster] = self._sum(after, variant, roster)
        self.words = {at: self._words(at[2], sealed) for at, sealed in self.sums.items()}

    def _sum(self, after: int, variant: int, roster: int) -> bytes:
        weight = self._fixed.weight_code(1.0)
        local = {name: array + np.float32(0.01 * after + 0.001 * variant) for name, array in self._model.items()}
        codes, _ = self._fixed.encode(flatten(local), weight_code=weight)
        before = self.sums.get((after - 1, variant, roster))
        base = INITIAL if before is None else identity_of(before)
        topic = self._topics[roster].model(after - 1, base=base)
        return self._added(np.append(codes, np.int64(weight)), topic, roster)

    def _words(self, roster: int, sealed: bytes) -> bytes:
        return self._added(np.ones(1, np.int64), self._topics[roster].confirmation(identity_of(sealed)), roster)

    def _added(self, codes: Any, topic: SumContext, roster: int) -> bytes:
        adder = Aggregator(topic, scheme=KEY.scheme, key_id=KEY.key_id)
        for site in self.rosters[roster]:
            adder.add(SecureSum(KEY, site=site).seal(codes, topic), site=site)
        return adder.sum()

    def move(self, city: Hospital, seen: Seen, kind: str, *rest: Any) -> None:
        """One move of the server; ``cut`` before it: the hospital is killed before it answers."""
        if kind == "restart":
            city.restart()
            return
        cut = kind == "cut"
        if cut:
            kind, rest = rest[0], rest[1:]
        after, variant, roster = (*rest, 0, 0, 0)[:3]
        task = {"admit": Task.ADMIT, "round": Task.ROUND, "validate": Task.VALIDATE, "final": Task.FINAL}.get(
            kind, Task.OPEN
        )
        carried = None if kind == "admit" else self._carried(after, variant, roster, confirmed=kind == "open")
        data = question(carried, round_number=after if kind == "round" else -1, roster=self.rosters[roster])
        received = city.ingress.process(data, city.context(task))
        if received.get_header(REFUSED_AT_DOOR) is not None:
            return
        if kind != "admit" and after > 0:
            seen.opened.setdefault(after - 1, set()).add((variant, roster))
        if cut:
            city.restart()
            return
        reply = Reply(update=city.update() if kind == "round" else None)
        answer = city.send(to_shareable(reply), task)
        if refusal(answer) is not None:
            return
        told = to_reply(answer)
        if MODEL in (told.sealed or {}):
            seen.left.append(after)
        if CONFIRM + MODEL in (told.sealed or {}):
            seen.confirmed.add((after, variant, roster))
        if told.model is not None:
            seen.revealed.add(digest(told.model))

    def _carried(self, after: int, variant: int, roster: int, *, confirmed: bool) -> Model:
        if after == 0:
            return Model(after=0)
        at = after, variant, roster
        return Model(after=after, sealed=self.sums[at], confirmed=self.words[at] if confirmed else None)


_DRAW = secrets.token_hex


def drawn_nonce(size: int) -> str:
    """The run's nonce is fixed; everything else that the hospital draws is not."""
    return NONCE if size == NONCE_BYTES else _DRAW(size)


_MADE: list[Adversary] = []


@settings(max_examples=100, deadline=None)
@example(moves=[*HONEST[:6], ("restart",), ("final", 1, 0, 0)])
@example(moves=[*HONEST[:6], ("restart",), ("open", 3, 0, 0)])
@given(moves=st.one_of(one_lie(), st.lists(MOVES, min_size=1, max_size=24)))
def test_whatever_a_server_does_each_round_has_one_sum_one_update_and_the_job_one_final_model(moves: list[Any]) -> None:
    with tempfile.TemporaryDirectory(dir=FAST) as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedward.privacy.ledger.run_record.secrets.token_hex", drawn_nonce)
        city = Hospital(Path(name) / "city", site="city", shared=KEY, job_id="drawn", admitted=False, changes=BEST)
        city.restart()
        if not _MADE:
            _MADE.append(Adversary(city.job, city.model, job_id="drawn"))
        seen = Seen()
        for move in moves:
            _MADE[0].move(city, seen, *move)
        assert all(len(one) == 1 for one in seen.opened.values()), seen
        assert len({roster for one in seen.opened.values() for _, roster in one}) <= 1
        assert len(seen.confirmed) <= 1 and len(seen.revealed) <= 1
        assert seen.left == sorted(seen.left) and len(seen.left) - len(set(seen.left)) <= repeated_rounds(ROUNDS)
        city.restart()


def test_the_same_moves_do_open_confirm_and_reveal_where_the_server_is_honest(tmp_path: Path) -> None:
    """The property above is not empty."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedward.privacy.ledger.run_record.secrets.token_hex", drawn_nonce)
        city = Hospital(tmp_path, site="city", shared=KEY, job_id="drawn", admitted=False, changes=BEST)
        city.restart()
        server, seen = Adversary(city.job, city.model, job_id="drawn"), Seen()
        for move in [("admit",), ("round", 0), ("round", 1), ("round", 2), ("validate", 3), ("final", 2), ("open", 2)]:
            server.move(city, seen, *move)
        assert seen.left == [0, 1, 2] and seen.confirmed == {(2, 0, 0)} and len(seen.revealed) == 1
        city.restart()


@st.composite
def two_runs(draw: st.DrawFn) -> tuple[tuple[int, int], list[tuple[int, tuple[Any, ...]]]]:
    """A job under two ids, each with one of two rosters, its tasks in their order and those of the other between."""
    rosters = draw(st.tuples(st.integers(0, 1), st.integers(0, 1)))
    moves = {run: [(*(*move, 0, 0)[:3], rosters[run]) for move in HONEST] for run in (0, 1)}
    order = draw(st.permutations([0] * len(HONEST) + [1] * len(HONEST)))
    restarts = draw(st.sets(st.integers(0, 2 * len(HONEST) - 1), max_size=4))
    made: list[tuple[int, tuple[Any, ...]]] = []
    for at, one in enumerate(order):
        made += [(one, ("restart",))] if at in restarts else []
        made.append((one, moves[one].pop(0)))
    return rosters, made


_AGAIN: list[Adversary] = []


@settings(max_examples=25, deadline=None)
@given(drawn=two_runs())
def test_a_job_under_two_ids_opens_sums_of_one_set_of_hospitals(
    drawn: tuple[tuple[int, int], list[tuple[int, tuple[Any, ...]]]],
) -> None:
    """One run after the other, or both at once: of the models of each round a hospital opens those of one set."""
    rosters, moves = drawn
    with tempfile.TemporaryDirectory(dir=FAST) as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedward.privacy.ledger.run_record.secrets.token_hex", drawn_nonce)
        first = Hospital(Path(name) / "city", site="city", shared=KEY, job_id="one", admitted=False, changes=BEST)
        second = copy.copy(first)
        second.job_id = "two"
        second.charge()
        for city in (first, second):
            city.restart()
        if not _AGAIN:
            _AGAIN.extend(Adversary(first.job, first.model, job_id=job_id) for job_id in ("one", "two"))
        seen = (Seen(), Seen())
        for run, move in moves:
            _AGAIN[run].move((first, second)[run], seen[run], *move)
        for number in range(ROUNDS):
            assert len({roster for one in seen for _, roster in one.opened.get(number, ())}) <= 1, seen
        told = [bool(one.confirmed) for one in seen]
        assert told == [bool(one.revealed) for one in seen]
        assert all(told) if rosters[0] == rosters[1] else sum(told) <= 1, seen
        for city in (first, second):
            city.restart()


def test_a_record_that_throws_lets_nothing_in(three: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    model = first_sum(three)

    def fails(*args: object, **named: object) -> None:
        raise LedgerError("ledger cannot be written", where="MARK")

    monkeypatch.setattr(Record, "open_sum", fails)
    assert "MARK" not in refused(three.give("city", Task.ROUND, model, number=1))
    monkeypatch.undo()
    refused(three.give("city", Task.ROUND, model, number=1))


@pytest.fixture
def three(tmp_path: Path) -> Three:
    return Three(tmp_path)
