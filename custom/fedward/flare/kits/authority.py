"""Make a federation's authority once, by FLARE's ``nvflare cert init``, and the profile that FLARE puts into kits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fedward.flare.kits.nvflare_cli import nvflare
from fedward.provisioning.authority import ROOT_KEY, Authority, read_authority
from fedward.provisioning.folder import FederationFolder
from fedward.provisioning.inventory import Inventory
from fedward.settings import FederationSpec

VALID_DAYS = 3650
CA_FILE = "ca.json"
_WHERE_IT_WAS = "project_profile"


def authority_and_inventory(
    folder: FederationFolder, draft: FederationFolder, spec: FederationSpec
) -> tuple[Authority, Inventory]:
    """Return the authority and its inventory; if there is no authority yet, make one in ``draft``.

    Raises:
        FederationError: the existing authority or inventory cannot be read.
    """
    inventory = folder.inventory()
    if inventory is not None:
        return read_authority(folder.state), inventory
    made = Inventory(federation=spec.name, host=spec.server.host, port=spec.server.port, crl_number=1)
    profile = write_profile(draft.root, made)
    # no --org: with it, FLARE 2.9 gives the root another name than the issuer in every certificate it signs
    nvflare("cert", "init", "--profile", profile, "-o", draft.state, "--valid-days", str(VALID_DAYS))
    profile.unlink()
    _forget_profile(draft.state / CA_FILE)
    draft.state.chmod(0o700)
    (draft.state / ROOT_KEY).chmod(0o600)
    return read_authority(draft.state), made


def write_profile(folder: Path, inventory: Inventory) -> Path:
    """Write the content of ``project_profile.yaml``, which FLARE puts into every kit that is made from a request."""
    path = folder / "profile.yaml"
    server = {"host": inventory.host, "fed_learn_port": inventory.port, "admin_port": inventory.port}
    content: dict[str, Any] = {"name": inventory.federation, "scheme": "grpc", "connection_security": "mtls"}
    content["server"] = server
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def _forget_profile(path: Path) -> None:
    """Remove the profile's path from the file: it names a draft that is deleted a moment later."""
    content = json.loads(path.read_bytes())
    content.pop(_WHERE_IT_WAS, None)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
