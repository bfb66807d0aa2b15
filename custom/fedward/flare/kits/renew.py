"""Renew a certificate before it ends: for the same key, in the same kit; no other kit changes."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from fedward.errors import FederationError
from fedward.flare.kits.central import certificate_file
from fedward.flare.kits.distributed import DAYS, sign
from fedward.provisioning.authority import issued_of, read_authority, read_pem, reissue
from fedward.provisioning.folder import FederationFolder
from fedward.provisioning.inventory import INVENTORY_FILE, Inventory, Participant, encode_inventory
from fedward.provisioning.participants import Kind, Line
from fedward.provisioning.request import read_request


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """Result of a renewal.

    Attributes:
        name, kind: of the participant.
        not_after: end of the new certificate.
        path: central: the certificate's new file, to put into the kit's startup/; distributed: the signed zip.
        in_place: true if a kit on this machine has it already.
    """

    name: str
    kind: Kind
    not_after: datetime
    path: Path
    in_place: bool


def renew(name: str, folder: FederationFolder, *, days: int = DAYS) -> Renewed:
    """Issue a new certificate for the participant's existing key.

    The old certificate stays valid until it ends, or until ``revoke(..., older_alone=True)``.

    Raises:
        FederationError: the name has no certificate, or its certificate is revoked. Nothing has changed then.
    """
    folder.known()
    with folder.change() as draft:
        inventory = folder.known()
        known = inventory.find(name)
        if known is None or not known.certificates:
            raise FederationError("has no certificate", where=folder.root, value=name, remedy="`federation status`")
        if known.current is None:
            remedy = f"`federation invite {name}` admits it again with a new key"
            raise FederationError("is revoked, and is not renewed", value=name, remedy=remedy)
        if known.way == "central":
            return _central(known, inventory, folder, draft, days)
        return _distributed(known, inventory, folder, draft, days)


def _central(
    known: Participant, inventory: Inventory, folder: FederationFolder, draft: FederationFolder, days: int
) -> Renewed:
    now = datetime.now(UTC).replace(microsecond=0)
    old = read_pem(folder.certificate(known.name))
    new = reissue(old, authority=read_authority(folder.state), days=days, now=now)
    pem = new.public_bytes(Encoding.PEM)
    in_kit = certificate_file(folder.kit(known.name), known.kind)
    places = [draft.certificate(known.name)]
    if in_kit.is_file():
        places.append(certificate_file(draft.kit(known.name), known.kind))
    for place in places:
        place.parent.mkdir(parents=True)
        place.write_bytes(pem)
    after = inventory.having(known.with_certificate(issued_of(new)))
    (draft.state / INVENTORY_FILE).write_bytes(encode_inventory(after))
    return Renewed(
        name=known.name,
        kind=known.kind,
        not_after=new.not_valid_after_utc,
        path=in_kit if in_kit.is_file() else folder.certificate(known.name),
        in_place=in_kit.is_file(),
    )


def _distributed(
    known: Participant, inventory: Inventory, folder: FederationFolder, draft: FederationFolder, days: int
) -> Renewed:
    kept = folder.request(known.name)
    request = read_request(kept)
    newest = known.certificates[-1]
    if request.key != newest.key:
        raise FederationError("kept request is for another key than the certificate", where=kept)
    draft.request(known.name).parent.mkdir(parents=True)
    shutil.copyfile(kept, draft.request(known.name))
    line = Line(name=known.name, kind=known.kind, organisation=known.organisation, role=known.role)
    signed = sign(line, known, request=request, folder=folder, draft=draft, days=days)
    return Renewed(name=known.name, kind=known.kind, not_after=signed.not_after, path=signed.path, in_place=False)
