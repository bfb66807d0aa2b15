"""Read a hospital's identity from its kit, or report its fault in one line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from fedward.encryption.keys.site_identity import read_identity
from fedward.errors import EncryptionError
from fedward.flare.kits.central import Kits
from tests.support.kits import central_kits


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Kits:
    return central_kits(tmp_path_factory.mktemp("kits"))


@pytest.fixture
def kit(kits: Kits, tmp_path: Path) -> Path:
    return shutil.copytree(kits.sites["north"], tmp_path / "north")


def pem(key: Any, passphrase: bytes | None = None) -> bytes:
    lock = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))


def refused(kit: Path, said: str) -> None:
    with pytest.raises(EncryptionError, match=said) as refusal:
        read_identity(kit)
    assert len(str(refusal.value).splitlines()) == 1 and "PRIVATE KEY" not in repr(refusal.value)


def test_a_kit_says_who_its_hospital_is(kits: Kits) -> None:
    for site, folder in kits.sites.items():
        identity = read_identity(folder)
        assert (identity.name, identity.server) == (site, "localhost")
        assert identity.private_key.public_key() == identity.certificate.public_key()
        assert "RSAPrivateKey" not in repr(identity)


def test_the_servers_and_an_admins_kit_are_no_hospitals(kits: Kits) -> None:
    for folder in (kits.server, kits.people["admin@trial.org"], kits.folder):
        refused(folder, "cannot be read")


@pytest.mark.parametrize("name", ["client.crt", "client.key", "rootCA.pem", "fed_client.json"])
def test_a_kit_without_one_of_its_files_or_with_another_in_its_place_is_refused(kit: Path, name: str) -> None:
    (kit / "startup" / name).write_bytes(b"{}")
    refused(kit, name)
    (kit / "startup" / name).unlink()
    refused(kit, name)


@pytest.mark.parametrize("text", ["[]", '{"servers": []}', '{"servers": [{"identity": ""}]}', '{"servers": 3}'])
def test_a_kit_that_does_not_name_its_server_is_refused(kit: Path, text: str) -> None:
    (kit / "startup" / "fed_client.json").write_text(text)
    refused(kit, "does not name the federation's server")


def test_a_private_key_that_others_may_read_is_refused(kit: Path) -> None:
    (kit / "startup" / "client.key").chmod(0o644)
    refused(kit, "chmod 600 .*client.key")


def test_a_private_key_of_another_certificate_is_refused(kit: Path, kits: Kits) -> None:
    shutil.copy(kits.sites["south"] / "startup" / "client.key", kit / "startup" / "client.key")
    refused(kit, "do not belong together")


@pytest.mark.parametrize(
    "content",
    [
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(rsa.generate_private_key(public_exponent=65537, key_size=2048), b"passphrase"),
    ],
    ids=["elliptic curve", "passphrase"],
)
def test_a_private_key_of_a_kind_that_flare_does_not_make_is_refused(kit: Path, content: bytes) -> None:
    (kit / "startup" / "client.key").write_bytes(content)
    refused(kit, "not an RSA private key without a passphrase")


def test_a_certificate_of_another_authority_is_refused(kit: Path, tmp_path: Path) -> None:
    elsewhere = central_kits(tmp_path / "elsewhere").sites["north"]
    shutil.copy(elsewhere / "startup" / "rootCA.pem", kit / "startup" / "rootCA.pem")
    refused(kit, "not issued by this federation's authority")
