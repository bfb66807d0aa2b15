"""Load the site's key; derive pseudonyms, and the draws that divide patients, from it.

Both are HMAC-SHA256 (RFC 2104, FIPS 198-1) of an identifier under the site's key. The message contains the purpose, so
neither discloses anything about the other. The same key gives the same results in every cohort and on every day.

Instances from an archive are written to disk under ``SiteKey.uid``, a UID that carries the pseudonym and proves that
this key made it. The index therefore gives such a file the same pseudonym as the original, and a label table may name
an image by either.
"""

from __future__ import annotations

import hmac
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fedward.errors import SettingsError
from fedward.files import write_atomic
from fedward.indexing.tables.identifiers import normal_form

KEY_BYTES = 32
Kind = Literal["patient", "study", "series", "image"]


@dataclass(frozen=True, slots=True)
class SiteKey:
    """Secret key of a hospital; ``repr`` does not show it."""

    secret: bytes = field(repr=False)

    def pseudonym(self, kind: Kind, identifier: str) -> str:
        """Return 16 hexadecimal digits for an identifier; "" for "". Another kind gives another pseudonym.

        A UID from ``uid``, of this kind and under this key, gets the pseudonym of the identifier that it replaces.
        """
        if not identifier:
            return ""
        return self._carried(kind, identifier) or self._hash(kind, identifier).hex()[:16]

    def alike(self, kind: Kind, identifier: str) -> str:
        """Return 16 hexadecimal digits, the same for spellings that ``normal_form`` holds to be alike; "" for "".

        It tells nothing about ``pseudonym`` and is never used to match: it only shows what a person should look at.
        """
        form = normal_form(identifier)
        return self._hash(f"alike/{kind}", form).hex()[:16] if form else ""

    def uid(self, kind: Kind, identifier: str) -> str:
        """Return a UID that replaces an identifier, at most 44 characters; "" for "".

        It is ``2.25.`` and a UUID as an integer (PS3.5 B.2; version 8 of RFC 9562): 64 bits of pseudonym and 58 bits of
        HMAC over it. Without the key it can neither be traced back nor be made.
        """
        pseudonym = self.pseudonym(kind, identifier)
        return f"2.25.{self._uuid(kind, pseudonym)}" if pseudonym else ""

    def _uuid(self, kind: Kind, pseudonym: str) -> int:
        proof = int.from_bytes(self._hash(f"uid/{kind}", pseudonym)[:8], "big") >> 6
        bits = int(pseudonym, 16) << 58 | proof
        return bits >> 74 << 80 | 8 << 76 | (bits >> 62 & 0xFFF) << 64 | 2 << 62 | bits & (1 << 62) - 1

    def _carried(self, kind: Kind, identifier: str) -> str | None:
        """Return the pseudonym in a UID that this key made, None for any other identifier."""
        number = identifier.removeprefix("2.25.")
        if number == identifier or not (number.isascii() and number.isdecimal()) or len(number) > 39:
            return None
        uuid = int(number)
        pseudonym = f"{uuid >> 80:012x}{uuid >> 64 & 0xFFF:03x}{uuid >> 58 & 0xF:x}"
        same = len(pseudonym) == 16 and hmac.compare_digest(f"{self._uuid(kind, pseudonym)}", number)
        return pseudonym if same else None

    def draw(self, patient: str) -> float:
        """Return a patient's number in [0, 1], by which ``fedward.indexing.split`` orders patients."""
        return int.from_bytes(self._hash("split", patient)[:8], "big") / 2**64

    @property
    def fingerprint(self) -> str:
        """Identify the key without disclosing it: another key gives another fingerprint."""
        return self._hash("fingerprint", "").hex()[:16]

    def _hash(self, purpose: str, identifier: str) -> bytes:
        return hmac.digest(self.secret, f"fedward/1/{purpose}\0{identifier}".encode("utf-8", "surrogatepass"), "sha256")


def load_key(path: Path) -> SiteKey:
    """Read the site's key, 64 hexadecimal digits; on first use create one that only its owner can read.

    Raises:
        SettingsError: others may read the file, it holds no valid key, or it cannot be read or created.
    """
    try:
        return _make(path)
    except OSError as error:
        if not path.exists():
            raise SettingsError("site key cannot be made", where=path, value=error.strerror, remedy=_WRITABLE) from None
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise SettingsError("others may read the site key", where=path, value=oct(mode), remedy="chmod 600 it")
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise SettingsError("site key cannot be read", where=path, value=error.strerror, remedy=_OWNED) from None
    except ValueError:
        raise SettingsError("site key is not hexadecimal", where=path, remedy=_REMAKE) from None
    if len(secret) < KEY_BYTES:
        raise SettingsError("site key is too short", where=path, value=f"{len(secret)} bytes", remedy=_REMAKE)
    return SiteKey(secret)


_WRITABLE = "name a file in a folder that this user may write to"
_OWNED = "run as the user who owns it"
_REMAKE = f"restore its {2 * KEY_BYTES} hexadecimal digits; a new key gives new pseudonyms and another split"


def _make(path: Path) -> SiteKey:
    """Create the key, whole or not at all, and never over another: a second process reads the first one's key."""
    secret = secrets.token_bytes(KEY_BYTES)
    write_atomic(path, secret.hex() + "\n", mode=0o600, replace=False)
    return SiteKey(secret)
