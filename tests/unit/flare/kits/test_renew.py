"""Renewal and revocation, both ways, seen through TLS handshakes and openssl."""

from __future__ import annotations

import shutil
import ssl
import stat
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from fedward.encryption.keys.site_identity import read_identity
from fedward.errors import FederationError
from fedward.flare.kits.central import provision
from fedward.flare.kits.distributed import approve, make_request, write_invitation
from fedward.flare.kits.join import join
from fedward.flare.kits.renew import renew
from fedward.provisioning.authority import read_pem
from fedward.provisioning.crl import crl_content, parse_crl
from fedward.provisioning.folder import FederationFolder
from fedward.provisioning.participants import Kind
from fedward.provisioning.revocation import revoke
from fedward.settings import FederationSpec, parse
from tests.support.flare.handshake import handshake
from tests.support.packages import needs

pytestmark = pytest.mark.slow

SPEC = parse(
    FederationSpec,
    {
        "name": "trial",
        "server": {"host": "localhost", "port": 8102, "organisation": "operator"},
        "hospitals": [{"site": site, "organisation": site} for site in ("north", "south")],
        "people": [{"email": "lead@trial.org", "organisation": "operator", "role": "lead"}],
    },
    where="trial",
)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """South, the server and the lead have kits that the operator made; north has joined, in ``kit``."""
    folder = tmp_path_factory.mktemp("made")
    provision(SPEC, folder / "out", only=["localhost", "south", "lead@trial.org"])
    invited = write_invitation(SPEC, "north", folder / "out")
    requested = make_request(invited.path, folder / "request")
    approved = approve(requested.path, SPEC, folder / "out", expect=requested.key)
    join(approved.path, folder / "request", folder / "kit", authority=invited.authority)
    (folder / "authority").write_text(invited.authority)
    return folder


@pytest.fixture
def at(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "trial"))


@pytest.fixture
def folder(at: Path) -> FederationFolder:
    return FederationFolder(at / "out" / "trial")


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(root)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
        for path in root.rglob("*")
        if path.is_file()
    }


def differs(before: dict[str, tuple[int, bytes]], after: dict[str, tuple[int, bytes]]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def serial(kit: Path, file: str = "client.crt") -> int:
    return read_pem(kit / "startup" / file).serial_number


def test_a_central_kit_gets_a_new_certificate_and_nothing_else(folder: FederationFolder) -> None:
    before, kit = tree(folder.root), folder.kit("south")
    old = read_pem(kit / "startup" / "client.crt")
    renewed = renew("south", folder, days=100)
    assert differs(before, tree(folder.root)) == {
        "prod_00/south/startup/client.crt",
        "state/certificates/south.pem",
        "state/inventory.json",
    }
    new = read_identity(kit).certificate
    assert (new.public_key(), new.subject) == (old.public_key(), old.subject)
    assert list(new.extensions) == list(old.extensions)
    assert new.serial_number != old.serial_number
    assert abs(new.not_valid_after_utc - (datetime.now(UTC) + 100 * DAY)) < DAY
    assert renewed.in_place and renewed.not_after == new.not_valid_after_utc
    assert handshake(folder.kit("localhost"), kit) == new.serial_number


def test_the_servers_certificate_is_renewed_and_sites_accept_it(folder: FederationFolder, at: Path) -> None:
    before = tree(folder.root)
    assert renew("localhost", folder).kind is Kind.server
    assert "prod_00/localhost/startup/server.crt" in differs(before, tree(folder.root))
    for kit in (folder.kit("south"), at / "kit"):
        assert handshake(folder.kit("localhost"), kit) == serial(kit)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(folder.kit("localhost"), at / "kit", host="elsewhere.example.org")


def test_a_site_that_made_its_own_key_joins_the_renewal(folder: FederationFolder, at: Path) -> None:
    kit, outside = at / "kit", tree(folder.root)
    (kit / "local" / "site.toml").write_text("mine")
    (kit / "ledger.db").write_text("years of patients")
    before, old = tree(kit), serial(kit)
    renewed = renew("north", folder, days=400)
    assert tree(kit) == before
    assert differs(outside, tree(folder.root)) == {
        "signed/north.signed.zip",
        "state/certificates/north.pem",
        "state/inventory.json",
    }
    authority = (at / "authority").read_text()
    done = join(renewed.path, at / "request", kit, authority=authority)
    assert done.done == "renewed"
    assert differs(before, tree(kit)) == {"startup/client.crt"}
    assert serial(kit) != old
    assert read_identity(kit).certificate.not_valid_after_utc == renewed.not_after
    assert handshake(folder.kit("localhost"), kit) == serial(kit)
    assert join(renewed.path, at / "request", kit, authority=authority).done == "kept"


def test_an_older_signed_zip_does_not_take_the_newer_ones_place(folder: FederationFolder, at: Path) -> None:
    kit, crt = at / "kit", at / "kit" / "startup" / "client.crt"
    older = at / "north.signed.zip"
    shutil.copyfile(folder.signed("north"), older)
    known = folder.known().find("north")
    assert known is not None and known.current is not None
    until = known.current.issued_at + timedelta(seconds=1) - datetime.now(UTC)
    time.sleep(max(until.total_seconds(), 0.0))  # a certificate's time is in whole seconds
    renewed = renew("north", folder)
    join(renewed.path, at / "request", kit, authority=(at / "authority").read_text())
    newer = crt.read_bytes()
    with pytest.raises(FederationError, match="older than the kit's certificate"):
        join(older, at / "request", kit, authority=(at / "authority").read_text())
    assert crt.read_bytes() == newer


@pytest.mark.parametrize("name", ["north", "south"])
def test_an_interrupted_renewal_leaves_everything(
    folder: FederationFolder, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = tree(folder.root)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fedward.flare.kits.renew.encode_inventory", stop)
    monkeypatch.setattr("fedward.flare.kits.distributed.encode_inventory", stop)
    with pytest.raises(KeyboardInterrupt):
        renew(name, folder)
    assert tree(folder.root) == before


def test_the_old_certificate_goes_out_alone(folder: FederationFolder) -> None:
    server, kit = folder.kit("localhost"), folder.kit("south")
    with pytest.raises(FederationError, match="no older certificate"):
        revoke("south", folder, older_alone=True)
    old = shutil.copytree(kit, folder.root.parent / "old")
    renew("south", folder)
    done = revoke("south", folder, reason="superseded", older_alone=True)
    assert done.serials == (f"{serial(old):x}",)
    crl = server / "local" / "revoked.crl"
    assert handshake(server, kit, crl=crl) == serial(kit)
    with pytest.raises(ssl.SSLError, match="revoked"):
        handshake(server, old, crl=crl)
    known = folder.known().find("south")
    assert known is not None and known.current is not None and known.current.number == serial(kit)


def test_who_is_revoked_is_out_with_every_certificate_and_nobody_else(folder: FederationFolder, at: Path) -> None:
    server, north, south = folder.kit("localhost"), at / "kit", folder.kit("south")
    old = shutil.copytree(north, at / "old")
    renewed = renew("north", folder)
    join(renewed.path, at / "request", north, authority=(at / "authority").read_text())
    before = tree(folder.root)
    done = revoke("north", folder, reason="key-compromise")
    assert set(done.serials) == {f"{serial(old):x}", f"{serial(north):x}"}
    assert done.server == server / "local" / "revoked.crl"
    assert differs(before, tree(folder.root)) == {
        "prod_00/localhost/local/revoked.crl",
        "state/inventory.json",
        "state/revoked.crl",
    }
    crl = parse_crl(crl_content(done.server), root=read_pem(folder.state / "rootCA.pem"), where=done.server)
    assert crl.number == done.number == 2
    assert crl.serials == {serial(old), serial(north)}
    assert handshake(server, south, crl=done.server) == serial(south)
    for kit in (old, north):
        with pytest.raises(ssl.SSLError, match="revoked"):
            handshake(server, kit, crl=done.server)
    with pytest.raises(FederationError, match="is revoked, and is not renewed"):
        renew("north", folder)
    assert revoke("south", folder).number == 3


def test_openssl_agrees(folder: FederationFolder) -> None:
    needs("openssl")
    revoke("south", folder)
    words = ["openssl", "verify", "-crl_check", "-CAfile", folder.state / "rootCA.pem", "-CRLfile"]
    words.append(folder.state / "revoked.crl")
    kits = {"south": "client.crt", "localhost": "server.crt", "lead@trial.org": "client.crt"}
    said = {
        name: subprocess.run([*words, folder.kit(name) / "startup" / file], capture_output=True, text=True, check=False)
        for name, file in kits.items()
    }
    assert {name: done.returncode == 0 for name, done in said.items()} == {
        "south": False,
        "localhost": True,
        "lead@trial.org": True,
    }
    assert "certificate revoked" in said["south"].stderr


def test_a_revoked_site_comes_back_with_a_new_certificate(folder: FederationFolder, at: Path) -> None:
    old = serial(folder.kit("south"))
    revoke("south", folder)
    revoke("north", folder)
    kits = provision(SPEC, at / "out", anew=["south"])
    assert serial(kits.sites["south"]) != old
    crl = folder.kit("localhost") / "local" / "revoked.crl"
    assert handshake(folder.kit("localhost"), kits.sites["south"], crl=crl) == serial(kits.sites["south"])
    assert [path.name for path in (folder.root / "revoked").iterdir()] == [f"south-{old:x}"[:22]]
    invited = write_invitation(SPEC, "north", at / "out")
    requested = make_request(invited.path, at / "again")
    approved = approve(requested.path, SPEC, at / "out", expect=requested.key)
    join(approved.path, at / "again", at / "new-kit", authority=invited.authority)
    assert handshake(folder.kit("localhost"), at / "new-kit", crl=crl) == serial(at / "new-kit")
    with pytest.raises(ssl.SSLError, match="revoked"):
        handshake(folder.kit("localhost"), at / "kit", crl=crl)


def test_a_server_in_another_folder_or_on_another_machine(folder: FederationFolder, at: Path) -> None:
    elsewhere = Path(shutil.move(folder.kit("localhost"), at / "server"))
    before = tree(elsewhere)
    for wrong in (at / "kit", at / "nowhere"):
        with pytest.raises(FederationError, match="server"):
            revoke("south", folder, server=wrong)
    assert revoke("south", folder).server is None
    assert tree(elsewhere) == before
    done = revoke("south", folder, server=elsewhere)
    assert (done.serials, done.server) == ((), elsewhere / "local" / "revoked.crl")
    assert differs(before, tree(elsewhere)) == {"local/revoked.crl"}
    crl = x509.load_pem_x509_crl((elsewhere / "local" / "revoked.crl").read_bytes())
    assert crl.get_revoked_certificate_by_serial_number(serial(folder.kit("south"))) is not None


def test_who_was_issued_nothing(folder: FederationFolder) -> None:
    for act in (revoke, renew):
        with pytest.raises(FederationError, match="'west'"):
            act("west", folder)  # type: ignore[operator]
