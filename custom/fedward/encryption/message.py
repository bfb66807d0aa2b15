"""Pack a sealed message into bytes and unpack it: one hospital's numbers or a sum. Each message has one form only.

::

    magic b"FWSUM4\\n" | length of the header, 4 bytes, big-endian | header | payload

The header is canonical JSON: ``key`` (its id), ``scheme``, ``topic`` (the fields of ``SumContext``), ``parts`` (the
``site`` and ``nonce`` of each, in the order of the sites) and ``tag`` (16 hexadecimal digits a lane). Nothing is
unpickled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import TypeAdapter

from fedward.encryption.sum_context import Purpose, SumContext
from fedward.encryption.tag import Tag, lanes
from fedward.errors import EncryptionError
from fedward.settings import Scheme, SiteId

MAGIC = b"FWSUM4\n"
NONCE_BYTES = 16
LARGEST_HEADER = 1 << 20
"""Bytes; a thousand sites need less."""
_SIZE_BYTES = 4
_KEY_ID = re.compile(r"[0-9a-f]{32}")
_HASH = re.compile(r"[0-9a-f]{64}")
_LANE = re.compile(r"[0-9a-f]{16}")
_NONCE = re.compile(r"[0-9a-f]{32}")
_JOB_ID = re.compile(r"[!-~]{1,128}")
_SITE: TypeAdapter[str] = TypeAdapter(SiteId)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePart:
    """Hospital's message within a sum.

    Attributes:
        site: hospital that sealed it.
        nonce: 16 random bytes that no other message has.
    """

    site: str
    nonce: bytes

    def canonical(self, topic: SumContext) -> bytes:
        """Return the message's name for key derivation; two different messages have different names.

        A line feed separates the fields. Only the nonce can contain one, and it is last.
        """
        return b"\n".join((topic.canonical(), self.site.encode("ascii"), self.nonce))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Message:
    """Sealed numbers of one part, or the sum over several parts.

    Attributes:
        key_id: of the key under which they are sealed.
        scheme: the encryption scheme.
        topic: the context of the sum.
        parts: hospitals' parts that are in the sum, in the order of the sites' names.
        tag: proof of the sum.
        payload: the encrypted numbers, in the format of the scheme.
    """

    key_id: str
    scheme: str
    topic: SumContext
    parts: tuple[MessagePart, ...]
    tag: Tag
    payload: bytes

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites whose numbers were added, sorted by name."""
        return tuple(part.site for part in self.parts)


def pack(message: Message) -> bytes:
    """Return the message as bytes; ``unpack`` reads them.

    Raises:
        EncryptionError: a field has a form that ``unpack`` would refuse.
    """
    header = _header(message)
    _message(json.loads(header), b"")
    return b"".join((MAGIC, len(header).to_bytes(_SIZE_BYTES, "big"), header, message.payload))


def unpack(sealed: bytes) -> Message:
    """Read the message in ``sealed``; the scheme, not this function, checks the payload.

    Raises:
        EncryptionError: the form differs, a field is extra or missing, a value is out of its range, or a site or nonce
            occurs twice.
    """
    start = len(MAGIC) + _SIZE_BYTES
    if type(sealed) is not bytes or sealed[: len(MAGIC)] != MAGIC or len(sealed) < start:
        raise EncryptionError("not a sealed message")
    stop = start + int.from_bytes(sealed[len(MAGIC) : start], "big")
    if stop - start > LARGEST_HEADER:
        raise EncryptionError("sealed message has too long a header", value=stop - start)
    if len(sealed) < stop:
        raise EncryptionError("sealed message is cut short")
    header = sealed[start:stop]
    try:
        content = json.loads(header.decode("ascii"))
    except (ValueError, RecursionError):
        raise EncryptionError("sealed message has no readable header") from None
    message = _message(content, sealed[stop:])
    if _header(message) != header:
        raise EncryptionError("sealed message has a header of another form")
    return message


def _header(message: Message) -> bytes:
    content = {
        "key": message.key_id,
        "scheme": message.scheme,
        "topic": message.topic.plain(),
        "parts": [{"site": part.site, "nonce": part.nonce.hex()} for part in message.parts],
        "tag": [f"{lane:016x}" for lane in message.tag],
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _message(content: object, payload: bytes) -> Message:
    header = _table(content, _HEADER)
    topic = SumContext(**_table(header["topic"], _TOPIC))
    tables = [_table(part, _PART) for part in header["parts"]]
    parts = tuple(MessagePart(site=part["site"], nonce=bytes.fromhex(part["nonce"])) for part in tables)
    if len({part.site for part in parts}) != len(parts):
        raise EncryptionError("sealed message names a site twice")
    if len({part.nonce for part in parts}) != len(parts):
        raise EncryptionError("sealed message names a nonce twice")
    if [part.site for part in parts] != sorted(part.site for part in parts):
        raise EncryptionError("sealed message names its sites out of order")
    if len(header["tag"]) != lanes(topic.bits):
        raise EncryptionError("sealed message has a tag of another length", value=len(header["tag"]))
    return Message(
        key_id=header["key"],
        scheme=header["scheme"],
        topic=topic,
        parts=parts,
        tag=tuple(int(lane, 16) for lane in header["tag"]),
        payload=payload,
    )


def _table(content: object, fields: dict[str, Callable[[Any], bool]]) -> dict[str, Any]:
    if type(content) is not dict or set(content) != set(fields):
        raise EncryptionError("sealed message has other fields than it should")
    for name, good in fields.items():
        if not good(content[name]):
            raise EncryptionError(f"sealed message has no usable {name}")
    return content


def _text(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: type(value) is str and pattern.fullmatch(value) is not None


def is_nonce(value: object) -> bool:
    """True if the value is ``NONCE_BYTES`` bytes as lower-case hexadecimal digits."""
    return type(value) is str and _NONCE.fullmatch(value) is not None


def is_key_id(value: object) -> bool:
    """True if the value has the form of ``FederationKey.key_id``: 32 lower-case hexadecimal digits."""
    return type(value) is str and _KEY_ID.fullmatch(value) is not None


def is_digest(value: object) -> bool:
    """True if the value has the form of a SHA-256: 64 lower-case hexadecimal digits."""
    return type(value) is str and _HASH.fullmatch(value) is not None


def is_site(value: object) -> bool:
    """True if the value is a hospital's id."""
    try:
        _SITE.validate_python(value, strict=True)
    except ValueError:
        return False
    return True


_HEADER: dict[str, Callable[[Any], bool]] = {
    "key": is_key_id,
    "scheme": lambda value: value in get_args(Scheme),
    "topic": lambda value: type(value) is dict,
    "parts": lambda value: type(value) is list and len(value) > 0,
    "tag": lambda value: type(value) is list and all(map(_text(_LANE), value)),
}
_TOPIC: dict[str, Callable[[Any], bool]] = {
    "job_id": _text(_JOB_ID),
    "purpose": lambda value: value in get_args(Purpose),
    "round_number": lambda value: type(value) is int and 0 <= value < 1 << 31,
    "layout": is_digest,
    "context": is_digest,
    "length": lambda value: type(value) is int and 0 < value < 1 << 31,
    "bits": lambda value: type(value) is int and value in (24, 32, 48),
    "base": is_digest,
    "group": lambda value: type(value) is int and -1 <= value < 1 << 16,
}
_PART: dict[str, Callable[[Any], bool]] = {"site": is_site, "nonce": is_nonce}
