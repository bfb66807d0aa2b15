"""Build a site's kit as FLARE's builders and ours would write it today, to compare a kit in use with it.

No certificate or key is made: only the files that are the same for every kit with the same names and server.
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
    """Return every file of a site's kit except its certificates and keys, by path below the kit.

    Args:
        federation: its name. site, organisation: the site's. host, port: the server's.

    Raises:
        FederationError: FLARE's builders make no such kit.
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
