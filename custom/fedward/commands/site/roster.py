"""Define ``fedward site roster``: the hospitals that this one knows by telephone, for hospital IT."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from fedward.commands.audit_notes import note, site_log
from fedward.commands.output_format import FORMAT, Format
from fedward.commands.site.options import SITE_TOML
from fedward.encryption.keys.sealed_box import grouped
from fedward.encryption.keys.site_identity import read_certificate
from fedward.encryption.masks.known_sites import key_fingerprint, read_fingerprint, read_roster, write_roster
from fedward.encryption.message import is_site
from fedward.errors import EncryptionError, SettingsError
from fedward.settings import SitePolicy, read_site


def roster(
    site_toml: Path = SITE_TOML,
    add: list[str] = typer.Option(
        [], metavar="SITE=FINGERPRINT", help="A hospital, and what it read to you over the telephone; repeatable."
    ),
    remove: list[str] = typer.Option([], metavar="SITE", help="A hospital to take off the roster; repeatable."),
    format: Format = FORMAT,
) -> None:
    """List, add and remove the hospitals that this one knows. Call each on a number that you know."""
    policy = read_site(site_toml)
    if policy.roster is None:
        remedy = 'write roster = "../state/roster.json", or another file, into site.toml'
        raise SettingsError("names no file for the roster", where=site_toml, remedy=remedy)
    sites = read_roster(policy.roster)
    changed = _changed(sites, add, remove, own=policy.site)
    if changed != sites:
        write_roster(policy.roster, changed)
    for name in sorted(set(changed) | set(sites)):
        if changed.get(name) != sites.get(name):
            what = "roster-added" if name in changed else "roster-removed"
            key = changed.get(name, sites.get(name, ""))
            note(site_log(site_toml), what, site=name, fingerprint=grouped(key))
    own = _own(site_toml)
    if format is Format.json:
        typer.echo(json.dumps({"site": policy.site, "own": own, "min_known": policy.min_known, "sites": changed}))
        return
    _show(policy, own, changed)


def _changed(sites: dict[str, str], add: list[str], remove: list[str], *, own: str) -> dict[str, str]:
    found = dict(sites)
    for name in remove:
        if name not in found:
            remedy = f"there are {', '.join(sorted(found)) or 'none'}"
            raise EncryptionError("is not on the roster", where="--remove", value=name, remedy=remedy)
        del found[name]
    for text in add:
        name, _, digits = text.partition("=")
        if not is_site(name) or not digits:
            remedy = "such as --add north-clinic='3f0c 91ab …'"
            raise EncryptionError("is not SITE=FINGERPRINT", where="--add", value=text, remedy=remedy)
        if name == own:
            raise EncryptionError("is this hospital itself", where="--add", value=name, remedy="leave it out")
        key = read_fingerprint(digits, where="--add")
        if (same := next((one for one, known in found.items() if known == key and one != name), None)) is not None:
            remedy = "have both read theirs to you again"
            raise EncryptionError(f"has the fingerprint of {same}", where="--add", value=name, remedy=remedy)
        if found.get(name, key) != key:
            remedy = f"--remove {name} first, if it told you that its key is another now"
            raise EncryptionError("is on the roster with another fingerprint", where="--add", value=name, remedy=remedy)
        found[name] = key
    return found


def _own(site_toml: Path) -> str | None:
    """Return the fingerprint of this hospital's key; None if site.toml is in no kit."""
    path = site_toml.resolve().parent.parent / "startup" / "client.crt"
    return key_fingerprint(read_certificate(path)) if path.exists() else None


def _show(policy: SitePolicy, own: str | None, sites: dict[str, str]) -> None:
    if own is not None:
        typer.echo(f"this hospital, {policy.site}: {grouped(own)}")
        typer.echo("  read it to a hospital that calls you, or that you call, on a number that you know")
    typer.echo(f"known by telephone: {len(sites) or 'none'}")
    for name, key in sorted(sites.items()):
        typer.echo(f"  {name}: {grouped(key)}")
    if policy.min_known:
        typer.echo(
            f"a masked job runs here only with {policy.min_known} other hospitals that are on this roster, or that one "
            "of these introduces"
        )
    else:
        typer.echo("min_known is 0: a masked job runs here with any hospitals that have a certificate of the authority")
