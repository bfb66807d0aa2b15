"""Find the keys that an audit log is sealed with: the site's, or one beside the log where there is no site's.

**Proven at a hospital.** Whoever can write to the log's folder, but can neither read the site's key nor write beside
the ledger, can change, remove, add or move no entry without detection, and can put no other log, and none, in its
place: the anchor (``fedward.audit.anchor``) names one of its entries. This holds from the anchor's entry on, and for
the entries before it, which may have the seal of the key beside the log, as they were at that moment.

**Proven with the key beside the log alone**, as at a server. Whoever can write to the log but cannot read the key can
change, remove, add or move no entry without detection. They can put a whole new log, with a new key, in its place.

**Not proven.** Whoever can read the key can write a whole new log. A server has no secret of another kind, so its key
lies beside its log, and only its owner can read it. A hospital's service and the machine's administrator have the
site's key. Against them, against a log that is put back whole with its head to an earlier moment, and at a server
against a new log, only a head noted elsewhere helps: ``fedward audit verify PATH --head N:HASH``.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from fedward.audit.files import opened
from fedward.errors import AuditError, FedwardError
from fedward.files import write_atomic
from fedward.privacy.ledger.hash_chain import Seal

KEY_FILE = "audit.key"
_DIGITS = 64
_RESTORE = "restore it from the last backup"


class Keys:
    """The seals of one log, read when they are needed.

    Args:
        own: file of the key beside the log.
        site_toml: the hospital's; None: the log is no hospital's.
    """

    def __init__(self, own: Path, *, site_toml: Path | None) -> None:
        self.own_file, self._site_toml = own, site_toml
        self._own: Seal | None = None
        self._site: Seal | None = None
        self._anchor: Path | None = None

    @property
    def own(self) -> Seal | None:
        """Seal with the key beside the log; None where there is none.

        Raises:
            AuditError: the file cannot be read, or holds no key.
        """
        if self._own is None:
            try:
                with opened(self.own_file) as file:
                    secret = bytes.fromhex(file.read(4 * _DIGITS).decode("ascii").strip())
            except FileNotFoundError:
                return None
            except OSError as error:
                what = "key of the audit log cannot be read"
                remedy = "run as the user who owns the kit"
                raise AuditError(what, where=self.own_file, value=error.strerror, remedy=remedy) from None
            except ValueError:
                secret = b""
            if len(secret) != _DIGITS // 2:
                raise AuditError("key of the audit log is damaged", where=self.own_file, remedy=_RESTORE)
            self._own = _seal(secret)
        return self._own

    @property
    def site(self) -> Seal | None:
        """Seal with the site's key; None where there is no site.toml, or its key is not made yet or cannot be read."""
        if self._site is None and self._site_toml is not None:
            with suppress(FedwardError):  # a log that needs this key says so
                self._site = _site_seal(self._site_toml)
        return self._site

    @property
    def anchor_file(self) -> Path | None:
        """File of the log's anchor, beside the ledger; None where there is no site.toml that can be read.

        Its name tells kits with one ledger apart, such as the service's in a container and the one for commands, by
        their paths: each has its own log. A log beside its ledger, of a site.toml outside a kit, is no kit's.
        """
        if self._anchor is None and self._site_toml is not None and self._site_toml.is_file():
            with suppress(FedwardError):  # as for ``site``
                self._anchor = _anchor_file(self._site_toml)
        return self._anchor

    def make_own(self, owned: Callable[[int], None]) -> Seal:
        """Make the key beside the log, unless it is there; ``owned`` gives an open file to the kit's owner."""
        secret = secrets.token_hex(_DIGITS // 2) + "\n"

        def content(file: BinaryIO) -> None:
            owned(file.fileno())
            file.write(secret.encode())

        if self.own is None:
            with suppress(FileExistsError):  # another process was faster: its key is the log's
                write_atomic(self.own_file, content, mode=0o600, replace=False)
        made = self.own
        if made is None:
            raise AuditError("key of the audit log cannot be made", where=self.own_file, remedy=_RESTORE)
        return made


def _site_seal(site_toml: Path) -> Seal | None:
    from fedward.indexing.site_key import load_key
    from fedward.settings import read_site

    if not site_toml.is_file():
        return None
    path = read_site(site_toml).key
    return _seal(load_key(path).secret) if path.is_file() else None  # ``load_key`` would make one


def _anchor_file(site_toml: Path) -> Path:
    from fedward.settings import read_site

    ledger, local = read_site(site_toml).ledger, site_toml.absolute().parent
    name = f"{ledger.name}.audit"
    if local.name == "local" and (local.parent / "startup").is_dir():
        kit = hashlib.sha256(os.fsencode(local.parent.resolve())).hexdigest()
        name += f"-{kit[:8]}"
    return ledger.with_name(name)


def _seal(secret: bytes) -> Seal:
    """Return the audit log's seal of a secret, apart from every other use of it."""
    return Seal(hmac.digest(secret, b"fedward/1/audit-key", "sha256"))
