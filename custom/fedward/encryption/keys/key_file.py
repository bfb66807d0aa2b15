"""Write and read the federation's key as a file: JSON text that its owner alone can read.

A file is accepted only if it equals, byte for byte, the text that this module writes for its key. Another order, an
extra field or space, or a changed bit is damage. The file holds the key's id, which depends on every other field.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any, get_args

from fedward.encryption.keys.key import SECRET_BYTES, FederationKey
from fedward.errors import EncryptionError, KeyFileError
from fedward.files import write_atomic
from fedward.settings import KeyScheme

KEY_MAGIC = "fedward federation key"
VERSION = 1
LARGEST_FILE = 64 * 2**20
"""Bytes; a key with TenSEAL's context needs a few million."""
LAST_GENERATION = 2**31 - 1
_DAMAGED = "is not a federation key, or is damaged"
_RESTORE = "restore it, or open the box that brought it"


def encode_key(key: FederationKey) -> bytes:
    """Return the text of a key file, in ASCII. All of it is secret."""
    content = {
        "magic": KEY_MAGIC,
        "version": VERSION,
        "key_id": key.key_id,
        "scheme": key.scheme,
        "generation": key.generation,
        "secret": base64.b64encode(key.secret).decode("ascii"),
        "context": base64.b64encode(key.context).decode("ascii"),
    }
    return (json.dumps(content, indent=2) + "\n").encode("ascii")


def decode_key(text: bytes) -> FederationKey:
    """Invert ``encode_key``.

    Raises:
        EncryptionError: ``encode_key`` would not write ``text``. Neither the error nor its chained errors contain any
            of the text.
    """
    try:
        key = _decoded(json.loads(text))
    except (ValueError, TypeError, LookupError, RecursionError):
        key = None
    # raised outside the handler: an error of json carries the whole text and would be chained to this one as context
    if key is None or encode_key(key) != text:
        raise EncryptionError(_DAMAGED)
    return key


def _decoded(content: Any) -> FederationKey | None:
    scheme, generation = content["scheme"], content["generation"]
    secret = base64.b64decode(content["secret"], validate=True)
    context = base64.b64decode(content["context"], validate=True)
    if scheme not in get_args(KeyScheme) or type(generation) is not int or not 1 <= generation <= LAST_GENERATION:
        return None
    if len(secret) != SECRET_BYTES or bool(context) is (scheme == "aes-ctr"):
        return None
    return FederationKey(scheme=scheme, generation=generation, secret=secret, context=context)


def read_key(path: Path) -> FederationKey:
    """Read a key file.

    Raises:
        KeyFileError: it is absent, or cannot be read.
        EncryptionError: group or others have permissions on it, or it is damaged.
    """
    try:
        text = read_private(path, "federation key")
    except FileNotFoundError:
        remedy = "open the box that a hospital sent you, or `fedward key create` in the first hospital"
        raise KeyFileError("no federation key here", where=path, remedy=remedy) from None
    try:
        return decode_key(text)
    except EncryptionError:
        raise EncryptionError(_DAMAGED, where=path, remedy=_RESTORE) from None


def read_private(path: Path, what: str) -> bytes:
    """Return the bytes of a file on which its owner alone has permissions; ``what`` names its kind in errors.

    Raises:
        FileNotFoundError: there is no such file.
        KeyFileError: it cannot be read.
        EncryptionError: group or others have permissions on it, or it is no regular file, or too large.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise EncryptionError(f"{what} is not a file", where=path)
            mode = stat.S_IMODE(status.st_mode)
            if mode & 0o077:
                raise EncryptionError(
                    f"others may read or change the {what}", where=path, value=oct(mode), remedy=f"chmod 600 {path}"
                )
            content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        what = f"{what} cannot be read"
        raise KeyFileError(what, where=path, value=error.strerror, remedy="run as the user who owns it") from None
    if len(content) > LARGEST_FILE:
        raise EncryptionError(f"{what} is too large to be one", where=path)
    return content


def write_key(key: FederationKey, path: Path, *, replace: bool = False) -> None:
    """Write a key file with mode 0600, whole and synced to the disk, or not at all.

    Args:
        key: the key.
        path: its file; a missing folder is made, for its owner alone.
        replace: overwrite a file at ``path``. Otherwise not even a file that appears meanwhile is overwritten.

    Raises:
        EncryptionError: there is a file already, or the file cannot be written.
    """
    try:
        write_atomic(path, encode_key(key), mode=0o600, replace=replace)
    except FileExistsError:
        remedy = "name another file, or `fedward key rotate` it"
        raise EncryptionError("there is a file already, and it stays", where=path, remedy=remedy) from None
    except OSError as error:
        remedy = "name a file in a folder that this user may write to"
        raise EncryptionError(
            "federation key cannot be written", where=path, value=error.strerror, remedy=remedy
        ) from None


def replace_key(key: FederationKey, path: Path) -> Path:
    """Write ``key`` to ``path``, keep the old key as ``<path>.<its generation>``, and return that path.

    A kill in between leaves the old key at ``path``, perhaps with its copy beside it; a second call then succeeds.

    Raises:
        EncryptionError: the file at ``path`` is no key, another key has the copy's name, or a file cannot be written.
    """
    old = read_key(path)
    kept = path.with_name(f"{path.name}.{old.generation}")
    if not kept.exists():
        write_key(old, kept)
    elif read_key(kept) != old:
        raise EncryptionError("another key has the name under which the old one is kept", where=kept, remedy="move it")
    write_key(key, path, replace=True)
    return kept
