"""Define ``fedward federation …``: the operator's commands."""

from __future__ import annotations

import typer

from fedward.commands.federation.approve import approve
from fedward.commands.federation.clean import clean
from fedward.commands.federation.doctor import doctor
from fedward.commands.federation.invite import invite
from fedward.commands.federation.provision import provision
from fedward.commands.federation.renew import renew
from fedward.commands.federation.revoke import revoke
from fedward.commands.federation.status import status
from fedward.commands.federation.update import update

app = typer.Typer(help="Admit, renew and revoke hospitals: for the operator.", no_args_is_help=True)
for command in (provision, invite, approve, renew, revoke, status, doctor, update, clean):
    app.command()(command)
