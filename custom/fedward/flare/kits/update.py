"""Make the operator's update of all kits to the version that runs here, and apply it to one kit.

What differs between kits of two versions are the files of ``fedward.upkeep.kit_files``. The operator signs them, and a
hospital's own installed package must write the same.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

import fedward
from fedward.errors import FederationError
from fedward.flare.kits.central import certificate_file
from fedward.flare.kits.expected import SIGNATURE, closed_kits
from fedward.flare.kits.hardening import require_hardened
from fedward.provisioning.authority import read_authority, read_pem
from fedward.provisioning.folder import FederationFolder
from fedward.provisioning.inventory import Inventory
from fedward.provisioning.participants import Kind
from fedward.provisioning.stamp import package_hash
from fedward.provisioning.templates import RESOURCES
from fedward.upkeep.kit_files import UPDATABLE, hashes, kind_of
from fedward.upkeep.kit_update import KitPlan, plan_update
from fedward.upkeep.removal import only_one
from fedward.upkeep.replacement import finish, replace
from fedward.upkeep.update_file import KitUpdate, Manifest, Update, read_update, write_update

_START = {Kind.server: "fed_server.json", Kind.site: "fed_client.json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """What was done to a kit, or would be; ``kept`` has the old files, None: nothing was written."""

    plan: KitPlan
    kind: Kind
    kept: Path | None


def make_update(folder: FederationFolder, out: Path, *, now: float | None = None) -> Manifest:
    """Write the update of every kit with a valid certificate to the version that runs here.

    Args:
        now: seconds since the epoch; None: the clock's.

    Raises:
        FederationError: nothing was issued here, the authority's key is not here, or the file cannot be written.
    """
    inventory, authority = folder.known(), read_authority(folder.state)
    people = {one.name: one for one in inventory.participants if one.current and one.kind is not Kind.person}
    sites = {name: one.organisation for name, one in people.items() if one.kind is Kind.site}
    written = closed_kits(inventory.federation, sites, host=inventory.host, port=inventory.port)
    files = {
        name: {path: written[name][path] for path in UPDATABLE[one.kind] if path in written[name]}
        for name, one in people.items()
    }
    earlier = {kind: _earlier(folder, inventory, kind) for kind in (Kind.server, Kind.site)}
    kits = tuple(
        KitUpdate(
            participant=name,
            kind=one.kind,
            was=one.fedward,
            files={path: hashlib.sha256(content).hexdigest() for path, content in files[name].items()},
            earlier=earlier[one.kind],
        )
        for name, one in people.items()
    )
    manifest = Manifest(
        federation=inventory.federation,
        made_at=int(time.time() if now is None else now),
        fedward=fedward.__version__,
        flare=metadata.version("nvflare"),
        wheel=package_hash(),
        kits=kits,
    )
    write_update(out, Update(manifest, files), authority)
    return manifest


def update_kit(kit: Path, file: Path, *, dry_run: bool = False) -> Updated:
    """Bring a kit to the update's version, whole or not at all.

    Args:
        dry_run: True to write nothing and only say what would change.

    Raises:
        FederationError: the update is refused (``fedward.upkeep.kit_update``), or the kit cannot be written. The kit is
            then as it was.
    """
    try:
        with only_one(kit):
            if not dry_run:
                finish(kit)
            kind = kind_of(kit)
            if (kit / "startup" / SIGNATURE).exists():
                what = "kit's startup folder is signed by FLARE, and no update may change it"
                raise FederationError(what, where=kit, remedy="join into a new kit")
            update = read_update(file, read_pem(kit / "startup" / "rootCA.pem"))
            written, stock = _written(kit, kind)
            plan = plan_update(kit, update, wheel=package_hash(), written=written, stock=[stock])
            if dry_run or plan.done:
                return Updated(plan=plan, kind=kind, kept=None)
            kept = replace(kit, plan.files, name=f"{plan.before.fedward}-until-{update.manifest.made_at}")
    except OSError as error:
        raise FederationError("cannot be read", where=error.filename or kit, value=error.strerror) from None
    require_hardened(kit, kind)
    return Updated(plan=plan, kind=kind, kept=kept)


def _written(kit: Path, kind: Kind) -> tuple[Mapping[str, bytes], Mapping[str, Any]]:
    """Return the kit's files as this package writes them, and FLARE's own ``resources.json``."""
    path = kit / "startup" / _START[kind]
    try:
        content = json.loads(path.read_bytes())
        service = content["servers"][0]
        federation, target = str(service["name"]), str(service["service"]["target"])
        host, port = target.rsplit(":", 1)[0], int(target.rsplit(":", 1)[1])
        name = str(content["client"]["fqsn"]) if kind is Kind.site else host
    except (ValueError, LookupError, TypeError):
        raise FederationError("is not a file of a kit", where=path, remedy="restore it") from None
    site = {name: _organisation(read_pem(certificate_file(kit, kind)))} if kind is Kind.site else {}
    written = closed_kits(federation, site, host=host, port=port)[name]
    stock = closed_kits(federation, site, host=host, port=port, hardened=False)[name]
    return written, json.loads(stock[f"local/{RESOURCES}.default"])


def _organisation(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(names[0].value) if names else "hospital"


def _earlier(folder: FederationFolder, inventory: Inventory, kind: Kind) -> dict[str, tuple[str, ...]]:
    """Return the hashes of the files in the operator's own kits of a kind, for kits whose stamp has none."""
    found: dict[str, set[str]] = {}
    for one in inventory.participants:
        if one.kind is kind and folder.kit(one.name).is_dir():
            for path, digest in hashes(folder.kit(one.name), kind).items():
                found.setdefault(path, set()).add(digest)
    return {path: tuple(sorted(digests)) for path, digests in sorted(found.items())}
