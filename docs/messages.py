"""Write ``docs/messages.md`` from the code: every message that a cell of the federation answers, and what it does not.

    python docs/messages.py

``FLARE_REGISTERS`` and the lists after it are what NVIDIA FLARE 2.9.0 registers. A test reads the same off running
processes and off FLARE's own tables, and fails when a version registers one more.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from fedward.flare.listener.connection_guard import MOST_CALLS
from fedward.flare.messages.allowed import REQUESTS, STREAMS, Party, serves
from fedward.flare.messages.header_forms import LONGEST_TEXT
from fedward.flare.messages.silent_connections import HANDSHAKE_S
from fedward.flare.messages.site_requests import SERVED
from fedward.flare.messages.stream_guard import LARGEST_FRAME, MOST_AHEAD, MOST_FIGURES
from fedward.flare.messages.stream_slots import (
    ALWAYS,
    KEPT_S,
    MOST_KEPT,
    MOST_OF_A_CELL,
    MOST_OF_A_PARTICIPANT,
    MOST_TOGETHER,
    STALL_S,
)
from fedward.flare.payload_types import TYPES

_TOP = """# Messages

Nothing here is to be set up: it is for who reviews the door, or asks what a line `refused: …` in a log means. Such a
line with the name of a participant whom you know is worth a call to them; the door has already done the rest.

Written from the code by `make reference`. FLARE runs one *cell* a process: the server's and each site's parent, one of
each for a job, and a person's console. A message that is not on the first list is dropped before FLARE reads it, in
every process, whoever sent it; nothing is passed on between two participants. The code is
[`flare/messages/rules.py`](../custom/fedward/flare/messages/rules.py); [the threat model](threat-model.md) says what it
is for.
"""
_BACK = """
An answer goes the same way back. Two jobs, or two sites, have nothing to say to each other. A *pod transfer* is how a
job's pod fetches its folder from its own site.
"""
PAGE = Path(__file__).with_name("messages.md")
_NET = (
    *("bulk_item", "bulk_test", "cells", "change_root", "comm_config", "config_vars", "conns", "echo", "heartbeat"),
    *("list_pools", "msg_stats", "peers", "process_info", "route", "show_pool", "speed", "start_route", "stop"),
    *("stop_cell", "stress", "url_use"),
)
_EVERY = (
    *(("_net_manager", topic) for topic in _NET),
    ("aux_communication", "*"),
    ("cellnet.channel", "bulk"),
    ("cellnet.channel", "bye"),
    ("credential_manager", "key_exchange"),
    ("return_only", "*"),
    ("sm__STREAM", "sm__ACK"),
    ("sm__STREAM", "sm__DATA"),
    ("sm__STREAM", "sm__ERROR"),
)
_DOWNLOADS = (
    ("download_service__", "download_service__download"),
    ("download_service__", "download_service__source_failure"),
)
_TASKS = (("server_command", "get_task"), ("server_command", "submit_update"))
_OWN = {
    Party.SERVER: (
        *(("task", topic) for topic in ("challenge", "register", "heart_beat", "report_job_failure", "quit")),
        ("hci_channel", "*"),
        ("server_parent_listener", "*"),
    ),
    Party.SERVER_JOB: (("server_command", "*"),),
    Party.SITE: (("admin", "*"), *_TASKS),
    Party.SITE_JOB: (("client_command", "*"), *_TASKS),
}
FLARE_REGISTERS = tuple((party, *one) for party, own in _OWN.items() for one in (*_EVERY, *own))
"""(party, channel, topic) of every request handler; ``*`` is every topic of the channel."""
ON_DEMAND = tuple((party, *one) for party in _OWN for one in _DOWNLOADS)
"""The same, registered with the first large payload that a cell sends."""
FLARE_SERVES = (
    *("info.reset_errors", "info.show_errors", "info.show_stats", "resource_manager.report_resources"),
    *("scheduler.cancel_resource", "scheduler.check_resource", "sys.configure_site_log", "sys.info", "sys.report_env"),
    *("sys.report_version", "sys.shell", "train.abort", "train.abort_task", "train.check_status"),
    *("train.configure_job_log", "train.delete_run", "train.deploy", "train.get_scopes", "train.notify_job_status"),
    *("train.restart", "train.shutdown", "train.start_job"),
)
"""Topic of every request that FLARE's site agent has a processor for."""
FLARE_COMMANDS = (
    *("abort", "abort_task", "check_status", "configure_job_log", "reset_errors", "show_errors", "show_stats"),
    "shutdown",
)
"""Every command that FLARE's process of a job takes from its parent."""


def messages() -> str:
    """The whole page."""
    return "\n".join([_TOP, *_sent(), *_registered(), *_requests(), *_payloads(), *_bounds()]) + "\n"


def _sent() -> Iterator[str]:
    yield from ("## What may be sent", "", "| from | to | as | channel | topics |", "|---|---|---|---|---|")
    for kind, table in (("a message", REQUESTS), ("a stream", STREAMS)):
        for (sender, receiver), topics in table.items():
            for channel in sorted({channel for channel, _ in topics}):
                named = ", ".join(f"`{topic}`" for one, topic in sorted(topics) if one == channel)
                yield f"| {sender} | {receiver} | {kind} | `{channel}` | {named} |"
    yield _BACK


def _registered() -> Iterator[str]:
    yield from ("## What FLARE 2.9.0 listens to", "", "| cell | channel | topic | |", "|---|---|---|---|")
    rows = sorted({*FLARE_REGISTERS, *ON_DEMAND})
    for (party, channel), group in groupby(rows, key=lambda row: row[:2]):
        topics = [topic for _, _, topic in group]
        for answered in (True, False):
            named = ", ".join(f"`{topic}`" for topic in topics if serves(party, channel, topic) is answered)
            if named:
                yield f"| {party} | `{channel}` | {named} | {'answered' if answered else 'not registered'} |"
    yield ""


def _requests() -> Iterator[str]:
    yield from (
        "## Requests to a site's parent process",
        "",
        "They come on channel `admin`. Each is made anew from the parts that its topic has.",
        "",
        "| topic | |",
        "|---|---|",
    )
    for topic in FLARE_SERVES:
        served = SERVED.get(topic)
        if served is None:
            yield f"| `{topic}` | not registered |"
        else:
            sender = "its own job's process" if served.own_job else "the server"
            right = f", for a person with the right `{served.right}` at this site" if served.right else ""
            yield f"| `{topic}` | from {sender}{right} |"
    listed = ", ".join(f"`{command}`" for command in FLARE_COMMANDS if command != "abort")
    yield from ("", f"A job's process takes `abort` from its parent. Not registered: {listed}.", "")


def _payloads() -> Iterator[str]:
    yield from (
        "## Classes in a payload",
        "",
        "Besides numbers, words, bytes, lists and tables. Each is rebuilt by one class of FLARE's alone; a payload",
        "holds no file, and refers to no array but at its sender's.",
        "",
    )
    yield from (f"- `{name}`" for name in sorted(TYPES))
    yield ""


def _bounds() -> Iterator[str]:
    yield from (
        "## Bounds",
        "",
        "FLARE runs the handlers of a process on 64 threads, and the server's gRPC has 100 workers, which all senders",
        "share. What is beyond a bound is dropped or ended, and the log says so once. No sender can set one.",
        "",
        "| what | at most |",
        "|---|---|",
    )
    mebibytes = LARGEST_FRAME // 2**20
    rows = (
        ("open streams of a cell; a stream is open until its handler is done", MOST_OF_A_CELL),
        ("open streams of all cells that share a certificate", MOST_OF_A_PARTICIPANT),
        (f"open streams of all, beyond which each participant has {ALWAYS} at most", MOST_TOGETHER),
        ("time without a further frame, after which a stream ends", f"{STALL_S:.0f} s"),
        ("frames that wait for the one that is due", MOST_AHEAD),
        ("streams of a sender that are remembered when they have ended", f"{MOST_KEPT}, for {KEPT_S:.0f} s"),
        ("a frame", f"{mebibytes} MiB"),
        (
            "open calls to the server of one participant: a site's parent process and its jobs, or a person's consoles",
            MOST_CALLS,
        ),
        ("time without a name, after which a connection ends", f"{HANDSHAKE_S:.0f} s"),
        ("letters of why something failed that FLARE has for its log", LONGEST_TEXT),
        ("figures that FLARE keeps of one kind", MOST_FIGURES),
    )
    yield from (f"| {what} | {most} |" for what, most in rows)
    yield from (
        "",
        "A job's process has two or three streams open in each direction, a console one or two; an update is one,",
        "whatever its size. Streams end with their connection, but for those that FLARE sends again.",
    )


if __name__ == "__main__":
    PAGE.write_text(messages(), encoding="utf-8")
