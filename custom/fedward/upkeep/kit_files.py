"""Name the files of a kit that an update may replace, and tell an edited one from one that was not touched.

The list is closed: no key, no certificate, no address, none of the hospital's own files, nothing of a person's kit.
Of ``resources.json`` those components are the site's own that a template may choose (``provisioning.templates``): how a
job's process starts, and how GPUs are counted. They stay, and changing them is no edit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedward.errors import FederationError
from fedward.provisioning.participants import Kind
from fedward.provisioning.templates import RESOURCES, site_components, with_components, without_site_components

_SCRIPTS = ("startup/start.sh", "startup/stop_fl.sh", "startup/sub_start.sh")
_LOCAL = tuple(f"local/{name}" for name in ("authorization.json", RESOURCES) for name in (name, f"{name}.default"))
_LOGS = "local/log_config.json.default"
UPDATABLE: Mapping[Kind, tuple[str, ...]] = {
    Kind.server: (*_SCRIPTS, *_LOCAL, _LOGS),
    Kind.site: (*_SCRIPTS, *_LOCAL, _LOGS, "local/privacy.json"),
    Kind.person: (),
}
"""Paths below the kit, by kind of participant."""
_KINDS = {"fed_server.json": Kind.server, "fed_client.json": Kind.site}


def kind_of(kit: Path) -> Kind:
    """Return the kind of a kit that an update may change.

    Raises:
        FederationError: it is neither the server's kit nor a site's.
    """
    for name, kind in _KINDS.items():
        if (kit / "startup" / name).is_file():
            return kind
    raise FederationError("is neither a site's kit nor the server's", where=kit, remedy="give the kit's folder")


def content_hash(path: str, content: bytes) -> str:
    """Return the SHA-256, in hex, of a file's content, of ``resources.json`` without the site's own components."""
    if _is_resources(path):
        try:
            plain = without_site_components(json.loads(content))
        except (ValueError, LookupError, TypeError, AttributeError):
            return hashlib.sha256(content).hexdigest()
        content = json.dumps(plain, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


def hashes(kit: Path, kind: Kind) -> dict[str, str]:
    """Return ``content_hash`` of each file that an update may replace and that the kit has."""
    found = {path: kit / path for path in UPDATABLE[kind]}
    return {path: content_hash(path, file.read_bytes()) for path, file in found.items() if file.is_file()}


def with_own_components(path: str, new: bytes, *, old: bytes | None, stock: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a file's new content with the components that the site had chosen in the old one.

    Args:
        stock: contents of ``resources.json`` whose components are nobody's choice: FLARE's own.

    Raises:
        SettingsError: the site chose a class that no template may.
    """
    if old is None or not _is_resources(path):
        return new
    content = json.loads(new)
    try:
        before = json.loads(old)
        chosen = site_components(before, defaults=[content, *stock])
        merged = with_components(content, chosen) if chosen else content
        if _same(before, merged):
            return old
    except (ValueError, LookupError, TypeError, AttributeError):
        return new  # the old content is no kit's; its hash says so too
    return (json.dumps(merged, indent=2) + "\n").encode() if chosen else new


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """True if two contents of ``resources.json`` say the same: of the components only the first has a place."""

    def form(content: Mapping[str, Any]) -> tuple[Any, Any, list[str]]:
        components = content["components"]
        return (
            {**content, "components": []},
            components[:1],
            sorted(json.dumps(one, sort_keys=True) for one in components),
        )

    return form(one) == form(other)


def _is_resources(path: str) -> bool:
    return path in (f"local/{RESOURCES}", f"local/{RESOURCES}.default")
