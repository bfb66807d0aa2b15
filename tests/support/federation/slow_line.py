"""A slow line: ``python -m tests.support.federation.slow_line PORT TARGET_PORT MBIT_S DELAY_MS STALL_S SEED``.

Passes TCP connections on to a port of this machine. Each direction carries so many bits a second over all connections
together, each piece arrives late by the delay, and now and then nothing passes for the stall.
"""

from __future__ import annotations

import asyncio
import random
import sys
from contextlib import suppress

CHUNK = 65_536
_LATE_S = 0.1
"""Time by which a busy machine may run late without the line losing capacity."""
_STALL_EVERY_S = 10.0


class Direction:
    """One direction of the line, which all connections share."""

    def __init__(self, mbit_s: float, stall_s: float, seed: int) -> None:
        self._bytes_s, self._stall_s, self._random = mbit_s * 125_000.0, stall_s, random.Random(seed)
        self._free_at, self._stall_at = 0.0, 0.0

    def arrival(self, now: float, size: int) -> float:
        """Return the time at which a piece that came in now has passed."""
        if self._stall_s and now > self._stall_at:
            self._free_at = max(now, self._free_at) + (self._stall_s if self._stall_at else 0.0)
            self._stall_at = self._free_at + self._random.expovariate(1.0 / _STALL_EVERY_S)
        self._free_at = max(now - _LATE_S, self._free_at) + size / self._bytes_s
        return self._free_at


async def pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Direction, *, delay_s: float
) -> None:
    loop = asyncio.get_running_loop()
    with suppress(ConnectionError):
        while content := await reader.read(CHUNK):
            passed = line.arrival(loop.time(), len(content))
            await asyncio.sleep(max(0.0, passed - loop.time()))
            loop.call_later(delay_s, _write, writer, content)
            await writer.drain()
    loop.call_later(delay_s + 0.01, writer.close)


def _write(writer: asyncio.StreamWriter, content: bytes) -> None:
    if not writer.is_closing():
        writer.write(content)


async def serve(port: int, target: int, *, mbit_s: float, delay_ms: float, stall_s: float, seed: int) -> None:
    up, down = Direction(mbit_s, stall_s, seed), Direction(mbit_s, stall_s, seed + 1)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", target)
        half = delay_ms / 2000.0
        await asyncio.gather(
            pass_on(reader, back, up, delay_s=half), pass_on(there, writer, down, delay_s=half), return_exceptions=True
        )

    async with await asyncio.start_server(client, "127.0.0.1", port) as server:
        print("ready", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    own, other, speed, delay, stall, number = sys.argv[1:]
    asyncio.run(
        serve(int(own), int(other), mbit_s=float(speed), delay_ms=float(delay), stall_s=float(stall), seed=int(number))
    )
