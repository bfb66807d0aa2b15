"""Secrets that two hospitals share, and public halves that were made from another hospital's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.encryption.masks.agreement import KeyPair, SharedSecrets, serves

FIELD = (1 << 255) - 19
SITES = ("bay", "cape", "zz")


def mirrored(public: bytes, how: str) -> bytes:
    """Another public half with which an honest hospital has the same X25519 secret; nobody knows its private half."""
    if how == "top bit":
        return public[:31] + bytes([public[31] ^ 0x80])
    return pow(int.from_bytes(public, "little"), -1, FIELD).to_bytes(32, "little")  # plus the point of order 2


@pytest.mark.parametrize("how", ["top bit", "point of order 2"])
def test_no_secret_is_shared_with_a_copy_of_anothers_key(how: str) -> None:
    """Else a hospital that colludes has "its" masks revealed, which are the victim's."""
    pairs = {site: KeyPair.new() for site in SITES[:2]}
    publics = {site: pair.public for site, pair in pairs.items()}
    publics["zz"] = mirrored(publics["bay"], how)
    cape = SharedSecrets(pairs["cape"], site="cape", publics=publics)
    assert pairs["cape"].shared(publics["zz"]) == pairs["cape"].shared(publics["bay"]), "control: X25519 has one secret"
    assert cape.derive("zz", b"use") != cape.derive("bay", b"use") and cape.seed("zz", b"u") != cape.seed("bay", b"u")
    assert serves(publics["zz"]) is (how != "top bit")


@given(use=st.binary(max_size=40), other=st.binary(max_size=40))
def test_both_derive_the_same_for_one_use_and_something_else_for_another(use: bytes, other: bytes) -> None:
    pairs = {site: KeyPair.of(bytes([number + 1]) * 32) for number, site in enumerate(SITES)}
    publics = {site: pair.public for site, pair in pairs.items()}
    bay, cape = (SharedSecrets(pairs[site], site=site, publics=publics) for site in SITES[:2])
    assert bay.derive("cape", use) == cape.derive("bay", use)
    assert (bay.derive("cape", use) == cape.derive("bay", other)) is (use == other)
    assert len({bay.derive(site, use) for site in SITES}) == 3


@pytest.mark.parametrize("number", [0, 1, FIELD - 1, FIELD, FIELD + 1, 2**255 - 1, 2**256 - 1])
def test_a_public_half_of_small_order_or_of_another_form_does_not_serve(number: int) -> None:
    assert not serves(number.to_bytes(32, "little"))


def test_a_public_half_that_was_made_serves() -> None:
    assert all(serves(KeyPair.new().public) for _ in range(50))
