"""Admit or refuse connections by certificate and revocation list; cut those of revoked and of expired certificates.

Mutual TLS has already proven that the peer has the key of a certificate of this federation. This module checks that the
certificate is not revoked. If that cannot be checked, the connection is refused. TLS looks at a certificate's end only
when a connection begins: a hospital would stay connected after it, be given jobs, and no process of such a job could
connect. So its connections end with its certificate, and the server signs it out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from fedward.encryption.keys.site_identity import parse_certificate
from fedward.errors import EncryptionError, FederationError
from fedward.flare.kits.permissions import ROLES
from fedward.flare.repeating import repeat
from fedward.provisioning.crl import Revocations, crl_content, parse_crl
from fedward.provisioning.network.health import REVOKED

POLL_S = 1.0
NO_CERTIFICATE = "no certificate"
UNREADABLE = "certificate cannot be read"
FOREIGN = "certificate was not issued by this federation's authority"
EXPIRED = "certificate has expired"
NO_LIST = "server has no valid list of revoked certificates"
MOST_CALLS = 16
"""Largest number of open calls of one participant: one of a site's parent process, and one of each of its jobs. FLARE's
gRPC server has 100 workers, and each open call occupies one."""
CROWDED = f"{MOST_CALLS} calls of this certificate are open"


class CallerError(Exception):
    """Refusal of a connection; its text is sent to the peer."""


class CrowdedError(CallerError):
    """Refusal until another call of the same participant has ended."""


@dataclass(frozen=True, eq=False, slots=True)
class Guest:
    """Connection of one participant.

    Attributes:
        name: common name in the certificate.
        certificate: the participant's.
        cut: ends the connection at once; may be called from any thread, and more than once.
    """

    name: str
    certificate: x509.Certificate
    cut: Callable[[], None]


class ConnectionGuard:
    """Gate of the server's port: it keeps the revocation list and the admitted connections.

    Args:
        crl: file of the revocation list; it may change at any time.
        root: certificate of the federation's authority.
        log: writes to the server's log.
        now: clock, by which certificates end.

    Raises:
        FederationError: there is no valid list at the start.
    """

    def __init__(
        self,
        crl: Path,
        *,
        root: x509.Certificate,
        log: Callable[[str], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._crl, self._root, self._log, self._now = crl, root, log, now
        self._content: bytes | None = crl_content(crl)
        self._revocations = parse_crl(self._content, root=root, where=crl)
        self._fault: str | None = None  # why no new connection is admitted
        self._guests: set[Guest] = set()
        self._refused: set[tuple[int, str, int]] = set()
        self._last: dict[str, x509.Certificate] = {}
        self._lock = threading.Lock()

    @property
    def revocations(self) -> Revocations:
        """Revocation list in force: the newest valid one that was read."""
        return self._revocations

    @property
    def certificates(self) -> dict[str, x509.Certificate]:
        """Last certificate admitted since the server started, by name."""
        with self._lock:
            return dict(self._last)

    def is_person(self, name: str) -> bool:
        """True if the last certificate admitted under that name is a person's, by the role in it.

        A hospital's has no role if the operator made its kit, and the role "client" if the hospital was invited.
        """
        with self._lock:
            certificate = self._last.get(name)
        if certificate is None:
            return False
        roles = [entry.value for entry in certificate.subject.get_attributes_for_oid(NameOID.UNSTRUCTURED_NAME)]
        return len(roles) == 1 and roles[0] in ROLES

    def look(self) -> None:
        """Reread the file. A newer list takes effect, an older one does not; an invalid one stops new connections."""
        with self._lock:
            try:
                content = crl_content(self._crl)
                if content == self._content:
                    return
                self._content = None  # if the next line throws, this content is not verified
                self._take(parse_crl(content, root=self._root, where=self._crl))
                self._content = content
            except FederationError as error:
                if self._fault != str(error):
                    self._log(f"{error}; until then nobody new is let in")
                self._fault, self._content = str(error), None

    def _take(self, found: Revocations) -> None:
        self._fault = None
        if found.number < self._revocations.number:
            newer = f"older than {self._revocations.number}, which stays in force"
            self._log(f"{self._crl}: revocation list has number {found.number}, {newer}")
            return
        self._revocations = found
        self._log(f"revocation list {found.number} is in force: {len(found.serials)} certificates revoked")

    def admit(self, pems: Sequence[bytes] | None, *, cut: Callable[[], None]) -> Guest:
        """Admit a peer, or refuse it.

        Args:
            pems: the certificate that the peer proved in the TLS handshake, in PEM, as gRPC gives it.
            cut: ends the peer's connection.

        Raises:
            CallerError: the peer is refused; the text gives the reason.
            CrowdedError: the peer has too many open calls.
        """
        certificate = _read(pems)
        try:
            certificate.verify_directly_issued_by(self._root)
        except (InvalidSignature, ValueError, TypeError):
            raise CallerError(FOREIGN) from None
        guest = Guest(_name(certificate), certificate, cut)
        self.look()
        with self._lock:  # a list that is read from now on must find this guest
            if (why := self._out(certificate)) is not None:
                raise self._refusal(guest, why)
            if self._fault is not None:
                raise self._refusal(guest, NO_LIST)
            if sum(one.name == guest.name for one in self._guests) >= MOST_CALLS:
                raise CrowdedError(str(self._refusal(guest, CROWDED)))
            self._guests.add(guest)
            self._last[guest.name] = certificate
        return guest

    def leave(self, guest: Guest) -> None:
        """Remove a guest whose connection has ended."""
        with self._lock:
            self._guests.discard(guest)

    def put_out(self) -> frozenset[str]:
        """End the connections of revoked and of expired certificates.

        Returns:
            Names whose last certificate is revoked or expired and that have no connection with a valid one.
        """
        with self._lock:
            out = [(guest, why) for guest in self._guests if (why := self._out(guest.certificate)) is not None]
            good = {guest.name for guest in self._guests if self._out(guest.certificate) is None}
            names = {name for name, last in self._last.items() if self._out(last) is not None} - good
        for guest, why in out:
            try:
                guest.cut()
            except Exception as error:  # noqa: BLE001 - one failure must not keep the others connected; tried again
                self._log(f"connection of {guest.name!r} cannot be cut: {type(error).__name__}, trying again")
                continue
            how = "is revoked" if why == REVOKED else "has expired"
            self._log(f"certificate of {guest.name!r} {how}: its connection is cut")
            self.leave(guest)
        return frozenset(names)

    def _out(self, certificate: x509.Certificate) -> str | None:
        """Return why nobody with this certificate stays connected; None if they may."""
        if self._revocations.revokes(certificate):
            return REVOKED
        return EXPIRED if self._now() > certificate.not_valid_after_utc else None

    def _refusal(self, guest: Guest, why: str) -> CallerError:
        """Return the refusal; log it once for each certificate and list: a client tries again every few seconds."""
        key = (guest.certificate.serial_number, why, self._revocations.number)
        if key not in self._refused:
            self._log(f"{guest.name!r} is not let in: {why}")
        self._refused.add(key)
        return CallerError(why)


def watch(
    doorkeeper: ConnectionGuard, *, sign_out: Callable[[Iterable[str]], None], log: Callable[[str], None]
) -> None:
    """Read the list once a second, in a thread that ends with the process.

    Args:
        doorkeeper: the guard that keeps the list.
        sign_out: called each time with the revoked names, so that nothing more is sent to them.
        log: writes to the server's log.
    """

    def step() -> None:
        doorkeeper.look()
        sign_out(doorkeeper.put_out())

    repeat(step, every_s=POLL_S, name="watch over revoked certificates", log=log)


def _read(pems: Sequence[bytes] | None) -> x509.Certificate:
    if not pems:
        raise CallerError(NO_CERTIFICATE)
    if len(pems) != 1:
        raise CallerError(UNREADABLE)
    try:
        return parse_certificate(pems[0], encoding=Encoding.PEM)
    except EncryptionError:
        raise CallerError(UNREADABLE) from None


def _name(certificate: x509.Certificate) -> str:
    try:
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError:
        names = []
    if len(names) != 1 or not isinstance(names[0].value, str):
        raise CallerError(UNREADABLE)
    return names[0].value
