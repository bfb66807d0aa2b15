"""Define ``fedward site doctor``: hospital IT runs it before it calls for help."""

from __future__ import annotations

from pathlib import Path

import typer

from fedward.commands.doctor_report import examined, not_a_kit, show
from fedward.commands.output_format import Format
from fedward.errors import FederationError


def doctor(
    kit: Path = typer.Argument(..., metavar="KIT", help="Folder of this hospital's FLARE kit."),
    site_toml: Path | None = typer.Option(None, metavar="FILE", help="The policy; without it, KIT/local/site.toml."),
    format: Format = typer.Option(Format.text, "--format", help="text for people, json for a ticket."),
    offline: bool = typer.Option(False, "--offline", help="Leave out what needs the server."),
    model_mb: float = typer.Option(28.0, min=0.001, help="Size of a model, in MB, that sending times are told for."),
) -> None:
    """Check a site before you call anyone. It checks network, certificates, kit, keys, images, policy and machine,
    and changes nothing.

    Where the service runs as the same user, its process is asked for what it must not answer. Exit code 0 when all
    checks pass or warn, 1 when one failed, 4 when the folder is no site's kit.
    """
    from fedward.doctor.checks import CHECKS
    from fedward.doctor.context import Case, read_client

    try:
        read_client(kit)
    except FederationError as error:
        raise not_a_kit(error, format) from None
    kit = kit.resolve()
    policy = kit / "local" / "site.toml" if site_toml is None else site_toml.absolute()
    case = Case(kit=kit, site_toml=policy, offline=offline, model_mb=model_mb)
    show(examined(case, CHECKS), case, format)
