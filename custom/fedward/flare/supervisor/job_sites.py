"""Keep the names of the sites that a job was started with, beside its checkpoint: FLARE keeps them in memory only."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from fedward.files import write_atomic
from fedward.flare.supervisor.single_process import CHECKPOINTS

SITES_FILE = "sites.json"


def write(kit: Path, job_id: str, sites: Collection[str]) -> None:
    """Write the sites of a job of the server with this kit.

    Raises:
        OSError: the disk does not accept it.
    """
    write_atomic(kit / CHECKPOINTS / job_id / SITES_FILE, json.dumps(sorted(sites)) + "\n", mode=0o600)


def read(kit: Path, job_id: str) -> list[str]:
    """Return the sites of a job; none where there is no such file, or it cannot be read."""
    try:
        content = json.loads((kit / CHECKPOINTS / job_id / SITES_FILE).read_bytes())
    except (OSError, ValueError):
        return []
    return [site for site in content if isinstance(site, str)] if isinstance(content, list) else []


def connected(server: Any, sites: Iterable[str]) -> dict[str, Any]:
    """Return those of the sites that are signed in at FLARE's server, each with FLARE's client."""
    clients = {client.name: client for client in dict(server.client_manager.get_clients()).values()}
    return {site: clients[site] for site in sites if site in clients}
