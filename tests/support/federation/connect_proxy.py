"""A hospital's web proxy: ``python -m tests.support.federation.connect_proxy ADDRESS PORT TARGET``.

Passes clients on to ``TARGET``, a host and port, by HTTP CONNECT (RFC 9110, section 9.3.6) and to nothing else, and
prints each request's first line. It passes bytes on and cannot read them: TLS goes from end to end.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

CHUNK = 65_536


async def serve(address: str, port: int, target: str) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        request = head.split(b"\r\n", 1)[0].decode()
        print(request, flush=True)
        if request.split()[:2] != ["CONNECT", target]:
            writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            writer.close()
            return
        host, number = target.rsplit(":", 1)
        there, back = await asyncio.open_connection(host, int(number))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))

    async with await asyncio.start_server(client, address, port) as server:
        await server.serve_forever()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while content := await reader.read(CHUNK):
            writer.write(content)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    own, number, allowed = sys.argv[1:]
    asyncio.run(serve(own, int(number), allowed))
