"""Check the key: derived values disclose nothing of it, and no output shows it."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.encryption.keys.key import FederationKey, create_key

KEY = FederationKey(scheme="aes-ctr", generation=1, secret=bytes(range(32)))


def hkdf(secret: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, section 2, by hand."""
    extracted = hmac.digest(bytes(32), secret, "sha256")
    made, block = b"", b""
    for number in range(1, length // 32 + 2):
        block = hmac.digest(extracted, block + info + bytes([number]), "sha256")
        made += block
    return made[:length]


@given(secret=st.binary(min_size=32, max_size=32), purpose=st.binary(max_size=40), length=st.integers(1, 100))
def test_what_is_derived_is_hkdf_of_the_secret_and_the_purpose(secret: bytes, purpose: bytes, length: int) -> None:
    key = FederationKey(scheme="aes-ctr", generation=1, secret=secret)
    assert key.derive(purpose, length=length) == hkdf(secret, purpose, length)


def test_the_id_worked_by_hand() -> None:
    info = b"fedward/key-id/1 aes-ctr 1 " + hashlib.sha256(b"").hexdigest().encode()
    assert KEY.key_id == hkdf(KEY.secret, info, 16).hex()
    assert len(KEY.key_id) == 32 and set(KEY.key_id) <= set(string.hexdigits.lower())


@pytest.mark.parametrize(
    "other", [{"scheme": "bfv"}, {"generation": 2}, {"secret": bytes(31) + b"\1"}, {"context": b"context"}]
)
def test_every_part_of_a_key_is_in_its_id(other: dict[str, Any]) -> None:
    assert dataclasses.replace(KEY, **other).key_id != KEY.key_id


def test_two_purposes_have_nothing_in_common() -> None:
    assert len({KEY.derive(purpose) for purpose in (b"a", b"b", b"ab", b"")}) == 4
    assert KEY.derive(b"a") != KEY.secret


def test_every_new_key_is_another() -> None:
    made = [create_key() for _ in range(20)]
    assert len({key.secret for key in made}) == len({key.key_id for key in made}) == 20
    assert {len(key.secret) for key in made} == {32}
    assert {(key.scheme, key.generation, key.context) for key in made} == {("aes-ctr", 1, b"")}


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_tenseal_makes_its_own_part(scheme: Any) -> None:
    key = create_key(scheme, generation=3)
    assert (key.scheme, key.generation) == (scheme, 3)
    assert key.context and key.context != create_key(scheme).context


def test_nothing_secret_is_shown() -> None:
    key = dataclasses.replace(KEY, context=b"the context")
    for text in (repr(key), str(key), f"{key}"):
        assert "secret" not in text and "context" not in text
        assert str(key.secret) not in text and key.secret.hex() not in text


def test_a_key_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        KEY.generation = 2  # type: ignore[misc]
