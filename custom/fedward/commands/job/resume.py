"""Define ``fedward job resume``: take a job up again that has failed or was aborted; for the operator."""

from __future__ import annotations

from pathlib import Path

import typer

from fedward.commands.job.options import JOB_ID


def resume(
    job_id: str = JOB_ID,
    kit: Path = typer.Option(..., help="The server's kit, on the server's machine."),
) -> None:
    """Take up a failed or aborted job from its last whole round.

    For the operator, on the server's machine: the server keeps the job's id. A running server takes it up within
    seconds, a stopped one at its start.
    """
    from fedward.ends import worded
    from fedward.flare.console.resume_request import request_resume

    asked = request_resume(kit, job_id)
    typer.echo(f"{asked.name} ({job_id}): {worded(asked.state)}")
    typer.echo(
        f"it goes on after round {asked.state.rounds_done}, from checkpoint {asked.generation}, under the same id: "
        "within seconds if the server runs, else when it starts. Hospitals need no new approval; a round that is made "
        'again is charged again. A job with resume = "never" is refused, in the server\'s log.'
    )
    typer.echo(f"follow it: fedward job wait {job_id} --kit KIT", err=True)
