"""Check that a box opens only for its receiver, from its sender, exactly as it was sealed."""

from __future__ import annotations

import base64
import dataclasses
import json
import string
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.encryption.keys import sealed_box as boxes
from fedward.encryption.keys.key import FederationKey, create_key
from fedward.encryption.keys.key_file import encode_key
from fedward.encryption.keys.sealed_box import BOX_MAGIC, fingerprint, open_box, seal_key
from fedward.encryption.keys.site_identity import Identity, made_at_the_site, read_certificate, read_identity
from fedward.errors import EncryptionError
from tests.support.kits import DAY, NOW, Authority, central_kits, own_key_kits

KEY = create_key(generation=2)
TENSEAL_KEY = dataclasses.replace(KEY, scheme="ckks", context=bytes(range(256)) * 4000)


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Three hospitals with real kits, the authority behind them, and a box from north to south."""
    kits = central_kits(tmp_path_factory.mktemp("kits"))
    north, south, west = (read_identity(kits.sites[site]) for site in ("north", "south", "west"))
    box = seal_key(KEY, to=south.certificate, sender=north)
    return SimpleNamespace(kits=kits, authority=Authority(kits), north=north, south=south, west=west, box=box)


@pytest.fixture
def anyone_seals(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sealing by one who does not look at certificates."""

    def seal(key: FederationKey, *, to: x509.Certificate, sender: Identity) -> bytes:
        with monkeypatch.context() as patch:
            patch.setattr(boxes, "site_name", lambda *arguments, **how: "")
            return seal_key(key, to=to, sender=sender)

    return seal


def signed(opening: bytes, ciphertext: bytes, by: Identity) -> bytes:
    return opening + ciphertext + by.private_key.sign(opening + ciphertext, boxes._SIGNATURE, SHA256())


def header_of(box: bytes) -> tuple[dict[str, Any], bytes]:
    start = len(BOX_MAGIC) + 4
    end = start + int.from_bytes(box[len(BOX_MAGIC) : start], "big")
    return json.loads(box[start:end]), box[end:]


def opening_of(header: dict[str, Any]) -> bytes:
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    return BOX_MAGIC + len(text).to_bytes(4, "big") + text


@pytest.mark.parametrize("key", [KEY, TENSEAL_KEY], ids=["aes-ctr", "ckks"])
def test_there_and_back(federation: SimpleNamespace, key: FederationKey) -> None:
    box = seal_key(key, to=federation.west.certificate, sender=federation.south)
    opened = open_box(box, owner=federation.west)
    assert (opened.key, opened.sender, opened.recipient) == (key, "south", "west")
    assert repr(key.secret)[2:-1] not in repr(opened)


@pytest.mark.parametrize("key", [KEY, TENSEAL_KEY], ids=["aes-ctr", "ckks"])
def test_nothing_of_the_secret_is_in_the_box(federation: SimpleNamespace, key: FederationKey) -> None:
    box = seal_key(key, to=federation.south.certificate, sender=federation.north)
    text = encode_key(key)
    body = text[text.index(b'"secret"') :]
    secret = {key.secret, key.secret.hex().encode(), base64.b64encode(key.secret), key.context, body}
    for form in secret:
        for at in range(min(len(form), 200) - 7):
            assert form[at : at + 8] not in box
    for field, value in header_of(box)[0].items():
        if field in ("nonce", "recipient", "wrapped", "sender"):
            assert not any(key.secret[at : at + 4] in bytes.fromhex(value) for at in range(29))


def test_two_boxes_with_one_key_have_nothing_random_in_common(federation: SimpleNamespace) -> None:
    again = seal_key(KEY, to=federation.south.certificate, sender=federation.north)
    (one, rest), (two, other) = header_of(federation.box), header_of(again)
    assert one["nonce"] != two["nonce"] and one["wrapped"] != two["wrapped"] and rest[:32] != other[:32]
    assert fingerprint(federation.box) != fingerprint(again)


def test_a_fingerprint_is_eight_groups_of_four_digits(federation: SimpleNamespace) -> None:
    groups = fingerprint(federation.box).split(" ")
    assert [len(group) for group in groups] == [4] * 8
    assert set("".join(groups)) <= set(string.hexdigits.lower())


@settings(max_examples=400)
@given(data=st.data())
def test_a_flipped_bit_anywhere_is_refused_and_has_another_fingerprint(
    federation: SimpleNamespace, data: st.DataObject
) -> None:
    bit = data.draw(st.integers(0, 8 * len(federation.box) - 1))
    changed = bytearray(federation.box)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(EncryptionError) as refusal:
        open_box(bytes(changed), owner=federation.south)
    assert len(str(refusal.value).splitlines()) == 1
    assert fingerprint(bytes(changed)) != fingerprint(federation.box)


def test_a_flipped_bit_in_each_byte_is_refused(federation: SimpleNamespace) -> None:
    for at in range(len(federation.box)):
        changed = bytearray(federation.box)
        changed[at] ^= 1 << at % 8
        with pytest.raises(EncryptionError):
            open_box(bytes(changed), owner=federation.south)


@settings(max_examples=200)
@given(data=st.data())
def test_a_box_cut_short_or_grown_is_refused(federation: SimpleNamespace, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(federation.box) - 1))
    tail = data.draw(st.binary(min_size=1, max_size=300))
    for changed in (federation.box[:end], federation.box + tail, federation.box[end + 1 :], tail):
        with pytest.raises(EncryptionError):
            open_box(changed, owner=federation.south)


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"nonce": ...},
        {"nonce": "00" * 11},
        {"nonce": "zz" * 12},
        {"key_id": "AB" * 16},
        {"generation": True},
        {"generation": 0},
        {"generation": 2**31},
        {"scheme": "rot13"},
        {"scheme": ["aes-ctr"]},
        {"sender": "00"},
        {"sender": ""},
        {"sender": None},
        {"wrapped": "0"},
        {"recipient": "00" * 31},
    ],
)
def test_a_header_of_another_form_is_refused_though_it_is_signed(
    federation: SimpleNamespace, change: dict[str, Any]
) -> None:
    header, rest = header_of(federation.box)
    header = {name: value for name, value in (header | change).items() if value is not ...}
    with pytest.raises(EncryptionError):
        open_box(signed(opening_of(header), rest[:-256], federation.north), owner=federation.south)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"generation": 3}, "does not open"),
        ({"scheme": "bfv"}, "does not open"),
        ({"key_id": "ab" * 16}, "does not open"),
        ({"wrapped": "00" * 256}, "does not open"),
        ({"wrapped": "00" * 3}, "does not open"),
        ({"nonce": "00" * 12}, "does not open"),
        ({"recipient": "00" * 32}, "for another hospital"),
    ],
)
def test_a_header_that_says_something_else_is_refused_though_it_is_signed(
    federation: SimpleNamespace, change: dict[str, Any], said: str
) -> None:
    header, rest = header_of(federation.box)
    with pytest.raises(EncryptionError, match=said):
        open_box(signed(opening_of(header | change), rest[:-256], federation.north), owner=federation.south)


def test_a_header_written_in_another_way_is_refused_though_it_is_signed(federation: SimpleNamespace) -> None:
    header, rest = header_of(federation.box)
    for text in (json.dumps(header).encode(), b"[]", b"[" * 60_000, b"{"):
        opening = BOX_MAGIC + len(text).to_bytes(4, "big") + text
        with pytest.raises(EncryptionError, match="is not a sealed box"):
            open_box(signed(opening, rest[:-256], federation.north), owner=federation.south)


def test_a_box_without_a_whole_ciphertext_is_refused_though_it_is_signed(federation: SimpleNamespace) -> None:
    header, rest = header_of(federation.box)
    for length in (0, 15):
        with pytest.raises(EncryptionError, match="is not a sealed box"):
            open_box(signed(opening_of(header), rest[:length], federation.north), owner=federation.south)


def test_nobody_can_sign_anothers_box_as_their_own(federation: SimpleNamespace) -> None:
    header, rest = header_of(federation.box)
    other, _ = header_of(seal_key(KEY, to=federation.south.certificate, sender=federation.west))
    opening = opening_of(header | {"sender": other["sender"]})
    with pytest.raises(EncryptionError, match="box from west does not open"):
        open_box(signed(opening, rest[:-256], federation.west), owner=federation.south)


def test_a_key_that_is_not_the_one_announced_is_refused(
    federation: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxes, "encode_key", lambda key: encode_key(create_key(generation=2)))
    box = seal_key(KEY, to=federation.south.certificate, sender=federation.north)
    with pytest.raises(EncryptionError, match="another key than it says"):
        open_box(box, owner=federation.south)
    monkeypatch.setattr(boxes, "encode_key", lambda key: b"{}")
    box = seal_key(KEY, to=federation.south.certificate, sender=federation.north)
    with pytest.raises(EncryptionError, match="not a federation key"):
        open_box(box, owner=federation.south)


def test_a_box_for_another_hospital_is_refused(federation: SimpleNamespace) -> None:
    with pytest.raises(EncryptionError, match="box from north is for another hospital than west"):
        open_box(federation.box, owner=federation.west)


def test_another_federations_hospital_is_refused(
    federation: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory, anyone_seals: Any
) -> None:
    """Its authority has the same name; its key alone is another."""
    elsewhere = read_identity(central_kits(tmp_path_factory.mktemp("elsewhere")).sites["north"])
    assert elsewhere.root.subject == federation.north.root.subject
    with pytest.raises(EncryptionError, match="not issued by this federation's authority"):
        seal_key(KEY, to=federation.south.certificate, sender=elsewhere)
    with pytest.raises(EncryptionError, match="not issued by this federation's authority"):
        seal_key(KEY, to=elsewhere.certificate, sender=federation.north)
    box = anyone_seals(KEY, to=federation.south.certificate, sender=elsewhere)
    with pytest.raises(EncryptionError, match=r"sender cannot be a hospital.*not issued by"):
        open_box(box, owner=federation.south)


def refused_at_both_ends(federation: SimpleNamespace, other: Identity, seal: Any, said: str) -> None:
    with pytest.raises(EncryptionError, match=said):
        seal_key(KEY, to=other.certificate, sender=federation.north)
    with pytest.raises(EncryptionError, match=f"sender cannot be a hospital.*{said}"):
        open_box(seal(KEY, to=federation.south.certificate, sender=other), owner=federation.south)


def from_kit(federation: SimpleNamespace, kit: Path, name: str) -> Identity:
    """Whoever has this kit, with the certificate called ``name``, as they would like to be seen."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key: Any = load_pem_private_key((kit / "startup" / f"{name}.key").read_bytes(), password=None)
    certificate = read_certificate(kit / "startup" / f"{name}.crt")
    return dataclasses.replace(federation.north, certificate=certificate, private_key=key)


def test_the_server_is_no_hospital(federation: SimpleNamespace, anyone_seals: Any) -> None:
    server = from_kit(federation, federation.kits.server, "server")
    refused_at_both_ends(federation, server, anyone_seals, "is not a hospital's but the server's")


def test_an_admin_is_no_hospital(federation: SimpleNamespace, anyone_seals: Any) -> None:
    admin = from_kit(federation, federation.kits.people["admin@trial.org"], "client")
    refused_at_both_ends(federation, admin, anyone_seals, "not a hospital's but has another role: 'project_admin'")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"not_valid_before": NOW - 2 * DAY, "not_valid_after": NOW - DAY}, "has expired"),
        ({"not_valid_before": NOW + DAY, "not_valid_after": NOW + 2 * DAY}, "is not valid yet"),
        ({"role": "server"}, "another role: 'server'"),
        ({"role": "lead"}, "another role: 'lead'"),
        ({"role": "org_admin"}, "another role: 'org_admin'"),
        ({"ca": True}, "an authority's"),
        ({"name": "localhost"}, "the server's"),
        ({"name": "Not A Site"}, "name of one site"),
        ({"name": "../east"}, "name of one site"),
        ({"server_default_host": "example.org"}, "name of one site"),
        ({"server_default_host": "east", "server_additional_hosts": ["localhost"]}, "name of one site"),
    ],
)
def test_a_certificate_that_is_no_sites_is_refused_though_the_authority_signed_it(
    federation: SimpleNamespace, anyone_seals: Any, how: dict[str, Any], said: str
) -> None:
    how = {"name": "east"} | how
    other = federation.authority.identity(federation.north, how.pop("name"), **how)
    refused_at_both_ends(federation, other, anyone_seals, said)


def test_a_certificate_of_the_authoritys_own_key_is_refused(federation: SimpleNamespace, anyone_seals: Any) -> None:
    other = federation.authority.identity(federation.north, "east", key=federation.authority.key)
    refused_at_both_ends(federation, other, anyone_seals, "the authority's")


def test_an_authority_that_has_expired_vouches_for_nobody(
    federation: SimpleNamespace,
) -> None:
    root, _ = federation.authority.issue(
        "trial", key=federation.authority.key, ca=True, not_valid_before=NOW - 2 * DAY, not_valid_after=NOW - DAY
    )
    assert root.subject == federation.north.root.subject
    with pytest.raises(EncryptionError, match="authority's certificate has expired"):
        open_box(federation.box, owner=dataclasses.replace(federation.south, root=root))


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(public_exponent=65537, key_size=1024)],
    ids=["elliptic curve", "RSA of 1024 bits"],
)
def test_a_key_that_flare_does_not_make_is_refused_in_one_line(
    federation: SimpleNamespace, key: Any, tmp_path: Path
) -> None:
    certificate, _ = federation.authority.issue("east", key=key)
    with pytest.raises(EncryptionError, match="use an RSA key of 2048 bits or more") as refusal:
        seal_key(KEY, to=certificate, sender=federation.north)
    assert len(str(refusal.value).splitlines()) == 1


def test_a_root_that_is_no_authority_vouches_for_nobody(federation: SimpleNamespace) -> None:
    for root in (federation.north.certificate, federation.west.certificate):
        with pytest.raises(EncryptionError, match="not the certificate of an authority"):
            open_box(federation.box, owner=dataclasses.replace(federation.south, root=root))


def test_an_authority_that_forges_a_hospital_is_told_by_the_fingerprint(federation: SimpleNamespace) -> None:
    """The server in the middle: it opens north's box with a certificate in south's name and seals the key on.

    No certificate is wrong, so nothing but two people can tell; the id of the key would be the same on both sides.
    """
    false_south = federation.authority.identity(federation.north, "south")
    false_north = federation.authority.identity(federation.north, "north")
    sealed = seal_key(KEY, to=false_south.certificate, sender=federation.north)
    taken = open_box(sealed, owner=false_south).key
    passed_on = seal_key(taken, to=federation.south.certificate, sender=false_north)
    received = open_box(passed_on, owner=federation.south)
    assert (received.sender, received.key.key_id) == ("north", KEY.key_id)
    assert fingerprint(passed_on) != fingerprint(sealed)


def test_hospitals_that_made_their_own_keys_seal_and_open(
    federation: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """FLARE's distributed provisioning: no private key leaves its site."""
    kits = own_key_kits(tmp_path_factory.mktemp("own"))
    north, south = read_identity(kits["north"]), read_identity(kits["south"])
    assert (north.name, south.name, south.server) == ("north", "south", "localhost")
    opened = open_box(seal_key(KEY, to=south.certificate, sender=north), owner=south)
    assert (opened.key, opened.sender, opened.recipient) == (KEY, "north", "south")
    assert made_at_the_site(south.certificate) and not made_at_the_site(federation.south.certificate)
    with pytest.raises(EncryptionError, match="not issued by this federation's authority"):
        open_box(federation.box, owner=south)
