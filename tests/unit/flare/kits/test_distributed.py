"""A hospital that makes its own key: invited, approved, joined, by FLARE's own commands; and everything refused."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fedward.encryption.keys.key import create_key
from fedward.encryption.keys.sealed_box import open_box, seal_key
from fedward.encryption.keys.site_identity import made_at_the_site, read_identity
from fedward.errors import FederationError
from fedward.flare.kits.central import provision
from fedward.flare.kits.distributed import Requested, approve, make_request, write_invitation
from fedward.flare.kits.hardening import require_hardened
from fedward.flare.kits.join import join
from fedward.provisioning.authority import read_pem
from fedward.provisioning.crl import crl_content, parse_crl
from fedward.provisioning.folder import FederationFolder
from fedward.provisioning.invitation import LocalExtras, read_invitation
from fedward.provisioning.participants import Kind
from fedward.provisioning.revocation import revoke
from fedward.provisioning.stamp import read_stamp
from fedward.settings import FederationSpec, parse
from tests.support.flare.handshake import handshake

pytestmark = pytest.mark.slow

ANOTHER = "0000 1111 2222 3333 4444 5555 6666 7777"


def federation(*sites: str, name: str = "trial", **changes: Any) -> FederationSpec:
    content: dict[str, Any] = {
        "name": name,
        "server": {"host": "localhost", "port": 8102, "organisation": "operator"},
        "hospitals": [{"site": site, "organisation": site} for site in sites],
        "people": [
            {"email": "lead@trial.org", "organisation": "operator", "role": "lead"},
            {"email": "boss@trial.org", "organisation": "operator", "role": "project_admin"},
        ],
    }
    return parse(FederationSpec, content | changes, where="trial")


SPEC = federation("north", "south", "west")


@dataclass(frozen=True)
class Federation:
    """One in which north has joined by the distributed way, on a machine of its own, ``hospital``."""

    out: Path
    hospital: Path
    authority: str
    key: str

    @property
    def folder(self) -> FederationFolder:
        return FederationFolder(self.out / "trial")

    @property
    def kit(self) -> Path:
        return self.hospital / "kit"

    @property
    def request(self) -> Path:
        return self.hospital / "request"


def joined(folder: Path, name: str = "north", kit: str = "kit", extras: LocalExtras | None = None) -> Federation:
    """Walk the whole way for one participant."""
    out, hospital = folder / "out", folder / "hospital"
    invited = write_invitation(SPEC, name, out, extras=extras)
    requested = make_request(invited.path, hospital / "request")
    assert requested.authority == invited.authority
    approved = approve(requested.path, SPEC, out, expect=requested.key)
    assert approved.authority == invited.authority
    done = join(approved.path, hospital / "request", hospital / kit, authority=invited.authority)
    assert (done.done, done.name) == ("made", name)
    return Federation(out, hospital, invited.authority, requested.key)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    provision(SPEC, folder / "out", only=["localhost"])
    joined(folder, extras=LocalExtras({"site.toml": "# a policy\n"}))
    make_request(write_invitation(SPEC, "south", folder / "out").path, folder / "south")
    return folder


def asked(folder: Path, name: str, request: Path) -> Requested:
    """The request that is in ``request`` already."""
    return make_request(FederationFolder(folder / "trial").invitation(name), request)


@pytest.fixture
def north(made: Path, tmp_path: Path) -> Federation:
    """A copy, so that every test may break its own."""
    folder = Path(shutil.copytree(made, tmp_path / "trial"))
    again = asked(folder / "out", "north", folder / "hospital" / "request")
    return Federation(folder / "out", folder / "hospital", again.authority, again.key)


@pytest.fixture
def south(north: Federation) -> Requested:
    """South's request, which waits for its approval."""
    return asked(north.out, "south", north.out.parent / "south")


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_kit_is_closed_stamped_and_a_sites(north: Federation) -> None:
    require_hardened(north.kit, Kind.site)
    identity = read_identity(north.kit)
    assert identity.name == "north"
    assert made_at_the_site(identity.certificate)
    assert read_stamp(north.kit).participant == "north"
    assert (north.kit / "local" / "site.toml").read_text() == "# a policy\n"
    assert handshake(north.folder.kit("localhost"), north.kit) == identity.certificate.serial_number


def test_the_private_key_never_left(north: Federation) -> None:
    """Nothing that the operator has, zips opened, holds the key, nor what was sent either way."""
    key = (north.request / "north.key").read_bytes()
    for path in (north.request / "north.key", north.kit / "startup" / "client.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(north.request.stat().st_mode) == 0o700
    private = load_pem_private_key(key, password=None).private_numbers().d  # type: ignore[union-attr]
    needles = [key.splitlines()[3], private.to_bytes((private.bit_length() + 7) // 8, "big")]
    contents = [*tree(north.out).values(), (north.request / "north.request.zip").read_bytes()]
    for path in [*north.out.rglob("*.zip"), north.request / "north.request.zip"]:
        with zipfile.ZipFile(path) as file:
            contents += [file.read(member) for member in file.namelist()]
    assert not [1 for content in contents for needle in needles if needle in content]


def test_the_operators_own_home_is_left_alone(
    north: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    make_request(write_invitation(SPEC, "west", north.out).path, tmp_path / "request")
    assert list(home.iterdir()) == []


def test_hospitals_of_both_ways_share_a_key(north: Federation) -> None:
    south = provision(SPEC, north.out, only=["west"]).sites["west"]
    sender, owner = read_identity(south), read_identity(north.kit)
    key = create_key("aes-ctr", generation=1)
    opened = open_box(seal_key(key, to=owner.certificate, sender=sender), owner=owner)
    assert (opened.key, opened.sender, opened.recipient) == (key, "west", "north")


def test_the_inventory_says_who_has_what(north: Federation) -> None:
    known = north.folder.known().find("north")
    assert known is not None and known.current is not None
    assert (known.way, known.kind, known.invited_at) == ("distributed", Kind.site, None)
    assert known.current.number == read_identity(north.kit).certificate.serial_number
    assert known.wheel == read_stamp(north.kit).wheel


def test_everything_again_changes_nothing(north: Federation) -> None:
    before = tree(north.hospital)
    signed = north.folder.signed("north")
    assert join(signed, north.request, north.kit, authority=north.authority).done == "kept"
    make_request(north.folder.invitation("north"), north.request)
    assert tree(north.hospital) == before
    first = write_invitation(SPEC, "south", north.out)
    content = first.path.read_bytes()
    assert write_invitation(SPEC, "south", north.out) == first
    assert first.path.read_bytes() == content


def test_a_server_and_a_person_join_the_same_way(tmp_path: Path) -> None:
    server = joined(tmp_path / "server", "localhost")
    require_hardened(server.kit, Kind.server)
    crl = server.kit / "local" / "revoked.crl"
    assert parse_crl(crl_content(crl), root=read_pem(server.kit / "startup" / "rootCA.pem"), where=crl).number
    with pytest.raises(FederationError, match="signs in by the name"):
        joined(tmp_path / "other", "lead@trial.org")
    person = joined(tmp_path / "person", "lead@trial.org", kit="lead@trial.org")
    require_hardened(person.hospital / "lead@trial.org", Kind.person)


def test_a_project_admin_is_made_by_the_operator(north: Federation) -> None:
    with pytest.raises(FederationError, match=r"project_admin.*--only boss@trial.org"):
        write_invitation(SPEC, "boss@trial.org", north.out)


def test_a_name_that_flare_makes_no_request_for_is_not_invited(north: Federation) -> None:
    plus = federation("north", people=[{"email": "a+b@trial.org", "organisation": "operator", "role": "lead"}])
    with pytest.raises(FederationError, match=r"no request for a name with a \+: 'a\+b@trial.org'; .*provision --only"):
        write_invitation(plus, "a+b@trial.org", north.out)


def refused_approval(north: Federation, request: Path, spec: FederationSpec, said: str, *, expect: str) -> None:
    before = tree(north.out)
    with pytest.raises(FederationError, match=said):
        approve(request, spec, north.out, expect=expect)
    assert tree(north.out) == before


def test_a_request_that_nobody_read_out_is_not_signed(north: Federation, south: Requested) -> None:
    for expect, said in ((ANOTHER, "another key than the one read"), ("", "no.* fingerprint|not a fingerprint")):
        refused_approval(north, south.path, SPEC, said, expect=expect)
    refused_approval(north, south.path, SPEC, "another key than the one read", expect=north.key)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (federation("north", "west"), "not in the federation's file"),
        (federation("north", hospitals=[{"site": "south", "organisation": "other"}]), "another organisation"),
        (
            federation(
                hospitals=[{"site": "west", "organisation": "west"}],
                server={"host": "south", "port": 8102, "organisation": "south"},
            ),
            "another kind",
        ),
    ],
)
def test_a_request_for_more_than_its_line_is_not_signed(
    north: Federation, south: Requested, spec: FederationSpec, said: str
) -> None:
    refused_approval(north, south.path, spec, said, expect=south.key)


def test_a_lead_does_not_become_an_org_admin(north: Federation, tmp_path: Path) -> None:
    wider = federation("north", people=[{"email": "lead@trial.org", "organisation": "operator", "role": "org_admin"}])
    made = make_request(write_invitation(wider, "lead@trial.org", north.out).path, tmp_path / "request")
    refused_approval(north, made.path, SPEC, "another role", expect=made.key)


def test_a_second_certificate_for_a_name_is_not_signed(north: Federation, tmp_path: Path) -> None:
    request = north.request / "north.request.zip"
    refused_approval(north, request, SPEC, "has a certificate that is valid", expect=north.key)
    with pytest.raises(FederationError, match="has a certificate already"):
        write_invitation(SPEC, "north", north.out)


def test_who_is_not_invited_gets_nothing(north: Federation, south: Requested) -> None:
    assert revoke("south", north.folder).withdrawn
    refused_approval(north, south.path, SPEC, "is not invited", expect=south.key)


def test_a_revoked_key_comes_back_under_no_name(north: Federation) -> None:
    revoke("north", north.folder)
    write_invitation(SPEC, "north", north.out)
    request = north.request / "north.request.zip"
    refused_approval(north, request, SPEC, "key whose certificate was revoked", expect=north.key)


def test_a_changed_request_is_not_signed(north: Federation, tmp_path: Path, south: Requested) -> None:
    """Whoever rewrites request.json cannot rewrite what the key signed."""
    for change in ({"name": "west"}, {"name": "../south"}, {"org": "west"}, {"kind": "server"}, {"cert_type": "lead"}):
        forged = tmp_path / "forged.request.zip"
        with zipfile.ZipFile(south.path) as old, zipfile.ZipFile(forged, "w") as new:
            for member in old.namelist():
                content = old.read(member)
                if member == "request.json":
                    content = json.dumps(json.loads(content) | change).encode()
                new.writestr(member, content)
        refused_approval(north, forged, SPEC, ".", expect=south.key)
    forged.write_bytes(south.path.read_bytes()[:-40])
    refused_approval(north, forged, SPEC, "is not a request", expect=south.key)


def test_what_flare_signed_is_looked_at_before_it_is_kept(
    north: Federation, south: Requested, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fedward.flare.kits.distributed.certificate_in", lambda *_: read_identity(north.kit).certificate
    )
    refused_approval(north, south.path, SPEC, "another name than asked for", expect=south.key)


def refused_join(north: Federation, said: str, **how: Any) -> None:
    before = tree(north.hospital)
    given = {"signed_zip": north.folder.signed("north"), "request": north.request, "kit": north.kit} | how
    with pytest.raises(FederationError, match=said):
        join(**{"authority": north.authority, **given})
    assert tree(north.hospital) == before
    assert not [path for path in north.hospital.iterdir() if path.name.startswith(".")]


def test_another_authority_is_refused(north: Federation) -> None:
    refused_join(north, "another authority than the one read", authority=ANOTHER)
    refused_join(north, "is not a fingerprint", authority="yes")


def test_another_federations_signed_zip_is_refused(north: Federation, tmp_path: Path) -> None:
    other = joined(tmp_path / "other")
    refused_join(north, "fingerprint", signed_zip=other.folder.signed("north"))
    refused_join(north, "another authority than", authority=other.authority)


def test_a_signed_zip_for_another_request_is_refused(north: Federation, south: Requested) -> None:
    signed = approve(south.path, SPEC, north.out, expect=south.key).path
    refused_join(north, "not a signed zip", signed_zip=signed)
    named = signed.with_name("north.signed.zip")
    shutil.copyfile(signed, named)
    refused_join(north, "not a signed zip", signed_zip=named)


def test_a_kit_of_another_site_or_key_is_left_alone(north: Federation, tmp_path: Path) -> None:
    west = provision(SPEC, north.out, only=["west"]).sites["west"]
    shutil.copytree(west, north.hospital / "west")
    refused_join(north, "is not a kit of north", kit=north.hospital / "west")
    thesis = north.hospital / "thesis"
    thesis.mkdir()
    (thesis / "thesis.txt").write_text("years of work")
    refused_join(north, "is not a kit of north", kit=thesis)
    revoke("north", north.folder)
    made = make_request(write_invitation(SPEC, "north", north.out).path, north.hospital / "again")
    approve(made.path, SPEC, north.out, expect=made.key)
    refused_join(north, "another private key", request=north.hospital / "again")


def test_without_a_request_there_is_no_kit(north: Federation, tmp_path: Path) -> None:
    refused_join(north, "no request was made here", request=tmp_path)


@pytest.mark.parametrize("field", ["host", "wheel", "organisation", "port", "files", "name"])
def test_an_invitation_changed_on_its_way_is_refused(north: Federation, tmp_path: Path, field: str) -> None:
    content = json.loads(north.folder.invitation("north").read_text())
    value = {"port": 1, "files": {"site.toml": "# lax\n"}}.get(field, "other")
    assert content["invitation"][field] != value
    content["invitation"][field] = value
    forged = tmp_path / "north.invitation.json"
    forged.write_text(json.dumps(content))
    with pytest.raises(FederationError, match="changed after it was signed"):
        make_request(forged, tmp_path / "request")
    assert not (tmp_path / "request").exists()
    # and if somebody changes it between request and kit
    shutil.copyfile(forged, north.request / "invitation.json")
    refused_join(north, "changed after it was signed", kit=north.hospital / "new")


def test_a_builder_that_was_taken_out_makes_no_kit(north: Federation) -> None:
    """The participant's own definition names our builder; without it the kit would be FLARE's open one."""
    definition = north.request / "site.yaml"
    text = definition.read_text()
    assert "fedward.flare.kits.hardening" in text
    definition.write_text(text[: text.index("builders:")])
    refused_join(north, "not closed|is not a file of a kit", kit=north.hospital / "new")


def test_an_interrupted_request_leaves_no_key(
    north: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invited = write_invitation(SPEC, "south", north.out)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for name in ("nvflare", "write_atomic"):
        with monkeypatch.context() as patch:
            patch.setattr(f"fedward.flare.kits.distributed.{name}", stop)
            with pytest.raises(KeyboardInterrupt):
                make_request(invited.path, tmp_path / "request")
        assert list(tmp_path.rglob("*.key")) == [path for path in tmp_path.rglob("*.key") if "trial" in path.parts]
        assert not (tmp_path / "request").exists()


def test_an_invitation_has_no_secret(north: Federation) -> None:
    invitation, root = read_invitation(north.folder.invitation("north"))
    assert (invitation.name, invitation.host, invitation.port) == ("north", "localhost", 8102)
    assert root == read_pem(north.folder.state / "rootCA.pem")
    assert b"PRIVATE" not in north.folder.invitation("north").read_bytes()
