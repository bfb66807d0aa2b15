"""Check signatures of sealed messages: only the site, sum and bytes that were signed pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.encryption.keys.signature import Signer, check_certificate, check_signature, read_signer
from fedward.encryption.sum_context import SumContext
from fedward.errors import EncryptionError, KeyFileError
from tests.support.authority import authority, holder_key, pem, signed, site_kit
from tests.support.flare.signed import SERVER, federation, signer

TOPIC = SumContext(
    job_id="job-1", purpose="model", round_number=3, layout="a" * 64, context="b" * 64, length=9, bits=48
)
MESSAGE = b"FWSUM2\n" + bytes(range(256))


def north() -> x509.Certificate:
    return x509.load_der_x509_certificate(signer("north").certificate)


def check(content: object, *, site: str = "north", revoked: bool = False) -> x509.Certificate:
    return check_certificate(content, site=site, root=federation().root, server=SERVER, revoked=lambda one: revoked)


def test_a_signed_message_passes_and_its_proof_can_be_checked_again() -> None:
    signature = signer("north").sign(MESSAGE, TOPIC, site="north")
    proof = check_signature(MESSAGE, signature, check(signer("north").certificate), topic=TOPIC, site="north")
    assert (proof.site, proof.topic, proof.signature) == ("north", TOPIC, signature)
    again = check_signature(MESSAGE, proof.signature, check(proof.certificate), topic=proof.topic, site=proof.site)
    assert again == proof


@pytest.mark.parametrize(
    "changes",
    [
        {"job_id": "job-2"},
        {"round_number": 2},
        {"round_number": 4},
        {"purpose": "scores"},
        {"purpose": "confirm"},
        {"context": "c" * 64},
        {"layout": "c" * 64},
        {"length": 10},
        {"bits": 32},
    ],
)
def test_a_signature_of_another_sum_does_not_fit(changes: dict[str, Any]) -> None:
    signature = signer("north").sign(MESSAGE, replace(TOPIC, **changes), site="north")
    with pytest.raises(EncryptionError, match="not signed by its hospital for this sum"):
        check_signature(MESSAGE, signature, north(), topic=TOPIC, site="north")


def test_a_signature_of_another_site_message_or_key_does_not_fit() -> None:
    signature = signer("north").sign(MESSAGE, TOPIC, site="north")
    other = Signer(certificate=b"", private_key=rsa.generate_private_key(public_exponent=65537, key_size=2048)).sign(
        MESSAGE, TOPIC, site="north"
    )
    for message, given_one, site in (
        (MESSAGE, signature, "coast"),
        (MESSAGE + b"\0", signature, "north"),
        (MESSAGE[:-1], signature, "north"),
        (MESSAGE, other, "north"),
    ):
        with pytest.raises(EncryptionError, match="not signed"):
            check_signature(message, given_one, north(), topic=TOPIC, site=site)


def test_what_flare_has_a_site_sign_is_no_signature_of_a_message() -> None:
    """FLARE's server chooses a nonce, and the site signs its name and the nonce with the same key."""
    pss = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=padding.PSS.MAX_LENGTH)
    signature = holder_key().sign(b"north" + TOPIC.canonical(), pss, SHA256())
    with pytest.raises(EncryptionError, match="not signed"):
        check_signature(MESSAGE, signature, north(), topic=TOPIC, site="north")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 255), st.integers(1, 255))
def test_no_changed_byte_of_a_signature_passes(at: int, flip: int) -> None:
    signature = bytearray(signer("north").sign(MESSAGE, TOPIC, site="north"))
    signature[at] ^= flip
    with pytest.raises(EncryptionError, match="not signed"):
        check_signature(MESSAGE, bytes(signature), north(), topic=TOPIC, site="north")


@pytest.mark.parametrize("content", [None, "text", 3, b"", b"\0" * 5000, bytearray(256), [b"x"]])
def test_what_is_no_signature_or_certificate_is_refused_in_one_line(content: object) -> None:
    with pytest.raises(EncryptionError, match=r"signature|not signed"):
        check_signature(MESSAGE, content, north(), topic=TOPIC, site="north")
    with pytest.raises(EncryptionError, match="certificate"):
        check(content)


def test_only_a_valid_certificate_of_this_site_counts() -> None:
    root, der = federation(), Encoding.DER
    cases = {
        "of another hospital": root.issue("coast"),
        "not issued by this federation": authority("demo").issue("north"),
        "expired": root.issue("north", days=-1),
        "server's": root.issue(SERVER),
        "another role": root.issue("north", roles=("project_admin",)),
        "authority's": signed("north", root.root.subject, root.key, ca=True),
    }
    for says, certificate in cases.items():
        with pytest.raises(EncryptionError, match=says):
            check(certificate.public_bytes(der))
    with pytest.raises(EncryptionError, match="revoked"):
        check(signer("north").certificate, revoked=True)
    assert check(signer("north").certificate) == north()


def test_the_kits_key_is_read_and_others_may_not_read_it(tmp_path: Path) -> None:
    kit = site_kit(tmp_path, federation(), target="localhost:1")
    assert "private" not in repr(read_signer(kit))
    key = kit / "startup" / "client.key"
    for mode, good in ((0o600, True), (0o440, True), (0o644, False), (0o606, False)):
        key.chmod(mode)
        if good:
            read_signer(kit)
            continue
        with pytest.raises(EncryptionError, match="others may read"):
            read_signer(kit)
    key.chmod(0o600)
    key.write_bytes(b"no key")
    with pytest.raises(EncryptionError, match="not an RSA private key"):
        read_signer(kit)
    for name in ("client.key", "client.crt"):
        (kit / "startup" / name).rename(tmp_path / "away")
        with pytest.raises(KeyFileError, match="cannot be read"):
            read_signer(kit)
        (tmp_path / "away").rename(kit / "startup" / name)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    kit = site_kit(tmp_path, federation(), target="localhost:1")
    (kit / "startup" / "client.crt").write_bytes(pem(federation().root))
    with pytest.raises(EncryptionError, match="do not belong together"):
        read_signer(kit)
