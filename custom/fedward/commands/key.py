"""Define ``fedward key …``: the key that hospitals share and the server's operator never has, for hospital IT."""

from __future__ import annotations

import hmac
import json
from pathlib import Path

import typer
from cryptography import x509

from fedward.commands.audit_notes import key_log, kit_log, note, recorded
from fedward.commands.output_format import FORMAT, Format
from fedward.encryption.keys.key import FederationKey, create_key
from fedward.encryption.keys.key_file import (
    LARGEST_FILE,
    LAST_GENERATION,
    read_key,
    replace_key,
    write_key,
)
from fedward.encryption.keys.old_keys import Destroyed, replace_and_destroy
from fedward.encryption.keys.sealed_box import Opened, fingerprint, grouped, open_box, seal_key
from fedward.encryption.keys.site_identity import Identity, made_at_the_site, read_certificate, read_identity, site_name
from fedward.errors import EncryptionError
from fedward.files import write_atomic
from fedward.settings import KeyScheme

app = typer.Typer(help="The federation's key, which hospitals share: for their IT.", no_args_is_help=True)
_KEY = "File of the federation's key; no one but its owner can read it."
_KIT = "Folder of this hospital's FLARE kit."
_FINGERPRINT_DIGITS = 32
_DESTROY = "Overwrite and remove the old key, and every older one beside it, once the new one is on the disk."
_NO_PROMISE = (
    "Not promised: a solid-state disk, a file system that copies on write or keeps snapshots, swap, backups, and boxes "
    "that were sealed may hold the old bytes still; find those and remove them. What was sent under the old key is not "
    "taken back: who recorded it and has any copy of that key can read it."
)


@app.callback()
def key() -> None:
    """The federation's key, which hospitals share: for their IT."""


@app.command()
def create(
    key: Path = typer.Argument(..., metavar="KEY", help=_KEY),
    scheme: KeyScheme = typer.Option("aes-ctr", help="How numbers are hidden under it, in every job."),
) -> None:
    """Make a federation's first key, at one hospital. That hospital seals it to each of the others."""
    made = create_key(scheme)
    write_key(made, key)
    note(key_log(key), "key-created", **_facts(made))
    typer.echo(f"{key}: made {_named(made)}")
    typer.echo("`fedward key seal` it to every other hospital")


@app.command()
def seal(
    key: Path = typer.Argument(..., metavar="KEY", help=_KEY),
    kit: Path = typer.Option(..., help=_KIT),
    to: list[Path] = typer.Option(..., metavar="CERT", help="Another hospital's client.crt; once for each of them."),
    out: Path = typer.Option(..., metavar="FOLDER", help="Folder for the boxes, one <site>.box for each hospital."),
) -> None:
    """Seal the key in a box for each hospital. Anyone may carry a box; read the fingerprint over the telephone."""
    held, sender = read_key(key), read_identity(kit)
    recipients = _recipients(to, sender)
    boxes = {name: seal_key(held, to=certificate, sender=sender) for name, certificate in recipients.items()}
    with recorded(kit_log(kit), "key-sealed", sites=sorted(boxes), **_facts(held)):
        paths = {name: _written(out / f"{name}.box", box) for name, box in boxes.items()}
    typer.echo(f"{sender.name} sealed {_named(held)}")
    for name, box in boxes.items():
        typer.echo(f"for {name}: {paths[name]}")
        typer.echo(f"  fingerprint {fingerprint(box)}")
    typer.echo(
        "Send each box, then call each hospital on a number that you know, and read its fingerprint to each other. "
        "Until the two are the same, run no job under this key: if they differ, somebody between you may hold it; "
        "`fedward key rotate`, and take their certificate from them again."
    )
    for name, certificate in recipients.items():
        if not made_at_the_site(certificate):
            typer.echo(
                f"note: {name}'s private key was made by who provisioned the kits, and whoever kept a copy can open "
                "this box; carry it past them, or have each hospital make its own with `nvflare cert request`",
                err=True,
            )


def _written(path: Path, box: bytes) -> Path:
    try:
        write_atomic(path, box, mode=0o600)
    except OSError as error:
        what = "box cannot be written"
        raise EncryptionError(what, where=path, value=error.strerror, remedy="give another folder") from None
    return path


def _recipients(certificates: list[Path], sender: Identity) -> dict[str, x509.Certificate]:
    recipients: dict[str, x509.Certificate] = {}
    for path in certificates:
        certificate = read_certificate(path)
        try:
            name = site_name(certificate, root=sender.root, server=sender.server)
        except EncryptionError as error:
            raise EncryptionError(error.what, where=path, value=error.value, remedy=error.remedy) from None
        if name == sender.name:
            raise EncryptionError("certificate is this hospital's own name; it has the key", where=path, value=name)
        if name in recipients:
            raise EncryptionError("two certificates for one hospital", where=path, value=name, remedy="give one")
        recipients[name] = certificate
    return recipients


@app.command("open")
def open_(
    box: Path = typer.Argument(..., metavar="BOX", help="The box that another hospital sealed to this one."),
    key: Path = typer.Argument(..., metavar="KEY", help=_KEY),
    kit: Path = typer.Option(..., help=_KIT),
    expect: str | None = typer.Option(
        None, metavar="FINGERPRINT", help="What the sender read over the telephone; a box with another is refused."
    ),
    destroy_old: bool = typer.Option(False, "--destroy-old", help=f"{_DESTROY} Only with --expect."),
) -> None:
    """Take the key out of a box. It replaces an older key; an older one is refused."""
    if destroy_old and expect is None:
        remedy = "telephone the sender, and give the fingerprint as --expect: a destroyed key does not come back"
        raise EncryptionError("needs a box that somebody vouched for", where="--destroy-old", remedy=remedy)
    content = _read_box(box)
    opened = open_box(content, owner=read_identity(kit))
    if expect is not None:
        _require_fingerprint(content, expect, box)
    message = _stored(opened, key, destroy_old=destroy_old)
    box_facts = {"site": opened.sender, "fingerprint": fingerprint(content)}
    note(kit_log(kit), "key-opened", **box_facts, **_facts(opened.key))
    typer.echo(message)
    typer.echo(f"  sealed by {opened.sender}, to {opened.recipient}")
    typer.echo(f"  fingerprint {fingerprint(content)}")
    if expect is None:
        typer.echo(
            f"Call {opened.sender} on a number that you know, and read the fingerprint to each other. Until the two "
            f"are the same, run no job under this key: if they differ, remove {key}, for they did not seal this box."
        )


def _read_box(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(2 * LARGEST_FILE + 1)
    except OSError as error:
        raise EncryptionError("box cannot be read", where=path, value=error.strerror) from None


def _require_fingerprint(box: bytes, expect: str, where: Path) -> None:
    expected, given = fingerprint(box).replace(" ", ""), "".join(expect.split()).replace("-", "").lower()
    if len(given) != _FINGERPRINT_DIGITS:
        remedy = "give the eight groups of four that the sender's `fedward key seal` printed"
        raise EncryptionError("is not a fingerprint", where="--expect", value=expect, remedy=remedy)
    if not hmac.compare_digest(expected.encode(), given.encode()):
        raise EncryptionError(
            "box is not the one that the sender sealed: its fingerprint is another",
            where=where,
            value=grouped(expected),
            remedy="tell the sender, who must rotate the key: somebody between you may hold it",
        )


def _stored(opened: Opened, path: Path, *, destroy_old: bool) -> str:
    """Write the key into its file; refuse one that is not newer than the key there; return a message."""
    old = read_key(path) if path.exists() else None
    if old is not None and old != opened.key and opened.key.generation <= old.generation:
        raise EncryptionError(
            f"box from {opened.sender} has a key of generation {opened.key.generation}, not a newer one than the "
            f"generation {old.generation} here",
            where=path,
            remedy="an old box may have been sent again; ask the sender to rotate, or move this key away",
        )
    message = f"{path}: {'already' if old == opened.key else 'now'} {_named(opened.key)}"
    if destroy_old:
        return f"{message}{_destroyed(replace_and_destroy(opened.key, path))}"
    if old is None:
        write_key(opened.key, path)
    elif old != opened.key:
        return f"{message}; the old one is kept as {replace_key(opened.key, path)}"
    return message


def _destroyed(done: Destroyed) -> str:
    """Return the end of the line about the key in place, and the lines below it."""
    files = "1 file" if done.removed == 1 else f"{done.removed} files"
    what = f"{files} of older keys overwritten and removed" if done.removed else "no older key was beside it"
    notes = [f"  removed without being overwritten: {name}, {why}" for name, why in done.not_overwritten.items()]
    return "\n".join((f"; {what}", *notes, _NO_PROMISE))


@app.command()
def rotate(
    key: Path = typer.Argument(..., metavar="KEY", help=_KEY),
    destroy_old: bool = typer.Option(False, "--destroy-old", help=_DESTROY),
) -> None:
    """Make the next generation of the key. Keep the old one beside it or destroy it."""
    old = read_key(key)
    if old.generation == LAST_GENERATION:
        raise EncryptionError("has no next generation", where=key, remedy="`fedward key create` another")
    made = create_key(_scheme(old), generation=old.generation + 1)
    if destroy_old:
        done = replace_and_destroy(made, key)
        note(key_log(key), "key-rotated", **_facts(made))
        typer.echo(f"{key}: now {_named(made)}{_destroyed(done)}")
        typer.echo(
            "`fedward key seal` it anew to every other hospital. Each of them holds the old key until it takes the "
            "new one with `fedward key open BOX KEY --kit KIT --destroy-old`. A job that ran under the old key "
            "cannot go on."
        )
        return
    kept = replace_key(made, key)
    note(key_log(key), "key-rotated", **_facts(made))
    typer.echo(f"{key}: now {_named(made)}; the old one is kept as {kept}")
    typer.echo(
        "`fedward key seal` it anew to every other hospital. Let jobs that run under the old key end first: the new "
        "one does not open their sums, and hospitals with different keys cannot be added."
    )


@app.command()
def show(
    key: Path = typer.Argument(..., metavar="KEY", help=_KEY),
    format: Format = FORMAT,
) -> None:
    """Print which key this is. Every hospital of a federation must see the same; nothing of the secret is shown."""
    held = read_key(key)
    if format is Format.json:
        typer.echo(json.dumps({"key_id": held.key_id, "scheme": held.scheme, "generation": held.generation}))
        return
    typer.echo(f"{key}: {_named(held)}")


def _named(key: FederationKey) -> str:
    return f"key {grouped(key.key_id)}, generation {key.generation}, {key.scheme}"


def _facts(key: FederationKey) -> dict[str, str | int]:
    """Return what an audit log holds of a key; nothing of the secret."""
    return {"key": key.key_id, "generation": key.generation}


def _scheme(key: FederationKey) -> KeyScheme:
    if key.scheme == "masked":  # the key of one job is in no file of this kind
        raise EncryptionError("key is one job's own, and not the federation's", value=key.scheme)
    return key.scheme
