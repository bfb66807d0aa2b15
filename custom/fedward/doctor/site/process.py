"""Find the site's own process, if it runs on this machine as the same user, and the ports for its jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_PARENT = "nvflare.private.fed.app.client.client_train"
_CERTIFICATE = "startup/client.crt"


@dataclass(frozen=True, slots=True)
class Running:
    """Parent process of a site.

    Attributes:
        pid: its number.
        ports: ports on which it listens.
    """

    pid: int
    ports: tuple[int, ...]


def running(kit: Path) -> tuple[Running, ...]:
    """Return the parent processes that this user runs with a kit's certificate; empty: none.

    A container may run a copy of the kit's folder, so the certificate identifies the process, not the path.

    Raises:
        psutil.Error: the ports of a process of the kit cannot be found.
    """
    certificate = _reads(kit / _CERTIFICATE)
    if certificate is None:
        return ()
    found = [process for process, workspace in _parents() if _reads(workspace / _CERTIFICATE) == certificate]
    return tuple(Running(process.pid, _ports(process)) for process in found)


def _parents() -> Iterator[tuple[psutil.Process, Path]]:
    """Yield FLARE's parent processes of this user, with the folder that each was started for."""
    for process in psutil.process_iter():
        try:
            words = process.cmdline() if process.uids().real == os.getuid() else []
            if _PARENT in words:
                after = words[words.index(_PARENT) + 1 :]
                yield process, Path(process.cwd()) / after[after.index("-m") + 1]
        except (psutil.NoSuchProcess, psutil.AccessDenied, ValueError, IndexError):
            continue


def _ports(process: psutil.Process) -> tuple[int, ...]:
    listening = [one for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    return tuple(sorted({one.laddr.port for one in listening}))


def _reads(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
