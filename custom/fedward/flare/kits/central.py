"""Make startup kits at the operator (the central way): run FLARE's own builders, then ours.

The operator then has every private key. This is for a demo, and for the operator's own server and people; a hospital
makes its own key (``fedward.flare.kits.distributed``).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from nvflare.lighter.entity import Participant as FlareParticipant
from nvflare.lighter.impl.cert import CertBuilder
from nvflare.lighter.impl.static_file import StaticFileBuilder
from nvflare.lighter.impl.workspace import WorkspaceBuilder
from nvflare.lighter.provision import prepare_project
from nvflare.lighter.provisioner import Provisioner
from nvflare.lighter.spec import ProvisionContext

from fedward.errors import FederationError
from fedward.flare.kits.authority import VALID_DAYS, authority_and_inventory
from fedward.flare.kits.hardening import HardenKit, require_hardened
from fedward.provisioning.authority import Authority, issued_of, read_pem
from fedward.provisioning.crl import CRL_FILE
from fedward.provisioning.folder import KITS, STATE, FederationFolder
from fedward.provisioning.inventory import INVENTORY_FILE, Inventory, Participant, encode_inventory
from fedward.provisioning.invitation import LocalExtras
from fedward.provisioning.participants import Kind, Line, lines_of
from fedward.provisioning.plan import Plan, make_plan
from fedward.provisioning.stamp import Stamp, make_stamp
from fedward.settings import FederationSpec

REVOKED_KITS = "revoked"


@dataclass(frozen=True, slots=True)
class Kits:
    """Folders of the startup kits that ``provision`` made, by the name in each certificate.

    Sites and people without a kit on this machine are left out.
    """

    folder: Path
    server: Path
    sites: dict[str, Path]
    people: dict[str, Path]


def plan_provisioning(
    spec: FederationSpec, out: Path, *, only: Collection[str] = (), anew: Collection[str] = ()
) -> Plan:
    """Return the plan of ``provision``; write nothing.

    Raises:
        FederationError: the inventory cannot be read, or ``only`` or ``anew`` has a name that the file does not have.
    """
    inventory = FederationFolder(out / spec.name).inventory()
    return make_plan(spec, inventory, today=datetime.now(UTC), only=only, anew=anew)


def provision(
    spec: FederationSpec,
    out: Path,
    *,
    extras: Mapping[str, LocalExtras] | None = None,
    only: Collection[str] = (),
    anew: Collection[str] = (),
) -> Kits:
    """Make a startup kit for every participant that has none, below ``out/<federation>/prod_00``.

    A second run with the same file changes no byte; a new line adds one kit and changes no other. The authority's key
    stays in ``out/<federation>/state``: keep that folder away from the server, and back it up.

    Args:
        extras: files and components that a template puts into a kit's ``local/``, by participant.
        only, anew: as in ``fedward.provisioning.plan.make_plan``.

    Raises:
        FederationError: the plan has a step that cannot be done, the folder cannot be written, or FLARE refuses a
            name. Nothing has changed then.
    """
    folder = FederationFolder(out / spec.name)
    plan_provisioning(spec, out, only=only, anew=anew).require_possible()
    if plan_provisioning(spec, out, only=only, anew=anew).names("new"):
        with folder.change() as draft:
            plan = plan_provisioning(spec, out, only=only, anew=anew)
            plan.require_possible()
            _make(spec, folder, draft, plan.names("new"), extras or {})
    else:
        folder.complete()
    return _kits(spec, folder)


def _make(
    spec: FederationSpec,
    folder: FederationFolder,
    draft: FederationFolder,
    names: frozenset[str],
    extras: Mapping[str, LocalExtras],
) -> None:
    authority, inventory = authority_and_inventory(folder, draft, spec)
    lines = [line for line in lines_of(spec) if line.name in names]
    crl = authority.sign_crl(inventory)
    _require_room(folder, lines, inventory)
    _build(spec, draft, names, authority, {**extras, spec.server.host: LocalExtras({CRL_FILE: crl.decode("ascii")})})
    stamp = make_stamp(federation=spec.name, participant=spec.server.host)
    made = []
    for line in lines:
        require_hardened(draft.kit(line.name), line.kind)
        made.append(_issued(line, inventory, draft, stamp))
    _write(draft.state / INVENTORY_FILE, encode_inventory(inventory.having(*made)))
    if not (folder.state / CRL_FILE).exists():
        _write(draft.state / CRL_FILE, crl)
    for line in lines:
        _set_aside(folder, line.name, inventory)


def _issued(line: Line, inventory: Inventory, draft: FederationFolder, stamp: Stamp) -> Participant:
    """Return the participant's new inventory entry; keep its certificate in the state folder."""
    certificate = read_pem(certificate_file(draft.kit(line.name), line.kind))
    _write(draft.certificate(line.name), certificate.public_bytes(Encoding.PEM))
    before = inventory.find(line.name)
    return Participant(
        name=line.name,
        kind=line.kind,
        organisation=line.organisation,
        role=line.role,
        way="central",
        fedward=stamp.fedward,
        flare=stamp.flare,
        wheel=stamp.wheel,
        certificates=(*(before.certificates if before is not None else ()), issued_of(certificate)),
    )


def certificate_file(kit: Path, kind: Kind) -> Path:
    """Return the path of a kit's own certificate."""
    return kit / "startup" / ("server.crt" if kind is Kind.server else "client.crt")


def _require_room(folder: FederationFolder, lines: list[Line], inventory: Inventory) -> None:
    for line in lines:
        kit = folder.kit(line.name)
        if kit.exists() and inventory.find(line.name) is None:
            remedy = "move it away; it was made without this inventory"
            raise FederationError("a kit is here that the inventory does not know", where=kit, remedy=remedy)


def _set_aside(folder: FederationFolder, name: str, inventory: Inventory) -> None:
    """Move the kit of a revoked certificate aside, to make room for the new one. The old kit is of no use."""
    kit, known = folder.kit(name), inventory.find(name)
    if kit.exists() and known is not None and known.certificates:
        aside = folder.root / REVOKED_KITS / f"{name}-{known.certificates[-1].serial[:16]}"
        aside.parent.mkdir(exist_ok=True)
        kit.rename(aside)


class _CertificatesFor(CertBuilder):  # type: ignore[misc]
    """FLARE's certificate builder, for some participants only: one that has a kit already gets no new key."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__(root_valid_days=VALID_DAYS)
        self._names = names

    def _build_write_cert_pair(self, participant: FlareParticipant, base_name: str, ctx: ProvisionContext) -> None:
        if participant.name in self._names:
            super()._build_write_cert_pair(participant, base_name, ctx)


def _build(
    spec: FederationSpec,
    draft: FederationFolder,
    names: frozenset[str],
    authority: Authority,
    extras: Mapping[str, LocalExtras],
) -> None:
    """Provision with FLARE in a scratch folder that has only the authority; move the new kits to ``draft``."""
    scratch = draft.root / "flare"
    seed = scratch / spec.name / STATE / "cert.json"
    seed.parent.mkdir(parents=True)
    seed.touch(mode=0o600)
    key = authority.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    root = authority.certificate.public_bytes(Encoding.PEM)
    seed.write_text(
        json.dumps({"root_cert": root.decode("ascii"), "root_pri_key": key.decode("ascii")}), encoding="ascii"
    )
    files = {name: one.files for name, one in extras.items()}
    components = {name: one.components for name, one in extras.items()}
    builders = [WorkspaceBuilder(), StaticFileBuilder(config_folder="config", scheme="grpc")]
    builders += [_CertificatesFor(names), HardenKit(files=files, components=components)]
    try:
        context = Provisioner(str(scratch), builders).provision(prepare_project(_project(spec, names)), logger=_Quiet())
    except (ValueError, RuntimeError) as error:
        raise FederationError(f"FLARE's provisioning refused, {error}", where=spec.name) from None
    if context.get("build_error") or not context.get("current_prod_dir"):
        raise FederationError("FLARE's provisioning made no kits", where=spec.name, remedy="look at its messages above")
    (draft.root / KITS).mkdir()
    for name in names:
        (Path(context["current_prod_dir"]) / name).rename(draft.kit(name))
    shutil.rmtree(scratch)


class _Quiet:
    """Logger for FLARE's provisioning, which otherwise prints: it drops messages and raises errors."""

    def info(self, message: str) -> None:
        pass

    debug = warning = info

    def error(self, message: str) -> None:
        raise FederationError(f"FLARE's provisioning: {message}")


def _project(spec: FederationSpec, names: frozenset[str]) -> dict[str, Any]:
    """Return FLARE's project: the server, which every kit names, and the new participants."""
    server: dict[str, Any] = {
        "name": spec.server.host,
        "type": "server",
        "org": spec.server.organisation,
        "fed_learn_port": spec.server.port,
        "admin_port": spec.server.port,
    }
    sites = [{"name": h.site, "type": "client", "org": h.organisation} for h in spec.hospitals]
    people = [{"name": p.email, "type": "admin", "org": p.organisation, "role": p.role} for p in spec.people]
    return {
        "api_version": 3,
        "name": spec.name,
        "description": f"Fedward federation {spec.name}",
        "participants": [server, *(one for one in [*sites, *people] if one["name"] in names)],
    }


def _kits(spec: FederationSpec, folder: FederationFolder) -> Kits:
    def there(names: list[str]) -> dict[str, Path]:
        return {name: folder.kit(name) for name in names if folder.kit(name).is_dir()}

    return Kits(
        folder=folder.root / KITS,
        server=folder.kit(spec.server.host),
        sites=there([hospital.site for hospital in spec.hospitals]),
        people=there([person.email for person in spec.people]),
    )


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
