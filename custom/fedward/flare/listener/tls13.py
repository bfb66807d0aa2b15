"""TLS 1.3 only, for gRPC, which has no setting for it: told by its list of ciphers, and proven before anyone listens.

gRPC's ciphers are a setting of TLS 1.2 alone; TLS 1.3 has its own, which stay. FLARE 2.9 makes RSA keys, so a list with
nothing but a cipher for ECDSA keys leaves TLS 1.2 without one, and a client that offers no more than 1.2 is refused.
gRPC reads the list when it is first imported, so it has to be in the environment before.
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
        """Where FLARE puts them."""
        return cls(certificate=startup / "server.crt", key=startup / "server.key", root=startup / "rootCA.pem")


def set_floor() -> None:
    """See to it that gRPC refuses TLS 1.2 in this process.

    Where the environment does not say so yet, it is set and the process begins again, as the same process with the
    same arguments. Nothing must have been started by then.
    """
    if os.environ.get(VARIABLE) == CIPHERS:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {VARIABLE: CIPHERS})


def prove_floor(files: ServerFiles) -> None:
    """Prove, on loopback ports for a moment, that gRPC here takes nothing but TLS 1.3 with a certificate.

    TLS 1.2 is tried where no certificate is asked for: there it is refused for its version, and not for what a
    certificate lacks.

    Raises:
        FederationError: the files cannot serve, or it takes TLS 1.2, or a client without a certificate, or no TLS 1.3.
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
    """What a listener says first to a client without a certificate; b"": it hangs up; None: there is no handshake.

    Raises:
        FederationError: this side could not try, which proves nothing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # what is asked here is what the other side takes
    try:
        offer(context, lowest=lowest, highest=highest)
        with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S) as plain:
            return first_words(plain, context, host=None)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise FederationError(f"TLS cannot be tried, {reason}", where=f"127.0.0.1:{port}") from None
