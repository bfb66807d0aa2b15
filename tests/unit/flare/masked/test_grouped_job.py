"""A masked job with a sum for each group, and the median of the groups' means as model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedward.encryption.masks.graphs.groups import Grouping
from fedward.encryption.message import unpack
from fedward.encryption.sums import identity_of, pack_sums, sites_in, sums_in
from fedward.errors import EncryptionError
from fedward.flare.protocol import REFUSED_AT_DOOR, Model, Task, Unmask, refusal, to_reply
from fedward.flare.server.averaging.grouped_round import GroupedRound
from fedward.flare.server.masked_sums import take_masks_off
from fedward.weights import Weights
from tests.support.flare.three import Three, assert_close, mean

NINE = tuple(f"site-{number}" for number in range(9))
GROUPED: dict[str, Any] = {
    "federation": {"aggregation": "grouped-median", "min_sites": 9},
    "encryption": {"max_colluding": 1},
}


@pytest.fixture
def nine(tmp_path: Path) -> Three:
    return Three(tmp_path, key=None, sites=NINE, **GROUPED)


def groups(three: Three, number: int = 0) -> tuple[tuple[str, ...], ...]:
    graph = three.exchange._graph
    assert graph is not None and graph.grouping is not None
    return graph.grouping.groups(graph.sites, round_number=number)


def uploaded(three: Three, model: Model, *, without: tuple[str, ...] = ()) -> GroupedRound:
    taken = three.exchange.round(model)
    assert isinstance(taken, GroupedRound)
    for site in three.sites:
        if site not in without:
            taken.take(site, to_reply(three.train(site, model)))
    taken.stop()
    return taken


def median(three: Three, divided: tuple[tuple[str, ...], ...]) -> Weights:
    means = [mean(three, group) for group in divided]
    return {name: np.median([one[name] for one in means], axis=0) for name in means[0]}


def opened_masks(three: Three, taken: GroupedRound, *, number: int = 0) -> dict[str, str]:
    return take_masks_off(taken.sums, three.sites, ask=three.ask, events=three.events, number=number)


def test_the_model_is_the_median_of_the_groups_means(nine: Three) -> None:
    divided = groups(nine)
    assert sorted(site for group in divided for site in group) == [*NINE] and {len(group) for group in divided} == {3}
    taken = uploaded(nine, nine.exchange.initial)
    assert opened_masks(nine, taken) == {}
    first = taken.close()
    sums = sums_in(first.sealed)
    assert [unpack(one).sites for one in sums] == list(divided)
    for site in NINE:
        assert_close(nine.opened(site, first), median(nine, divided))
    later = groups(nine, 1)
    assert later != divided, "another division in each round"


def test_one_false_hospital_moves_no_value_beyond_the_honest_groups(nine: Three) -> None:
    honest, divided = nine.update, groups(nine)
    nine.update = lambda site, **how: honest(site, scale=7.0) if site == "site-4" else honest(site, **how)  # type: ignore[method-assign]
    taken = uploaded(nine, nine.exchange.initial)
    assert opened_masks(nine, taken) == {}
    found = nine.opened("site-0", taken.close())
    nine.update = honest  # type: ignore[method-assign]
    rest = [mean(nine, group) for group in divided if "site-4" not in group]
    for name, array in found.items():
        low, high = (edge([one[name] for one in rest], axis=0) for edge in (np.min, np.max))
        assert (low - 1e-6 <= array).all() and (array <= high + 1e-6).all()


def test_groups_are_the_same_in_every_run_of_a_job_and_others_in_another_job() -> None:
    one, other = Grouping(count=3, job="a"), Grouping(count=3, job="b")
    assert one.groups(NINE, round_number=4) == one.groups(reversed(NINE), round_number=4)
    assert one.groups(NINE, round_number=4) != other.groups(NINE, round_number=4)
    assert [one.group_of(site, NINE, round_number=2) for site in NINE] == [
        next(n for n, group in enumerate(one.groups(NINE, round_number=2)) if site in group) for site in NINE
    ]
    sizes = {len(group) for group in one.groups([f"s{n}" for n in range(11)], round_number=0)}
    assert sizes == {3, 4}


def test_a_group_without_enough_hospitals_opens_nothing(nine: Three) -> None:
    (lost, *_), *_ = groups(nine)
    taken = uploaded(nine, nine.exchange.initial, without=(lost,))
    assert opened_masks(nine, taken) == {"model-0": "the sum is of 2 hospitals, and a masked sum needs 3"}
    with pytest.raises(EncryptionError):
        taken.close()


# lies


def refused(three: Three, site: str, model: Model) -> bool:
    return three.give(site, Task.ROUND, model, number=1).get_header(REFUSED_AT_DOOR) is not None


@pytest.mark.parametrize("lie", ["fewer", "swapped", "twice", "one alone", "cut short", "another's"])
def test_sums_that_are_not_those_of_the_groups_are_refused(nine: Three, lie: str) -> None:
    taken = uploaded(nine, nine.exchange.initial)
    assert opened_masks(nine, taken) == {}
    honest = taken.close()
    one, two, three = sums_in(honest.sealed)
    whole = honest.sealed or b""
    lies = {
        "fewer": pack_sums([one, two]),
        "swapped": pack_sums([two, one, three]),
        "twice": pack_sums([one, one, three]),
        "one alone": one,
        "cut short": whole[:-1],
        "another's": pack_sums([one, two, three[:-1] + bytes([three[-1] ^ 1])]),
    }
    assert refused(nine, "site-0", Model(after=1, sealed=lies[lie]))
    assert not refused(nine, "site-1", honest)


def test_a_hospital_helps_for_one_set_of_each_group_and_for_no_mixed_one(nine: Three) -> None:
    taken = uploaded(nine, nine.exchange.initial)
    masks = {purpose: adder.unmasking for purpose, adder in taken.sums.items() if adder.unmasking}
    contents = {purpose: one.request("site-0").plain() for purpose, one in masks.items()}

    def asked(purpose: str, content: Any) -> bool:
        received = nine.give("site-0", Task.UNMASK, Unmask(requests={purpose: content}), number=0)
        return received.get_header(REFUSED_AT_DOOR) is None

    for purpose, content in contents.items():
        assert asked(purpose, content) and asked(purpose, content)
    first, second = (contents[f"model-{group}"]["nonces"] for group in (0, 1))
    mixed = {**contents["model-0"], "nonces": first | dict([*second.items()][:1])}
    assert not asked("model-0", mixed)


TEN = (*NINE, "site-9")
OTHER_ROSTER = "other hospitals take part in another run of this job"


def one_group(three: Three, group: int = 0) -> None:
    """Have the masks of one group's sum taken off, and of no other's, as a server does that then ends the run."""
    taken = uploaded(three, three.exchange.initial)
    purpose = f"model-{group}"
    only = {purpose: taken.sums[purpose]}
    assert take_masks_off(only, three.sites, ask=three.ask, events=three.events, number=0) == {}


def divided_without(three: Three, out: str) -> tuple[tuple[str, ...], ...]:
    graph = three.exchange._graph
    assert graph is not None and graph.grouping is not None
    return graph.grouping.groups([site for site in graph.sites if site != out], round_number=0)


@pytest.mark.parametrize("opened", [True, False])
def test_groups_of_other_hospitals_in_another_run_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, opened: bool
) -> None:
    """Without one hospital the groups are others: a group of the first run, less it, may be one of the second.

    So it is if the hospitals know of the group's sum, and if they only sent their models, and others helped to open it.
    """
    three = Three(tmp_path, key=None, sites=TEN, **GROUPED)
    whole = groups(three)[0]
    out = next(site for site in whole if set(whole) - {site} in map(set, divided_without(three, site)))
    if opened:
        one_group(three)
    else:
        uploaded(three, three.exchange.initial)
    with pytest.raises(ValueError, match="not a valid DXO"):  # the first hospital's gate let no task to its executor
        three.again(tuple(site for site in TEN if site != out))
    assert OTHER_ROSTER in caplog.text
    assert three.again(TEN).sites == TEN, "the same hospitals may"


@pytest.mark.parametrize("purpose", ["model", "model-3", "model--1", "model-01"])
def test_a_sum_of_no_group_is_refused(nine: Three, purpose: str) -> None:
    taken = uploaded(nine, nine.exchange.initial)
    unmasking = taken.sums["model-0"].unmasking
    assert unmasking is not None
    content = unmasking.request("site-0").plain()
    received = nine.give("site-0", Task.UNMASK, Unmask(requests={purpose: content}), number=0)
    assert received.get_header(REFUSED_AT_DOOR) is not None


def test_a_confirmation_of_two_keeps_nobody_from_opening_the_final_model(tmp_path: Path) -> None:
    """Who is in the sum of confirmations has opened the model: the number itself says nothing."""
    encryption = {**GROUPED["encryption"], "open_final": True}
    three = Three(
        tmp_path,
        key=None,
        sites=NINE,
        federation={**GROUPED["federation"], "rounds": 1},
        encryption=encryption,
    )
    taken = uploaded(three, three.exchange.initial)
    assert opened_masks(three, taken) == {}
    made = taken.close()
    confirmations = three.secure_aggregation("site-4").confirmations
    honest = confirmations._seal
    confirmations._seal = lambda name, codes, topic: honest(name, codes * 2, topic)
    words = three.words(made, NINE)
    assert all(refusal(three.open(site, made, words)) is None for site in NINE)


def test_a_message_of_sums_has_one_form(nine: Three) -> None:
    taken = uploaded(nine, nine.exchange.initial)
    assert opened_masks(nine, taken) == {}
    sealed = taken.close().sealed or b""
    assert sites_in(sealed) == NINE and len(identity_of(sealed)) == 64
    for bad in (b"", sealed[:-1], sealed + b"x", sealed[:9], None, 3, pack_sums([b"no sum"])):
        with pytest.raises(EncryptionError):
            identity_of(bad)  # type: ignore[arg-type]
