"""Define ``fedward federation renew``, ``revoke`` and ``status``."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import typer

from fedward.commands.federation.members import FORMAT, OUT
from fedward.commands.output_format import Format
from fedward.errors import FederationError
from fedward.provisioning.folder import STATE, FederationFolder
from fedward.provisioning.inventory import INVENTORY_FILE, Reason
from fedward.provisioning.participants import Kind
from fedward.provisioning.revocation import Revoked
from fedward.provisioning.revocation import revoke as put_out
from fedward.provisioning.status import KitStatus, standing, wants_attention

_NAME = typer.Argument(..., metavar="NAME", help="A site's id, the server's host, or a person's e-mail.")
_FEDERATION = typer.Option(None, "--federation", help="Its name, where --out holds more than one.")
_SERVER = typer.Option(None, help="The server's kit, if it is on this machine in another folder.")
_SHORT = 12


def renew(
    name: str = _NAME,
    out: Path = OUT,
    federation: str | None = _FEDERATION,
    days: int = typer.Option(365, min=1, help="Days that the new certificate is valid."),
    revoke_old: bool = typer.Option(
        False, "--revoke-old", help="Issue nothing; revoke the older certificates, once the renewed one is in use."
    ),
    server: Path | None = _SERVER,
    format: Format = FORMAT,
) -> None:
    """Issue a new certificate before the old one ends. The key stays, and no other kit changes."""
    folder = _folder(out, federation)
    if revoke_old:
        _show_revoked(put_out(name, folder, reason="superseded", server=server, older_alone=True), format)
        return
    from fedward.flare.kits.renew import renew as issue

    renewed = issue(name, folder, days=days)
    if format is Format.json:
        answer = {"path": str(renewed.path), "in_place": renewed.in_place, "not_after": str(renewed.not_after)}
        typer.echo(json.dumps(answer, indent=2))
        return
    typer.echo(f"renewed  {renewed.path}")
    typer.echo(f"  certificate until {renewed.not_after.date()}")
    file = "server.crt" if renewed.kind is Kind.server else "client.crt"
    if renewed.path.name.endswith(".signed.zip"):
        typer.echo(
            f"Send it to {name}. They run `fedward site join {renewed.path.name}` with the same --request, --kit and "
            "--authority as before; key and local/ stay."
        )
    elif not renewed.in_place:
        typer.echo(f"Its kit is on another machine: copy this file to startup/{file} there.")
    else:
        typer.echo(f"A copy of this kit elsewhere needs this file as its startup/{file}.")
    restart = "the server, between jobs" if renewed.kind is Kind.server else f"the service of {name}"
    if renewed.kind is not Kind.person:
        typer.echo(f"Restart {restart}, to use it. Then `fedward federation renew {name} --revoke-old`.")


def revoke(
    name: str = _NAME,
    out: Path = OUT,
    federation: str | None = _FEDERATION,
    reason: Reason = typer.Option("unspecified", help="Why, as RFC 5280 names it."),
    server: Path | None = _SERVER,
    format: Format = FORMAT,
) -> None:
    """Revoke all certificates of a participant at once. The server's revocation list names them, and the server
    cuts their connections."""
    _show_revoked(put_out(name, _folder(out, federation), reason=reason, server=server), format, rotate=True)


def status(
    out: Path = OUT,
    federation: str | None = _FEDERATION,
    kit: Path | None = typer.Option(None, help="A person's kit: also ask the server when it last heard of each site."),
    format: Format = FORMAT,
) -> None:
    """List participants, their kits and when their certificates end. Exit code 1 when a certificate in use ends
    within 30 days, or has ended."""
    from fedward.provisioning.stamp import package_hash

    inventory = _folder(out, federation).known()
    seen = _seen(kit) if kit is not None else None
    rows = standing(inventory, today=datetime.now(UTC), wheel=package_hash(), seen=seen)
    if format is Format.json:
        typer.echo(json.dumps([_plain(row) for row in rows], indent=2))
    else:
        typer.echo("\n".join(_lines(rows)))
    if wants_attention(rows):
        raise typer.Exit(1)


def _folder(out: Path, federation: str | None) -> FederationFolder:
    if federation is not None:
        return FederationFolder(out / federation)
    found = sorted(path.parent.parent for path in out.glob(f"*/{STATE}/{INVENTORY_FILE}"))
    if len(found) != 1:
        what = "no federation is here" if not found else "more than one federation is here"
        remedy = "give the --out that it was provisioned with" if not found else "name one with --federation"
        raise FederationError(what, where=out, remedy=remedy)
    return FederationFolder(found[0])


def _seen(kit: Path) -> dict[str, datetime]:
    from fedward.flare.admin_session import console

    with redirect_stdout(sys.stderr), console(kit) as session:  # FLARE prints there that it connects
        return session.last_seen()


def _show_revoked(revoked: Revoked, format: Format, *, rotate: bool = False) -> None:
    if format is Format.json:
        server = None if revoked.server is None else str(revoked.server)
        answer = {"serials": revoked.serials, "number": revoked.number, "crl": str(revoked.crl), "server": server}
        typer.echo(json.dumps(answer, indent=2))
        return
    if revoked.withdrawn:
        typer.echo(f"{revoked.name}: invitation is withdrawn")
    if not revoked.serials:
        typer.echo(f"{revoked.name}: has no certificate that is not revoked")
    for serial in revoked.serials:
        typer.echo(f"{revoked.name}: revoked certificate {serial}")
    typer.echo(f"revocation list number {revoked.number}: {revoked.crl}")
    if revoked.server is not None:
        typer.echo(f"put into the server's kit: {revoked.server}; it takes effect within seconds, without a restart")
    else:
        typer.echo(
            f"NOT in effect yet: the server's kit is on another machine. Copy {revoked.crl} to its "
            "local/revoked.crl; it takes effect within seconds, without a restart."
        )
    if rotate and revoked.kind is Kind.person:
        typer.echo("A person's kit holds no key of the federation. Jobs that are under way go on: `nvflare job list`.")
    if rotate and revoked.kind is Kind.site:
        typer.echo(
            f"{revoked.name} may still hold the federation's key. One of the other hospitals runs `fedward key rotate` "
            "(after a breach with --destroy-old) and `fedward key seal` to the others; a hospital's own key "
            "(site.toml's `key`) needs no change."
        )


def _plain(row: KitStatus) -> dict[str, object]:
    return {
        "name": row.name,
        "kind": row.kind,
        "way": row.way,
        "state": row.state,
        "days_left": row.days_left,
        "fedward": row.fedward,
        "flare": row.flare,
        "wheel": row.wheel,
        "same_wheel": row.same_wheel,
        "last_seen": None if row.last_seen is None else row.last_seen.isoformat(),
    }


def _lines(rows: tuple[KitStatus, ...]) -> list[str]:
    """Return one line for each participant, in columns; scripts use --format json."""
    table = [("name", "way", "state", "days left", "fedward", "flare", "wheel", "last seen")]
    for row in rows:
        wheel = row.wheel[:_SHORT] + ("" if row.same_wheel else " (not this one)")
        seen = "—" if row.last_seen is None else f"{row.last_seen:%Y-%m-%d %H:%M:%S} UTC"
        left = "—" if row.days_left is None else str(row.days_left)
        table.append((row.name, row.way, row.state, left, row.fedward, row.flare, wheel, seen))
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
