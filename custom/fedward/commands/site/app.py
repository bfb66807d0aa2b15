"""Define ``fedward site …``: the commands of hospital IT."""

from __future__ import annotations

import typer

from fedward.commands.site import approve, clean, doctor, index, join, ledger, roster, update, validate
from fedward.commands.site import policy as site_policy
from fedward.commands.site import report as site_report

app = typer.Typer(help="Images, policy and privacy ledger of one hospital: for its IT.", no_args_is_help=True)
app.command(name="index")(index.index)
app.command(name="join")(join.join)
app.command(name="doctor")(doctor.doctor)
app.command(name="approve")(approve.approve)
app.command(name="ledger")(ledger.ledger)
app.command(name="roster")(roster.roster)
app.command(name="report")(site_report.report)
app.command(name="validate")(validate.validate)
app.command(name="update")(update.update)
app.command(name="clean")(clean.clean)
app.add_typer(site_policy.app, name="policy")
