"""Revoke all certificates of a name at once: put them on the revocation list, which the server reads again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fedward.errors import FederationError
from fedward.files import write_atomic
from fedward.provisioning.authority import read_authority, read_pem
from fedward.provisioning.crl import CRL_FILE
from fedward.provisioning.folder import KITS, FederationFolder
from fedward.provisioning.inventory import INVENTORY_FILE, Inventory, Participant, Reason, encode_inventory
from fedward.provisioning.participants import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """Result of a revocation.

    Attributes:
        name: name of the participant.
        kind: kind of the participant.
        serials: serial numbers of the certificates that this revoked.
        withdrawn: true if an invitation that waited for its request is withdrawn.
        number: number of the revocation list that records it.
        crl: the list in the operator's state.
        server: the list in the server's kit; None if that kit is on another machine.
    """

    name: str
    kind: Kind
    serials: tuple[str, ...]
    withdrawn: bool
    number: int
    crl: Path
    server: Path | None


def revoke(
    name: str,
    folder: FederationFolder,
    *,
    reason: Reason = "unspecified",
    server: Path | None = None,
    older_alone: bool = False,
) -> Revoked:
    """Revoke every certificate of a name, or withdraw its invitation.

    Args:
        server: the server's kit on this machine; None: the one that was provisioned here, if it is there.
        older_alone: revoke all but the newest certificate, once a renewed one is in use.

    If everything is revoked already, the list is put into the server's kit again.

    Raises:
        FederationError: nothing was issued to that name, there is no older certificate, or ``server`` is not this
            federation's; nothing has changed then. Or the new list cannot be put into ``server``.
    """
    folder.known()
    if server is not None:
        _require_server(server, folder)
    with folder.change() as draft:
        inventory = folder.known()
        known = inventory.find(name)
        if known is None:
            raise FederationError("was issued nothing", where=folder.root, value=name, remedy="`federation status`")
        changed, serials = _revoked(known, reason=reason, older_alone=older_alone)
        after = inventory.having(changed) if changed.certificates else inventory.without(name)
        if serials:
            after = after.model_copy(update={"crl_number": inventory.crl_number + 1})
        crl = read_authority(folder.state).sign_crl(after)
        draft.state.mkdir()
        (draft.state / INVENTORY_FILE).write_bytes(encode_inventory(after))
        (draft.state / CRL_FILE).write_bytes(crl)
        here = _server_here(folder, inventory)
        if server is None and here is not None:
            place = draft.kit(inventory.host) / "local" / CRL_FILE
            place.parent.mkdir(parents=True)
            place.write_bytes(crl)
    return Revoked(
        name=name,
        kind=known.kind,
        serials=serials,
        withdrawn=known.invited_at is not None and not older_alone,
        number=after.crl_number,
        crl=folder.state / CRL_FILE,
        server=_put(crl, server) if server is not None else here,
    )


def _revoked(known: Participant, *, reason: Reason, older_alone: bool) -> tuple[Participant, tuple[str, ...]]:
    out = known.live[:-1] if older_alone and known.current is not None else known.live
    if older_alone and not out:
        remedy = f"`federation renew {known.name}` first"
        raise FederationError("has no older certificate that is not revoked", value=known.name, remedy=remedy)
    update = {"revoked_at": datetime.now(UTC).replace(microsecond=0), "reason": reason}
    certificates = tuple(one.model_copy(update=update) if one in out else one for one in known.certificates)
    invited = known.invited_at if older_alone else None
    changed = known.model_copy(update={"certificates": certificates, "invited_at": invited})
    return changed, tuple(one.serial for one in out)


def _server_here(folder: FederationFolder, inventory: Inventory) -> Path | None:
    path = folder.root / KITS / inventory.host / "local" / CRL_FILE
    return path if path.parent.is_dir() else None


def _require_server(kit: Path, folder: FederationFolder) -> None:
    root = read_pem(folder.state / "rootCA.pem")
    if not (kit / "startup" / "server.crt").is_file() or read_pem(kit / "startup" / "rootCA.pem") != root:
        raise FederationError("is not the kit of this federation's server", where=kit, remedy="give another --server")


def _put(crl: bytes, server: Path) -> Path:
    path = server / "local" / CRL_FILE
    try:
        write_atomic(path, crl, mode=0o600)
        path.chmod(0o644)
    except OSError as error:
        remedy = f"it is revoked; copy state/{CRL_FILE} to the server's kit to put it out"
        raise FederationError("cannot be written", where=path, value=error.strerror, remedy=remedy) from None
    return path
