"""Find where and why a site's connection to its server fails: name, port, proxy, TLS 1.3, certificates."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from fedward.errors import FederationError
from fedward.hosts import is_loopback

_KIT = "give the folder of a site's kit, the one with startup/fed_client.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Address of a site's server, and the files that the site presents to it.

    Attributes:
        host, port: as in the kit.
        root, certificate, key: files of the kit, in PEM.
    """

    host: str
    port: int
    root: Path
    certificate: Path
    key: Path

    @property
    def address(self) -> str:
        """Address as ``host:port``."""
        return f"{self.host}:{self.port}"

    @classmethod
    def of(cls, kit: Path) -> Endpoint:
        """Read it from a site's kit.

        Raises:
            FederationError: it is not a site's kit, or its server has no host and port.
        """
        startup = kit / "startup"
        path = startup / "fed_client.json"
        try:
            content = json.loads(path.read_bytes())
            host, _, port = content["servers"][0]["service"]["target"].rpartition(":")
            client = content["client"]
            names = [client[name] for name in ("ssl_root_cert", "ssl_cert", "ssl_private_key")]
            root, certificate, key = (startup / Path(name).name for name in names)
            endpoint = cls(host=host, port=int(port), root=root, certificate=certificate, key=key)
        except OSError as error:
            raise FederationError("not a site's kit", where=path, value=error.strerror, remedy=_KIT) from None
        except (ValueError, LookupError, TypeError, AttributeError):
            raise FederationError("does not say where the server is", where=path, remedy=_KIT) from None
        if not host or not 0 < endpoint.port < 2**16:
            raise FederationError("does not say where the server is", where=path, remedy=_KIT)
        return endpoint

    @classmethod
    def of_person(cls, kit: Path) -> Endpoint:
        """Read it from a person's kit.

        Raises:
            FederationError: it is not a person's kit, or its server has no host and port.
        """
        startup, remedy = kit / "startup", "give the folder of a person's kit, the one with startup/fed_admin.json"
        path = startup / "fed_admin.json"
        try:
            admin = json.loads(path.read_bytes())["admin"]
            files = (startup / Path(admin[name]).name for name in ("ca_cert", "client_cert", "client_key"))
            root, certificate, key = files
            host, port = str(admin["host"]), int(admin["port"])
        except OSError as error:
            raise FederationError("not a person's kit", where=path, value=error.strerror, remedy=remedy) from None
        except (ValueError, LookupError, TypeError, AttributeError):
            raise FederationError("does not say where the server is", where=path, remedy=remedy) from None
        if not host or not 0 < port < 2**16:
            raise FederationError("does not say where the server is", where=path, remedy=remedy)
        return cls(host=host, port=port, root=root, certificate=certificate, key=key)

    def credentials(self) -> tuple[bytes, bytes, bytes]:
        """Return the authority's certificate, the site's certificate and the site's private key.

        Raises:
            FederationError: a file cannot be read.
        """
        try:
            return self.root.read_bytes(), self.certificate.read_bytes(), self.key.read_bytes()
        except OSError as error:
            where = error.filename or self.root.parent
            raise FederationError("cannot be read", where=where, value=error.strerror, remedy=_KIT) from None


def proxy_of(host: str) -> SplitResult | None:
    """Return the HTTP proxy for a host, from the environment as gRPC reads it; loopback has none."""
    url = _first("grpc_proxy", "https_proxy", "http_proxy")
    spared = _first("no_grpc_proxy", "no_proxy")
    if not url or is_loopback(host.rstrip(".").lower()) or _spared(host, spared):
        return None
    return urlsplit(url if "://" in url else f"http://{url}")


def _first(*names: str) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def _spared(host: str, names: str) -> bool:
    """True if ``no_proxy`` names the host, or a domain that it is in."""
    ends = [name.strip().lower() for name in names.split(",")]
    return any(end and host.lower().endswith(end) for end in ends)


def reach(endpoint: Endpoint, *, timeout_s: float) -> None:
    """Connect as far as gRPC would before its first call, and close again.

    Raises:
        FederationError: the connection fails; the error names the step and the reason.
    """
    context = _context(endpoint)
    end = time.monotonic() + timeout_s
    with _connect(endpoint, timeout_s) as plain:
        plain.settimeout(max(end - time.monotonic(), 0.001))
        try:
            secured = context.wrap_socket(plain, server_hostname=endpoint.host)
        except (OSError, ValueError) as error:
            raise _no_tls(error, endpoint) from None
        with secured:
            _await_settings(secured, endpoint)


HUNG_UP = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)
"""Errors that show that the other side hung up, by version of Python and OpenSSL."""


def goes_on(endpoint: Endpoint, *, highest: ssl.TLSVersion, certificate: bool, timeout_s: float) -> bool:
    """True if the server continues with a client that offers no newer TLS than this, with a certificate or without.

    Args:
        endpoint: the server, and the certificate to present.
        highest: newest version that is offered; the oldest is any that this machine still has.
        certificate: true: present the kit's.
        timeout_s: for the connection, and again for the server's first byte.

    Raises:
        FederationError: this side could not try, which proves nothing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(endpoint.root)
        if certificate:
            context.load_cert_chain(endpoint.certificate, endpoint.key, password="")
        offer(context, lowest=ssl.TLSVersion.MINIMUM_SUPPORTED, highest=highest)
    except (OSError, ValueError):
        raise FederationError("certificate and key cannot be used", where=endpoint.certificate.parent) from None
    try:
        with _connect(endpoint, timeout_s) as plain:
            plain.settimeout(timeout_s)
            return bool(first_words(plain, context, host=endpoint.host))
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):  # sent by the server
            return False
        raise FederationError(f"TLS cannot be tried, {error.reason}", where=endpoint.address) from None
    except OSError as error:
        raise FederationError(f"TLS cannot be tried, {type(error).__name__}", where=endpoint.address) from None


def offer(context: ssl.SSLContext, *, lowest: ssl.TLSVersion, highest: ssl.TLSVersion) -> None:
    """Make a client's context offer these versions, with every available cipher, and HTTP/2 as gRPC does."""
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = lowest, highest
    context.set_alpn_protocols(["h2"])


def first_words(plain: socket.socket, context: ssl.SSLContext, *, host: str | None) -> bytes | None:
    """Return a server's first byte; b"": it hangs up; None: there is no handshake.

    Raises:
        OSError: any other failure of the connection.
    """
    try:
        secured = context.wrap_socket(plain, server_hostname=host)
    except HUNG_UP:
        return None
    with secured:
        try:
            return secured.recv(1)
        except HUNG_UP:
            return b""


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    endpoint.credentials()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(endpoint.root)
        context.load_cert_chain(endpoint.certificate, endpoint.key, password="")
    except (OSError, ValueError):  # an SSLError is an OSError
        what = "certificate and key of the kit cannot be used, or do not belong together"
        raise FederationError(
            what, where=endpoint.certificate.parent, remedy="ask the operator for a new kit"
        ) from None
    return context


def _connect(endpoint: Endpoint, timeout_s: float) -> socket.socket:
    proxy = proxy_of(endpoint.host)
    host, port = (endpoint.host, endpoint.port) if proxy is None else (proxy.hostname or "", proxy.port or 80)
    where = endpoint.address if proxy is None else f"proxy {host}:{port}"
    try:
        if proxy is None:
            return socket.create_connection((host, port), timeout=timeout_s)
        return tunnel(endpoint, proxy, timeout_s=timeout_s)
    except socket.gaierror:
        remedy = "check the host in the kit, and this machine's DNS"
        raise FederationError("host name is not known here", where=where, remedy=remedy) from None
    except ConnectionRefusedError:
        remedy = "check that the server runs and that this is its port"
        raise FederationError("connection is refused", where=where, remedy=remedy) from None
    except TimeoutError:
        raise FederationError("no answer", where=where, remedy="let the firewall allow outbound TCP to it") from None
    except (OSError, http.client.HTTPException) as error:
        raise FederationError(f"cannot be reached, {error}", where=where, remedy="check network and proxy") from None


def tunnel(endpoint: Endpoint, proxy: SplitResult, *, timeout_s: float) -> socket.socket:
    """Connect to the server through an HTTP proxy (CONNECT, RFC 9110 §9.3.6), with the login in the proxy's URL.

    Raises:
        OSError, HTTPException: the proxy is absent, or refuses the connection.
    """
    headers = {}
    if proxy.username is not None:
        user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    connection = http.client.HTTPConnection(proxy.hostname or "", proxy.port or 80, timeout=timeout_s)
    connection.set_tunnel(endpoint.host, endpoint.port, headers)
    try:
        connection.connect()
    except BaseException:
        connection.close()
        raise
    return connection.sock


def _no_tls(error: Exception, endpoint: Endpoint) -> FederationError:
    where = endpoint.address
    if isinstance(error, ssl.SSLCertVerificationError):
        remedy = "check this machine's clock, and that the kit is this federation's newest"
        return FederationError(f"server's certificate is refused, {error.verify_message}", where=where, remedy=remedy)
    if isinstance(error, TimeoutError):
        return FederationError("no TLS answer", where=where, remedy="check that a Fedward server listens there")
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
    remedy = "check host and port, and that nothing in between opens TLS"
    return FederationError(f"no TLS 1.3 there, {str(reason).replace('_', ' ').lower()}", where=where, remedy=remedy)


def _await_settings(secured: ssl.SSLSocket, endpoint: Endpoint) -> None:
    """Wait for the server's first byte: in TLS 1.3 only this shows that the server accepts the client's certificate."""
    where = endpoint.address
    if secured.selected_alpn_protocol() != "h2":
        raise FederationError("is not a Fedward server", where=where, remedy="check host and port in the kit")
    try:
        first = secured.recv(1)
    except TimeoutError:
        raise FederationError("no answer after TLS", where=where, remedy="check what stands between") from None
    except OSError:
        first = b""
    if not first:
        raise FederationError(
            "server refuses this kit's certificate: not valid by the server's clock, or not of its federation",
            where=where,
            remedy="ask the operator to look at the server's clock, and for a renewed kit",
        )
