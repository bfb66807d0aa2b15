"""Put our connection guard before FLARE's gRPC driver; only this module replaces that driver (FLARE 2.9)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from nvflare.apis.fl_constant import ConnectionSecurity
from nvflare.fuel.f3 import communicator
from nvflare.fuel.f3.drivers import grpc_driver
from nvflare.fuel.f3.drivers.driver_params import DriverParams
from nvflare.fuel.f3.drivers.grpc.streamer_pb2_grpc import add_StreamerServicer_to_server
from nvflare.fuel.f3.drivers.grpc.utils import get_grpc_server_credentials
from nvflare.fuel.f3.drivers.grpc_driver import GrpcDriver, Server, Servicer, StreamConnection
from nvflare.fuel.f3.drivers.net_utils import get_address, ssl_required
from nvflare.fuel.utils.log_utils import get_obj_logger

from fedward.errors import FederationError
from fedward.flare.listener.connection_guard import ConnectionGuard
from fedward.flare.listener.health import hello_handler
from fedward.flare.listener.interceptor import admitted

SCHEMES = ("grpc", "grpcs")


def install(doorkeeper: ConnectionGuard) -> None:
    """Make FLARE use the guarded driver for every listener of ``SCHEMES`` that this process opens from now on.

    FLARE fills its table of drivers when the first listener opens, and skips a class whose name it has seen.
    """

    class DoorDriver(_DoorDriver):
        keeper, answering = doorkeeper, hello_handler(doorkeeper)

    grpc_driver.StreamConnection = _DoorConnection
    communicator.driver_mgr.class_cache.add(GrpcDriver.__name__)
    communicator.driver_mgr.drivers |= dict.fromkeys(SCHEMES, DoorDriver)


class _DoorDriver(GrpcDriver):  # type: ignore[misc]
    keeper: ConnectionGuard
    answering: Any

    def listen(self, connector: Any) -> None:
        self.connector = connector
        try:
            self.server = _DoorServer(self, connector)
        except Exception as error:
            self.logger.error(f"cannot listen: {error}")  # FLARE tries again, and does not log it at first
            raise
        self.server.start()


class _DoorServer(Server):  # type: ignore[misc]
    """gRPC server that has no unguarded port.

    FLARE's own constructor is not called: it makes a server with FLARE's own servicer, opens a plain port if TLS is not
    requested, and continues without a port if it cannot open the expected one.
    """

    def __init__(self, driver: _DoorDriver, connector: Any) -> None:
        params = connector.params
        security = params.get(DriverParams.CONNECTION_SECURITY.value, ConnectionSecurity.MTLS)
        if not ssl_required(params) or security != ConnectionSecurity.MTLS:
            raise FederationError(
                "server listens with mutual TLS only", value=security, remedy="provision the server's kit anew"
            )
        self.driver, self.connector, self.logger = driver, connector, get_obj_logger(self)
        pool = ThreadPoolExecutor(max_workers=driver.max_workers, thread_name_prefix="fedward-door")
        self.grpc_server = grpc.server(pool, options=driver.options)
        add_StreamerServicer_to_server(_DoorServicer(self), self.grpc_server)
        self.grpc_server.add_generic_rpc_handlers((driver.answering,))
        address = get_address(params)
        self.grpc_server.add_secure_port(address, server_credentials=get_grpc_server_credentials(params))
        self.logger.info(f"added secure port at {address}")


class _DoorConnection(StreamConnection):  # type: ignore[misc]
    """Connection whose call ends when it is closed; FLARE's keeps its worker until the peer sends another message."""

    def close(self) -> None:
        context = self.context
        super().close()
        if context is not None:
            context.cancel()


class _DoorServicer(Servicer):  # type: ignore[misc]
    def Stream(self, request_iterator: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        with admitted(self.server.driver.keeper, context):
            yield from super().Stream(request_iterator, context)
