"""Restrict gRPC to TLS 1.3 by its list of ciphers, since it has no version setting; prove it before the server listens.

gRPC's list of ciphers applies to TLS 1.2 only; TLS 1.3 has its own ciphers, which stay. FLARE 2.9 makes RSA keys, so a
list with only a cipher for ECDSA keys leaves TLS 1.2 without a cipher, and a client that offers at most TLS 1.2 is
refused. gRPC reads the list when it is first imported, so it must be in the environment before.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedward.errors import FederationError
from fedward.provisioning.network.connectivity import first_words, offer

VARIABLE, CIPHERS = "GRPC_SSL_CIPHER_SUITES", "ECDHE-ECDSA-AES256-GCM-SHA384"
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFiles:
    """Certificate, private key and authority of the server's kit, in PEM."""

    certificate: Path
    key: Path
    root: Path

    @classmethod
    def of(cls, startup: Path) -> ServerFiles:
        """Return the paths where FLARE puts these files."""
        return cls(certificate=startup / "server.crt", key=startup / "server.key", root=startup / "rootCA.pem")


def set_floor() -> None:
    """Make gRPC refuse TLS 1.2 in this process.

    If the environment lacks the setting, set it and start the program again, in the same process with the same
    arguments. Call this before anything is started.
    """
    if os.environ.get(VARIABLE) == CIPHERS:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {VARIABLE: CIPHERS})


def prove_floor(files: ServerFiles) -> None:
    """Prove, on short-lived loopback ports, that gRPC here accepts only TLS 1.3 with a certificate.

    TLS 1.2 is tried on a port that requires no certificate: there it is refused for its version, and not for a missing
    certificate.

    Raises:
        FederationError: the files are unusable, or gRPC accepts TLS 1.2 or a client without a certificate, or refuses
            TLS 1.3.
    """
    with _listener(files, mutual=False) as port:
        if _spoken(port, lowest=ssl.TLSVersion.MINIMUM_SUPPORTED, highest=ssl.TLSVersion.TLSv1_2) is not None:
            remedy = f"set {VARIABLE}={CIPHERS} before it starts"
            raise FederationError("gRPC still takes TLS 1.2", where=files.certificate, remedy=remedy)
        if not _spoken(port):
            raise FederationError("gRPC does not take TLS 1.3", where=files.certificate)
    with _listener(files, mutual=True) as port:
        if _spoken(port):
            raise FederationError("gRPC takes clients without a certificate", where=files.certificate)


@contextmanager
def _listener(files: ServerFiles, *, mutual: bool) -> Iterator[int]:
    import grpc

    try:
        pair, root = (files.key.read_bytes(), files.certificate.read_bytes()), files.root.read_bytes()
        server = grpc.server(ThreadPoolExecutor(max_workers=1))
        credentials = grpc.ssl_server_credentials([pair], root_certificates=root, require_client_auth=mutual)
        port: int = server.add_secure_port("127.0.0.1:0", credentials)
    except OSError as error:
        raise FederationError("cannot be read", where=error.filename, value=error.strerror) from None
    except (ValueError, RuntimeError):
        where = files.certificate
        raise FederationError("certificate and key cannot serve", where=where, remedy="provision anew") from None
    server.start()
    try:
        yield port
    finally:
        server.stop(grace=None).wait(_TIMEOUT_S)


def _spoken(
    port: int, *, lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> bytes | None:
    """Return a listener's first byte to a client without a certificate; b"": it hangs up; None: no handshake.

    Raises:
        FederationError: this side could not try, which proves nothing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only what the listener accepts is tested here
    try:
        offer(context, lowest=lowest, highest=highest)
        with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S) as plain:
            return first_words(plain, context, host=None)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise FederationError(f"TLS cannot be tried, {reason}", where=f"127.0.0.1:{port}") from None
