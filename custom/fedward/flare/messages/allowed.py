"""List the allowed messages: the channels and topics on which one kind of cell may send to another.

The list is closed. It was recorded in an ordinary federation: plain and encrypted jobs, and one with a large start,
which the server streams; a console that submits, follows, aborts and downloads; hospitals that join and leave.
``docs/messages.md`` is written from it. Pure: no nvflare, no state.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Party(StrEnum):
    """Kinds of cells in a federation. FLARE runs one cell per process; a console is a person's."""

    SERVER = "server"
    SERVER_JOB = "server job"
    SITE = "site"
    SITE_JOB = "site job"
    CONSOLE = "console"
    TRANSFER = "pod transfer"


Pair = tuple[Party, Party]
Topics = frozenset[tuple[str, str]]

_BYE = ("cellnet.channel", "bye")
_DOWNLOAD = ("download_service__", "download_service__download")
_FAILED_DOWNLOAD = ("download_service__", "download_service__source_failure")
_OBJECTS = {("aux_communication", "ObjectStreamer.Request"), ("aux_communication", "ObjectStreamer.Abort")}
_TRANSFER = {("workspace_transfer", "prepare_download"), ("workspace_transfer", "publish_results")}

REQUESTS: Mapping[Pair, Topics] = {
    (Party.SITE, Party.SERVER): frozenset(
        {("task", topic) for topic in ("challenge", "register", "heart_beat", "report_job_failure", "quit")} | {_BYE}
    ),
    (Party.CONSOLE, Party.SERVER): frozenset({("task", topic) for topic in ("challenge", "register", "quit")} | {_BYE}),
    (Party.SERVER, Party.SITE): frozenset({("admin", "admin"), _BYE}),
    (Party.SERVER, Party.CONSOLE): frozenset({_BYE}),
    (Party.SERVER_JOB, Party.SERVER): frozenset(
        {("server_parent_listener", topic) for topic in ("get_clients", "heartbeat", "update_run_status")} | {_BYE}
    ),
    (Party.SERVER, Party.SERVER_JOB): frozenset({_BYE}),
    (Party.SITE_JOB, Party.SITE): frozenset({("admin", "train.notify_job_status"), _BYE}),
    (Party.SITE, Party.SITE_JOB): frozenset({("client_command", "abort"), _BYE}),
    (Party.SITE_JOB, Party.SERVER): frozenset({_BYE}),
    (Party.SERVER, Party.SITE_JOB): frozenset({_BYE}),
    (Party.TRANSFER, Party.SITE): frozenset({_BYE}),
    (Party.SITE, Party.TRANSFER): frozenset({_BYE}),
}
"""Requests that are sent as one message: (origin, destination) -> channel and topic."""

STREAMS: Mapping[Pair, Topics] = {
    (Party.CONSOLE, Party.SERVER): frozenset({("hci_channel", "command"), _DOWNLOAD, *_OBJECTS}),
    (Party.SERVER, Party.CONSOLE): frozenset({("hci_channel", "SESSION_EXPIRED"), _DOWNLOAD, *_OBJECTS}),
    (Party.SITE_JOB, Party.SERVER_JOB): frozenset(
        {("server_command", topic) for topic in ("get_task", "submit_update")}
        | {("aux_communication", topic) for topic in ("__sync_runner__", "__task_check__", "__job_heartbeat__")}
        | {_DOWNLOAD, _FAILED_DOWNLOAD}
    ),
    (Party.SERVER_JOB, Party.SITE_JOB): frozenset({("aux_communication", "__end_run__"), _DOWNLOAD, _FAILED_DOWNLOAD}),
    (Party.SERVER, Party.SERVER_JOB): frozenset(
        {("server_command", topic) for topic in ("abort", "get_run_info", "show_stats", "handle_dead_job")}
    ),
    (Party.SERVER, Party.SITE): frozenset({("admin", "admin")}),
    (Party.TRANSFER, Party.SITE): frozenset({_DOWNLOAD, *_TRANSFER}),
    (Party.SITE, Party.TRANSFER): frozenset({_DOWNLOAD}),
}
"""Requests that are sent as a stream of messages: (origin, destination) -> channel and topic."""

STREAM = "sm__STREAM"
RETURN_ONLY = "return_only"
"""Channel of a stream that answers another; its topic is the other's channel and topic, joined by a colon."""


def serves(party: Party, channel: str, topic: str) -> bool:
    """True if a cell of that kind answers a channel and topic, for any sender; ``*`` is any topic of a channel."""
    if channel == STREAM or (channel, topic) == (RETURN_ONLY, "*"):
        return True
    tables = (REQUESTS, STREAMS)
    listed = {message for table in tables for (_, to), topics in table.items() if to is party for message in topics}
    return any(channel == known and topic in ("*", what) for known, what in listed)
