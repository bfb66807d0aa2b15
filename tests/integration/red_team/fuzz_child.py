"""Mutates recorded frames, gives them to FLARE's own reader behind the guard, and counts what reaches a handler.

``python -m tests.integration.red_team.fuzz_child FRAMES COUNT SEED`` prints one line of JSON. The cells are FLARE's,
with its reader of frames, its router and its decoder; in the place of each request handler stands one that counts.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
from nvflare.apis.utils.decomposers import flare_decomposers
from nvflare.fuel.f3.cellnet.cell import Cell
from nvflare.fuel.f3.cellnet.connector_manager import ConnectorData
from nvflare.fuel.f3.cellnet.registry import Callback
from nvflare.fuel.f3.connection import Connection
from nvflare.fuel.f3.drivers.connector_info import ConnectorInfo, Mode
from nvflare.fuel.f3.drivers.driver_params import DriverParams
from nvflare.fuel.f3.endpoint import Endpoint
from nvflare.fuel.f3.message import Message
from nvflare.fuel.f3.sfm.prefix import PREFIX_LEN, Prefix
from nvflare.fuel.f3.sfm.sfm_conn import SfmConnection
from nvflare.fuel.f3.sfm.sfm_endpoint import SfmEndpoint

from fedward.flare.messages import guard
from fedward.flare.messages.allowed import REQUESTS, RETURN_ONLY, STREAM, STREAMS, Party
from fedward.flare.messages.rules import read_name

DATA = 1
MOST = 400
"""Frames of one process; the later ones of a job are like its first."""
OUTER, INNER = "OUTER", "INNER"
PERSON = "lead@demo.org"


def recorded(folder: Path) -> Iterator[bytes]:
    """The first frames of each of a wiretap's files: each says its own length first."""
    for path in sorted(folder.iterdir()):
        content, at, count = path.read_bytes(), 0, 0
        while at + PREFIX_LEN <= len(content) and (count := count + 1) <= MOST:
            length = Prefix.from_bytes(content[at : at + PREFIX_LEN]).length
            if length < PREFIX_LEN:
                break
            yield content[at : at + length]
            at += length


class Wire(Connection):  # type: ignore[misc]
    """A connection of the connector, peer and certificate that the fuzzer wants; what is sent on it is gone."""

    def __init__(self, handle: str, certificate: str | None) -> None:
        super().__init__(ConnectorInfo(handle, None, {}, Mode.ACTIVE, 0, 0, False, threading.Event()))
        self._certificate = certificate

    def get_conn_properties(self) -> dict[str, Any]:
        return {DriverParams.PEER_CN.value: self._certificate}

    def close(self) -> None: ...

    def send_frame(self, frame: Any) -> None: ...


class Fuzz:
    def __init__(self, frames: list[bytes], seed: int) -> None:
        self.frames, self.draw = frames, random.Random(seed)
        self.reached: Counter[tuple[str, str, str]] = Counter()
        headers = [header for frame in frames if (header := _headers(frame))]
        self.values = sorted(
            {(k, v) for header in headers for k, v in header.items() if type(v) in (str, int, bool)}, key=str
        )
        names = {header[key] for header in headers for key in ("cn__origin", "cn__destination") if key in header}
        job = next(name.partition(".")[2] for name in sorted(names) if name.startswith("server."))
        site = next(name for name in sorted(names) if (cell := read_name(name)) and cell.party is Party.SITE)
        self.names = sorted({*names, "server", f"server.{job}", site, f"{site}.{job}"})
        self.cells = [self._cell(name) for name in ("server", f"server.{job}", site, f"{site}.{job}")]

    def _cell(self, name: str) -> Cell:
        cell = Cell(
            fqcn=name, root_url="grpc://localhost:1", secure=False, credentials={}, parent_url="tcp://localhost:1"
        )
        core = cell.core_cell
        core.bb_ext_connector = ConnectorData(OUTER, "", True, {})
        core.ext_listeners = {"": ConnectorData(OUTER, "", False, {})}
        core.bb_int_connector = core.int_listener = ConnectorData(INNER, "", True, {})
        party = read_name(name).party  # type: ignore[union-attr]

        def find(channel: str, topic: str) -> Callback:
            return Callback(lambda message: self._count(party, message), (), {})

        core.req_reg.find = find
        return cell

    def _count(self, party: Party, message: Message) -> None:
        channel, topic = message.get_header("cn__channel"), message.get_header("cn__topic")
        if channel == STREAM and topic == "sm__DATA":
            channel, topic = message.get_header("sm__ch"), message.get_header("sm__tp")
        self.reached[(str(party), str(channel), str(topic))] += 1

    def once(self) -> None:
        """One frame to one cell: over the connection that it belongs on, or over any."""
        frame = self.draw.choice(self.frames)
        cell, handle, certificate, peer = self._rightly(frame) if self.draw.random() < 0.7 else self._anyhow()
        connection = SfmConnection(Wire(handle, certificate), cell.core_cell.endpoint)
        connection.sfm_endpoint = SfmEndpoint(Endpoint(peer))
        cell.core_cell.communicator.conn_manager.process_frame_task(connection, self._mutated(frame))

    def _anyhow(self) -> tuple[Cell, str, str | None, str]:
        handle = self.draw.choice([OUTER, INNER, "NONE"])
        certificate = self.draw.choice([*self.names, PERSON, None])
        return self.draw.choice(self.cells), handle, certificate, self.draw.choice(self.names)

    def _rightly(self, frame: bytes) -> tuple[Cell, str, str | None, str]:
        headers = _headers(frame)
        due = [cell for cell in self.cells if cell.core_cell.get_fqcn() == headers.get("cn__destination")]
        mine, its = read_name(headers.get("cn__destination")), read_name(headers.get("cn__origin"))
        if not due or mine is None or its is None:
            return self._anyhow()
        peer, inside = headers["cn__origin"], mine.site == its.site and its.party is not Party.CONSOLE
        if mine.party is Party.SERVER_JOB:
            peer, inside = "server", True
        elif mine.party is Party.SITE_JOB and its.party is Party.SERVER_JOB:
            peer = "server"
        return due[0], INNER if inside else OUTER, PERSON if its.party is Party.CONSOLE else its.site or None, peer

    def _mutated(self, frame: bytes) -> bytes:
        for change in self.draw.choices([self._headers_changed, self._bytes_changed, self._payload_of_another], k=2):
            frame = change(frame)
        return frame

    def _headers_changed(self, frame: bytes) -> bytes:
        headers = _headers(frame)
        if not headers:
            return frame
        for _ in range(self.draw.randint(1, 4)):
            name, value = self.draw.choice(self.values)
            change = self.draw.random()
            if change < 0.2:
                headers.pop(self.draw.choice(sorted(headers)), None)
            elif change < 0.4:
                odd = [None, -1, [], {}, b"\xff", "\n", "a" * 999, [["server", 0.0]], {"a": {"b": []}}]
                headers[self.draw.choice(sorted(headers))] = self.draw.choice(odd)
            elif change < 0.7:
                headers[self.draw.choice(["cn__origin", "cn__destination"])] = self.draw.choice(self.names)
            else:
                headers[name] = value
            if not headers:
                break
        return _frame(frame, headers, frame[PREFIX_LEN + Prefix.from_bytes(frame).header_len :])

    def _bytes_changed(self, frame: bytes) -> bytes:
        changed = bytearray(frame)
        for _ in range(self.draw.randint(1, 8)):
            changed[self.draw.randrange(len(changed))] = self.draw.randrange(256)
        return bytes(changed[: self.draw.randint(1, len(changed))]) if self.draw.random() < 0.1 else bytes(changed)

    def _payload_of_another(self, frame: bytes) -> bytes:
        other, headers = self.draw.choice(self.frames), _headers(frame)
        return _frame(frame, headers, other[PREFIX_LEN + Prefix.from_bytes(other).header_len :]) if headers else frame


def _headers(frame: bytes) -> dict[str, Any]:
    try:
        prefix = Prefix.from_bytes(frame)
        found = msgpack.unpackb(frame[PREFIX_LEN : PREFIX_LEN + prefix.header_len]) if prefix.type == DATA else {}
    except Exception:  # noqa: BLE001 - a frame that was mutated once already
        return {}
    return found if type(found) is dict and all(type(key) is str for key in found) else {}


def _frame(frame: bytes, headers: dict[str, Any], payload: bytes) -> bytes:
    prefix, packed = Prefix.from_bytes(frame), msgpack.packb(headers)
    prefix.header_len, prefix.length = len(packed), PREFIX_LEN + len(packed) + len(payload)
    head = bytearray(PREFIX_LEN)
    prefix.to_buffer(head, 0)
    return bytes(head) + packed + payload


def listed(party: str, channel: str, topic: str) -> bool:
    """True if anybody may send such a cell that request; written independently, from the tables."""
    tables = [*REQUESTS.items(), *STREAMS.items()]
    if channel == STREAM:
        return topic in ("sm__ACK", "sm__ERROR")
    if channel == RETURN_ONLY:
        return any(
            f"{one}:{what}" == topic for (asks, _), said in STREAMS.items() if asks == party for one, what in said
        )
    return any((channel, topic) in said for (_, answers), said in tables if answers == party)


def main(frames: Path, count: int, seed: int) -> None:
    flare_decomposers.register()
    guard.install(guard.MessageGuard(is_person=lambda name: "@" in name, binds=lambda *given: True))
    fuzz = Fuzz(list(recorded(frames)), seed)
    for _ in range(count):
        fuzz.once()
    off = sorted(one for one in fuzz.reached if not listed(*one))
    print(json.dumps({"frames": len(fuzz.frames), "given": count, "reached": sum(fuzz.reached.values()), "off": off}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
