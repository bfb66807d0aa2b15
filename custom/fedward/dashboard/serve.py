"""Run the service in this process until Ctrl-C: sockets, TLS, and a clean end."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from fedward.dashboard.access import require_safe
from fedward.dashboard.app import create_app
from fedward.dashboard.store_handle import StoreHandle
from fedward.dashboard.stream import Streams
from fedward.errors import FederationError, SettingsError

HOST, PORT = "127.0.0.1", 8600
_MOST_CONNECTIONS = 256
_END_S = 1


class Service(uvicorn.Server):
    """uvicorn's server that signals when it is ready and ends its streams before it waits for them."""

    def __init__(self, config: uvicorn.Config, *, streams: Streams, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._streams, self._ready = streams, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._streams.stop()
        await super().shutdown(sockets)


def serve(
    store: Path,
    *,
    host: str = HOST,
    port: int = PORT,
    token_file: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    keep_days: float | None = None,
    log: Callable[[str], None] = print,
    begun: Callable[[Service], None] = lambda service: None,
) -> None:
    """Serve the store until Ctrl-C or SIGTERM.

    Args:
        store: path of the store; it need not exist yet.
        host, port: address to listen on; port 0 takes a free one.
        token_file, certificate, key: all three, or none on loopback.
        keep_days: delete jobs whose last event is older; None keeps them.
        log: called with one line, the address, when the service is ready.
        begun: called with the service before it runs, so that the caller can end it.

    Raises:
        SettingsError: other machines could reach it without a token over TLS; then it does not listen.
        FederationError: the address is not available.
    """
    token = require_safe(host, token_file=token_file, certificate=certificate, key=key)
    source = StoreHandle(store)
    streams = Streams(source)
    app = create_app(source, streams, token=token, keep_days=keep_days)
    config = _config(app, certificate=certificate, key=key)
    with _listening(host, port) as listening:
        address = _address(listening, tls=token is not None)
        service = Service(config, streams=streams, ready=lambda: log(f"dashboard {address}"))
        begun(service)
        try:
            service.run(sockets=[listening])
        except KeyboardInterrupt:
            return


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise FederationError(
            "the dashboard cannot listen", where=f"{host}:{port}", value=error.strerror, remedy="give another --port"
        ) from None
    return listening


def _address(listening: socket.socket, *, tls: bool) -> str:
    host, port = listening.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{name}:{port}"


def _config(app: Starlette, *, certificate: Path | None, key: Path | None) -> uvicorn.Config:
    """Return uvicorn's settings, loaded.

    Raises:
        SettingsError: certificate and key do not serve.
    """
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        access_log=False,
        log_level=logging.WARNING,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_END_S,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    try:
        config.load()
    except OSError as error:  # includes ssl.SSLError
        raise SettingsError("certificate and key do not serve", where=certificate, value=error.strerror) from None
    return config
