"""Check that every difference changes a digest, and that a proof of another form is refused."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedward.errors import GateError
from fedward.privacy.attestation import Proof
from fedward.weights import digest

UPDATE = {"b": np.arange(3, dtype=np.float32), "a": np.ones((2, 2), np.float32)}
GOOD: dict[str, Any] = {
    "begun": "a" * 64,
    "job_id": "job-1",
    "round_number": 0,
    "mechanism": "dp-sgd",
    "steps": 3,
    "sampling_rate": 0.25,
    "noise_multiplier": 1.1,
    "clip_norm_l2": 1.0,
    "digest": "b" * 64,
}


def test_worked_by_hand() -> None:
    def part(data: bytes) -> bytes:
        return len(data).to_bytes(8, "little") + data

    due = hashlib.sha256(
        b"fedward/update/1" + part(b"a") + part(b"<f4") + part(b"(1,)") + part(np.float32(2).tobytes())
    )
    assert digest({"a": np.array([2], np.float32)}) == due.hexdigest()


def test_order_and_memory_layout_do_not_count() -> None:
    turned = {"a": np.asfortranarray(UPDATE["a"]), "b": UPDATE["b"][::-1][::-1]}
    assert digest(turned) == digest(UPDATE)


def test_any_difference_counts() -> None:
    changed = [
        {**UPDATE, "b": UPDATE["b"] + np.float32(1e-7)},
        {**UPDATE, "b": UPDATE["b"].astype(np.float64)},
        {**UPDATE, "a": UPDATE["a"].reshape(4)},
        {"c": UPDATE["b"], "a": UPDATE["a"]},
        {"a": UPDATE["a"]},
        {**UPDATE, "c": np.zeros(0, np.float32)},
        {**UPDATE, "b": -UPDATE["b"]},
        {"ab": UPDATE["b"], "": UPDATE["a"]},
    ]
    assert len({digest(update) for update in [UPDATE, *changed]}) == 1 + len(changed)


def test_what_is_no_number_has_no_digest() -> None:
    with pytest.raises(GateError, match="something else than numbers"):
        digest({"a": np.array([object()])})


@given(
    st.dictionaries(st.text(max_size=3), hnp.arrays(np.float32, hnp.array_shapes(max_dims=2, max_side=3)), max_size=3)
)
def test_a_digest_is_a_function_of_content(update: dict[str, Any]) -> None:
    copies = {name: update[name].copy() for name in reversed(update)}
    assert digest(copies) == digest(update)
    assert len(digest(update)) == 64


def test_there_and_back() -> None:
    assert Proof.from_plain(GOOD).plain() == GOOD


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("begun", "A" * 64),
        ("begun", "a" * 63),
        ("job_id", ""),
        ("job_id", 3),
        ("round_number", -1),
        ("round_number", True),
        ("mechanism", "none"),
        ("steps", -1),
        ("steps", 1.0),
        ("sampling_rate", 0.0),
        ("sampling_rate", 1.5),
        ("sampling_rate", float("nan")),
        ("noise_multiplier", 0.0),
        ("noise_multiplier", float("inf")),
        ("noise_multiplier", np.float64(1.0)),
        ("clip_norm_l2", -1.0),
        ("digest", None),
    ],
)
def test_a_value_out_of_range_is_refused_and_not_shown(field: str, value: object) -> None:
    with pytest.raises(GateError, match=f"no usable {field}$"):
        Proof.from_plain(GOOD | {field: value})


@pytest.mark.parametrize("content", [None, "proof", [], {}, GOOD | {"more": 1}, {k: GOOD[k] for k in list(GOOD)[1:]}])
def test_other_fields_are_refused(content: object) -> None:
    with pytest.raises(GateError, match="other fields"):
        Proof.from_plain(content)
