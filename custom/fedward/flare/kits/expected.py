"""A site's kit as FLARE's builders and ours would write it today, to hold a kit in use against.

Nothing here makes a certificate or a key: only what is the same for everyone with the same name and server.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from nvflare.lighter.impl.static_file import StaticFileBuilder
from nvflare.lighter.impl.workspace import WorkspaceBuilder
from nvflare.lighter.provision import prepare_project
from nvflare.lighter.provisioner import Provisioner
from nvflare.lighter.utils import verify_folder_signature

from fedward.errors import FederationError
from fedward.flare.kits.hardening import HardenKit

SIGNATURE = "signature.json"


def closed_kit(federation: str, site: str, organisation: str, *, host: str, port: int) -> Mapping[str, bytes]:
    """Every file of a site's kit but its certificates and keys, by path below the kit.

    Args:
        federation: its name. site, organisation: the site's. host, port: the server's.

    Raises:
        FederationError: FLARE's builders do not make it.
    """
    server = {"name": host, "type": "server", "org": "operator", "fed_learn_port": port, "admin_port": port}
    participants = [server, {"name": site, "type": "client", "org": organisation}]
    project = {"api_version": 3, "name": federation, "description": federation, "participants": participants}
    builders = [WorkspaceBuilder(), StaticFileBuilder(config_folder="config", scheme="grpc"), HardenKit(wheel="none")]
    with tempfile.TemporaryDirectory(prefix="fedward-kit-") as out:
        try:
            context = Provisioner(out, builders).provision(prepare_project(project), logger=_Silent())
        except (ValueError, RuntimeError, OSError) as error:
            raise FederationError(f"FLARE makes no such kit, {error}", where=site) from None
        if context.get("build_error") or not context.get("current_prod_dir"):
            raise FederationError("FLARE makes no such kit", where=site)
        kit = Path(context["current_prod_dir"]) / site
        return {path.relative_to(kit).as_posix(): path.read_bytes() for path in kit.rglob("*") if path.is_file()}


def signed_right(folder: Path, root: Path) -> bool | None:
    """Whether every file of a folder is as its ``signature.json`` has it; None where it has none.

    Args:
        folder: ``startup`` of a kit.
        root: the authority's certificate, in PEM.
    """
    if not (folder / SIGNATURE).exists():
        return None
    return bool(verify_folder_signature(str(folder), str(root), single_signer=True, signature_file=SIGNATURE))


class _Silent:
    """Takes what FLARE's provisioning says; whether it made a kit is looked at afterwards."""

    def info(self, message: str) -> None:
        """Not kept."""

    debug = warning = error = info
