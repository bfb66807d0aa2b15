"""Define ``fedward job …``: the data scientist's commands."""

from __future__ import annotations

import typer

from fedward.commands.job.check import check
from fedward.commands.job.download import download
from fedward.commands.job.export import continue_, export, start
from fedward.commands.job.metrics import metrics
from fedward.commands.job.plan import plan
from fedward.commands.job.report import release, report
from fedward.commands.job.resume import resume
from fedward.commands.job.submit import submit
from fedward.commands.job.sweeps.sweep import sweep
from fedward.commands.job.wait import abort, wait
from fedward.commands.job.writing.from_bundle import from_bundle
from fedward.commands.job.writing.parts import parts

app = typer.Typer(help="Check, export and submit jobs: for the data scientist.", no_args_is_help=True)
for command in (
    parts,
    from_bundle,
    check,
    plan,
    sweep,
    start,
    export,
    submit,
    wait,
    abort,
    resume,
    download,
    report,
    metrics,
    release,
):
    app.command()(command)
app.command("continue")(continue_)
