"""Answer with the server's time and versions, by a gRPC method, for ``fedward.provisioning.network.health``."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import grpc
from pydantic import ValidationError

import fedward
from fedward.flare.listener.connection_guard import ConnectionGuard
from fedward.flare.listener.interceptor import admitted, refuse
from fedward.provisioning.network.health import LARGEST_ASK, LONGEST_CALL_S, METHOD, SERVICE, Answer, Ask
from fedward.provisioning.stamp import package_hash

MOST_AT_ONCE = 4
"""Largest number of hellos at a time, of the server's 100 workers: hellos must not block hospitals."""


def hello_handler(doorkeeper: ConnectionGuard) -> Any:
    """Return the gRPC handler. It reads nothing from a peer that ``doorkeeper`` refuses, and no more than announced."""
    runs = {"fedward": fedward.__version__, "flare": metadata.version("nvflare"), "wheel": package_hash()}
    free = threading.BoundedSemaphore(MOST_AT_ONCE)

    def say(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        with admitted(doorkeeper, context):
            left_s = context.time_remaining()
            if left_s is None or left_s > LONGEST_CALL_S + 1:
                refuse(context, grpc.StatusCode.INVALID_ARGUMENT, f"a hello ends within {LONGEST_CALL_S:.0f} s")
            if not free.acquire(blocking=False):
                refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MOST_AT_ONCE} hellos at once")
            try:
                ask = _read(requests)
                if ask is None:
                    refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "not a hello")
                answer = Answer(time=time.time(), **runs)
                return answer.model_dump_json().encode() + b"\n" + bytes(ask.download)
            finally:
                free.release()

    methods = {METHOD: grpc.stream_unary_rpc_method_handler(say)}
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def _read(requests: Iterator[bytes]) -> Ask | None:
    """Return the request if exactly the announced payload has come, else None; the payload is discarded."""
    head = next(requests, b"")
    try:
        ask = Ask.model_validate(json.loads(head)) if len(head) <= LARGEST_ASK else None
    except (ValueError, ValidationError):
        return None
    if ask is None:
        return None
    come = 0
    for chunk in requests:
        come += len(chunk)
        if come > ask.upload:
            return None
    return ask if come == ask.upload else None
