"""Check the metrics that the server accepts of a hospital: all that a gate releases, and nothing without a name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.privacy.disclosure import metric_registry
from fedward.privacy.disclosure.categories import AGES, DIMENSIONS, FALSE_POSITIVE_RATES, RELIABILITY_BINS
from fedward.privacy.disclosure.metric_registry import GROUPS, TABLES
from fedward.privacy.disclosure.received import received
from fedward.settings import Disclosure
from tests.support.disclosure import release
from tests.unit.privacy.disclosure.test_release import LABELS, METRICS
from tests.unit.privacy.disclosure.test_subgroups import LABELS as LETTERS
from tests.unit.privacy.disclosure.test_subgroups import WILD, hospitals

EVERY_GROUP = tuple(GROUPS)
MARK = "[red]DOE^JANE\x1b[2J\n</script>"
WORD = re.compile(
    r"[0-9a-f]{16,64}|\d{1,3}(\.\d{1,4}){2}[a-z0-9.+]{0,16}|none|dp-sgd|update-noise|patient|any|approved|submitter"
)
NAMES = sorted(
    {name for group in GROUPS.values() for name in group}
    | {
        *GROUPS,
        *LABELS,
        *AGES,
        *DIMENSIONS,
        *FALSE_POSITIVE_RATES,
        *RELIABILITY_BINS,
        "labels",
        "structures",
        "suppressed",
        "F",
    }
)
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.text(),
    st.just(MARK),
    st.binary(max_size=4),
    st.sampled_from(["dp-sgd", "0.1.0", "ab" * 8]),
)
HOSTILE = st.recursive(
    ANYTHING,
    lambda below: st.one_of(
        st.lists(below, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from(NAMES),
                st.sampled_from(["at", "event", "site", "reason", MARK]),
                st.text(),
                st.integers(),
            ),
            below,
            max_size=6,
        ),
    ),
    max_leaves=40,
)


@settings(max_examples=300, deadline=None)
@given(METRICS, st.integers(0, 6), st.integers(1, 9), st.booleans())
def test_what_a_gate_lets_out_is_taken_in_as_it_is(
    metrics: dict[str, Any], decimals: int, least: int, private: bool
) -> None:
    rule = Disclosure(metrics=EVERY_GROUP, decimals=decimals, min_count=least)
    left = release(metrics, rule, private=private, names=LABELS)
    assert json.dumps(received(left, names=LABELS)) == json.dumps(left)


@settings(max_examples=200, deadline=None)
@given(st.one_of(WILD, hospitals()), st.integers(0, 6), st.integers(1, 9))
def test_so_are_subgroups_and_curves(metrics: dict[str, Any], decimals: int, least: int) -> None:
    rule = Disclosure(metrics=EVERY_GROUP, decimals=decimals, min_count=least)
    left = release(metrics, rule, private=False, names=LETTERS)
    assert json.dumps(received(left, names=LETTERS)) == json.dumps(left)


@settings(max_examples=500, deadline=None)
@given(HOSTILE)
def test_whatever_a_site_sends_only_names_of_the_table_and_values_of_their_kind_come_in(metrics: Any) -> None:
    before = repr(metrics)
    found = received(metrics, names=(*LABELS, MARK))
    assert repr(metrics) == before
    assert received(found, names=LABELS) == found
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert not set(found) & {"at", "event", "site", "reason"}
    for name, value in leaves(found):
        assert name in NAMES
        assert value is None or type(value) in (int, float, bool) or WORD.fullmatch(value), value
        assert type(value) is not bool or (name == "suppressed" and value)
        assert type(value) not in (int, float) or abs(value) <= 1e9


@pytest.mark.parametrize("group", sorted(set(GROUPS) - {"subgroups", "curves"}))
def test_text_in_the_place_of_any_metric_is_null(group: str) -> None:
    content = dict.fromkeys([*GROUPS[group], MARK], MARK)
    above = metric_registry.ABOVE.get(group)
    if group in metric_registry.FLAT:
        sent: dict[str, Any] = content
    elif above is None:
        sent = {group: content}
    elif above in TABLES:
        table = next(name for name, below in TABLES[above].items() if below == group)
        sent = {above: {table: {LABELS[0]: content}}}
    else:
        place = {"subgroups": ("sex", "F"), "curves": ("reliability", "0.1")}[above]
        sent = {above: {LABELS[0]: {place[0]: {place[1]: content}}}}
    assert {value for _, value in leaves(received(sent, names=LABELS))} <= {None}


def test_no_metric_has_the_name_of_an_events_own_field() -> None:
    at_the_top = {*metric_registry.TOP, *(name for group in metric_registry.FLAT for name in GROUPS[group])}
    assert not at_the_top & {"event", "at", "site", "task", "round", "reason"}


def leaves(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, dict):
            assert name in NAMES
            yield from leaves(value)
        else:
            yield name, value
