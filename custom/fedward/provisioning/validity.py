"""Judge a kit's certificates by the clock: not valid yet, expired, or ending within ``SOON_DAYS``.

TLS refuses such a certificate with an error that names neither the file nor the day (RFC 5280, 4.1.2.5). The sentences
here name the file, the certificate's end or beginning, this machine's clock, and the remedy: behind a certificate that
is not valid may be a clock that is wrong.

Invariant: functions of certificates and of the time that is given; only ``kit_certificates`` reads files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from fedward.encryption.keys.site_identity import read_certificate
from fedward.errors import FederationError
from fedward.provisioning.participants import Kind

SOON_DAYS = 30
"""Days before a certificate's end from which on its holder is warned: at start, by doctor, dashboard and alert."""
CLOCK_TOLERANCE = timedelta(minutes=5)
"""Time by which a clock may be behind a new certificate's beginning: a hospital may start its kit a moment after the
operator signed it, and both clocks differ. The doctor warns of more than a minute."""
NOT_VALID = 78
"""Exit code of a process that refuses to start with such a certificate; no service manager should start it again."""
ROOT = "rootCA.pem"
CLOCK_REMEDY = "set this machine's clock (timedatectl set-ntp true); if it is right, ask the operator"

_FILES = {Kind.server: "server.crt", Kind.site: "client.crt", Kind.person: "client.crt"}
_ANOTHER = "the operator makes another authority (docs/compromised.md, another authority)"


@dataclass(frozen=True, slots=True, kw_only=True)
class KitCertificate:
    """Certificate of a kit, with its validity.

    Attributes:
        whose: its holder, as a possessive: "site's", "server's", "person's" or "authority's".
        where: its file.
        begins, ends: both ends belong to the validity.
        renewal: the way to a new one, as an imperative.
    """

    whose: str
    where: Path
    begins: datetime
    ends: datetime
    renewal: str


def kit_certificates(kit: Path, kind: Kind) -> tuple[KitCertificate, KitCertificate]:
    """Read a kit's own certificate and the authority's.

    Raises:
        EncryptionError: one of them cannot be read, or is no certificate.
    """
    own, root = kit / "startup" / _FILES[kind], kit / "startup" / ROOT
    certificate = read_certificate(own)
    return (
        dated(certificate, whose=f"{kind}'s", where=own, renewal=_renewal(certificate, kind)),
        dated(read_certificate(root), whose="authority's", where=root, renewal=_ANOTHER),
    )


def dated(certificate: x509.Certificate, *, whose: str, where: Path, renewal: str) -> KitCertificate:
    """Return a certificate's validity."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return KitCertificate(whose=whose, where=where, begins=begins, ends=ends, renewal=renewal)


def fault(certificate: KitCertificate, *, now: datetime) -> FederationError | None:
    """Return why a certificate is not valid now; None if it is, or begins within ``CLOCK_TOLERANCE``."""
    clock = f"clock of this machine {_minute(now)}"
    if now < certificate.begins - CLOCK_TOLERANCE:
        what = f"{certificate.whose} certificate is not valid yet"
        value = f"from {_minute(certificate.begins)} on; {clock}"
        return FederationError(what, where=certificate.where, value=value, remedy=CLOCK_REMEDY)
    if now > certificate.ends:
        what, value = f"{certificate.whose} certificate has expired", f"{_minute(certificate.ends)}; {clock}"
        return FederationError(what, where=certificate.where, value=value, remedy=certificate.renewal)
    return None


def first_fault(certificates: Iterable[KitCertificate], *, now: datetime) -> FederationError | None:
    """Return why the first certificate that is not valid now is not; None if all are."""
    return next((why for one in certificates if (why := fault(one, now=now)) is not None), None)


def soon(certificate: KitCertificate, *, now: datetime) -> str | None:
    """Return a line about a valid certificate that ends in less than ``SOON_DAYS``; None for every other one."""
    left = certificate.ends - now
    if fault(certificate, now=now) is not None or left >= timedelta(days=SOON_DAYS):
        return None
    when = f"in {left.days} days" if left.days > 1 else "tomorrow" if left.days == 1 else "within a day"
    end = f"{certificate.whose} certificate ends {when}: '{_minute(certificate.ends)}'"
    return f"{certificate.where}: {end}; {certificate.renewal}"


def notice(certificates: Iterable[KitCertificate], *, now: datetime) -> str | None:
    """Return the line that is due now: the first fault, else the first end that is near; None if all is well."""
    certificates = tuple(certificates)
    why = first_fault(certificates, now=now)
    if why is not None:
        return str(why)
    return next((line for one in certificates if (line := soon(one, now=now)) is not None), None)


def require_valid(kit: Path, kind: Kind, *, now: datetime | None = None) -> None:
    """Refuse a kit with a certificate that is not valid.

    Args:
        now: the time to judge by; None: this machine's clock.

    Raises:
        FederationError: a certificate has expired or is not valid yet; names its file, end and remedy.
        EncryptionError: a certificate cannot be read.
    """
    why = first_fault(kit_certificates(kit, kind), now=datetime.now(UTC) if now is None else now)
    if why is not None:
        raise why


def _renewal(certificate: x509.Certificate, kind: Kind) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if len(names) == 1 else "NAME"
    renew = f"`fedward federation renew {name}`"
    if kind is Kind.server:
        return f"run {renew}, put its certificate into this kit and start the server again"
    again = " and start the service again" if kind is Kind.site else ""
    return f"ask the operator for {renew}, put what they send into this kit (`fedward site join`, as before){again}"


def _minute(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
