"""The parameters that SEAL reports of the real contexts, against the Homomorphic Encryption Standard."""

from __future__ import annotations

from typing import Any

import pytest
import tenseal as ts
import tenseal.sealapi as seal

from fedward.encryption.tenseal_context import PLAIN_MODULUS, HomomorphicScheme, new_context, public_context
from fedward.errors import EncryptionError

MOST_BITS_AT_128 = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
"""Ring degree -> largest log2 of the modulus for 128 bits of classical security and a ternary secret: Albrecht et al.
2018, Homomorphic Encryption Security Standard, table 1."""


def parameters(context: Any) -> Any:
    return context.seal_context().data.key_context_data()


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_both_contexts_have_128_bits_of_security(scheme: HomomorphicScheme) -> None:
    for context in (ts.context_from(new_context(scheme)), public_context(scheme)):
        found = parameters(context)
        degree, bits = found.parms().poly_modulus_degree(), found.total_coeff_modulus_bit_count()
        product = 1
        for prime in found.parms().coeff_modulus():
            product *= prime.value()
        assert product.bit_length() == bits
        assert bits <= MOST_BITS_AT_128[degree]


@pytest.mark.parametrize("degree", MOST_BITS_AT_128)
def test_seal_knows_the_same_table(degree: int) -> None:
    assert seal.CoeffModulus.MaxBitCount(degree, seal.SEC_LEVEL_TYPE.TC128) == MOST_BITS_AT_128[degree]


def test_the_plain_modulus_is_a_prime_of_49_bits_that_allows_batching() -> None:
    found = parameters(public_context("bfv")).parms()
    plain = found.plain_modulus()
    assert plain.is_prime()
    assert plain.value() == PLAIN_MODULUS
    assert plain.value() % (2 * found.poly_modulus_degree()) == 1
    assert plain.bit_count() == 49


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_every_key_is_another_and_no_other_keys_are_kept(scheme: HomomorphicScheme) -> None:
    first, second = new_context(scheme), new_context(scheme)
    assert first != second
    context = ts.context_from(first)
    assert not context.has_relin_keys()
    assert not context.has_galois_keys()
    assert len(first) < 70_000


def test_other_schemes_have_no_context() -> None:
    with pytest.raises(EncryptionError, match="use bfv or ckks"):
        new_context("aes-ctr")
