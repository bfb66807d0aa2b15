"""Check that a revocation list holds what its maker listed, and that a forged or changed list is refused."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA224, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.errors import FederationError
from fedward.provisioning.crl import Revocations, crl_content, make_crl, parse_crl
from tests.support.authority import authority
from tests.support.packages import needs

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
WHERE = Path("revoked.crl")


AUTHORITY, OTHER = authority(), authority()  # the same name, another key
KEY, ROOT = AUTHORITY.key, AUTHORITY.root
OTHER_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another")])


def signed(
    builder: x509.CertificateRevocationListBuilder, *, key: RSAPrivateKey = KEY, algorithm: HashAlgorithm | None = None
) -> bytes:
    return builder.sign(key, algorithm or SHA256()).public_bytes(Encoding.PEM)  # type: ignore[arg-type]


def bare(*, numbered: bool = True, issuer: x509.Name = ROOT.subject) -> x509.CertificateRevocationListBuilder:
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer).last_update(NOW).next_update(NOW + DAY)
    return builder.add_extension(x509.CRLNumber(3), critical=False) if numbered else builder


def entry(serial: int) -> x509.RevokedCertificate:
    return x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW).build()


@settings(max_examples=20, deadline=None)
@given(
    serials=st.frozensets(st.integers(min_value=1, max_value=2**159 - 1), max_size=20),
    number=st.integers(min_value=1, max_value=2**63),
)
def test_what_is_made_is_read(serials: frozenset[int], number: int) -> None:
    pem = make_crl(root=ROOT, key=KEY, revoked=dict.fromkeys(serials, NOW), number=number)
    assert parse_crl(pem, root=ROOT, where=WHERE) == Revocations(number=number, serials=serials)


def test_a_certificate_is_revoked_by_its_serial_number_not_its_name() -> None:
    first = AUTHORITY.issue("north", serial=7)
    again = AUTHORITY.issue("north", serial=8)
    pem = make_crl(root=ROOT, key=KEY, revoked={7: NOW}, number=1)
    revocations = parse_crl(pem, root=ROOT, where=WHERE)
    assert revocations.revokes(first)
    assert not revocations.revokes(again)


def test_the_list_is_a_standard_one() -> None:
    pem = make_crl(root=ROOT, key=KEY, revoked={7: NOW - DAY}, number=12, made_at=NOW)
    crl = x509.load_pem_x509_crl(pem)
    revoked = crl.get_revoked_certificate_by_serial_number(7)
    assert revoked is not None
    assert revoked.revocation_date_utc == NOW - DAY
    assert revoked.extensions.get_extension_for_class(x509.CRLReason).value.reason.name == "privilege_withdrawn"
    assert (crl.last_update_utc, crl.next_update_utc) == (NOW, ROOT.not_valid_after_utc)


def test_openssl_reads_and_proves_the_list(tmp_path: Path) -> None:
    needs("openssl")
    (tmp_path / "root.pem").write_bytes(ROOT.public_bytes(Encoding.PEM))
    (tmp_path / "list.crl").write_bytes(make_crl(root=ROOT, key=KEY, revoked={0xABCDEF: NOW}, number=5))
    command = ["openssl", "crl", "-in", "list.crl", "-CAfile", "root.pem", "-text", "-noout"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30)
    assert "verify OK" in said.stderr
    assert "ABCDEF" in said.stdout


def test_every_changed_byte_is_noticed() -> None:
    der = x509.load_pem_x509_crl(make_crl(root=ROOT, key=KEY, revoked={7: NOW}, number=1)).public_bytes(Encoding.DER)
    for place in range(0, len(der), 7):
        changed = der[:place] + bytes([der[place] ^ 1]) + der[place + 1 :]
        try:
            crl = x509.load_der_x509_crl(changed)
        except ValueError:
            continue
        with pytest.raises(FederationError):
            parse_crl(crl.public_bytes(Encoding.PEM), root=ROOT, where=WHERE)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not one"),
        (b"no list", "not one"),
        (ROOT.public_bytes(Encoding.PEM), "not a revocation list"),
        (make_crl(root=ROOT, key=KEY, revoked={}, number=1) * 2, "not one"),
        (make_crl(root=ROOT, key=KEY, revoked={}, number=1)[:-60], "not a revocation list"),
        (make_crl(root=OTHER.root, key=OTHER.key, revoked={}, number=1), "not signed by"),
        (signed(bare(numbered=False)), "no number"),
        (signed(bare(issuer=OTHER_NAME)), "another authority's"),
        (signed(bare(), algorithm=SHA224()), "does not take"),
        (signed(bare().add_revoked_certificate(entry(7)).add_revoked_certificate(entry(7))), "twice"),
        (signed(bare().add_extension(x509.DeltaCRLIndicator(1), critical=True)), "critical"),
    ],
    ids=["empty", "text", "certificate", "two", "torn", "signer", "number", "issuer", "sha224", "twice", "delta"],
)
def test_what_is_no_list_of_this_authority_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(FederationError, match=says):
        parse_crl(content, root=ROOT, where=WHERE)


def test_an_absent_list_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(FederationError, match="cannot be read"):
        crl_content(tmp_path / "revoked.crl")
    with pytest.raises(FederationError, match="cannot be read"):
        crl_content(tmp_path)


def test_a_list_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "revoked.crl"
    path.write_bytes(make_crl(root=ROOT, key=KEY, revoked={9: NOW}, number=4))
    assert parse_crl(crl_content(path), root=ROOT, where=path) == Revocations(number=4, serials=frozenset({9}))


def test_only_the_authority_can_make_one() -> None:
    with pytest.raises(FederationError, match="private key"):
        make_crl(root=ROOT, key=OTHER.key, revoked={}, number=1)
    with pytest.raises(FederationError, match="1 or more"):
        make_crl(root=ROOT, key=KEY, revoked={}, number=0)
    with pytest.raises(FederationError, match="cannot be made"):
        make_crl(root=ROOT, key=KEY, revoked={-1: NOW}, number=1)
    old = authority(days=-1)
    with pytest.raises(FederationError, match="cannot be made"):
        make_crl(root=old.root, key=old.key, revoked={}, number=1)
