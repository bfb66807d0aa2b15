"""A masked job as its hospitals' gates see it: keys, uploads, shares, sums, and the lies of a server."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvflare.apis.shareable import Shareable

from fedward.encryption.masks import site_masks
from fedward.encryption.masks.agreement import KeyPair, Statement
from fedward.encryption.masks.graphs.graph import Graph
from fedward.encryption.masks.graphs.threshold import colluding_of
from fedward.encryption.masks.known_sites import key_fingerprint, write_roster
from fedward.encryption.masks.locks import Locked
from fedward.encryption.masks.run_keys import RUN_KEYS_FILE, read_run_keys
from fedward.encryption.masks.site_masks import SiteMasks
from fedward.encryption.masks.unmask_message import MAGIC, UnmaskRequest, name_of_sum, read_locked
from fedward.encryption.message import Message, pack, unpack
from fedward.encryption.schemes import cipher
from fedward.encryption.stream import ring_of
from fedward.encryption.tag import tag_of
from fedward.errors import EncryptionError, FedwardError, GateError
from fedward.flare.gates.sums.masked_key import MaskedKey
from fedward.flare.protocol import MODEL, REFUSED_AT_DOOR, MaskedRun, Reply, Task, Unmask, to_reply, to_shareable
from fedward.flare.secagg_context import INITIAL, JOB_KEYS, NONCE, PUBLIC, SHARES, STATEMENT
from fedward.flare.server.averaging.round import SecureRound
from fedward.flare.server.key_agreement import make_keys
from fedward.flare.server.masked_sums import take_masks_off
from fedward.flare.summed_counts import counts_length
from fedward.metrics.events import EventReader
from tests.support.flare.coalition import unlocked
from tests.support.flare.signed import federation, signer
from tests.support.flare.three import Three, assert_close, first_sum, last, mean

FOUR = ("city", "coast", "north", "west")
"""Of four hospitals one may side with the server, and three must help to open a sum."""


def uploaded(three: Three, sites: tuple[str, ...] | None = None) -> SecureRound:
    """Round 0 with the uploads of some hospitals, and its masks still on."""
    taken = three.exchange.round(three.exchange.initial)
    assert isinstance(taken, SecureRound)
    for site in sites or three.sites:
        taken.take(site, to_reply(three.train(site, three.exchange.initial)))
    taken.stop()
    return taken


def request(three: Three, taken: SecureRound, site: str) -> dict[str, Any]:
    """The honest request to one hospital to help open round 0."""
    unmasking = taken.sums[MODEL].unmasking
    assert unmasking is not None
    three.uploads = unmasking._packages
    return unmasking.request(site).plain()


def asked(three: Three, site: str, content: Any, *, number: int = 0) -> str | None:
    """Ask a hospital to help open a sum; return why it refuses, or None."""
    carried = Unmask(requests={MODEL: content}) if isinstance(content, dict) else content
    if isinstance(content, dict):
        three.asked_for[site] = dict(sorted(content.get("nonces", {}).items()))
    received = three.give(site, Task.UNMASK, carried, number=number)
    found = received.get_header(REFUSED_AT_DOOR)
    return None if found is None else str(found)


def helped(three: Three, site: str) -> Mapping[str, Any]:
    """What leaves a hospital that was asked to help."""
    return to_reply(three.hospitals[site].send(to_shareable(Reply()), Task.UNMASK)).sealed or {}


def locked(three: Three, site: str, sites: Any, *, number: int = 0) -> Locked:
    """The answer of a hospital that was asked just now."""
    content = bytes(helped(three, site)[SHARES + MODEL])
    name = json.loads(content[len(MAGIC) :])["sum"]
    return read_locked(content, name=name, graph=Graph.complete(sites, colluding=1))


def answers(three: Three, requests: Mapping[str, Any], *, number: int = 0, among: Any = None) -> dict[str, Any]:
    """Ask hospitals, and return their locked answers; with ``among`` the shares that those open with these."""
    found = {}
    for site, content in requests.items():
        assert asked(three, site, content, number=number) is None
        found[site] = locked(three, site, three.sites, number=number)
    return found if among is None else dict(shares_of(three, {**among, **found}, number=number))


def shares_of(three: Three, given: Mapping[str, Locked], *, number: int = 0) -> Mapping[str, Any]:
    """Return the shares that answers open together, whatever sets they were for."""
    graph = Graph.complete(three.sites, colluding=colluding_of(three.hospitals[three.sites[0]].job))
    best: dict[str, Any] = {}
    for nonces in three.asked_for.values():
        name = name_of_sum(three.exchange.topics.model(number, base=INITIAL), nonces)
        best |= unlocked(given, name=name, graph=graph, nonces=nonces)
    return best


def test_rounds_give_the_mean_at_every_hospital(tmp_path: Path) -> None:
    three = Three(tmp_path, key=None)
    made = first_sum(three)
    for site in three.sites:
        assert_close(three.opened(site, made), mean(three))
    assert not three.exchange.threshold.may_be_lost  # type: ignore[union-attr]


@pytest.mark.parametrize("bits", ["compact", "precise"])
def test_hospitals_that_are_lost_before_and_after_their_upload_cost_nothing(tmp_path: Path, bits: str) -> None:
    three = Three(tmp_path, key=None, sites=(*FOUR, "zurich"), encryption={"max_colluding": 1, "precision": bits})
    assert three.exchange.threshold is not None and three.exchange.threshold.may_be_lost == 1
    first, _ = three.round(three.exchange.initial, FOUR)  # zurich sends nothing, and helps
    assert_close(three.opened("zurich", first), mean(three, FOUR))
    three.lost = {"city"}  # sends its model, and does not help
    second, taken = three.round(first, FOUR)
    assert taken.sites == [*FOUR]
    assert unpack(second.sealed or b"").sites == FOUR


def test_too_few_helpers_open_nothing(tmp_path: Path) -> None:
    three = Three(tmp_path, key=None, sites=FOUR)
    taken = uploaded(three)
    three.lost = {"city", "coast"}
    shut = take_masks_off(taken.sums, three.sites, ask=three.ask, events=three.events, number=0)
    assert shut == {MODEL: "0 of the 3 hospitals that must help to open the sum did"}
    with pytest.raises(EncryptionError, match="0 of the 3 hospitals"):
        taken.close()
    three.lost = set()  # they are back, late: their shares count still
    assert take_masks_off(taken.sums, ["city"], ask=three.ask, events=three.events, number=0) == {}
    assert_close(three.opened("north", taken.close()), mean(three, FOUR))


def test_two_of_three_are_no_sum(tmp_path: Path) -> None:
    three = Three(tmp_path, key=None)
    taken = uploaded(three, ("city", "north"))
    why = "the sum is of 2 hospitals, and a masked sum needs 3"
    assert take_masks_off(taken.sums, three.sites, ask=three.ask, events=three.events, number=0) == {MODEL: why}
    content = request(three, taken, "city")
    assert "sum to open is of fewer than … hospitals" in str(asked(three, "city", content))


def test_a_model_of_many_more_hospitals_than_collude_needs_two_honest_ones(tmp_path: Path) -> None:
    more = {"encryption": {"max_colluding": 2}, "federation": {"min_sites": 4}}
    three = Three(tmp_path, key=None, sites=FOUR, **more)
    taken = uploaded(three, FOUR[:3])
    assert "needs 4" in take_masks_off(taken.sums, three.sites, ask=three.ask, events=three.events, number=0)[MODEL]


# a hospital helps for one set of messages in a sum


def test_the_same_request_again_has_the_same_answer(tmp_path: Path) -> None:
    three = Three(tmp_path, key=None)
    taken = uploaded(three)
    requests = {site: request(three, taken, site) for site in three.sites}
    content = requests["city"]
    first = answers(three, {"city": content, "coast": requests["coast"], "north": requests["north"]})
    three.hospitals["city"].restart()
    assert answers(three, {"city": content}, among=first)["city"] == shares_of(three, first)["city"]


def test_a_sum_with_one_hospital_less_is_refused_after_the_whole_one_and_the_other_way_round(tmp_path: Path) -> None:
    for order in (0, 1):
        three = Three(tmp_path / str(order), key=None, sites=FOUR)
        whole = uploaded(three)
        less = three.exchange.round(three.exchange.initial)
        for site in FOUR[:3]:
            less.take(site, three.sealed_again(site))
        requests = [request(three, one, "city") for one in (whole, less)]  # type: ignore[arg-type]
        first, second = requests[order], requests[1 - order]
        assert asked(three, "city", first) is None
        said = asked(three, "city", second)
        assert said == "ingress gate: this hospital helped to open another sum of this round"
        assert three.hospitals["city"].record.require(three.hospitals["city"].job_id).ended


def test_another_message_of_a_hospital_in_the_sum_is_refused(tmp_path: Path) -> None:
    """Of two messages of one hospital at most one is ever unmasked: both have the same masks with the others."""
    three = Three(tmp_path, key=None)
    one, other = uploaded(three), three.exchange.round(three.exchange.initial)
    for site in three.sites:
        other.take(site, three.sealed_again(site))
    assert asked(three, "city", request(three, one, "city")) is None
    said = asked(three, "city", request(three, other, "city"))  # type: ignore[arg-type]
    assert said == "ingress gate: this hospital helped to open another sum of this round"


def test_a_sum_that_is_not_the_one_it_helped_for_is_not_opened(tmp_path: Path) -> None:
    three = Three(tmp_path, key=None, sites=FOUR)
    made, _ = three.round(three.exchange.initial, FOUR)
    run = three.hospitals["city"].record
    with pytest.raises(GateError, match="another sum of this round was opened before"):
        run.open_sum(
            three.hospitals["city"].job_id, purpose="model", round_number=0, sum="a" * 64, sites=list(FOUR[:3])
        )
    assert_close(three.opened("city", made), mean(three, FOUR))


def test_a_second_run_of_the_job_with_other_hospitals_gets_no_shares(tmp_path: Path) -> None:
    three = Three(tmp_path, key=None, sites=FOUR)
    first_sum(three)
    other = three.again()
    taken = uploaded(other, FOUR[:3])
    said = asked(other, "north", request(other, taken, "north"))
    assert said is not None and "other hospitals were summed in another run of this job" in said


def test_a_late_upload_is_of_no_use(tmp_path: Path) -> None:
    """West was not in the sum, so its masks with the others are known; its own stays unknown, and none helps again."""
    three = Three(tmp_path, key=None, sites=FOUR)
    taken = uploaded(three, FOUR[:3])
    assert take_masks_off(taken.sums, three.sites, ask=three.ask, events=three.events, number=0) == {}
    late = to_reply(three.train("west", three.exchange.initial))
    with pytest.raises(FedwardError, match="answer came after the round was closed"):
        taken.take("west", late)
    whole = three.exchange.round(three.exchange.initial)
    for site in FOUR[:3]:
        whole.take(site, three.sealed_again(site))
    whole.take("west", late)
    for site in FOUR:
        said = asked(three, site, request(three, whole, site))  # type: ignore[arg-type]
        assert said == "ingress gate: this hospital helped to open another sum of this round"


def mixed(three: Three, victim: str, liars: tuple[str, ...]) -> dict[str, Any]:
    """Requests for the victim, the liars and one honest hospital, another for each: with all that is needed in them."""
    taken = uploaded(three)
    whole = {site: request(three, taken, site) for site in three.sites}
    honest = [site for site in three.sites if site not in liars]
    others = [site for site in honest if site != victim]
    requests = {}
    bound = three.exchange.threshold
    assert bound is not None
    for place, site in enumerate(honest):
        turned = [*others[place % len(others) :], *others[: place % len(others)]]
        summed = {victim, *liars, *turned[: bound.fewest - 1 - len(liars)]}
        requests[site] = {
            "base": whole[site]["base"],
            "nonces": {name: one for name, one in whole[site]["nonces"].items() if name in summed},
            "packages": {name: one for name, one in whole[site]["packages"].items() if name in summed},
        }
    return requests


@pytest.mark.parametrize(("least", "liars"), [(7, ("c1", "c2")), (6, ("c1",)), (3, ("c1",))])
def test_shares_for_different_sets_do_not_open_together(tmp_path: Path, least: int, liars: tuple[str, ...]) -> None:
    """Without the locks, each of these would open one hospital's numbers: no gate refuses its request."""
    sites = tuple(sorted({"v", "h1", "h2", "h3", "h4", *liars}))
    more = {"federation": {"min_sites": least}, "encryption": {"max_colluding": len(liars)}}
    three = Three(tmp_path, key=None, sites=sites, **more)
    requests = mixed(three, "v", liars)
    given = {}
    for site, content in requests.items():
        assert asked(three, site, content) is None, "each request alone is in order"
        given[site] = locked(three, site, sites)
    graph = Graph.complete(sites, colluding=len(liars))
    for site, content in requests.items():  # the liars help for every set
        nonces = dict(sorted(content["nonces"].items()))
        topic = three.exchange.topics.model(0, base=INITIAL)
        name, bent = name_of_sum(topic, nonces), {}
        for liar in liars:
            packages = {one: three.uploads[one][liar] for one in nonces}
            keys = three.secure_aggregation(liar)._keys
            assert isinstance(keys, MaskedKey)
            answer = keys._masks.help(UnmaskRequest(nonces, packages, INITIAL), topic)
            bent[liar] = read_locked(answer, name=name, graph=graph)
        assert unlocked({**given, **bent}, name=name, graph=graph, nonces=nonces) == {}, site


def test_hospitals_that_started_from_different_models_have_no_sum(tmp_path: Path) -> None:
    """A member has the job's key, and may give the server any model with a valid tag."""
    three = Three(tmp_path, key=None)
    model = first_sum(three)
    message = unpack(model.sealed or b"")
    keys = three.secure_aggregation("city")._keys
    assert isinstance(keys, MaskedKey)
    opened = keys.open(model.sealed or b"", message.topic)
    forged = forged_sum(keys, message, opened.codes + np.append(np.arange(len(opened.codes) - 1) % 3, 0))
    assert three.give("north", Task.ROUND, replace(model, sealed=forged), number=1).get_header(REFUSED_AT_DOOR) is None
    reply = to_reply(three.hospitals["north"].send(three.hospitals["north"].answer(three.update("north"))))
    taken = three.exchange.round(model)
    with pytest.raises(EncryptionError, match="sealed for another base"):
        taken.take("north", reply)


def forged_sum(keys: MaskedKey, message: Message, codes: Any) -> bytes:
    key = keys.secure_sum._key
    names = [part.canonical(message.topic) for part in message.parts]
    words, nothing = codes.astype(ring_of(message.topic.bits)), np.zeros(len(codes), np.int64)
    for name in names:
        words = words + np.frombuffer(cipher(key).encrypt(nothing, bits=32, part=name), words.dtype)
    tag = tag_of(codes.astype(np.int64), key=key, topic=message.topic, parts=names)
    return pack(replace(message, payload=words.tobytes(), tag=tag))


def test_a_roster_of_fewer_hospitals_than_the_job_asks_for_is_refused(tmp_path: Path) -> None:
    """With fewer hospitals, those that side with the server are more of them."""

    class Shrunk(Three):
        def begin(self) -> None:
            replies = {site: self.admit(site) for site in self.sites}
            del replies["west"]
            assert self.exchange.agree_on_key(replies) == {}

    three = Shrunk(tmp_path, key=None, sites=FOUR, federation={"min_sites": 4})
    said = three.give("city", Task.KEY, None).get_header(REFUSED_AT_DOOR)
    assert said == "ingress gate: fewer hospitals take part than the job's min_sites, …"


# what a request may not be

Change = Callable[[dict[str, Any]], Any]
LIES: Mapping[str, tuple[Change, str]] = {
    "a hospital of no run": (
        lambda content: _named(content, "zurich"),
        "sum to open names a hospital that takes no part",
    ),
    "a package of another hospital": (
        lambda content: {**content, "packages": {**content["packages"], "zurich": b"x"}},
        "without this hospital's shares, or with others'",
    ),
    "a package too few": (
        lambda content: {**content, "packages": dict(list(content["packages"].items())[1:])},
        "without this hospital's shares, or with others'",
    ),
    "one nonce twice": (
        lambda content: {**content, "nonces": dict.fromkeys(content["nonces"], "a" * 32)},
        "names a nonce twice",
    ),
    "a nonce that is none": (
        lambda content: {**content, "nonces": {**content["nonces"], "city": "A" * 32}},
        "brings no request",
    ),
    "a package that is a word": (
        lambda content: {**content, "packages": dict.fromkeys(content["packages"], "x")},
        "brings no request",
    ),
    "a field more": (lambda content: {**content, "sites": []}, "brings no request"),
    "nothing": (lambda content: {}, "started from another model"),
    "another model": (lambda content: {**content, "base": "a" * 64}, "started from another model"),
}


def _named(content: dict[str, Any], site: str) -> dict[str, Any]:
    return {**content, "nonces": {**content["nonces"], site: "e" * 32}, "packages": {**content["packages"], site: b"x"}}


@pytest.mark.parametrize("lie", LIES)
def test_a_request_that_is_none_is_refused_with_one_line(tmp_path: Path, lie: str) -> None:
    three = Three(tmp_path, key=None, sites=FOUR)
    change, says = LIES[lie]
    said = asked(three, "city", change(request(three, uploaded(three), "city")))
    assert said is not None and said.startswith("ingress gate: ") and "\n" not in said
    assert says in said
    assert "DXO" not in three.hospitals["city"].send(to_shareable(Reply()), Task.UNMASK)


@pytest.mark.parametrize("carried", [None, {}, []])
def test_a_task_without_a_request_is_refused(tmp_path: Path, carried: Any) -> None:
    three = Three(tmp_path, key=None)
    uploaded(three)
    content = Unmask(requests={}) if carried == {} else carried
    assert asked(three, "city", content) is not None


@pytest.mark.parametrize("number", [-1, 1])
def test_a_request_for_the_sum_of_another_round_gets_shares_of_nothing(tmp_path: Path, number: int) -> None:
    three = Three(tmp_path, key=None)
    taken = uploaded(three)
    said = asked(three, "city", request(three, taken, "city"), number=number)
    if number < 0:
        assert said is not None
        return
    assert said is None
    requests = {site: request(three, taken, site) for site in ("coast", "north")}
    given = answers(three, requests, number=number) | {"city": locked(three, "city", three.sites, number=number)}
    assert all(shares == {} for shares in shares_of(three, given, number=number).values()), "no package opens"


def test_damaged_packages_are_told(tmp_path: Path) -> None:
    three = Three(tmp_path, key=None, sites=FOUR)
    taken = uploaded(three)
    requests = {site: request(three, taken, site) for site in FOUR}
    damaged = requests["city"]["packages"]
    damaged["north"] = damaged["north"][:-1] + bytes([damaged["north"][-1] ^ 1])
    found = shares_of(three, answers(three, requests))
    assert {site: sorted(shares) for site, shares in found.items()} == {
        site: [name for name in FOUR if (site, name) != ("city", "north")] for site in FOUR
    }


@pytest.mark.parametrize("task", [Task.KEY, Task.UNMASK])
def test_a_job_that_is_not_masked_has_no_such_task(tmp_path: Path, task: Task) -> None:
    three = Three(tmp_path)
    received = three.give("city", task, None)
    assert "in a job that is not masked" in str(received.get_header(REFUSED_AT_DOOR))


# keys


def forged(three: Three, change: Callable[[dict[str, Any]], Any]) -> str:
    """Give a hospital the run's members with a change; return why it refuses."""
    assert three.exchange.masked is not None
    members = {site: dict(content) for site, content in three.exchange.masked.members.items()}
    changed = change(members)
    three.exchange.masked = replace(three.exchange.masked, members=members if changed is None else changed)
    three.introduced.discard("city")
    return str(three.give("city", Task.ROUND, three.exchange.initial, number=0).get_header(REFUSED_AT_DOOR))


def new(folder: Path) -> Three:
    """Four hospitals, of which city has no keys of the others yet: north makes the job's key."""

    class Late(Three):
        def begin(self) -> None:
            assert self.exchange.agree_on_key({site: self.admit(site) for site in self.sites}) == {}
            self.sites = ("north", *FOUR[:2], "west")
            self.maker()

        def maker(self) -> None:
            reply = self.ask(Task.KEY, None, ["north"])["north"]
            self.exchange.take_job_key(reply, site="north")

    return Late(folder, key=None, sites=FOUR)


def _public(members: dict[str, Any]) -> None:
    members["west"]["public"] = KeyPair.new().public


def _signed_by_another(members: dict[str, Any]) -> None:
    members["west"] = dict(members["north"])


def _of_another_run(members: dict[str, Any]) -> None:
    pair = KeyPair.new()
    said = Statement(site="west", nonce="f" * 32, public=pair.public, job="a" * 64, job_id="other")
    members["west"] |= {"public": pair.public, "signature": said.sign(signer("west"))}


def _one_less(members: dict[str, Any]) -> None:
    del members["west"]


def _zero(members: dict[str, Any]) -> None:
    members["west"]["public"] = bytes(32)


@pytest.mark.parametrize("change", [_public, _signed_by_another, _of_another_run, _one_less, _zero])
def test_a_server_that_changes_a_hospitals_key_gets_nothing(tmp_path: Path, change: Any) -> None:
    three = new(tmp_path)
    said = forged(three, change)
    assert said.startswith("ingress gate: ") and said != "None"
    assert three.hospitals["city"].record.require(three.hospitals["city"].job_id).ended


def test_a_server_that_is_a_member_cannot_use_the_same_key_twice(tmp_path: Path) -> None:
    """A hospital that signs another's public key as its own would share that one's masks."""
    three = new(tmp_path)
    assert three.exchange.masked is not None and three.exchange.roster is not None
    hospital = three.hospitals["west"]
    public = three.exchange.masked.members["north"]["public"]
    said = Statement(
        site="west",
        nonce=three.exchange.roster["west"],
        public=public,
        job=hospital_hash(three),
        job_id=hospital.job_id,
    )

    def change(members: dict[str, Any]) -> None:
        members["west"] |= {"public": public, "signature": said.sign(signer("west"))}

    assert "two hospitals have one key" in forged(three, change)


@pytest.mark.parametrize("lie", ["small order", "top bit", "another's key", "another's nonce"])
def test_a_hospital_whose_key_cannot_serve_stops_nobody_else(tmp_path: Path, lie: str) -> None:
    """Each other hospital would refuse a run with it, and end."""

    class Lying(Three):
        refused: dict[str, str]

        def begin(self) -> None:
            replies = {site: self.admit(site) for site in self.sites}
            own, other = (dict(replies[site].sealed or {}) for site in ("west", "north"))
            public, nonce = own[PUBLIC], own[NONCE]
            if lie == "small order":
                public = bytes(32)
            if lie == "top bit":
                public = other[PUBLIC][:31] + bytes([other[PUBLIC][31] ^ 0x80])
            if lie == "another's key":
                public = other[PUBLIC]
            if lie == "another's nonce":
                nonce = other[NONCE]
            said = Statement(
                site="west", nonce=nonce, public=public, job=hospital_hash(self), job_id=self.hospitals["west"].job_id
            )
            sealed = {**own, PUBLIC: public, NONCE: nonce, STATEMENT: said.sign(signer("west"))}
            replies["west"] = replace(replies["west"], sealed=sealed)
            self.refused = self.exchange.agree_on_key(replies)
            self.sites = tuple(site for site in self.sites if site not in self.refused)
            job = self.hospitals["city"].job
            assert make_keys(job, self.exchange, self.sites, ask=self.ask, events=self.events) == {}

    three = Lying(tmp_path, key=None, sites=(*FOUR, "zurich"), encryption={"max_colluding": 1})
    copied = lie.startswith("another's")
    assert set(three.refused) == ({"west", "north"} if copied else {"west"})
    assert ("copied it" if copied else "cannot serve") in three.refused["west"]
    made, _ = three.round(three.exchange.initial)
    assert_close(three.opened("city", made), mean(three, three.sites))


def hospital_hash(three: Three) -> str:
    from fedward.privacy.policy.job_hash import job_hash

    return job_hash(three.hospitals["city"].job)


def test_the_jobs_key_is_taken_once_and_from_its_maker_alone(tmp_path: Path) -> None:
    three = Three(tmp_path, key=None)
    first_sum(three)
    assert three.exchange.masked is not None
    three.exchange.masked = MaskedRun(
        members=three.exchange.masked.members, maker="coast", sealed=three.exchange.masked.sealed
    )
    three.introduced.clear()
    said = three.give("north", Task.ROUND, three.exchange.initial, number=0).get_header(REFUSED_AT_DOOR)
    assert said is not None


def test_a_hospital_makes_one_key_and_only_if_no_other_did(tmp_path: Path) -> None:
    three = Three(tmp_path, key=None)
    again = three.ask(Task.KEY, None, ["city"])["city"]
    assert again.sealed is not None and three.exchange.key is not None
    assert again.sealed["key"] == three.exchange.key[1]
    first_sum(three)
    assert three.give("coast", Task.KEY, None).get_header(REFUSED_AT_DOOR) is None
    assert "another hospital has made the key" in str(
        three.hospitals["coast"].send(to_shareable(Reply()), Task.KEY).get_header("fedward_refusal")
    )


@pytest.mark.parametrize("lie", [None, {}, {"city": b"x" * 48}, "all"])
def test_a_maker_whose_answer_is_no_key_is_not_taken(tmp_path: Path, lie: Any) -> None:
    three = Three(tmp_path, key=None)
    sealed = dict.fromkeys(three.sites, b"x") if lie == "all" else lie
    reply = Reply(sealed={"scheme": "masked", "key": "a" * 32, JOB_KEYS: sealed})
    with pytest.raises(EncryptionError, match="brings no key of the job for the others"):
        three.exchange.take_job_key(reply, site="city")


def test_keys_outlive_the_process_and_end_with_the_run(tmp_path: Path) -> None:
    three = Three(tmp_path, key=None)
    first = first_sum(three)
    hospital = three.hospitals["city"]
    path = hospital.folder / "kit" / "checkpoints" / hospital.job_id / RUN_KEYS_FILE
    kept = read_run_keys(path)
    assert kept is not None and kept.secret is not None and path.stat().st_mode & 0o777 == 0o600
    hospital.restart()
    assert_close(three.opened("city", first), mean(three))
    assert asked(three, "city", {}) is not None  # a lie ends the run
    assert not path.exists()


def test_a_hospital_without_its_keys_of_the_run_refuses(tmp_path: Path) -> None:
    three = Three(tmp_path, key=None)
    first = first_sum(three)
    hospital = three.hospitals["city"]
    (hospital.folder / "kit" / "checkpoints" / hospital.job_id / RUN_KEYS_FILE).unlink()
    said = three.give("city", Task.ROUND, first, number=1).get_header(REFUSED_AT_DOOR)
    assert said is not None
    hospital.restart()
    assert three.give("city", Task.ROUND, first, number=1).get_header(REFUSED_AT_DOOR) is not None


@pytest.mark.parametrize("first", ["cohort", "scores"])
def test_cohort_and_scores_are_summed_over_the_same_hospitals(tmp_path: Path, first: str) -> None:
    """Both count validation patients: one sum without a hospital would tell its own."""
    three = Three(tmp_path, key=None, sites=FOUR, federation={"rounds": 1}, encryption={"statistics": True})
    made, _ = three.round(three.exchange.initial)
    job = three.hospitals["city"].job
    counts = {purpose: np.full(counts_length(job, purpose), 9, np.int64) for purpose in ("cohort", "scores")}
    words = {site: three.final(site, made, counts) for site in FOUR}

    def helped_by(purpose: str, sites: tuple[str, ...]) -> list[str]:
        """Hospitals that help to open a sum of the counts of some."""
        tally = three.exchange.tally(purpose, final=made)
        assert tally is not None and tally.take({site: words[site] for site in sites}) == {}
        masks = tally.sums[purpose].unmasking
        assert masks is not None
        found = []
        for site in FOUR:
            content = Unmask(requests={purpose: masks.request(site).plain()})
            refused = three.give(site, Task.UNMASK, content, number=-1).get_header(REFUSED_AT_DOOR)
            assert refused is None or "counts of other hospitals were summed in this run" in refused
            found += [site] if refused is None else []
        return found

    second = {"cohort": "scores", "scores": "cohort"}[first]
    assert helped_by(first, FOUR) == [*FOUR]
    assert helped_by(second, FOUR[:3]) == []
    assert helped_by(second, FOUR) == [*FOUR], "the run goes on"


# shares that a hospital sends


def test_false_shares_are_named_and_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three = Three(tmp_path, key=None, sites=(*FOUR, "zurich"), encryption={"max_colluding": 1})
    taken = uploaded(three)
    unmasking = taken.sums[MODEL].unmasking
    assert unmasking is not None

    honest = site_masks.lock

    def lying(content: bytes, *args: Any, site: str, **named: Any) -> Any:
        if site == "coast":
            at = content.index(b'"zurich":"') + 10
            content = content[:at] + (b"1" if content[at : at + 1] == b"0" else b"0") + content[at + 1 :]
        return honest(content, *args, site=site, **named)

    monkeypatch.setattr(site_masks, "lock", lying)
    asking = three.ask
    assert take_masks_off(taken.sums, three.sites, ask=asking, events=three.events, number=0) == {}
    assert_close(three.opened("north", taken.close()), mean(three, (*FOUR, "zurich")))
    says = "gave not the share of zurich's masks that zurich named: one of the two is false"
    too = "named a share of its masks that coast did not give: one of the two is false"
    assert unmasking.false == {"coast": says, "zurich": too}
    assert [event["site"] for event in EventReader(tmp_path / "events.jsonl")] == ["coast", "zurich"]


@pytest.mark.parametrize("where", ["shares", "spaces"])
def test_an_answer_of_another_form_is_not_used_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """White space of the right length would give fewer shares than are due."""
    three = Three(tmp_path, key=None, sites=(*FOUR, "zurich"), encryption={"max_colluding": 1})
    taken = uploaded(three)
    honest = site_masks.lock

    def lying(content: bytes, *args: Any, site: str, **named: Any) -> Any:
        if site == "coast":
            at = content.index(b'"zurich":"') + 10
            size = 64 if where == "shares" else 2
            content = content[:at] + b" " * size + content[at + size :]
        return honest(content, *args, site=site, **named)

    monkeypatch.setattr(site_masks, "lock", lying)
    assert take_masks_off(taken.sums, three.sites, ask=three.ask, events=three.events, number=0) == {}
    assert_close(three.opened("north", taken.close()), mean(three, (*FOUR, "zurich")))
    unmasking = taken.sums[MODEL].unmasking
    assert unmasking is not None and list(unmasking.false) == ["coast"]


def test_a_hospital_that_names_false_shares_is_named_and_not_those_that_gave_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = Three(tmp_path, key=None, sites=(*FOUR, "zurich"), encryption={"max_colluding": 1})
    honest = site_masks.share_hash
    city: list[bool] = []
    monkeypatch.setattr(site_masks, "share_hash", lambda share: bytes(16) if city else honest(share))
    taken = three.exchange.round(three.exchange.initial)
    for site in three.sites:
        city[:] = [True] if site == "city" else []
        taken.take(site, to_reply(three.train(site, three.exchange.initial)))
    taken.stop()
    shut = take_masks_off(taken.sums, three.sites, ask=three.ask, events=three.events, number=0)
    assert shut == {MODEL: "too few hospitals gave the shares of city's masks that city named"}
    unmasking = taken.sums[MODEL].unmasking
    assert unmasking is not None
    assert unmasking.false == {"city": "named shares of its masks that 5 hospitals did not give"}


@pytest.mark.parametrize("count", [1, 2])
def test_of_a_package_that_does_not_open_both_sides_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Two of six say so of an honest hospital, and keep too few from opening the sum."""
    six = tuple(f"site-{number}" for number in range(6))
    three = Three(tmp_path, key=None, sites=six, encryption={"max_colluding": 2}, federation={"min_sites": 6})
    liars, honest = six[:count], SiteMasks.help

    def lying(masks: SiteMasks, request: UnmaskRequest, topic: Any, **named: Any) -> bytes:
        if masks._site in liars:
            request = replace(request, packages={**request.packages, "site-5": b"no package"})
        return honest(masks, request, topic, **named)

    monkeypatch.setattr(SiteMasks, "help", lying)
    taken = uploaded(three)
    shut = take_masks_off(taken.sums, six, ask=three.ask, events=three.events, number=0)
    assert (shut == {}) is (count == 1)
    unmasking = taken.sums[MODEL].unmasking
    assert unmasking is not None and set(unmasking.false) == {*liars, "site-5"}


@pytest.mark.parametrize("side", ["name", "give"])
@pytest.mark.parametrize("contradict", [2, 3])
def test_a_hospital_is_named_alone_if_more_contradict_it_than_may_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str, contradict: int
) -> None:
    """Two of nine may lie: if they say so of an honest one, it is not known who is false."""
    nine = tuple(f"site-{number}" for number in range(9))
    three = Three(tmp_path, key=None, sites=nine, encryption={"max_colluding": 2}, federation={"min_sites": 9})
    others, honest = nine[:contradict], site_masks.lock
    taken = uploaded(three)
    unmasking = taken.sums[MODEL].unmasking
    assert unmasking is not None
    if side == "name":
        for site in others:
            named = unmasking._hashes[site]
            unmasking._hashes[site] = {**named, "site-8": tuple(bytes(len(one)) for one in named["site-8"])}

    def lying(content: bytes, *args: Any, site: str, **named: Any) -> Any:
        if side == "give" and site in others:
            at = content.index(b'"site-8":"') + 10
            content = content[:at] + (b"1" if content[at : at + 1] == b"0" else b"0") + content[at + 1 :]
        return honest(content, *args, site=site, **named)

    monkeypatch.setattr(site_masks, "lock", lying)
    assert take_masks_off(taken.sums, nine, ask=three.ask, events=three.events, number=0) == {}
    if contradict == 3:
        assert list(unmasking.false) == ["site-8"] and " 3 hospitals" in unmasking.false["site-8"]
    else:
        assert set(unmasking.false) == {*others, "site-8"}
        assert all("one of the two is false" in why for why in unmasking.false.values())


@pytest.mark.parametrize("lie", ["unsigned", "another's", "twice", "word", "other sum"])
def test_an_answer_that_is_none_is_refused_with_one_line(tmp_path: Path, lie: str) -> None:
    three = Three(tmp_path, key=None)
    taken = uploaded(three)
    requests = {site: Unmask(requests={MODEL: request(three, taken, site)}) for site in three.sites}
    replies = three.ask(Task.UNMASK, requests, [*three.sites], number=0)
    honest = replies["city"]
    sealed = dict(honest.sealed or {})
    adder = taken.sums[MODEL]
    if lie == "unsigned":
        del sealed["signature " + SHARES + MODEL]
    elif lie == "another's":
        sealed = dict(replies["coast"].sealed or {})
    elif lie == "word":
        sealed[SHARES + MODEL] = "word"
    elif lie == "other sum":
        content = bytes(sealed[SHARES + MODEL])
        sealed[SHARES + MODEL] = content[:-6] + b'0000"}'
        topic = three.exchange.topics.model(0, base=INITIAL)
        sealed["signature " + SHARES + MODEL] = signer("city").sign(sealed[SHARES + MODEL], topic, site="city")
    else:
        adder.help(honest, MODEL, site="city")
    with pytest.raises(FedwardError) as caught:
        adder.help(replace(honest, sealed=sealed), MODEL, site="city")
    assert "\n" not in str(caught.value)
    if lie != "twice":
        assert adder.unmasking is not None and adder.unmasking.short is not None
        adder.help(honest, MODEL, site="city")


def test_statistics_are_masked_and_confirmed(tmp_path: Path) -> None:
    three = Three(tmp_path, key=None)
    model = last(three)
    counts = {"cohort": np.arange(three.exchange.topics.counts("cohort", final=None).length)}  # type: ignore[union-attr]
    replies = {site: three.final(site, model, counts) for site in three.sites}
    tally = three.exchange.tally("cohort")
    assert tally is not None and tally.take(replies) == {}
    assert take_masks_off(tally.sums, three.sites, ask=three.ask, events=three.events) == {}
    total = tally.close()
    assert total is not None
    words = three.confirmed(total)
    received: Shareable = three.give("city", Task.POOL, replace(total, confirmed=words))
    found = received["DXO"]["data"]["counts"]
    assert (found == 3 * counts["cohort"]).all()


# the roster


def with_roster(three: Three, site: str, sites: Mapping[str, str], *, least: int) -> None:
    """Give a hospital a roster before the run's members reach it."""
    hospital = three.hospitals[site]
    write_roster(hospital.local / "roster.json", sites)
    text = (hospital.local / "site.toml").read_text()
    (hospital.local / "site.toml").write_text(f'roster = "roster.json"\nmin_known = {least}\n{text}')


class Rostered(Three):
    """Four hospitals, some with a roster."""

    rosters: Mapping[str, tuple[tuple[str, ...], int]] = {}

    def begin(self) -> None:
        for site, (known, least) in self.rosters.items():
            keys = {name: key_fingerprint(federation().issue(name)) for name in known}
            with_roster(self, site, keys, least=least)
            self.hospitals[site].restart()
        super().begin()


@pytest.mark.parametrize(
    ("rosters", "goes"),
    [
        ({"coast": (("city", "north"), 1)}, True),
        ({"coast": ((), 1)}, False),
        ({"coast": (("city",), 1)}, False),
        ({"coast": (("city", "north"), 3)}, False),
        ({"coast": (("city",), 2), "city": (("coast", "north"), 0)}, True),
        ({"coast": (("city",), 3), "city": (("coast", "north", "west"), 0)}, True),
        ({"coast": (("zurich",), 1)}, False),
    ],
)
def test_a_job_runs_only_with_enough_hospitals_that_are_known(tmp_path: Path, rosters: Any, goes: bool) -> None:
    made = type("Made", (Rostered,), {"rosters": rosters})
    three = made(tmp_path, key=None, sites=FOUR)
    received = three.give("coast", Task.ROUND, three.exchange.initial, number=0)
    said = received.get_header(REFUSED_AT_DOOR)
    if goes:
        assert said is None
        return
    few = "ingress gate: of the hospitals that take part this hospital knows fewer than its min_known, …"
    many = "ingress gate: more hospitals take part that are not known here than may side with the server, …"
    assert said in (few, many)
    assert not three.hospitals["coast"].record.require(three.hospitals["coast"].job_id).ended, "another task may do"


def test_a_sum_of_too_few_known_hospitals_gets_no_shares(tmp_path: Path) -> None:
    made = type("Made", (Rostered,), {"rosters": {"coast": (("city", "west"), 2)}})
    three = made(tmp_path, key=None, sites=FOUR)
    taken = uploaded(three, ("coast", "city", "north"))
    said = asked(three, "coast", request(three, taken, "coast"))
    assert said is not None and "fewer than its min_known" in said
    run = three.hospitals["coast"].record.require(three.hospitals["coast"].job_id)
    assert not run.ended and not any(kind == "run-unmask" for kind, *_ in run.facts)


def test_a_hospital_with_another_key_than_on_the_roster_ends_the_run_here(tmp_path: Path) -> None:
    class Changed(Three):
        def begin(self) -> None:
            with_roster(self, "coast", {"city": "a" * 32}, least=0)
            self.hospitals["coast"].restart()
            super().begin()

    three = Changed(tmp_path, key=None, sites=FOUR)
    said = three.give("coast", Task.ROUND, three.exchange.initial, number=0).get_header(REFUSED_AT_DOOR)
    assert said == "ingress gate: hospital comes with another key than the one on this hospital's roster"
    assert three.hospitals["coast"].record.require(three.hospitals["coast"].job_id).ended
