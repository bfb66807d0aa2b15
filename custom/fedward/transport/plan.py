"""Plan a job's rounds on the slowest hospital's line, or refuse them with the reason."""

from __future__ import annotations

from dataclasses import dataclass

from fedward.errors import JobError
from fedward.settings import JobSpec, Transport
from fedward.transport.timeouts import (
    FLARE_ACK_PROGRESS_S,
    KIT_COMM,
    FlareTimeouts,
    flare_timeouts,
    pieces,
    stream_pause_s,
)

_OVERHEAD = 1.05
"""Bytes on the line for each byte of a message: FLARE's framing, gRPC and TLS, measured as 1.01 to 1.03."""
_ROUND_TRIPS = 6
"""Round trips of a round: task, check, answer, and their acknowledgements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Slowest hospital's line.

    Attributes:
        down_mbit_s, up_mbit_s: to and from the hospital. round_trip_s: longest. stall_s: longest pause.
    """

    down_mbit_s: float
    up_mbit_s: float
    round_trip_s: float = 0.0
    stall_s: float = 0.0

    def through(self, server_mbit_s: float | None, *, sites: int) -> Line:
        """Return the line where all sites transfer at once through the server's own line; None: it is not the limit."""
        share = float("inf") if server_mbit_s is None else server_mbit_s / max(1, sites)
        down, up = min(self.down_mbit_s, share), min(self.up_mbit_s, share)
        return Line(down_mbit_s=down, up_mbit_s=up, round_trip_s=self.round_trip_s, stall_s=self.stall_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """Bytes of a round's two messages for one site: the task with the model, and the answer with the update.

    Attributes:
        in_pieces: True in the clear: FLARE fetches arrays in pieces, and each piece costs a round trip. A sealed
            message is one stream.
    """

    down: int
    up: int
    in_pieces: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportPlan:
    """A round at the slowest hospital, in seconds, and what follows.

    Attributes:
        down_s, up_s: of the two messages. work_s: of training and validation. round_s: of the whole round.
        transport: the table for ``job.toml``. timeouts: what FLARE gets from it.
        kit: entries that the kits' ``local/comm_config.json`` needs; empty: any kit will do.
        warnings: what is possible and unwise, one sentence each.
    """

    down_s: float
    up_s: float
    work_s: float
    round_s: float
    transport: Transport
    timeouts: FlareTimeouts
    kit: dict[str, float]
    warnings: tuple[str, ...]


def plan_transport(job: JobSpec, *, payload: Payload, line: Line, work_s: float) -> TransportPlan:
    """Return the plan of a job's rounds.

    Args:
        payload: from the job's weights and encryption.
        work_s: seconds in which the slowest hospital validates, trains and encrypts in a round.

    Raises:
        JobError: a round does not fit into ``round_timeout_s``, or ``[transport]`` of the job is of a faster line or
            a smaller model; it says which and what to write.
    """
    down_s = _seconds(payload.down, line.down_mbit_s, line, in_pieces=payload.in_pieces)
    up_s = _seconds(payload.up, line.up_mbit_s, line, in_pieces=payload.in_pieces)
    round_s = down_s + work_s + up_s + _ROUND_TRIPS * line.round_trip_s + line.stall_s
    limits = job.federation
    _require_fits(job, payload=payload, line=line, up_s=up_s, round_s=round_s)
    largest, slowest = max(payload.down, payload.up), min(line.down_mbit_s, line.up_mbit_s)
    transport = Transport(
        mbit_s=slowest,
        message_mb=round(largest * _OVERHEAD / 1e6 + 0.0005, 3),
        round_trip_ms=line.round_trip_s * 1000.0,
        stall_s=line.stall_s,
    )
    _require_planned(job, transport)
    pause = stream_pause_s(transport)
    kit: dict[str, float] = dict(KIT_COMM) if pause > FLARE_ACK_PROGRESS_S / 2 else {}
    if pause > KIT_COMM["streaming_ack_progress_timeout"]:
        what = f"a stream is acknowledged every {pause:.0f} s, and no kit waits so long"
        raise JobError(what, where="transport", value=f"{slowest:g} Mbit/s", remedy="find a faster line")
    warnings = []
    if limits.grace_s < down_s + up_s + line.stall_s:
        warnings.append(
            f"grace_s = {limits.grace_s:g} is shorter than the {down_s + up_s:.0f} s of the slowest hospital's "
            "transfers: once min_sites have answered, it may be left out"
        )
    return TransportPlan(
        down_s=down_s,
        up_s=up_s,
        work_s=work_s,
        round_s=round_s,
        transport=transport,
        timeouts=flare_timeouts(transport),
        kit=kit,
        warnings=tuple(warnings),
    )


def _seconds(size: int, mbit_s: float, line: Line, *, in_pieces: bool) -> float:
    trips = pieces(size / 1e6) * line.round_trip_s if in_pieces else line.round_trip_s
    return size * _OVERHEAD * 8.0 / (mbit_s * 1e6) + trips


def _require_fits(job: JobSpec, *, payload: Payload, line: Line, up_s: float, round_s: float) -> None:
    limit = job.federation.round_timeout_s
    if round_s <= limit:
        return
    what = (
        f"at {line.up_mbit_s:g} Mbit/s an update of {payload.up / 1e6:.3g} MB takes {up_s:.0f} s, and a round of the "
        f"slowest hospital {round_s:.0f} s; round_timeout_s = {limit:g}"
    )
    remedy = f"write round_timeout_s = {_rounded(2 * round_s)}, or find a faster line or a smaller network"
    raise JobError(what, where=job.job.name, remedy=remedy)


def _require_planned(job: JobSpec, needed: Transport) -> None:
    """Refuse a job whose own table promises more than the line, or less than the model."""
    given = job.transport
    if given is None:
        return
    short = [
        name
        for name, ok in (
            ("mbit_s", given.mbit_s <= needed.mbit_s),
            ("message_mb", given.message_mb >= needed.message_mb),
            ("round_trip_ms", given.round_trip_ms >= needed.round_trip_ms),
            ("stall_s", given.stall_s >= needed.stall_s),
        )
        if not ok
    ]
    if short:
        wanted = ", ".join(f"{name} = {getattr(needed, name):g}" for name in short)
        remedy = f"write {wanted}"
        raise JobError("[transport] is of another line or model than this", where=job.job.name, remedy=remedy)


def _rounded(seconds: float) -> int:
    """Return seconds for a person to write: rounded up to two digits."""
    step = 10 ** max(0, len(str(int(seconds))) - 2)
    return int(-(-seconds // step) * step)
