"""Find the audit log of a kit, of a hospital's site.toml, or of a path that a person gives."""

from __future__ import annotations

from pathlib import Path

from fedward.audit.files import LOG_FILE
from fedward.audit.log import AuditLog
from fedward.errors import AuditError
from fedward.settings import read_site

FOLDER = "audit"
_LOCAL, _STARTUP, _SITE_FILE = "local", "startup", "site.toml"


def log_of_kit(kit: Path) -> AuditLog | None:
    """Return the log of a kit, ``<kit>/audit/audit.jsonl``; None where the folder is no kit.

    Every kit has ``startup/``; a process whose folder has none was made by a test.
    """
    if not (kit / _STARTUP).is_dir():
        return None
    return AuditLog(kit / FOLDER, site_toml=kit / _LOCAL / _SITE_FILE)


def log_of_site(site_toml: Path) -> AuditLog:
    """Return the log of a hospital: its kit's where site.toml is in a kit's ``local/``; else beside the ledger.

    Raises:
        SettingsError: site.toml cannot be read.
    """
    site_toml = site_toml.resolve()
    kit = log_of_kit(site_toml.parent.parent) if site_toml.parent.name == _LOCAL else None
    return kit or AuditLog(read_site(site_toml).ledger.parent / FOLDER, site_toml=site_toml)


def log_of_folder(folder: Path) -> AuditLog:
    """Return the log of an operator's federation, or of a key's folder: ``<folder>/audit/audit.jsonl``."""
    return AuditLog(folder / FOLDER)


def log_at(path: Path, *, site_toml: Path | None = None) -> AuditLog:
    """Return the log that a person names: a kit, an ``audit`` folder, its ``audit.jsonl``, or a site.toml.

    Args:
        path: what they name.
        site_toml: the hospital's, where the log is not in its kit.

    Raises:
        AuditError: none of these is there.
        SettingsError: site.toml cannot be read.
    """
    if path.suffix == ".toml":
        return log_of_site(path)
    folder = path.parent if path.name == LOG_FILE else path
    if path.is_dir() and path.name != FOLDER and ((path / FOLDER).is_dir() or not any(path.glob("audit*"))):
        folder = path / FOLDER
    if not folder.is_dir() and not path.is_dir():
        remedy = "give a kit's folder, its audit/ or a site.toml"
        raise AuditError("no audit log here", where=path, remedy=remedy)
    if site_toml is None and (folder.resolve().parent / _LOCAL / _SITE_FILE).is_file():
        site_toml = folder.resolve().parent / _LOCAL / _SITE_FILE
    return AuditLog(folder, site_toml=site_toml)
