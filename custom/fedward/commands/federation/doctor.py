"""Define ``fedward federation doctor``: the operator runs it when the server is up, and after each change to it."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import typer

from fedward.commands.doctor_report import examined, not_a_kit, show
from fedward.commands.output_format import Format
from fedward.errors import FederationError


def doctor(
    kit: Path = typer.Option(..., "--kit", help="A person's kit, such as the operator's own."),
    format: Format = typer.Option(Format.text, "--format", help="text for people, json for a ticket."),
) -> None:
    """Check that the running server refuses what it must. It changes nothing.

    With a person's certificate it sends requests that are on no list, under another name, over TLS 1.2, commands
    without a session, and jobs that are not canonical. Exit code 0 when all is refused, 1 when a check failed, 4 when
    it is no person's kit.
    """
    from fedward.doctor.probes.server import SERVER_CHECKS
    from fedward.doctor.server_context import signed_out, visited
    from fedward.flare.probes.requests import quiet

    try:
        case = visited(kit.resolve())
    except FederationError as error:
        raise not_a_kit(error, format) from None
    with quiet(), redirect_stdout(StringIO()), signed_out(case):  # FLARE prints there that it connects
        heard = examined(case, SERVER_CHECKS)
    show(heard, case, format)
