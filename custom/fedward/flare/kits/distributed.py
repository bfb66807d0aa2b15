"""Make kits whose private keys never leave the machine that uses them, by FLARE's own commands.

1. The operator invites (``write_invitation``): participant, server's address, wheel. No secret.
2. The hospital makes its key and a request (``make_request``, ``nvflare cert request``).
3. The operator approves (``approve``, ``nvflare cert approve``): compares the request with the federation's file, and
   its key with the fingerprint that the hospital read over the telephone.
4. The hospital makes its kit (``fedward.flare.kits.join``, ``nvflare package``).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from fedward.errors import FederationError
from fedward.files import write_atomic
from fedward.flare.kits.authority import authority_and_inventory, write_profile
from fedward.flare.kits.nvflare_cli import nvflare
from fedward.provisioning.authority import issued_of, read_authority
from fedward.provisioning.crl import CRL_FILE
from fedward.provisioning.fingerprint import require_fingerprint, spoken, spoken_authority
from fedward.provisioning.folder import FederationFolder
from fedward.provisioning.inventory import INVENTORY_FILE, Inventory, Participant, encode_inventory
from fedward.provisioning.invitation import Invitation, LocalExtras, invite, read_invitation, seal_invitation
from fedward.provisioning.participants import Kind, Line, line_of
from fedward.provisioning.request import (
    Request,
    certificate_in,
    read_request,
    require_agrees,
    require_issued_as_asked,
    require_may_have_one,
)
from fedward.provisioning.stamp import make_stamp
from fedward.provisioning.templates import with_components
from fedward.settings import FederationSpec

DAYS = 365
INVITATION_FILE = "invitation.json"
_FLARE_TYPE = {Kind.server: "server", Kind.site: "client", Kind.person: "admin"}
_BUILDER = "fedward.flare.kits.hardening.HardenKit"
_FLARES = {"path": "nvflare.lighter.impl.static_file.StaticFileBuilder", "args": {"config_folder": "config"}}
"""FLARE's builder. If it is not named, ``nvflare package`` uses one that looks for a job's files in the wrong place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invited:
    """Invitation, and the authority's fingerprint, to be read over the telephone."""

    path: Path
    authority: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """Request, and its key's fingerprint, to be read over the telephone; ``authority`` signed the invitation."""

    path: Path
    name: str
    key: str
    authority: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """Signed zip, the end of its certificate, and the authority's fingerprint, to be read over the telephone."""

    path: Path
    name: str
    kind: Kind
    not_after: datetime
    authority: str


def write_invitation(spec: FederationSpec, name: str, out: Path, *, extras: LocalExtras | None = None) -> Invited:
    """Invite one participant of the file; a second call returns the same invitation until the file changes.

    Args:
        extras: files and components that its template puts into its kit's ``local/``.

    Raises:
        FederationError: the file has no such line, FLARE makes no request for it, the participant has a certificate
            already, or the server of the file has changed.
    """
    line = line_of(spec, name)
    if line.role == "project_admin":
        remedy = f"`federation provision --only {name}`: this person holds the authority anyway"
        raise FederationError("FLARE 2.9 approves no request of a project_admin", value=name, remedy=remedy)
    if "+" in name:
        remedy = f"`federation provision --only {name}`, or give another address"
        raise FederationError("FLARE 2.9 makes no request for a name with a +", value=name, remedy=remedy)
    folder = FederationFolder(out / spec.name)
    with folder.change() as draft:
        authority, inventory = authority_and_inventory(folder, draft, spec)
        _require_same_server(spec, inventory)
        known = inventory.find(name)
        if known is not None and known.current is not None:
            remedy = f"`federation revoke {name}` first, or `federation renew {name}`"
            raise FederationError("has a certificate already", value=name, remedy=remedy)
        crl = authority.sign_crl(inventory)
        if line.kind is Kind.server:
            extras = LocalExtras({CRL_FILE: crl.decode("ascii")})
        stamp = make_stamp(federation=spec.name, participant=name)
        versions = (stamp.fedward, stamp.flare, stamp.wheel)
        now = datetime.now(UTC).replace(microsecond=0)
        invitation = invite(line, spec=spec, versions=versions, extras=extras or LocalExtras(), now=now)
        if _says_the_same(folder.invitation(name), invitation) and known is not None and known.invited_at is not None:
            return Invited(path=folder.invitation(name), authority=spoken_authority(authority.certificate))
        _put(draft.invitation(name), seal_invitation(invitation, authority))
        invited = _invited(line, invitation, known)
        _put(draft.state / INVENTORY_FILE, encode_inventory(inventory.having(invited)))
        if not (folder.state / CRL_FILE).exists():
            _put(draft.state / CRL_FILE, crl)
    return Invited(path=folder.invitation(name), authority=spoken_authority(authority.certificate))


def _says_the_same(path: Path, invitation: Invitation) -> bool:
    if not path.exists():
        return False
    last = read_invitation(path)[0]
    return last == invitation.model_copy(update={"id": last.id, "invited_at": last.invited_at})


def make_request(invitation_file: Path, folder: Path) -> Requested:
    """Make a private key, which stays in ``folder`` (mode 0600), and a request for its certificate.

    A second call with the same invitation returns the existing request.

    Raises:
        FederationError: the invitation was changed on its way, the folder has a request of another invitation or
            cannot be written, or FLARE refuses.
    """
    invitation, root = read_invitation(invitation_file)
    kept = folder / INVITATION_FILE
    if kept.exists():
        if read_invitation(kept)[0] != invitation:
            remedy = "give another --request folder; this one belongs to the kit that was made from it"
            raise FederationError("a request for another invitation is here", where=folder, remedy=remedy)
    else:
        _make_request(invitation, invitation_file.read_bytes(), folder)
    path = request_file(folder, invitation.name)
    request = read_request(path)
    return Requested(path=path, name=invitation.name, key=spoken(request.key), authority=spoken_authority(root))


def request_file(folder: Path, name: str) -> Path:
    """Return the path, in a request's folder, of the zip that is sent to the operator."""
    return folder / f"{name}.request.zip"


def _make_request(invitation: Invitation, content: bytes, folder: Path) -> None:
    """Write all of the folder's files at once: a key without a request, or half a key, would be useless."""
    with_components({"components": []}, invitation.components)
    if folder.exists() and any(folder.iterdir()):
        raise FederationError("request folder is not empty", where=folder, remedy="give another --request folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise FederationError("cannot be written", where=folder.parent, value=error.strerror) from None
    try:
        participant = {"name": invitation.name, "type": _FLARE_TYPE[invitation.kind], "org": invitation.organisation}
        if invitation.role is not None:
            participant["role"] = invitation.role
        extras = {"files": {invitation.name: invitation.files}, "components": {invitation.name: invitation.components}}
        builder = {"path": _BUILDER, "args": {"wheel": invitation.wheel, **extras}}
        definition = {"name": invitation.federation, "participants": [participant], "builders": [_FLARES, builder]}
        (draft / "participant.yaml").write_text(json.dumps(definition), encoding="utf-8")
        made = draft / "request"
        nvflare("cert", "request", "-p", draft / "participant.yaml", "--out", made)
        write_atomic(made / INVITATION_FILE, content, mode=0o600, replace=False)
        made.chmod(0o700)
        (made / f"{invitation.name}.key").chmod(0o600)
        made.replace(folder)
    except OSError as error:
        raise FederationError("cannot be written", where=folder, value=error.strerror) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def approve(request_zip: Path, spec: FederationSpec, out: Path, *, expect: str, days: int = DAYS) -> Approved:
    """Sign a request that agrees with its line in the file.

    Args:
        expect: the key's fingerprint that the requester read over the telephone.
        days: validity of the certificate.

    Raises:
        FederationError: the request has another key, name, organisation, kind or role; its name has a valid
            certificate; or its key is revoked or another name's. Nothing has changed then.
    """
    folder = FederationFolder(out / spec.name)
    folder.known()
    request = read_request(request_zip)
    line = line_of(spec, request.name)
    remedy = "call them again: somebody may have put another request in its place"
    what = "request is of another key than the one read to you"
    require_fingerprint(expect, digest=request.key, what=what, where=request_zip, remedy=remedy)
    require_agrees(request, line, federation=spec.name, where=request_zip)
    with folder.change() as draft:
        inventory = folder.known()
        _require_same_server(spec, inventory)
        require_may_have_one(request, inventory, now=datetime.now(UTC), where=request_zip)
        known = inventory.find(line.name)
        if known is None or (known.current is None and known.invited_at is None):
            remedy = f"`federation invite {line.name}` first"
            raise FederationError("is not invited", where=request_zip, value=line.name, remedy=remedy)
        invited = known.model_copy(update={"way": "distributed", **_facts(line)})
        draft.request(line.name).parent.mkdir(parents=True)
        shutil.copyfile(request_zip, draft.request(line.name))
        if read_request(draft.request(line.name)) != request:
            raise FederationError("request changed while it was read", where=request_zip, remedy="try again")
        return sign(line, invited, request=request, folder=folder, draft=draft, days=days)


def sign(
    line: Line,
    participant: Participant,
    *,
    request: Request,
    folder: FederationFolder,
    draft: FederationFolder,
    days: int,
) -> Approved:
    """Have FLARE sign the request in ``draft`` and record it there.

    Raises:
        FederationError: FLARE refuses, or signs a certificate that was not requested.
    """
    authority = read_authority(folder.state)
    profile = write_profile(draft.root, folder.known())
    signed = draft.signed(line.name)
    signed.parent.mkdir(parents=True)
    words = ("--profile", str(profile), "--out", str(signed), "--valid-days", str(days))
    nvflare("cert", "approve", draft.request(line.name), "-c", folder.state, *words)
    profile.unlink()
    certificate = certificate_in(signed, line.name)
    require_issued_as_asked(certificate, line, request=request, root=authority.certificate)
    _put(draft.certificate(line.name), certificate.public_bytes(Encoding.PEM))
    inventory = folder.known().having(participant.with_certificate(issued_of(certificate)))
    _put(draft.state / INVENTORY_FILE, encode_inventory(inventory))
    return Approved(
        path=folder.signed(line.name),
        name=line.name,
        kind=line.kind,
        not_after=certificate.not_valid_after_utc,
        authority=spoken_authority(authority.certificate),
    )


def _invited(line: Line, invitation: Invitation, known: Participant | None) -> Participant:
    return Participant(
        name=line.name,
        **_facts(line),
        way="distributed",
        fedward=invitation.fedward,
        flare=invitation.flare,
        wheel=invitation.wheel,
        invited_at=invitation.invited_at,
        certificates=known.certificates if known is not None else (),
    )


def _facts(line: Line) -> dict[str, Any]:
    return {"kind": line.kind, "organisation": line.organisation, "role": line.role}


def _require_same_server(spec: FederationSpec, inventory: Inventory) -> None:
    old, new = f"{inventory.host}:{inventory.port}", f"{spec.server.host}:{spec.server.port}"
    if old != new:
        remedy = f"put {old} back, or give another --out: the server is in every kit"
        raise FederationError("server changed in the federation's file", where=spec.name, value=new, remedy=remedy)


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
