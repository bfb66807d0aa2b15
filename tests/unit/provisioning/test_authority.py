"""The authority, what it signs, and the words in which people compare it over the telephone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from nvflare.lighter.utils import Identity, generate_cert, generate_keys

from fedward.errors import FederationError
from fedward.provisioning.authority import Authority, issued_of, read_authority, reissue
from fedward.provisioning.crl import parse_crl
from fedward.provisioning.fingerprint import require_fingerprint, spoken
from fedward.provisioning.inventory import Inventory, Issued, Participant, encode_inventory, read_inventory
from fedward.provisioning.invitation import LocalExtras, invite, read_invitation, seal_invitation
from fedward.provisioning.participants import Kind, line_of
from fedward.provisioning.status import standing, wants_attention
from fedward.settings import FederationSpec, parse

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> Authority:
    key, public = generate_keys()
    root = generate_cert(Identity("trial"), Identity("trial"), key, public, valid_days=3650, ca=True)
    return Authority(certificate=root, key=key)


@pytest.fixture
def state(authority: Authority, tmp_path: Path) -> Path:
    (tmp_path / "rootCA.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "rootCA.key").touch(mode=0o600)
    pem = authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "rootCA.key").write_bytes(pem)
    return tmp_path


def certificate(authority: Authority, name: str = "north") -> x509.Certificate:
    return generate_cert(Identity(name, name), Identity("trial"), authority.key, generate_keys()[1], valid_days=10)


def test_it_is_read_and_shows_no_key(state: Path, authority: Authority) -> None:
    held = read_authority(state)
    assert held.certificate == authority.certificate
    assert held.key.private_numbers() == authority.key.private_numbers()
    assert "key" not in repr(held)


def test_an_authority_that_cannot_serve_is_one_line(state: Path) -> None:
    key = state / "rootCA.key"
    good = key.read_bytes()
    other = generate_keys()[0].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content, said in ((b"", "is not the authority's key"), (other, "is not the key of rootCA.pem")):
        key.write_bytes(content)
        with pytest.raises(FederationError, match=said):
            read_authority(state)
    key.write_bytes(good)
    key.chmod(0o640)
    with pytest.raises(FederationError, match="others may read"):
        read_authority(state)
    key.unlink()
    with pytest.raises(FederationError, match="authority's key is not here"):
        read_authority(state)
    (state / "rootCA.pem").write_text("no certificate")
    with pytest.raises(FederationError, match=r"rootCA.pem: is not a certificate"):
        read_authority(state)


def test_a_renewal_is_the_same_certificate_with_another_end(authority: Authority) -> None:
    old = certificate(authority)
    new = reissue(old, authority=authority, days=400, now=NOW)
    new.verify_directly_issued_by(authority.certificate)
    assert (new.subject, new.public_key(), list(new.extensions)) == (
        old.subject,
        old.public_key(),
        list(old.extensions),
    )
    assert new.not_valid_after_utc == NOW + 400 * DAY
    assert new.serial_number != old.serial_number
    assert issued_of(new).key == issued_of(old).key
    ends = reissue(old, authority=authority, days=100_000, now=NOW).not_valid_after_utc
    assert ends == authority.certificate.not_valid_after_utc
    with pytest.raises(InvalidSignature):
        generated = generate_keys()[0]
        reissue(old, authority=Authority(certificate=authority.certificate, key=generated), days=1, now=NOW)
        forged = reissue(old, authority=Authority(certificate=authority.certificate, key=generated), days=1, now=NOW)
        forged.verify_directly_issued_by(authority.certificate)


def participant(name: str, *certificates: Issued, **facts: object) -> Participant:
    known = {"name": name, "kind": Kind.site, "organisation": name, "way": "central", "wheel": "w" * 64}
    return Participant.model_validate({**known, "fedward": "0", "flare": "0", "certificates": certificates, **facts})


def issued(serial: str, days: int, *, revoked: bool = False) -> Issued:
    return Issued(
        serial=serial, key="k", issued_at=NOW, not_after=NOW + days * DAY, revoked_at=NOW if revoked else None
    )


def inventory(*participants: Participant) -> Inventory:
    return Inventory(federation="trial", host="localhost", port=1, crl_number=7, participants=participants)


def test_the_inventory_comes_back_as_it_was(tmp_path: Path) -> None:
    whole = inventory(participant("north", issued("ab", 3), issued("cd", 300, revoked=True)), participant("south"))
    (tmp_path / "inventory.json").write_bytes(encode_inventory(whole))
    assert read_inventory(tmp_path / "inventory.json") == whole
    assert encode_inventory(whole) == encode_inventory(whole.having())
    assert read_inventory(tmp_path / "absent.json") is None


def test_the_revocation_list_says_what_the_inventory_says(authority: Authority) -> None:
    whole = inventory(
        participant("north", issued("ab", 3, revoked=True), issued("cd", 300)),
        participant("south", issued("ef", 300, revoked=True)),
    )
    crl = parse_crl(authority.sign_crl(whole), root=authority.certificate, where=Path("crl"))
    assert (crl.number, crl.serials) == (7, {0xAB, 0xEF})


def test_how_a_federation_stands() -> None:
    whole = inventory(
        participant("fresh", issued("1", 100)),
        participant("soon", issued("2", 29)),
        participant("late", issued("3", -1)),
        participant("out", issued("4", 100, revoked=True)),
        participant("asked", invited_at=NOW),
        participant("renewed", issued("5", 2), issued("6", 300)),
    )
    rows = {row.name: row for row in standing(whole, today=NOW, wheel="w" * 64, seen={"fresh": NOW})}
    assert {name: row.state for name, row in rows.items()} == {
        "fresh": "valid",
        "soon": "soon",
        "late": "expired",
        "out": "revoked",
        "asked": "invited",
        "renewed": "valid",
    }
    assert (rows["fresh"].days_left, rows["fresh"].last_seen, rows["out"].days_left) == (100, NOW, None)
    assert not standing(whole, today=NOW, wheel="x")[0].same_wheel
    assert wants_attention(tuple(rows.values()))
    assert not wants_attention(tuple(rows[name] for name in ("fresh", "out", "asked", "renewed")))


def test_an_invitation_is_the_authoritys_word(authority: Authority, tmp_path: Path) -> None:
    content = {
        "name": "trial",
        "server": {"host": "localhost", "port": 8102, "organisation": "operator"},
        "hospitals": [{"site": "north", "organisation": "north"}],
        "people": [{"email": "lead@trial.org", "organisation": "operator", "role": "lead"}],
    }
    spec = parse(FederationSpec, content, where="trial")
    extras = LocalExtras({"site.toml": "# ü\n"}, {"process_launcher": None})
    sent = invite(line_of(spec, "north"), spec=spec, versions=("0", "0", "w"), extras=extras, now=NOW)
    path = tmp_path / "north.invitation.json"
    path.write_bytes(seal_invitation(sent, authority))
    assert read_invitation(path) == (sent, authority.certificate)
    forger = Authority(certificate=authority.certificate, key=generate_keys()[0])
    path.write_bytes(seal_invitation(sent, forger))
    with pytest.raises(FederationError, match="changed after it was signed"):
        read_invitation(path)
    for changes, said in (
        ({"name": "server"}, "site's name is reserved by FLARE"),
        ({"name": "n" * 49}, "site's name String should have at most 48 characters"),
        ({"host": "h." * 40 + "org"}, "server's name has 83 characters, and a certificate holds 64"),
    ):
        path.write_bytes(seal_invitation(sent.model_copy(update=changes), authority))
        with pytest.raises(FederationError, match=said):
            read_invitation(path)
    sealed = json.loads(seal_invitation(sent, authority))
    sealed["invitation"]["files"] = {"custom/sitecustomize.py": "print()"}
    for content_ in (json.dumps(sealed).encode(), b"", b"\xff\xff", b"[]"):
        path.write_bytes(content_)
        with pytest.raises(FederationError, match="is not an invitation"):
            read_invitation(path)


@given(digest=st.binary(min_size=32, max_size=32), other=st.binary(min_size=32, max_size=32))
def test_a_fingerprint_is_its_own_alone(digest: bytes, other: bytes) -> None:
    due = digest.hex()

    def heard(said: str) -> None:
        require_fingerprint(said, digest=due, what="another", where="here", remedy="call")

    for said in (spoken(due), spoken(due).upper(), spoken(due).replace(" ", "-"), digest.hex(":"), due):
        heard(said)
    for said in ("", spoken(due)[:-1], spoken(due)[:20], "yes", "g" * 32):
        with pytest.raises(FederationError, match="is not a fingerprint"):
            heard(said)
    if other[:16] != digest[:16]:
        with pytest.raises(FederationError, match="another"):
            heard(spoken(other.hex()))
