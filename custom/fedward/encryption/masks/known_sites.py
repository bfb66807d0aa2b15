"""Keep a hospital's roster: the hospitals that it knows, each by the fingerprint of its key, read over the telephone.

The operator's authority could issue certificates in invented names, and so outvote the real hospitals of a masked run.
A hospital with a roster takes part only where enough of the run's hospitals are known to it. A hospital is known if its
name and key are on the roster, or if a hospital on the roster introduces it: every hospital signs, with its key for
the run, whom it has on its own roster. So a hospital that joins later needs one call to one hospital.

A fingerprint is of the certificate's public key (RFC 5280, section 4.1.2.7), not of the certificate: a renewed
certificate of the same key stays known.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fedward.encryption.message import is_site
from fedward.errors import EncryptionError, KeyFileError, RosterError
from fedward.files import write_atomic

DIGITS = 32
MOST = 256
"""Largest number of hospitals on a roster, and of introductions that a hospital signs."""
_MAGIC = "fedward roster"
_FINGERPRINT = re.compile(rf"[0-9a-f]{{{DIGITS}}}")

Fingerprints = Mapping[str, str]
"""Hospital -> fingerprint of its key, ``DIGITS`` hexadecimal digits."""


def key_fingerprint(certificate: x509.Certificate) -> str:
    """Return 32 hexadecimal digits, the first half of a tagged SHA-256 of the certificate's public key.

    To find another key with the same fingerprint takes 2^128 trials.
    """
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(b"fedward/site-key/1" + key).hexdigest()[:DIGITS]


def read_fingerprint(text: str, *, where: str | None = None) -> str:
    """Return the digits of a fingerprint that a person typed, in groups or not.

    Args:
        text: as typed.
        where: place where it was typed, for the error.

    Raises:
        EncryptionError: it is none.
    """
    digits = "".join(text.split()).replace("-", "").lower()
    if _FINGERPRINT.fullmatch(digits) is None:
        remedy = "give the eight groups of four digits that the other hospital reads to you"
        raise EncryptionError("is not a fingerprint", where=where, value=text, remedy=remedy)
    return digits


def are_fingerprints(content: object) -> bool:
    """True if the value is a table of at most ``MOST`` hospitals with a fingerprint each."""
    return (
        type(content) is dict
        and len(content) <= MOST
        and all(is_site(site) for site in content)
        and all(type(one) is str and _FINGERPRINT.fullmatch(one) for one in content.values())
    )


def read_roster(path: Path) -> dict[str, str]:
    """Read a roster; one without a file has nobody on it.

    Raises:
        KeyFileError: the file cannot be read.
        EncryptionError: it is no roster.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise KeyFileError("roster cannot be read", where=path, value=error.strerror) from None
    try:
        content = json.loads(text)
        whole = content["magic"] == _MAGIC and set(content) == {"magic", "sites"}
        sites: dict[str, str] = content["sites"]
    except (ValueError, LookupError, TypeError, RecursionError):
        whole, sites = False, {}
    if not whole or not are_fingerprints(sites):
        remedy = "restore it, or remove it and call the hospitals again"
        raise EncryptionError("is not a roster, or is damaged", where=path, remedy=remedy)
    return sites


def write_roster(path: Path, sites: Fingerprints) -> None:
    """Write a roster, whole or not at all.

    Raises:
        KeyFileError: the file cannot be written.
        EncryptionError: there are too many hospitals on it.
    """
    if not are_fingerprints(dict(sites)):
        raise EncryptionError(f"a roster has at most {MOST} hospitals", where=path, value=len(sites))
    content = {"magic": _MAGIC, "sites": dict(sorted(sites.items()))}
    try:
        write_atomic(path, json.dumps(content, indent=2) + "\n", mode=0o600)
    except OSError as error:
        raise KeyFileError("roster cannot be written", where=path, value=error.strerror) from None


def known_sites(
    roster: Fingerprints, keys: Fingerprints, introductions: Mapping[str, Fingerprints], *, site: str
) -> frozenset[str]:
    """Return the hospitals of a run that are known here, without this one.

    Args:
        roster: of this hospital.
        keys: hospital of the run -> fingerprint of the key in its certificate.
        introductions: hospital of the run -> whom it introduces, by its own signature.
        site: this hospital.

    Raises:
        EncryptionError: a hospital on the roster comes with another key.
    """
    for name, key in keys.items():
        if roster.get(name, key) != key:
            what = "hospital comes with another key than the one on this hospital's roster"
            remedy = "call it: if it has a new key, `fedward site roster` takes the new fingerprint"
            raise EncryptionError(what, value=name, remedy=remedy)
    called = {name for name in keys if name in roster and name != site}
    introduced = {name for by in called for name, key in introductions.get(by, {}).items() if keys.get(name) == key}
    return frozenset((called | introduced) - {site})


def require_known(known: frozenset[str], sites: Iterable[str], *, site: str, fewest: int, colluding: int) -> None:
    """Refuse a run, or a sum, in which too few hospitals are known here, or too many are not.

    Without a smallest number, nothing is asked. With one, hospitals that are not known count as invented ones that side
    with the server, of whom there may be as many as the job bears.

    Args:
        known: from ``known_sites``.
        sites: hospitals of the run or the sum.
        site: this hospital.
        fewest: smallest number of known ones, besides this hospital.
        colluding: largest number of hospitals that may side with the server.

    Raises:
        RosterError: there are fewer, or more.
    """
    everybody = set(sites) - {site}
    found, strangers = len(known & everybody), len(everybody - known)
    if fewest and strangers > colluding:
        raise RosterError(
            f"more hospitals take part that are not known here than may side with the server, {colluding}",
            value=strangers,
            remedy="call some of them, and `fedward site roster` their fingerprints",
        )
    if found < fewest:
        raise RosterError(
            f"of the hospitals that take part this hospital knows fewer than its min_known, {fewest}",
            value=found,
            remedy="call one of them, and `fedward site roster` its fingerprint",
        )
