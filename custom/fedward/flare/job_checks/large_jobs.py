"""Send a job that carries a large start from the server to a site as a stream, where FLARE sends one message.

FLARE 2.9 deploys a job in one frame, and no frame is larger than ``stream_guard.LARGEST_FRAME``. A stream has frames of
1 MiB, acknowledged as they come, so a slow line needs no longer time-out. The site answers it with the handler of every
other request, behind the same checks; a small job is deployed as before.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nvflare.fuel.f3.cellnet.cell import Adapter
from nvflare.fuel.f3.cellnet.defs import CellChannel
from nvflare.private.defs import new_cell_message
from nvflare.private.fed.client.admin import FedAdminAgent
from nvflare.private.fed.server import admin
from nvflare.private.fed.server.message_send import ClientReply, send_requests

from fedward.errors import FederationError

LARGEST_MESSAGE = 2**22
"""Bytes of a request above which it is streamed; a job without a start has 2 MiB at most."""
IDLE_S = 60.0
"""Seconds without an acknowledged frame, or without an answer, after which a site is taken for gone."""


def install_server() -> None:
    """Make the server stream large requests; a second call changes nothing.

    Raises:
        FederationError: FLARE sends requests differently from release 2.9.
    """
    if admin.send_requests not in (send_requests, _sent):
        raise FederationError("FLARE has another release than Fedward's", where=admin.__name__, value="send_requests")
    admin.send_requests = _sent


def install_site() -> None:
    """Make a site answer a streamed request as any other."""
    register = FedAdminAgent.register_cell_cb

    def registered(self: Any) -> None:
        register(self)
        answer = Adapter(self._dispatch_request, self.cell.core_cell.my_info, self.cell).call
        self.cell.register_blob_cb(CellChannel.CLIENT_MAIN, "*", answer)

    FedAdminAgent.register_cell_cb = registered


def _sent(
    cell: Any,
    command: str,
    requests: Mapping[str, Any],
    clients: Mapping[str, Any],
    job_id: str | None = None,
    timeout_secs: float = 2.0,
    optional: bool = False,
) -> list[ClientReply]:
    """Send requests as FLARE does, and those with a large body as streams, all at once."""
    large = {token: clients[token] for token, one in requests.items() if _is_large(one) and clients.get(token)}
    if not large or job_id or timeout_secs <= 0.0:
        return list(send_requests(cell, command, dict(requests), clients, job_id, timeout_secs, optional))
    small = {token: one for token, one in requests.items() if token not in large}
    timeout_s = max(timeout_secs, IDLE_S)

    def stream(token: str) -> ClientReply:
        client, request = large[token], requests[token]
        message = new_cell_message({}, request)
        how = {"timeout": timeout_s, "optional": optional}
        # the channel is none that FLARE streams by itself, so the method of its streams is called by its own name
        reply = cell._send_request(CellChannel.CLIENT_MAIN, client.fqcn, command, message, **how)
        return ClientReply(client_token=client.token, client_name=client.name, req=request, reply=reply.payload)

    with ThreadPoolExecutor(max_workers=len(large), thread_name_prefix="large job") as pool:
        streamed = pool.map(stream, large)
        replies = list(send_requests(cell, command, small, clients, job_id, timeout_secs, optional))
        return [*replies, *streamed]


def _is_large(request: Any) -> bool:
    return type(request.body) is bytes and len(request.body) > LARGEST_MESSAGE
