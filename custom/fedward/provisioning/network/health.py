"""Send a site's hello to the server: it shows that the kit is admitted, the server's time, and the line's speed.

One gRPC method on the server's one port, with the kit's own certificate: ``/fedward.Hello/Say``. The request is a
stream of messages: first ``Ask`` as JSON, then ``upload`` arbitrary bytes. The answer is one message: JSON in one line,
a newline, and ``download`` arbitrary bytes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from pydantic import Field, ValidationError

from fedward.errors import FederationError
from fedward.hosts import is_loopback
from fedward.provisioning.network.connectivity import Endpoint, reach
from fedward.settings import Settings

SERVICE = "fedward.Hello"
METHOD = "Say"
LARGEST_PAYLOAD = 8 * 2**20
LARGEST_ASK = 1024
CHUNK = 256 * 2**10
LONGEST_CALL_S = 120.0
REVOKED = "certificate revoked"
"""Reason that the server sends to a revoked certificate."""

_ROOM = LARGEST_PAYLOAD + 64 * 2**10


class Ask(Settings):
    """First message of a request: the number of bytes that follow, and the number to send back."""

    upload: int = Field(default=0, ge=0, le=LARGEST_PAYLOAD)
    download: int = Field(default=0, ge=0, le=LARGEST_PAYLOAD)


class Answer(Settings):
    """First line of an answer: the server's clock (Unix seconds) and versions. Nothing about other participants."""

    time: float = Field(gt=0, allow_inf_nan=False)
    fedward: str = Field(max_length=64)
    flare: str = Field(max_length=64)
    wheel: str = Field(pattern=r"^[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Result of a hello.

    Attributes:
        server_time: the server's clock when it answered, in Unix seconds.
        sent_at, received_at: our clock before and after that call.
        fedward, flare: versions that the server runs.
        wheel: hash of the server's package (``fedward.provisioning.stamp.package_hash``).
        upload_bytes_per_s, download_bytes_per_s: None if no payload was requested.
    """

    server_time: float
    sent_at: float
    received_at: float
    fedward: str
    flare: str
    wheel: str
    upload_bytes_per_s: float | None = None
    download_bytes_per_s: float | None = None


def hello(kit: Path, *, timeout_s: float, payload_bytes: int = 0) -> Hello:
    """Send a hello to the server with a site's kit.

    It follows ``https_proxy`` and ``no_proxy`` as gRPC does, except to loopback.

    Args:
        kit: a site's kit; its ``startup/fed_client.json`` names the server, certificate, key and authority.
        timeout_s: for everything together, 120 at most.
        payload_bytes: sent to the server, then requested from it, to measure the line; 8 MiB at most.

    Raises:
        FederationError: it is not a site's kit; the server cannot be reached, is not of this federation, or is not a
            Fedward server; it refuses this kit's certificate; or its answer is late or invalid.
    """
    if not 0 <= payload_bytes <= LARGEST_PAYLOAD or not 0 < timeout_s <= LONGEST_CALL_S:
        raise FederationError("a hello is of 0 bytes to 8 MiB, and of 0 s to 120 s", value=(payload_bytes, timeout_s))
    end = time.monotonic() + timeout_s
    endpoint = Endpoint.of(kit)
    reach(endpoint, timeout_s=timeout_s)
    with _channel(endpoint) as channel:
        call = channel.stream_unary(f"/{SERVICE}/{METHOD}")

        def say(ask: Ask) -> tuple[Answer, float]:
            return _say(call, ask, endpoint, end)

        say(Ask())  # this makes the connection, so that the times below exclude it
        sent_at = time.time()
        answer, round_trip_s = say(Ask())
        received_at = time.time()
        up_s = down_s = None
        if payload_bytes:
            up_s = say(Ask(upload=payload_bytes))[1] - round_trip_s
            down_s = say(Ask(download=payload_bytes))[1] - round_trip_s
    return Hello(
        server_time=answer.time,
        sent_at=sent_at,
        received_at=received_at,
        fedward=answer.fedward,
        flare=answer.flare,
        wheel=answer.wheel,
        upload_bytes_per_s=_rate(payload_bytes, up_s),
        download_bytes_per_s=_rate(payload_bytes, down_s),
    )


def _channel(endpoint: Endpoint) -> grpc.Channel:
    options = [
        ("grpc.max_receive_message_length", _ROOM),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0 if is_loopback(endpoint.host) else 1),
    ]
    root, certificate, key = endpoint.credentials()
    credentials = grpc.ssl_channel_credentials(root, private_key=key, certificate_chain=certificate)
    return grpc.secure_channel(endpoint.address, credentials, options=options)


def _say(call: Any, ask: Ask, endpoint: Endpoint, end: float) -> tuple[Answer, float]:
    """Return the answer, and the seconds that it took; ``end`` is on the monotonic clock."""
    start = time.monotonic()
    try:
        reply = call(_messages(ask), timeout=max(end - start, 0.001))
    except grpc.RpcError as error:
        raise _refusal(error, endpoint) from None
    return _parse(reply, ask, endpoint), time.monotonic() - start


def _rate(payload_bytes: int, seconds: float | None) -> float | None:
    """Return bytes per second; less than a millisecond counts as one millisecond."""
    return None if seconds is None else payload_bytes / max(seconds, 1e-3)


def _messages(ask: Ask) -> Iterator[bytes]:
    yield ask.model_dump_json().encode()
    for start in range(0, ask.upload, CHUNK):
        yield bytes(min(CHUNK, ask.upload - start))


def _parse(reply: bytes, ask: Ask, endpoint: Endpoint) -> Answer:
    head, _, payload = reply.partition(b"\n")
    try:
        answer = Answer.model_validate(json.loads(head[:LARGEST_ASK]))
    except (ValueError, ValidationError):
        answer = None
    if answer is None or len(payload) != ask.download or not math.isfinite(answer.time):
        raise FederationError("server's hello cannot be read", where=endpoint.address, remedy=_OTHER_VERSION)
    return answer


_OTHER_VERSION = "let the operator check that host and port are a Fedward server's, of this version"


def _refusal(error: Any, endpoint: Endpoint) -> FederationError:
    """Return an error in one line for gRPC's; ``error`` is an ``RpcError``, whose methods gRPC does not declare."""
    code, details = error.code(), " ".join(str(error.details()).split())[:200]
    where = endpoint.address
    if code is grpc.StatusCode.UNAUTHENTICATED:
        remedy = "ask the operator whether this hospital was revoked or renewed, and for a new kit"
        return FederationError(f"server refuses this kit, {details}", where=where, remedy=remedy)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return FederationError("is not a Fedward server", where=where, remedy=_OTHER_VERSION)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return FederationError("server does not answer in time", where=where, remedy="try again; check the line")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return FederationError(f"server is busy, {details}", where=where, remedy="try again in a minute")
    return FederationError(f"connection is lost, {details}", where=where, remedy="check what stands between")
