"""Record in an audit log what a command did; where it cannot be recorded, the command says so or refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from fedward.audit.log import AuditLog


def site_log(site_toml: Path) -> AuditLog:
    """Return the log of a hospital, by its site.toml."""
    from fedward.audit.place import log_of_site

    return log_of_site(site_toml)


def kit_log(kit: Path) -> AuditLog | None:
    """Return the log of a kit; None where the folder is no kit."""
    from fedward.audit.place import log_of_kit

    return log_of_kit(kit.resolve())


def key_log(key: Path) -> AuditLog:
    """Return the log of the kit that a key's file is in; else the one beside the file."""
    from fedward.audit.place import log_of_folder

    folder = key.resolve().parent
    return kit_log(folder) or kit_log(folder.parent) or log_of_folder(folder)


def federation_log(folder: Path) -> AuditLog:
    """Return the log of an operator's federation folder."""
    from fedward.audit.place import log_of_folder

    return log_of_folder(folder)


def note(log: AuditLog | None, what: str, **about: object) -> None:
    """Record an act of the person at this machine."""
    from fedward.audit import note as writer

    writer.note(log, what, warn=_warn, who=None, **about)


@contextmanager
def recorded(log: AuditLog | None, what: str, **about: object) -> Iterator[None]:
    """Record an act before the body of the ``with`` does it; it does not run where the act must be recorded and cannot.

    Raises:
        AuditError: the act is refused.
    """
    from fedward.audit import note as writer

    with writer.recorded(log, what, warn=_warn, who=None, **about):
        yield


def _warn(line: str) -> None:
    typer.echo(f"note: {line}", err=True)
