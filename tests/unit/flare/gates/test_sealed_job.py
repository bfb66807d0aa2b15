"""Run an encrypted job from gate to gate: hospitals' messages, the server's sum, and what a hospital opens."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.shareable import Shareable

from fedward.encryption.keys.key_file import write_key
from fedward.errors import DiskFullError, FederationError, FedwardError
from fedward.flare.protocol import (
    AFTER,
    Model,
    Reply,
    Task,
    global_weights,
    question,
    refusal,
    sealed_payload,
    to_reply,
    to_shareable,
)
from fedward.flare.secagg_context import OPENED, enough
from fedward.privacy.ledger.run_record import Record
from fedward.weights import add, digest
from tests.support.flare.hospital import LISTED, Hospital, assert_refused, parts, serialised
from tests.support.flare.three import KEY, OTHER, SITES, Three, assert_close, first_sum, last, mean


@pytest.fixture
def three(tmp_path: Path) -> Three:
    return Three(tmp_path)


def test_hospitals_open_the_mean_of_their_models_and_the_server_has_only_bytes(three: Three) -> None:
    model, taken = three.round(three.exchange.initial)
    assert taken.sites == list(SITES) and model.weights is None and model.after == 1
    for site in SITES:
        assert_close(three.opened(site, model), mean(three))


def test_what_leaves_is_sealed_and_holds_no_value_of_the_model_or_the_update(three: Three) -> None:
    message = three.train("north", three.exchange.initial)
    assert set(parts(message)) == {"metrics", "sealed"}
    wire = serialised(message)
    update = three.update("north")
    local = add(three.hospitals["north"].model, update)
    for weights in (update, local, three.hospitals["north"].model):
        for array in weights.values():
            data = array.tobytes()
            assert not any(data[at : at + 8] in wire for at in range(0, min(len(data) - 8, 4000), 4))
    assert KEY.secret not in wire and KEY.secret.hex().encode() not in wire


def test_round_zero_carries_no_model(three: Three) -> None:
    received = three.give("north", Task.ROUND, three.exchange.initial, number=0)
    due = three.hospitals["north"].model
    assert all(np.array_equal(array, due[name]) for name, array in global_weights(received).items())
    sent = question(three.exchange.initial, round_number=0)
    assert len(serialised(sent)) < 1000


def test_another_set_of_sites_each_round_and_a_late_one_has_the_present_model(tmp_path: Path) -> None:
    three = Three(tmp_path, sites=(*SITES, "west"), federation={"rounds": 3})
    one, taken = three.round(three.exchange.initial, ("city", "coast", "north"))
    two, taken = three.round(one, ("coast", "north", "west"))
    assert taken.sites == ["coast", "north", "west"]
    start = mean(three, ("city", "coast", "north"))
    updates = [three.update(site) for site in ("coast", "north", "west")]
    due = {name: array + np.mean([update[name] for update in updates], axis=0) for name, array in start.items()}
    assert_close(three.opened("west", two), due)
    assert_close(three.opened("city", two), due)


@pytest.mark.parametrize("privacy", ["clipped", "update-noise", "dp-sgd"])
def test_it_works_with_clip_noise_and_dp_sgd(tmp_path: Path, privacy: str) -> None:
    three = Three(tmp_path, privacy)
    model, taken = three.round(three.exchange.initial)
    assert taken.sites == list(SITES)
    opened = three.opened("city", model)
    start = three.hospitals["city"].model
    moved = float(np.sqrt(sum(np.sum((opened[name] - start[name]) ** 2) for name in start)))
    middle = mean(three)
    due = float(np.sqrt(sum(np.sum((middle[name] - start[name]) ** 2) for name in start)))
    if privacy == "clipped":
        assert moved <= 0.0101 < due
    elif privacy == "update-noise":
        assert moved > 10 * due
    else:
        assert moved == pytest.approx(due, rel=1e-3)


def test_weights_by_patients_are_multiplied_at_the_site(tmp_path: Path) -> None:
    three = Three(tmp_path, federation={"weighting": "patients"}, encryption={"max_patients": 500})
    patients = {"city": 400, "coast": 90, "north": 10}
    taken = three.exchange.round(three.exchange.initial)
    for site in SITES:
        taken.take(site, to_reply(three.train(site, three.exchange.initial, patients=patients[site])))
    start = three.hospitals["city"].model
    updates = {site: three.update(site) for site in SITES}
    due = {
        name: array + sum(updates[site][name] * np.float64(patients[site]) for site in SITES) / 500
        for name, array in start.items()
    }
    assert_close(three.opened("north", taken.close()), due, within=1e-6)


def test_more_patients_than_the_job_has_room_for_are_refused(tmp_path: Path) -> None:
    three = Three(tmp_path, federation={"weighting": "patients"}, encryption={"max_patients": 500})
    assert_refused(three.train("city", three.exchange.initial, patients=501), says="overflow")


def test_no_number_of_patients_is_refused_where_they_count(tmp_path: Path) -> None:
    three = Three(tmp_path, federation={"weighting": "patients"})
    assert_refused(three.train("city", three.exchange.initial), says="no number of patients")


def test_values_out_of_range_are_clipped_and_counted(tmp_path: Path) -> None:
    three = Three(tmp_path, encryption={"clipping_range": 0.01})
    _, taken = three.round(three.exchange.initial)
    local = add(three.hospitals["north"].model, three.update("north"))
    out = sum(int(np.sum(np.abs(array) > 0.01)) for array in local.values())
    assert taken.clipped["north"] == out > 0


def _of_the_job_in_the_clear(three: Three) -> Shareable:
    return to_shareable(Reply(update=three.update("north")))


def _truncated(message: bytes) -> bytes:
    return message[: len(message) // 2]


BAD: dict[str, Callable[[Three], Reply]] = {
    "in the clear": lambda t: Reply(update=t.update("north")),
    "no message": lambda t: Reply(sealed={}),
    "truncated": lambda t: Reply(sealed={"model": _truncated(_message(t))}),
    "not a message": lambda t: Reply(sealed={"model": b"sealed"}),
    "another site's": lambda t: to_reply(t.train("coast", t.exchange.initial)),
}


def _message(three: Three, site: str = "north") -> bytes:
    sealed = three.sealed_again(site).sealed
    assert sealed is not None
    message: bytes = sealed["model"]
    return message


@pytest.mark.parametrize("kind", BAD)
def test_the_server_refuses_what_cannot_be_added_and_goes_on(three: Three, kind: str) -> None:
    taken = three.exchange.round(three.exchange.initial)
    with pytest.raises(FedwardError) as refused:
        taken.take("north", BAD[kind](three))
    assert "\n" not in str(refused.value)
    assert taken.sites == []
    taken.take("north", to_reply(three.train("north", three.exchange.initial)))
    assert taken.sites == ["north"]


def test_a_message_of_another_key_layout_or_round_is_refused(tmp_path: Path) -> None:
    three, others = Three(tmp_path / "a"), Three(tmp_path / "b", key=OTHER)
    taken = three.exchange.round(three.exchange.initial)
    with pytest.raises(FedwardError, match="key"):
        taken.take("north", to_reply(others.train("north", others.exchange.initial)))
    model, _ = three.round(three.exchange.initial)
    with pytest.raises(FedwardError, match="round"):
        three.exchange.round(model).take("north", three.sealed_again("north"))


def test_a_replayed_message_and_a_second_one_are_refused(three: Three) -> None:
    taken = three.exchange.round(three.exchange.initial)
    reply = to_reply(three.train("north", three.exchange.initial))
    taken.take("north", reply)
    for again in (reply, three.sealed_again("north")):
        with pytest.raises(FedwardError):
            taken.take("north", again)
    assert taken.sites == ["north"]


def test_fewer_than_three_sites_make_no_sum(three: Three) -> None:
    taken = three.exchange.round(three.exchange.initial)
    for site in SITES[:2]:
        taken.take(site, to_reply(three.train(site, three.exchange.initial)))
    with pytest.raises(FedwardError, match="fewer"):
        taken.close()


def test_an_answer_after_the_round_was_closed_counts_nowhere(three: Three) -> None:
    _, taken = three.round(three.exchange.initial)
    with pytest.raises(FedwardError, match="closed"):
        taken.take("north", three.sealed_again("north"))


def _flipped(model: Model, at: int) -> Model:
    sealed = bytearray(model.sealed or b"")
    sealed[at] ^= 1
    return Model(after=model.after, sealed=bytes(sealed))


def _alone(three: Three, model: Model) -> Model:
    """One hospital's message where a sum is due."""
    return Model(after=1, sealed=_message(three))


def _of_the_other_run(three: Three, model: Model) -> Model:
    other = Three(next(iter(three.hospitals.values())).folder.parent / "other")
    return first_sum(other)


LIES: dict[str, Callable[[Three, Model], Model]] = {
    "one hospital's alone": _alone,
    "a bit flipped at the end": lambda t, m: _flipped(m, -1),
    "a bit flipped in the middle": lambda t, m: _flipped(m, len(m.sealed or b"") // 2),
    "of another run": _of_the_other_run,
    "weights in the clear": lambda t, m: Model(after=1, weights=t.hospitals["city"].model),
    "said to be of a later round": lambda t, m: Model(after=2, sealed=m.sealed),
    "said to be the initial one": lambda t, m: Model(after=0, sealed=m.sealed),
    "nothing": lambda t, m: Model(after=1),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_server_moves_no_hospital(three: Three, lie: str) -> None:
    """Whatever a server sends for a model, its hospital trains on the sum of three or not at all."""
    model = first_sum(three)
    received = three.give("city", Task.ROUND, LIES[lie](three, model), number=1)
    assert "DXO" not in received
    assert "refused_at_door" in " ".join(received.get("__headers__", {}))


def test_a_second_sum_of_one_round_is_not_opened(three: Three) -> None:
    first, second = first_sum(three), three.another_sum()
    assert_close(three.opened("city", first), mean(three))
    assert "DXO" not in three.give("city", Task.ROUND, second, number=1)


def test_the_final_model_leaves_as_it_was_verified(tmp_path: Path) -> None:
    three = Three(tmp_path, federation={"rounds": 1})
    model = first_sum(three)
    confirmed = three.words(model)
    said = three.said["city"]
    answer = to_reply(three.open("city", model, confirmed))
    assert answer.model is not None and said.sealed is not None
    assert_close(answer.model, mean(three))
    assert said.sealed[OPENED] == digest(answer.model)


def test_no_model_leaves_before_the_end_or_where_the_job_keeps_it(tmp_path: Path) -> None:
    early = Three(tmp_path / "early", federation={"rounds": 2})
    assert "DXO" not in early.give("city", Task.OPEN, first_sum(early), number=-1)
    kept = Three(tmp_path / "kept", federation={"rounds": 1}, encryption={"open_final": False})
    model = first_sum(kept)
    message = kept.open("city", model, kept.words(model))
    assert_refused(message, says="stays with the hospitals", payload=kept.hospitals["city"].model)


def test_no_model_leaves_that_other_hospitals_have_not_opened(tmp_path: Path) -> None:
    """A server that gives two hospitals two sums, which differ by what a third sent, gets neither opened."""
    sites = (*SITES, "west")
    three = Three(tmp_path, sites=sites, federation={"rounds": 1})
    four, taken = three.exchange.round(three.exchange.initial), three.exchange.round(three.exchange.initial)
    for site in sites:
        reply = to_reply(three.train(site, three.exchange.initial))
        four.take(site, reply)
        if site != "west":
            taken.take(site, reply)
    all_four, without_west = four.close(), taken.close()
    confirmed = three.words(all_four, ("city", "coast", "west"))
    assert three.words(without_west, ("north",)) is None, "one word makes no sum"
    assert_refused(three.open("north", without_west, None), says="word that they opened it", payload=mean(three))
    message = three.open("city", all_four, confirmed)
    assert to_reply(message).model is not None, "three of four are more than two thirds"
    assert "DXO" not in three.give("coast", Task.FINAL, without_west, number=-1), "it has opened the other sum"


@given(st.integers(3, 60), st.data())
def test_two_sums_that_are_both_confirmed_differ_by_four_hospitals_or_none(n: int, data: st.DataObject) -> None:
    everyone = list(range(n))
    less = data.draw(st.integers(1, n - 1))
    first = data.draw(st.sets(st.sampled_from(everyone)))
    second = set(everyone[: n - less]) - first
    names = [[str(one) for one in group] for group in (first, everyone, second, everyone[: n - less])]
    if n - less >= 3 and enough(names[0], names[1]) and enough(names[2], names[3]):
        assert less >= 4


def test_an_executor_cannot_hand_a_model_or_counts_of_its_own_to_the_outside(three: Three) -> None:
    hospital = three.hospitals["city"]
    three.give("city", Task.ROUND, three.exchange.initial, number=0)
    dxo = DXO(data_kind=DataKind.COLLECTION, data={"model": DXO(data_kind=DataKind.WEIGHTS, data=hospital.model)})
    assert_refused(hospital.send(dxo.to_shareable()), says="no kind that may leave", payload=hospital.model)


def test_counts_of_a_job_in_the_clear_do_not_leave(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path)
    hospital.ingress.process(question(None, round_number=-1), hospital.context(Task.ADMIT))
    counts = {"cohort": np.arange(40, dtype=np.int64)}
    assert_refused(hospital.send(to_shareable(Reply(counts=counts)), Task.ADMIT), says="in the clear")


def test_statistics_of_three_hospitals_are_summed_and_opened(three: Three) -> None:
    from fedward.flare.summed_counts import counts_length

    length, model = counts_length(three.hospitals["city"].job, "cohort"), last(three)
    counts = {site: np.random.default_rng(at).integers(0, 50, length) for at, site in enumerate(SITES)}
    tally = three.exchange.tally("cohort")
    assert tally is not None
    assert tally.take({site: three.final(site, model, {"cohort": counts[site]}) for site in SITES[:2]}) == {}
    assert tally.close() is None, "of two hospitals there is no sum"
    tally.take({SITES[2]: three.final(SITES[2], model, {"cohort": counts[SITES[2]]})})
    total = tally.close()
    assert total is not None
    asked = replace(total, confirmed=three.confirmed(total))
    received = three.give("coast", Task.POOL, asked, number=-1)
    np.testing.assert_array_equal(received["DXO"]["data"]["counts"], sum(counts.values()))
    wrong = replace(asked, purpose="scores")
    assert "DXO" not in three.give("city", Task.POOL, wrong, number=-1)
    assert "DXO" not in three.give("north", Task.POOL, total, number=-1), "nobody's word that they opened it"


def test_what_is_no_message_costs_a_site_its_place_in_a_tally_and_nobody_else(three: Three) -> None:
    from fedward.flare.summed_counts import counts_length

    counts = {"cohort": np.ones(counts_length(three.hospitals["city"].job, "cohort"), np.int64)}
    model = last(three)
    replies = {site: three.final(site, model, counts) for site in SITES}
    bad = {"late": Reply(sealed={"cohort": 3}), "odd": Reply(sealed={"cohort": b"no message"})}
    tally = three.exchange.tally("cohort")
    assert tally is not None and set(tally.take(replies | bad)) == {"late", "odd"}
    assert tally.sites == list(SITES)


def test_the_wrong_key_is_named_before_training(tmp_path: Path) -> None:
    three = Three(tmp_path)
    job_id = three.hospitals["city"].job_id
    three.hospitals["late"] = Hospital(tmp_path / "late", site="late", shared=OTHER, job_id=job_id, admitted=False)
    odd = three.exchange.agree_on_key({site: three.admitted_again(site) for site in (*SITES, "late")})
    assert set(three.exchange.roster or {}) == set(SITES)
    assert set(odd) == {"late"} and KEY.key_id[:8] in odd["late"] and OTHER.key_id[:8] in odd["late"]


def test_no_key_of_most_sites_stops_the_job(tmp_path: Path) -> None:
    three = Three(tmp_path)
    replies = {site: three.admitted_again(site) for site in SITES}
    replies["coast"] = Reply(sealed={"key": OTHER.key_id, "scheme": "aes-ctr"})
    replies["north"] = Reply()
    with pytest.raises(FederationError, match="more than half"):
        three.exchange.agree_on_key(replies)


def test_a_site_without_a_key_and_one_whose_key_changed_take_no_part(tmp_path: Path) -> None:
    three = Three(tmp_path)
    write_key(OTHER, three.hospitals["city"].local / "federation.key", replace=True)
    assert "DXO" not in three.give("city", Task.ROUND, three.exchange.initial, number=0)
    (three.hospitals["coast"].local / "federation.key").unlink()
    received = three.give("coast", Task.ROUND, three.exchange.initial, number=0)
    assert "key" in json.dumps(received.get("__headers__", {}))


def test_a_site_whose_key_is_away_for_one_task_goes_on_with_the_next(tmp_path: Path) -> None:
    three = Three(tmp_path)
    kept = three.hospitals["coast"].local / "federation.key"
    away = kept.rename(tmp_path / "away")
    assert "DXO" not in three.give("coast", Task.ROUND, three.exchange.initial, number=0)
    hospital, update = three.hospitals["coast"], three.update("coast")
    assert_refused(hospital.send(hospital.answer(update)), payload=update)
    away.rename(kept)
    assert "DXO" in three.give("coast", Task.ROUND, three.exchange.initial, number=0)
    assert not three.hospitals["coast"].record.require(hospital.job_id).ended


def test_a_key_that_was_changed_ends_the_run(tmp_path: Path) -> None:
    three, coast = Three(tmp_path), None
    coast = three.hospitals["coast"]
    own = (coast.local / "federation.key").read_bytes()
    write_key(OTHER, coast.local / "federation.key", replace=True)
    assert "DXO" not in three.give("coast", Task.ROUND, three.exchange.initial, number=0)
    (coast.local / "federation.key").write_bytes(own)
    assert "DXO" not in three.give("coast", Task.ROUND, three.exchange.initial, number=0)
    assert coast.record.require(coast.job_id).ended


def test_an_end_that_the_disk_refuses_is_written_at_the_next_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = Three(tmp_path)
    coast = three.hospitals["coast"]
    write_key(OTHER, coast.local / "federation.key", replace=True)
    with monkeypatch.context() as full:
        full.setattr(Record, "end", lambda record, job_id: (_ for _ in ()).throw(DiskFullError("no room")))
        assert "DXO" not in three.give("coast", Task.ROUND, three.exchange.initial, number=0)
    assert not coast.record.require(coast.job_id).ended
    assert "DXO" not in three.give("coast", Task.ROUND, three.exchange.initial, number=0)
    assert coast.record.require(coast.job_id).ended


CALLS = [
    "fedward.flare.gates.egress._sealed",
    "fedward.flare.gates.egress.add",
    "fedward.flare.gates.sums.round_models.RoundModels.seal",
    "fedward.flare.gates.sums.round_models.flatten",
    "fedward.encryption.fixed_point.FixedPoint.encode",
    "fedward.encryption.fixed_point.FixedPoint.weight_code",
    "fedward.encryption.secure_sum.SecureSum.seal",
]


@pytest.mark.parametrize("call", CALLS)
def test_whatever_throws_while_sealing_nothing_leaves(three: Three, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    three.give("north", Task.ROUND, three.exchange.initial, number=0)

    def thrown(*args: object, **named: object) -> None:
        raise RuntimeError("MARK DOE")

    monkeypatch.setattr(call, thrown)
    hospital, update = three.hospitals["north"], three.update("north")
    assert_refused(hospital.send(hospital.answer(update)), payload=update)
    monkeypatch.undo()
    assert_refused(hospital.send(hospital.answer(update)), payload=update)


@pytest.mark.parametrize(
    "call",
    ["fedward.flare.gates.egress._sealed", "fedward.flare.gates.sums.round_models.RoundModels.seal"],
)
def test_a_seal_that_hands_back_nothing_lets_nothing_out(
    three: Three, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    three.give("north", Task.ROUND, three.exchange.initial, number=0)
    monkeypatch.setattr(call, lambda *args, **named: {})
    hospital, update = three.hospitals["north"], three.update("north")
    message = hospital.send(hospital.answer(update))
    wire = serialised(message)
    assert len(wire) < 2000 and "update" not in (parts(message) if "DXO" in message else {})


def test_the_server_says_which_model_a_task_carries(three: Three) -> None:
    """A task without that header is refused, as is a sealed payload in a job in the clear."""
    model = first_sum(three)
    data = question(model, round_number=1, roster=three.exchange.roster)
    data.set_header(AFTER, None)
    hospital = three.hospitals["city"]
    assert "DXO" not in hospital.ingress.process(data, hospital.context(Task.ROUND))


def test_a_sealed_model_means_nothing_to_a_job_in_the_clear(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path)
    data = sealed_payload("model", b"x")
    data.set_header("fedward_round_number", 0)
    assert "DXO" not in hospital.ingress.process(data, hospital.context(Task.ROUND))


# how long sealing takes


def _first_round(hospital: Hospital) -> Shareable:
    roster = {hospital.site: hospital.record.require(hospital.job_id).nonce}
    return question(Model(after=0), round_number=0, roster=roster)


def metrics(answer: Shareable) -> dict[str, Any]:
    return dict(to_reply(answer).metrics)


def test_the_gate_says_how_long_sealing_a_round_took_and_believes_no_other_word(three: Three) -> None:
    assert "seal_s" not in three.admitted_again("north").metrics
    three.give("north", Task.ROUND, three.exchange.initial, number=0)
    hospital = three.hospitals["north"]
    answer = hospital.send(hospital.answer(three.update("north"), metrics={"steps": 10, "seal_s": 777.0}))
    assert set(metrics(answer)) == {"steps", "seal_s"}
    assert 0.0 <= metrics(answer)["seal_s"] < 60.0


@pytest.mark.parametrize(
    ("listed", "leaves"),
    [('"work"', True), ('"seal_s"', True), ('"work.seal_s"', True), ('"scores"', False), ("", False)],
)
def test_it_leaves_only_where_the_hospitals_list_has_it(tmp_path: Path, listed: str, leaves: bool) -> None:
    hospital = Hospital(tmp_path, shared=KEY)
    policy = hospital.local / "site.toml"
    policy.write_text(policy.read_text().replace(LISTED, listed))
    hospital.ingress.process(_first_round(hospital), hospital.context(Task.ROUND))
    answer = hospital.send(hospital.answer(hospital.update(), metrics={}))
    assert refusal(answer) is None
    assert ("seal_s" in metrics(answer)) == leaves and set(metrics(answer)) <= {"seal_s"}


def test_a_job_in_the_clear_has_no_such_time(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path)
    hospital.receive()
    assert "seal_s" not in parts(hospital.send(hospital.answer(hospital.update())))["metrics"].data


def test_where_the_time_cannot_be_released_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hospital = Hospital(tmp_path, shared=KEY)
    hospital.ingress.process(_first_round(hospital), hospital.context(Task.ROUND))

    def fails(content: Mapping[str, Any], *_: object, **__: object) -> dict[str, Any]:
        if "seal_s" in content:
            raise RuntimeError("DOE^JANE")
        return dict(content)

    monkeypatch.setattr("fedward.flare.gates.egress.release", fails)
    update = hospital.update()
    assert_refused(hospital.send(hospital.answer(update, metrics={})), payload=update)
    monkeypatch.undo()
    assert_refused(hospital.send(hospital.answer(update, metrics={})), payload=update)
