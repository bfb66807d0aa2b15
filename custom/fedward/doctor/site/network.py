"""Check the connection to the server: its name, its port, and that each end accepts the other's certificate."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator, Mapping
from typing import Protocol
from urllib.parse import SplitResult

from fedward.doctor.context import Limits
from fedward.doctor.findings import Finding, Voice
from fedward.errors import FederationError
from fedward.provisioning.network.connectivity import Endpoint, proxy_of, reach, tunnel


class Far(Protocol):
    """Subject that has a server to reach."""

    @property
    def server(self) -> Endpoint:
        """Address of the server."""

    @property
    def limits(self) -> Limits:
        """Time limits."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables of the process."""


_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
_PROVISIONED = "the operator knows the server's name and port, which stand in startup/fed_client.json"


def dns(case: Far) -> Iterator[Finding]:
    """Check that the server's host, or the proxy's, has an address."""
    say, proxy = Voice("dns"), proxy_of(case.server.host)
    host = case.server.host if proxy is None else proxy.hostname or ""
    yield from _unread_proxy(say, case.environment)
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        of = "server" if proxy is None else "proxy"
        remedy = f"let this machine's name server know {host}, or have the name corrected: {_PROVISIONED}"
        yield say.failed(f"{of}'s name has no address here", where=host, remedy=remedy)
        return
    addresses = sorted({str(entry[4][0]) for entry in found})
    left = "" if proxy is None else f"; the proxy looks for {case.server.host}"
    yield say.passed(f"has an address{left}", where=host, value=", ".join(addresses))


def port(case: Far) -> Iterator[Finding]:
    """Check that the server's port accepts a connection, direct or through the proxy (CONNECT, RFC 9110 §9.3.6)."""
    say, server, proxy = Voice("port"), case.server, proxy_of(case.server.host)
    way = "straight" if proxy is None else f"through the proxy {proxy.hostname}:{proxy.port or 80}"
    remedy = (
        f"let outbound TCP to {server.address} through the firewall; ask the operator whether the server runs there"
    )
    if proxy is not None:
        remedy = f"ask who runs the proxy to let CONNECT {server.address} through, or put the host into no_proxy"
    try:
        _knock(server, proxy, timeout_s=case.limits.answer_s)
    except TimeoutError:
        reason = f"no answer in {case.limits.answer_s:g} s"
        yield say.failed(f"cannot be reached {way}", where=server.address, value=reason, remedy=remedy)
    except (OSError, http.client.HTTPException) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        yield say.failed(f"cannot be reached {way}", where=server.address, value=reason, remedy=remedy)
    else:
        yield say.passed(f"takes connections, {way}", where=server.address)


def tls(case: Far) -> Iterator[Finding]:
    """Check that both ends accept each other's certificate, over TLS 1.3."""
    say, server = Voice("tls"), case.server
    try:
        reach(server, timeout_s=case.limits.answer_s)
    except FederationError as error:
        remedy = "ask the operator whether this kit is of this federation, and still good"
        yield say.refused(error, remedy=remedy)
        return
    yield say.passed("each takes the other's certificate", where=server.address, value="TLS 1.3")


def _unread_proxy(say: Voice, environment: Mapping[str, str]) -> Iterator[Finding]:
    for name in _PROXIES:
        if environment.get(name.upper()) and not environment.get(name):
            remedy = f"set {name} as well, in the service's unit too, if the server is behind the proxy; else unset it"
            yield say.warned("gRPC reads proxies in lower case alone", where=name.upper(), remedy=remedy)


def _knock(server: Endpoint, proxy: SplitResult | None, *, timeout_s: float) -> None:
    if proxy is None:
        socket.create_connection((server.host, server.port), timeout=timeout_s).close()
        return
    tunnel(server, proxy, timeout_s=timeout_s).close()
