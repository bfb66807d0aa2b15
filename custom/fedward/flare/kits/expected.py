"""Build kits as FLARE's builders and ours would write them today, to compare a kit in use with it.

No certificate or key is made: only the files that are the same for every kit with the same names and server.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nvflare.lighter.impl.static_file import StaticFileBuilder
from nvflare.lighter.impl.workspace import WorkspaceBuilder
from nvflare.lighter.provision import prepare_project
from nvflare.lighter.provisioner import Provisioner
from nvflare.lighter.utils import verify_folder_signature

from fedward.errors import FederationError
from fedward.flare.kits.hardening import HardenKit

SIGNATURE = "signature.json"


def closed_kit(federation: str, site: str, organisation: str, *, host: str, port: int) -> Mapping[str, bytes]:
    """Return every file of a site's kit except its certificates and keys, by path below the kit.

    Args:
        federation: its name. site, organisation: the site's. host, port: the server's.

    Raises:
        FederationError: FLARE's builders make no such kit.
    """
    return closed_kits(federation, {site: organisation}, host=host, port=port)[site]


def closed_kits(
    federation: str, sites: Mapping[str, str], *, host: str, port: int, hardened: bool = True
) -> Mapping[str, Mapping[str, bytes]]:
    """Return the same for the server, by its host, and for several sites.

    Args:
        sites: organisation by site.
        hardened: False: as FLARE's builders write them, without ours.

    Raises:
        FederationError: FLARE's builders make no such kit.
    """
    server = {"name": host, "type": "server", "org": "operator", "fed_learn_port": port, "admin_port": port}
    participants = [server, *({"name": site, "type": "client", "org": org} for site, org in sites.items())]
    project = {"api_version": 3, "name": federation, "description": federation, "participants": participants}
    builders: list[Any] = [WorkspaceBuilder(), StaticFileBuilder(config_folder="config", scheme="grpc")]
    if hardened:
        builders.append(HardenKit(wheel="none"))
    where = ", ".join(sites)
    with tempfile.TemporaryDirectory(prefix="fedward-kit-") as out:
        try:
            context = Provisioner(out, builders).provision(prepare_project(project), logger=_Silent())
        except (ValueError, RuntimeError, OSError) as error:
            raise FederationError(f"FLARE makes no such kit, {error}", where=where) from None
        if context.get("build_error") or not context.get("current_prod_dir"):
            raise FederationError("FLARE makes no such kit", where=where)
        made = Path(context["current_prod_dir"])
        return {name: _contents(made / name) for name in (host, *sites)}


def _contents(kit: Path) -> Mapping[str, bytes]:
    return {path.relative_to(kit).as_posix(): path.read_bytes() for path in kit.rglob("*") if path.is_file()}


def signed_right(folder: Path, root: Path) -> bool | None:
    """True if every file of a folder matches its ``signature.json``; None if it has none.

    Args:
        folder: ``startup`` of a kit.
        root: the authority's certificate, in PEM.
    """
    if not (folder / SIGNATURE).exists():
        return None
    return bool(verify_folder_signature(str(folder), str(root), single_signer=True, signature_file=SIGNATURE))


class _Silent:
    """Logger that drops every message of FLARE's provisioning; ``closed_kit`` checks that there is a kit."""

    def info(self, message: str) -> None:
        """Drop the message."""

    debug = warning = error = info
