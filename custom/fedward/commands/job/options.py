"""Define the options that several verbs of ``fedward job`` share."""

from __future__ import annotations

import typer

JOB = typer.Argument(..., metavar="JOB", help="A job's folder, the one with job.toml.")
STUDY = typer.Option(None, help="FLARE study to submit it in: only that study's hospitals see it. None: no study.")
