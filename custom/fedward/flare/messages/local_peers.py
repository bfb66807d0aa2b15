"""Find the user who owns the other end of a connection within this machine.

The parent process of a site or of the server listens on loopback, unencrypted, for the processes of its jobs: any user
of the machine can connect. Linux lists the owner of each socket in ``/proc/net/tcp``.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

Address = tuple[str, int]
TABLE = Path("/proc/net/tcp")
_LOOPBACK = "127."
_ESTABLISHED, _NO_INODE = "01", "0"
_LOCAL, _STATE, _OWNER, _INODE = slice(1, 3), 3, 7, 9
"""Columns of the table: both addresses, state, user id, inode."""


def refuse_local(here: Address, there: Address, *, table: Path = TABLE) -> str | None:
    """Return why the other end of a connection is not of this process's own user; None if it is.

    An end on another machine, such as a job's pod, has no owner here and is not refused: the cluster's network policy
    keeps others from that port.

    Args:
        here, there: IPv4 address and port of this process's end and of the other end.
        table: the kernel's list of sockets.
    """
    if not here[0].startswith(_LOOPBACK):
        return None
    owner = owner_of(there, here, table=table)
    if owner is None:
        return "process at the other end is of a user whom this machine does not tell"
    return None if owner == os.getuid() else "process at the other end is of another user"


def owner_of(end: Address, other: Address, *, table: Path = TABLE) -> int | None:
    """Return the user id of a socket's owner; None if the kernel does not list it as connected and open.

    A socket that its process has closed stays in the list for a while, without an inode and owned by the
    administrator.
    """
    wanted = [_hexadecimal(end), _hexadecimal(other)]
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except (OSError, ValueError):
        return None
    for line in lines:
        fields = line.split()
        if fields[_LOCAL] == wanted:
            return _owner(fields)
    return None


def _owner(fields: list[str]) -> int | None:
    if len(fields) <= _INODE or fields[_STATE] != _ESTABLISHED or fields[_INODE] == _NO_INODE:
        return None
    return int(fields[_OWNER]) if fields[_OWNER].isdecimal() and fields[_INODE].isdecimal() else None


def _hexadecimal(address: Address) -> str:
    """Return an address as the kernel writes it: the four bytes as one number of this machine, and the port."""
    number = int.from_bytes(socket.inet_aton(address[0]), byteorder=sys.byteorder)
    return f"{number:08X}:{address[1]:04X}"
