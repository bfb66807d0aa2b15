"""The doorkeeper's word, spoken in gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import grpc

from fedward.flare.listener.connection_guard import CallerError, ConnectionGuard, CrowdedError


@contextmanager
def admitted(doorkeeper: ConnectionGuard, context: grpc.ServicerContext) -> Iterator[None]:
    """A call of a peer who may come in; the ``with`` raises, and the call ends, for one who may not.

    It must stand before the first message is read. A call of a certificate that is revoked meanwhile is cancelled.
    """
    try:
        guest = doorkeeper.admit(context.auth_context().get("x509_pem_cert"), cut=context.cancel)
    except CrowdedError as crowded:
        refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(crowded))
    except CallerError as refused:
        refuse(context, grpc.StatusCode.UNAUTHENTICATED, str(refused))
    try:
        yield
    finally:
        doorkeeper.leave(guest)


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, why: str) -> NoReturn:
    """End the call with a reason for the peer."""
    context.abort(code, why)
    raise RuntimeError("a call that was aborted goes on")
