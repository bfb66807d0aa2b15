"""Apply the connection guard's decision to a gRPC call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import grpc

from fedward.flare.listener.connection_guard import CallerError, ConnectionGuard, CrowdedError


@contextmanager
def admitted(doorkeeper: ConnectionGuard, context: grpc.ServicerContext) -> Iterator[None]:
    """Admit a call; for a peer that is refused, the ``with`` raises and the call ends.

    Use it before the first message is read. If the certificate is revoked meanwhile, the call is cancelled.
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
