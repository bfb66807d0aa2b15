"""Make a kit from a signed zip, on the machine with its private key; in an existing kit, renew the certificate only."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from fedward.errors import FederationError
from fedward.files import write_atomic
from fedward.flare.kits.central import certificate_file
from fedward.flare.kits.distributed import INVITATION_FILE
from fedward.flare.kits.hardening import require_hardened
from fedward.flare.kits.nvflare_cli import nvflare
from fedward.provisioning.authority import read_pem
from fedward.provisioning.fingerprint import require_fingerprint
from fedward.provisioning.invitation import Invitation, read_invitation
from fedward.provisioning.participants import Kind
from fedward.provisioning.request import certificate_in
from fedward.provisioning.stamp import read_stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Kit, and what ``join`` did with it: "made", "renewed" or "kept"."""

    kit: Path
    name: str
    kind: Kind
    done: str
    not_after: datetime


def join(signed_zip: Path, request: Path, kit: Path, *, authority: str) -> Joined:
    """Make ``kit`` from the zip that the operator signed, or put a renewed certificate into it.

    An existing kit keeps its key and everything in ``local/``.

    Args:
        signed_zip: from ``approve`` or a renewal.
        request: folder of ``make_request``.
        authority: the authority's fingerprint, read over the telephone.

    Raises:
        FederationError: the zip or invitation is another authority's, the zip is for another request, the kit is of
            another participant, key or federation, or the new kit is not hardened. The kit is then unchanged.
    """
    kept = request / INVITATION_FILE
    if not kept.is_file():
        remedy = "first `fedward site join INVITATION --request FOLDER`, with the same folder"
        raise FederationError("no request was made here", where=request, remedy=remedy)
    invitation, root = read_invitation(kept)
    remedy = "do not go on; call the operator: somebody may have sent you another federation's"
    what = "invitation is from another authority than the one read to you"
    require_fingerprint(authority, digest=root.fingerprint(SHA256()).hex(), what=what, where=kept, remedy=remedy)
    if invitation.kind is Kind.person and kit.name != invitation.name:
        remedy = f"give --kit {kit / invitation.name}"
        raise FederationError("a person signs in by the name of the kit's folder", where=kit, remedy=remedy)
    certificate = certificate_in(signed_zip, invitation.name)
    try:
        kit.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{kit.name}-", dir=kit.parent))
    except OSError as error:
        raise FederationError("cannot be written", where=kit.parent, value=error.strerror) from None
    try:
        made = _package(signed_zip, request, invitation, root, scratch)
        done = _put(made, kit, invitation)
    except OSError as error:
        raise FederationError("cannot be written", where=kit, value=error.strerror) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Joined(
        kit=kit,
        name=invitation.name,
        kind=invitation.kind,
        done=done,
        not_after=certificate.not_valid_after_utc,
    )


def _package(signed_zip: Path, request: Path, invitation: Invitation, root: x509.Certificate, scratch: Path) -> Path:
    """Return a kit, in ``scratch``, that FLARE made and our builder hardened.

    FLARE writes into the request's folder, so it gets a copy.
    """
    copy = scratch / "request"
    shutil.copytree(request, copy)
    expected = json.dumps({invitation.name: invitation.files}, sort_keys=True)
    signed = scratch / f"{invitation.name}.signed.zip"
    shutil.copyfile(signed_zip, signed)
    fingerprint = root.fingerprint(SHA256()).hex()
    nvflare("package", signed, "--request-dir", copy, "-w", scratch / "kits", "--fingerprint", fingerprint)
    made = scratch / "kits" / invitation.federation / "prod_00" / invitation.name
    require_hardened(made, invitation.kind)
    stamp = read_stamp(made)
    missing = [name for name in json.loads(expected)[invitation.name] if not (made / "local" / name).is_file()]
    if missing or (stamp.federation, stamp.participant, stamp.wheel) != (
        invitation.federation,
        invitation.name,
        invitation.wheel,
    ):
        remedy = "make the request anew from the invitation, in another folder"
        raise FederationError("kit is not the one of the invitation", where=request, remedy=remedy)
    return made


def _put(made: Path, kit: Path, invitation: Invitation) -> str:
    if not kit.exists() or (kit.is_dir() and not any(kit.iterdir())):
        made.replace(kit)
        return "made"
    old, new = certificate_file(kit, invitation.kind), certificate_file(made, invitation.kind)
    if not old.is_file() or read_stamp(kit).participant != invitation.name:
        raise FederationError(f"is not a kit of {invitation.name}", where=kit, remedy="give another --kit")
    if read_pem(kit / "startup" / "rootCA.pem") != read_pem(made / "startup" / "rootCA.pem"):
        raise FederationError("is a kit of another authority", where=kit, remedy="give another --kit")
    key = old.with_suffix(".key")
    if key.read_bytes() != new.with_suffix(".key").read_bytes():
        remedy = "give another --kit, and copy what you keep of local/ into it"
        raise FederationError("is a kit with another private key", where=kit, remedy=remedy)
    if old.read_bytes() == new.read_bytes():
        return "kept"
    if read_pem(new).not_valid_before_utc < read_pem(old).not_valid_before_utc:
        raise FederationError("signed zip is older than the kit's certificate", where=kit, remedy="give the newer one")
    write_atomic(old, new.read_bytes(), mode=old.stat().st_mode & 0o777)
    return "renewed"
