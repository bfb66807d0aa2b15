"""A line that loses packets: ``python -m tests.support.federation.lossy_line PORT TARGET_PORT PERCENT``, as root.

Passes TCP connections on to a port of this machine through a network namespace without a name, whose kernel drops that
share of all packets, in both directions, at random. The namespace ends with the process.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.federation.connect_proxy import pass_on
from tests.support.federation.namespaces import enter, leave

LOOPBACK = "127.0.0.1"


class Lossy:
    """A namespace with one lossy line on its loopback."""

    def __init__(self, percent: float) -> None:
        self._here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        leave()
        self._there = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        lost = ("-m", "statistic", "--mode", "random", "--probability", f"{percent / 100:.4f}", "-j", "DROP")
        subprocess.run(["iptables", "-A", "INPUT", *lost], check=True)
        enter(self._here)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets that are made within the ``with`` are the namespace's."""
        enter(self._there)
        try:
            yield
        finally:
            enter(self._here)


async def both(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far: socket.socket, port: int) -> None:
    """Pass one connection on to a port, by a socket of the right namespace."""
    far.setblocking(False)
    await asyncio.get_running_loop().sock_connect(far, (LOOPBACK, port))
    there, back = await asyncio.open_connection(sock=far)
    await asyncio.gather(pass_on(reader, back), pass_on(there, writer), return_exceptions=True)


async def serve(port: int, target: int, percent: float) -> None:
    line = Lossy(percent)
    near = socket.create_server((LOOPBACK, port))
    with line.inside():
        middle = socket.create_server((LOOPBACK, 0))
    between = middle.getsockname()[1]

    async def enters(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with line.inside():
            far = socket.socket()
        await both(reader, writer, far, between)

    async def leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await both(reader, writer, socket.socket(), target)

    async with await asyncio.start_server(enters, sock=near), await asyncio.start_server(leaves, sock=middle):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    own, other, share = sys.argv[1:]
    asyncio.run(serve(int(own), int(other), float(share)))
