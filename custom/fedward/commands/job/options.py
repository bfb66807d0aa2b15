"""Define the options that several verbs of ``fedward job`` share."""

from __future__ import annotations

import typer

JOB = typer.Argument(..., metavar="JOB", help="A job's folder, the one with job.toml.")
JOB_ID = typer.Argument(..., metavar="JOB_ID", help="The id that `submit` printed.")
KIT = typer.Option(..., help="Your startup kit's folder.")
STUDY = typer.Option(None, help="FLARE study to submit it in: only that study's hospitals see it. None: no study.")
