"""Write and read the file of an update: new files for each kit, signed with the authority's key.

::

    manifest.json               federation, versions, and for each kit the SHA-256 of its files
    manifest.sig                signature of manifest.json (RSA-PSS)
    kits/<participant>/<path>   the files

It holds no secret. Every name in the zip is in the manifest, and every name of a file is on the closed list of
``kit_files``, so that no path leads out of a kit.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography import x509
from pydantic import Field, ValidationError

from fedward.errors import EncryptionError, FederationError
from fedward.files import write_atomic
from fedward.provisioning.authority import Authority, is_signed_by
from fedward.provisioning.participants import Kind
from fedward.settings import Name, Settings
from fedward.upkeep.kit_files import UPDATABLE

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
_TOPIC = b"fedward kit update 1\n"
_LARGEST = 2**20
"""Bytes of one file in it."""
_MOST = 2**26
"""Bytes of the zip and of all files in it."""
_ASK = "ask the operator for the update again"


class KitUpdate(Settings):
    """One kit's part.

    Attributes:
        was: version of Fedward that the kit was made with, as the operator knows it.
        files: SHA-256, in hex, of each new file, by path below the kit.
        earlier: hashes (``content_hash``) that each file has in the operator's kits of this kind.
    """

    participant: str
    kind: Kind
    was: str
    files: dict[str, str]
    earlier: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class Manifest(Settings):
    """What the authority signs.

    Attributes:
        made_at: seconds since the epoch; of two updates to one version the later one counts.
        fedward, flare, wheel: versions and package hash that the kits are brought to.
    """

    format: Literal["fedward kit update 1"] = "fedward kit update 1"
    federation: Name
    made_at: int
    fedward: str
    flare: str
    wheel: str
    kits: tuple[KitUpdate, ...]


@dataclass(frozen=True, slots=True)
class Update:
    """Update that was read and verified: its manifest, and each kit's files by participant and path."""

    manifest: Manifest
    files: Mapping[str, Mapping[str, bytes]]


def write_update(path: Path, update: Update, authority: Authority) -> None:
    """Write the file, whole or not at all.

    Raises:
        FederationError: it cannot be written.
    """
    signed = update.manifest.model_dump_json(indent=2).encode()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as packed:
        packed.writestr(MANIFEST, signed)
        packed.writestr(SIGNATURE, authority.sign(_TOPIC + signed))
        for participant, files in sorted(update.files.items()):
            for name, one in sorted(files.items()):
                packed.writestr(_place(participant, name), one)
    try:
        write_atomic(path, content.getvalue())
    except OSError as error:
        raise FederationError("cannot be written", where=path, value=error.strerror) from None


def read_update(path: Path, root: x509.Certificate) -> Update:
    """Read an update and verify every byte of it.

    Args:
        root: the authority's certificate, from the kit that is to be updated.

    Raises:
        FederationError: it cannot be read, is not signed by this authority, was changed, or has a file that an update
            may not replace.
    """
    try:
        if path.stat().st_size > _MOST:
            raise FederationError("is larger than an update", where=path, remedy=_ASK)
        with zipfile.ZipFile(path) as packed:
            names = [info.filename for info in packed.infolist()]
            if len(set(names)) != len(names):
                raise ValueError("a name twice")
            content = {info.filename: _member(packed, info) for info in packed.infolist()}
    except OSError as error:
        raise FederationError("update cannot be read", where=path, value=error.strerror) from None
    except (zipfile.BadZipFile, ValueError, LookupError, NotImplementedError, RuntimeError, EOFError):
        raise FederationError("is no update", where=path, remedy=_ASK) from None
    return _verified(content, root, where=path)


def _member(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return a member that is stored, not packed: it cannot be larger than the zip."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > _LARGEST:
        raise ValueError(info.filename)
    with packed.open(info) as member:
        return member.read(_LARGEST)


def _verified(content: dict[str, bytes], root: x509.Certificate, *, where: Path) -> Update:
    signed, signature = content.pop(MANIFEST, b""), content.pop(SIGNATURE, b"")
    try:
        if not is_signed_by(root, signature, _TOPIC + signed):
            what = "update is not signed by the authority of this kit, or was changed"
            raise FederationError(what, where=where, remedy=_ASK)
        manifest = Manifest.model_validate_json(signed)
    except (ValidationError, EncryptionError):
        raise FederationError(
            "is no update that this Fedward knows", where=where, remedy="install its version"
        ) from None
    expected: dict[str, str] = {}
    for kit in manifest.kits:
        for name in sorted(set(kit.files) - set(UPDATABLE[kit.kind])):
            raise FederationError("update has a file that no update may replace", where=where, value=name[:100])
        expected |= {_place(kit.participant, name): digest for name, digest in kit.files.items()}
    if expected != {name: hashlib.sha256(one).hexdigest() for name, one in content.items()}:
        raise FederationError("files of the update are not those that were signed", where=where, remedy=_ASK)
    return Update(
        manifest,
        {
            kit.participant: {name: content[_place(kit.participant, name)] for name in kit.files}
            for kit in manifest.kits
        },
    )


def _place(participant: str, name: str) -> str:
    return f"kits/{participant}/{name}"
