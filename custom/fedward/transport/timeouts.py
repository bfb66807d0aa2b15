"""Turn a job's ``[transport]`` into one coherent set of FLARE's time-outs.

FLARE 2.9 reads these from the job's ``config_fed_client.json`` and ``config_fed_server.json`` (``ConfigService``,
section ``application_config``), so a job may set them:

=================================  =======  ===========================================================================
name                               at least what has to fit into it
=================================  =======  ===========================================================================
``submit_task_result_timeout``     300 s    a whole update in the clear: the server fetches its arrays before it answers
``get_task_timeout``               10 s     a pause while a task arrives
``np_streaming_per_request_timeout`` 10 s   a pause within one piece of an array (2 MB)
``np_min_download_timeout``        600 s    a pause while arrays are fetched, and the whole message before that
``task_check_timeout``             5 s      a round trip, before an update is sent
``runner_sync_timeout``            2 s      a round trip, at the job's start
``max_runner_sync_timeout``        600 s    the tries of it
``dead_client_grace_period``       60 s     server: a pause of a site that is not gone
=================================  =======  ===========================================================================

The second column is FLARE's own value, but for the three of ``IDLE_S`` and ``SYNC_S``: with FLARE's 300, 600 and 60 s
a site waits for minutes for a server's process that was killed. The rest belongs to the kit and is the same for every
job: the streams below the messages (``KIT_COMM``, ``local/comm_config.json``), ``communication_timeout``
(``fed_client.json``, 300 s) and ``heart_beat_timeout`` (``fed_server.json``, 600 s).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fedward.settings.transport import MOST_S, Transport

FACTOR = 2.0
"""Time-outs are so many times the time that is expected: other traffic uses the line too."""
CHUNK_MB = 2.0
"""MB of one piece of an array, and more than one piece of a stream (FLARE: 2 MB and 1 MB)."""
IDLE_S = 10.0
"""Seconds without a byte after which a job's process asks again, if the job has no ``[transport]``."""
SYNC_S = 600.0
"""Seconds that a site's job process tries to find the server's."""
_ROUND_TRIPS = 4.0
_SYNC_TRIES = 10.0
KIT_ACK_MB = 4.2
"""MB after which a stream's receiver acknowledges (FLARE's ``streaming_ack_interval``)."""
KIT_COMM: Mapping[str, float] = {
    "streaming_ack_progress_timeout": 600.0,
    "streaming_ack_wait": 900,
    "streaming_read_timeout": 900,
}
"""``local/comm_config.json`` of a kit: a stream survives a pause of ten minutes; FLARE's own are 60, 300 and 300 s."""
FLARE_ACK_PROGRESS_S = 60.0
"""FLARE's own ``streaming_ack_progress_timeout``: a kit without ``KIT_COMM`` has it."""


@dataclass(frozen=True, slots=True)
class FlareTimeouts:
    """Top-level entries of a job's two files, in seconds."""

    client: Mapping[str, float]
    server: Mapping[str, float]


def flare_timeouts(transport: Transport | None) -> FlareTimeouts:
    """Return the time-outs of a job; none where it has no ``[transport]``. The same table gives the same numbers."""
    if transport is None:
        return FlareTimeouts({}, {})
    trip_s = transport.round_trip_ms / 1000.0
    trips_s = (pieces(transport.message_mb) + _ROUND_TRIPS) * trip_s
    whole = FACTOR * (transport.transfer_s + transport.stall_s + trips_s)
    pause = FACTOR * (transport.stall_s + CHUNK_MB * 8.0 / transport.mbit_s) + _ROUND_TRIPS * trip_s
    answer = _ROUND_TRIPS * trip_s + transport.stall_s
    arrays = {
        "np_streaming_per_request_timeout": _at_least(IDLE_S, pause),
        "np_min_download_timeout": _at_least(600.0, whole),
    }
    sync = _at_least(2.0, answer)
    client = {
        "get_task_timeout": _at_least(IDLE_S, pause),
        "submit_task_result_timeout": _at_least(300.0, whole),
        **arrays,
        "task_check_timeout": _at_least(5.0, answer),
        "runner_sync_timeout": sync,
        "max_runner_sync_timeout": _at_least(SYNC_S, _SYNC_TRIES * sync),
    }
    server = {**arrays, "dead_client_grace_period": _at_least(60.0, FACTOR * transport.stall_s)}
    return FlareTimeouts(client, server)


def pieces(message_mb: float) -> int:
    """Return the number of pieces in which FLARE fetches a message's arrays, one after the other."""
    return max(1, math.ceil(message_mb / CHUNK_MB))


def stream_pause_s(transport: Transport) -> float:
    """Return the longest time between two acknowledgements of a stream, in seconds; the kit's time-out is above it."""
    return (
        min(KIT_ACK_MB, transport.message_mb) * 8.0 / transport.mbit_s
        + transport.stall_s
        + transport.round_trip_ms / 1000.0
    )


def _at_least(flares: float, needed: float) -> float:
    return float(min(max(flares, math.ceil(needed)), MOST_S))
