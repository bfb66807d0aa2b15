"""A job with noise for the sum as its hospitals' gates see it: shares, sums, steps, and the lies of a server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvflare.apis.shareable import Shareable

from fedward.errors import EncryptionError
from fedward.flare.gates import gate
from fedward.flare.protocol import (
    MODEL,
    REFUSED_AT_DOOR,
    Model,
    Reply,
    Task,
    Unmask,
    global_weights,
    question,
    refusal,
    to_reply,
    to_shareable,
)
from fedward.flare.secagg_context import STATE
from fedward.flare.server.checkpoints import missed_sums
from fedward.flare.server.checkpoints.missed_sums import MissedSums
from fedward.flare.server.masked_sums import take_masks_off
from fedward.privacy.noise import SecureRandom
from fedward.privacy.sum_noise import shares_of
from fedward.weights import digest
from tests.support.flare.three import SITES
from tests.support.flare.union import Union

FIVE = ("city", "coast", "north", "west", "zurich")


@pytest.fixture
def no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hospitals add a share that is zero but for one number of 1."""

    def one(self: SecureRandom, size: int, std: float) -> Any:
        found = np.zeros(size, np.int64)
        found[0] = 1
        return found

    monkeypatch.setattr(SecureRandom, "rounded_normal", one)


def noise_of(union: Union, number: int, sites: tuple[str, ...]) -> np.ndarray:
    """What an opened sum holds besides the hospitals' gradients."""
    return union.codes(sites[0], number) - sum(union.flat(site, number) for site in sites)


def refused(message: Shareable) -> str:
    found = message.get_header(REFUSED_AT_DOOR) or refusal(message)
    assert found is not None
    return str(found)


def test_every_hospital_makes_the_step_of_the_sum_of_all(tmp_path: Path, no_noise: None) -> None:
    union = Union(tmp_path)
    job, model, made = union.hospitals["city"].job, union.start, union.exchange.initial
    for number in range(job.federation.rounds):
        made, _ = union.round(made)
        total = sum(union.flat(site, number) for site in SITES)
        total[0] += len(SITES)
        assert (union.codes("north", number) == total).all(), "bit for bit, over the masks"
        model = model.step(total, unit=union.grid.unit, job=job, base=union.base(number + 1))
    for site in SITES:
        found = global_weights(union.give(site, Task.FINAL, made))
        assert all(np.array_equal(found[name], array) for name, array in model.weights.items())
        assert union.kept(site).model.digest == model.digest


@pytest.mark.parametrize(
    ("sites", "bounds", "missing"),
    [
        (SITES, {}, 0),
        (SITES, {"max_colluding": 0}, 0),
        (FIVE, {"max_missing": 1}, 0),
        (FIVE, {"max_missing": 1}, 1),
        (FIVE, {"max_missing": 1, "max_colluding": 0}, 1),
    ],
)
def test_the_noise_of_the_opened_sum_is_the_promised_one(
    tmp_path: Path, sites: tuple[str, ...], bounds: Any, missing: int
) -> None:
    union = Union(tmp_path, sites=sites, dp_sgd=bounds, encryption={"max_colluding": 1})
    job, sums = union.hospitals["city"].job, []
    there = sites[: len(sites) - missing]
    made, _ = union.round(union.exchange.initial, there)
    union.round(made, there)
    shares = shares_of(job, sites=len(sites))
    promised = 1.5 * union.grid.most_l2
    sums = [noise_of(union, number, there) for number in (0, 1)]
    for noise in sums:
        due = promised * np.sqrt(len(there) / shares.counted)
        deviation = 5 / np.sqrt(2 * noise.size)
        assert abs(noise.std() / due - 1) < max(0.03, deviation)
        assert noise.std() >= promised * (1 - deviation), "never below"
        assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 5 / np.sqrt(noise.size)
    assert abs(np.corrcoef(*sums)[0, 1]) < 5 / np.sqrt(sums[0].size), "no two rounds share noise"


def test_with_one_more_missing_than_the_job_allows_nothing_is_opened(tmp_path: Path) -> None:
    """Masks alone would bear two of six: the noise does not."""
    six = (*FIVE, "york")
    union = Union(tmp_path, sites=six, dp_sgd={"max_missing": 1}, encryption={"max_colluding": 1})
    taken = union.exchange.round(union.exchange.initial)
    for site in six[:4]:
        taken.take(site, to_reply(union.train(site, union.exchange.initial)))
    taken.stop()
    shut = take_masks_off(taken.sums, six, ask=union.ask, events=union.events, number=0)
    assert shut == {MODEL: "the sum is of 4 hospitals, and a masked sum needs 5"}
    unmasking = taken.sums[MODEL].unmasking
    assert unmasking is not None
    asked = Unmask(requests={MODEL: unmasking.request("city").plain()})
    found = refused(union.give("city", Task.UNMASK, asked, number=0))
    assert "sum to open is of fewer than … hospitals" in found, "a server that asks all the same"


def test_a_hospital_that_missed_rounds_is_sent_their_sums(tmp_path: Path) -> None:
    union = Union(
        tmp_path, sites=FIVE, dp_sgd={"max_missing": 1}, encryption={"max_colluding": 1}, federation={"rounds": 4}
    )
    made = union.exchange.initial
    for _ in range(3):
        made, _ = union.round(made, FIVE[:4])
    begun = union.hospitals["zurich"].ledger.find(union.hospitals["zurich"].job_id)
    assert begun is not None and begun.begun_steps == 0, "nothing is charged for a round that did not begin here"
    made, taken = union.round(made, FIVE)
    assert taken.sites == [*FIVE]
    union.give("city", Task.FINAL, made)
    union.give("zurich", Task.FINAL, made)
    assert union.kept("zurich").model.digest == union.kept("city").model.digest


def test_sums_that_are_gone_are_named_and_the_hospital_may_go_on_later(tmp_path: Path) -> None:
    union = Union(
        tmp_path, sites=FIVE, dp_sgd={"max_missing": 1}, encryption={"max_colluding": 1}, federation={"rounds": 4}
    )
    made = union.exchange.initial
    for _ in range(3):
        made, _ = union.round(made, FIVE[:4])
    told = refused(super(Union, union).give("zurich", Task.ROUND, made, number=made.after))
    assert "sums of rounds are missing" in told
    assert refusal(union.give("zurich", Task.ROUND, made, number=made.after)) is None


def test_a_restarted_hospital_has_its_model(tmp_path: Path) -> None:
    union = Union(tmp_path, federation={"rounds": 3})
    made, _ = union.round(union.exchange.initial)
    made, _ = union.round(made)
    union.opened("city", made)
    before = union.kept("city").model.digest
    union.hospitals["city"].restart()
    reply = union.admit("city")
    assert (reply.sealed or {})["after"] == 2
    assert union.kept("city").model.digest == before
    union.round(made)


def test_a_round_that_comes_again_is_charged_again_and_has_other_noise(tmp_path: Path) -> None:
    union = Union(tmp_path)
    first = to_reply(union.train("city", union.exchange.initial))
    union.hospitals["city"].restart()
    again = to_reply(union.train("city", union.exchange.initial))
    assert (first.sealed or {})[MODEL] != (again.sealed or {})[MODEL]
    charge = union.hospitals["city"].ledger.find(union.hospitals["city"].job_id)
    assert charge is not None and charge.begun_steps == 2
    for site in ("coast", "north"):
        union.train(site, union.exchange.initial)


def test_a_hospital_with_another_model_does_not_count_and_is_told(tmp_path: Path) -> None:
    """Its processor rounds otherwise, by the last digit of one weight: nobody's gradients are added to another's."""
    union = Union(
        tmp_path, sites=FIVE, dp_sgd={"max_missing": 1}, encryption={"max_colluding": 1}, federation={"rounds": 4}
    )
    made, _ = union.round(union.exchange.initial)
    union.opened("coast", made)
    kept = union.kept("coast")
    name = kept.model.trained[0]
    other = np.nextafter(kept.model.weights[name], np.float32(9.0))
    kept.model, kept._digest = replace(kept.model, weights={**kept.model.weights, name: other}), None
    union.lost = {"coast"}
    made, taken = union.round(made, FIVE)
    assert taken.sites == ["city", "north", "west", "zurich"]
    assert "model and optimizer are not those of most hospitals" in taken.left_out["coast"]
    assert "gradients are of another model than this hospital's" in refused(
        union.give("coast", Task.ROUND, made, number=2)
    )
    assert refused(union.give("coast", Task.FINAL, made)), "and it confirms nothing"


def test_a_hospital_that_says_another_state_than_its_message_has(tmp_path: Path) -> None:
    union = Union(tmp_path)
    taken = union.exchange.round(union.exchange.initial)
    reply = to_reply(union.train("coast", union.exchange.initial))
    reply.sealed[STATE] = "0" * 64  # type: ignore[index]
    with pytest.raises(EncryptionError, match="sealed for another base"):
        taken.take("coast", reply)
    for site in ("city", "north"):
        taken.take(site, to_reply(union.train(site, union.exchange.initial)))
    assert taken.sites == ["city", "north"] and taken.too_few is not None


def test_gradients_of_a_round_that_is_over_do_not_leave(tmp_path: Path) -> None:
    union = Union(tmp_path, federation={"rounds": 3})
    made, _ = union.round(union.exchange.initial)
    union.opened("city", made)
    union.hospitals["city"].restart()
    union.admit("city")
    received = union.give("city", Task.ROUND, union.exchange.initial, number=0)
    assert refused(received)


def test_the_ledger_holds_no_digest_of_gradients_without_noise(tmp_path: Path) -> None:
    union = Union(tmp_path)
    union.train("city", union.exchange.initial)
    written = str([entry.body for entry in union.hospitals["city"].ledger.entries()])
    assert digest(union.units("city", 0)) not in written


def test_a_sum_of_too_few_is_collected_anew_by_another_process_of_the_server(tmp_path: Path) -> None:
    union = Union(tmp_path)
    taken = union.exchange.round(union.exchange.initial)
    for site in ("city", "north"):
        taken.take(site, to_reply(union.train(site, union.exchange.initial)))
    taken.stop()
    restored = union.exchange.restored(taken.masked, union.exchange.initial)
    assert restored.sites == ["city", "north"] and restored.too_few is not None
    made, _ = union.round(union.exchange.initial)
    assert made.after == 1


def test_sums_are_sent_in_parts_where_a_message_does_not_hold_them(tmp_path: Path, monkeypatch: Any) -> None:
    union = Union(
        tmp_path, sites=FIVE, dp_sgd={"max_missing": 1}, encryption={"max_colluding": 1}, federation={"rounds": 6}
    )
    made, sums = union.exchange.initial, MissedSums(union.hospitals["city"].job, tmp_path / "server")
    for _ in range(5):
        made, _ = union.round(made, FIVE[:4])
        sums.keep(made)
    monkeypatch.setattr(missed_sums, "LARGEST_MESSAGE", 2 * len(made.sealed or b"") + 9)
    give, told = super(Union, union).give, []
    for _ in range(3):
        sent = sums.for_sites(made, ["zurich"])
        assert isinstance(sent, dict) and len(sent["zurich"].earlier) <= 2
        told.append(give("zurich", Task.ROUND, sent["zurich"], number=5).get_header(REFUSED_AT_DOOR))
    assert ["sums of rounds are missing" in str(one) for one in told] == [True, False, False], told
    assert union.kept("zurich").model.digest != union.start.digest and union.kept("zurich").model.after == 5
    sums.answered(made, FIVE)
    assert sums.for_sites(made, FIVE) is made


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda units: units, ""),
        (lambda units: {}, "is not whole numbers of the agreed shape"),
        (lambda units: {name: array.astype(np.float64) for name, array in units.items()}, "is not whole numbers"),
        (lambda units: {name: array.ravel() for name, array in units.items()}, "is not whole numbers"),
        (lambda units: {**units, "more": np.zeros(3, np.int64)}, "is not in the agreed layout"),
        (lambda units: {name: array * 1000 for name, array in units.items()}, "update is longer than its clip"),
    ],
)
def test_what_is_no_clipped_sum_does_not_leave(tmp_path: Path, change: Any, says: str) -> None:
    union = Union(tmp_path)
    union.give("city", Task.ROUND, union.exchange.initial, number=0)
    found = union.sent("city", 0, units=change(union.units("city", 0)))
    if not says:
        assert refusal(found) is None and set(to_reply(found).sealed or {}) >= {MODEL, STATE}
        assert to_reply(found).update is None
        return
    assert says in refused(found)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"digest": "0" * 64}, "update is not the one that its proof is for"),
        ({"noise_multiplier": 0.1}, "another sampling rate or noise than was charged"),
        ({"sampling_rate": 0.01}, "another sampling rate or noise than was charged"),
        ({"round_number": 1}, "proof is of another job or round"),
        ({"begun": "0" * 64}, "ledger has no such round"),
        ({"clip_norm_l2": 2.0}, "larger clip or less noise"),
    ],
)
def test_what_the_ledger_does_not_know_does_not_leave(tmp_path: Path, changes: Any, says: str) -> None:
    union = Union(tmp_path)
    union.give("city", Task.ROUND, union.exchange.initial, number=0)
    assert says in refused(union.sent("city", 0, **changes))


@pytest.mark.parametrize("broken", ["raises", "zeros", "floats", "short"])
def test_without_its_share_of_the_noise_nothing_leaves(
    tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(self: SecureRandom, size: int, std: float) -> Any:
        if broken == "raises":
            raise OSError("no entropy")
        return {"zeros": np.zeros(size, np.int64), "floats": np.ones(size), "short": np.ones(3, np.int64)}[broken]

    union = Union(tmp_path)
    union.give("city", Task.ROUND, union.exchange.initial, number=0)
    monkeypatch.setattr(SecureRandom, "rounded_normal", draw)
    found = union.sent("city", 0)
    assert refusal(found) is not None and set(found) == {"__headers__"}


def test_a_server_that_sends_another_sum_of_the_round(tmp_path: Path) -> None:
    """Of another run: it verifies under no key of this one."""
    union, other = Union(tmp_path / "a", federation={"rounds": 3}), Union(tmp_path / "b", federation={"rounds": 3})
    union.round(union.exchange.initial)
    foreign, _ = other.round(other.exchange.initial)
    assert refused(union.give("city", Task.ROUND, foreign, number=1))
    assert union.kept("city").model.after == 0


def test_sums_out_of_order_or_twice_change_nothing(tmp_path: Path) -> None:
    union = Union(tmp_path, federation={"rounds": 4})
    first, _ = union.round(union.exchange.initial)
    second, _ = union.round(first)
    give = super(Union, union).give
    assert refusal(give("city", Task.ROUND, replace(second, earlier=(first.sealed or b"",)), number=2)) is None
    found = union.kept("city").model.digest
    before = union.kept("coast").model.digest
    swapped = Model(after=2, sealed=first.sealed, earlier=(second.sealed or b"",))
    assert refused(give("coast", Task.ROUND, swapped, number=2))
    assert union.kept("coast").model.digest in (found, before), "one of the true models"
    assert union.kept("city").model.digest == found


def test_a_damaged_model_is_not_used(tmp_path: Path) -> None:
    union = Union(tmp_path, federation={"rounds": 3})
    made, _ = union.round(union.exchange.initial)
    union.opened("city", made)
    path = union.kept("city")._path
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(bytes(content))
    hospital = union.hospitals["city"]
    hospital.restart()
    found = hospital.ingress.process(question(None, round_number=-1), hospital.context(Task.ADMIT))
    if found.get_header(REFUSED_AT_DOOR) is None:
        found = hospital.send(to_shareable(Reply()), Task.ADMIT)
    assert refused(found)
    assert not gate._STATES["city", hospital.job_id].__dict__.get("_union")
