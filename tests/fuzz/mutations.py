"""Draw hostile inputs: mutations of valid examples, and bytes of no form. One seed gives the same inputs each time."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence

MARK = "QZDOEJANE"
"""Private text that the examples hold; no error may hold it."""
Edit = Callable[[random.Random, bytes], bytes]
_TOKEN = re.compile(rb'"(?:[^"\\\n]|\\.)*"|-?\d+(?:\.\d+)?(?:e-?\d+)?|\b(?:true|false|null)\b')
_LARGEST = 1 << 20
VALUES: tuple[bytes, ...] = (
    b"NaN", b"nan", b"-inf", b"Infinity", b"1e999", b"-1", b"-0.0", b"0", b"9" * 400, b"9" * 6000, b"0x" + b"f" * 6000,
    b"2147483648", b"9223372036854775808", b"-9223372036854775809", b"1e-320", b"0.1", b"1_000", b"true", b"false",
    b"null", b"[]", b"{}", b'""', b"''", b'"a"', b"[1]", b'{"a":1}', b"2024-13-45", b"2024-02-30T25:61:61Z", b"12:61",
    b'"\\ud800"', b'"\\u0000"', b'"\\n"', b'"\\u202e"', b'"' + "é\u202e\u2028\x9b2J".encode() + b'"', b'"../../etc"',
    b'"[red]\\u001b[2J"', b'"' + b"x" * 5000 + b'"',
    b'"' + MARK.encode() + b'"', b"&a [*a]", b"*a", b"!!python/object:os.system", b"<<: *a", b"- -",
    b"\xed\xa0\x80", b"\xff\xfe", b"\0", "٣".encode(), b"NO", b"~", b"0777", b"1:2:3", b"=", b"0b2", b"1.", b".5",
)  # fmt: skip
"""What takes the place of a number, a word in quotes or a constant."""
_DEEP: tuple[bytes, ...] = (b"[" * 3000, b"[" * 120_000, b'{"a":' * 3000, b"[" * 2000 + b"]" * 2000)
_PIECES: tuple[bytes, ...] = (
    b"", b"\n", b"\r", b"\r\n\r\n", b"\0" * 9, b"\x1a", b"\xef\xbb\xbf", b"\x1b[2J", b'"', b"'", b'"""', b"\\", b"#",
    b",", b";", b"\t", b"{", b"}", b"]", b"[[", b"=", b":", b"- ", b"\xff" * 8, b"A" * 70_000, b"\n" * 3000,
)  # fmt: skip
_ENCODINGS = ("utf-16", "utf-16-be", "utf-32", "utf-8-sig", "cp500", "utf-7")


def inputs(seed: int, corpus: Sequence[bytes], *, edits: Sequence[Edit] = ()) -> Iterator[bytes]:
    """Yield inputs without end: first each example as it is, then mutated ones, of which one in forty is pure noise.

    Args:
        seed: of the draw.
        corpus: valid examples.
        edits: further mutations, of the format's own structure; half of all mutations are of these.
    """
    drawn = random.Random(seed)
    yield from corpus
    while True:
        if drawn.random() < 0.025:
            yield drawn.randbytes(drawn.choice((0, 1, 7, 60, 600)))
            continue
        content = drawn.choice(corpus)
        for _ in range(drawn.choice((1, 1, 1, 2, 4))):
            if edits and drawn.random() < 0.5:
                content = drawn.choice(edits)(drawn, content)
            elif drawn.random() < 0.1:
                content = _spliced(drawn, content, drawn.choice(corpus))
            else:
                content = drawn.choice(_GENERIC)(drawn, content)
        yield content[:_LARGEST]


def token(drawn: random.Random, content: bytes) -> bytes:
    """Put another value in the place of a number, a text in quotes or a constant."""
    found = list(_TOKEN.finditer(content))
    if not found:
        return content
    one = drawn.choice(found)
    old = one.group()
    new = (
        drawn.choice(_DEEP)
        if drawn.random() < 0.02
        else drawn.choice((*VALUES, b"[" + old + b"]", b"-" + old, old + old, b'"' + old.strip(b'"') + b'"', old[:-1]))
    )
    return content[: one.start()] + new + content[one.end() :]


def line(drawn: random.Random, content: bytes) -> bytes:
    """Repeat, remove, move or indent a line, so that keys are twice there, missing, or in another table."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    at, to = drawn.randrange(len(lines)), drawn.randrange(len(lines))
    way = drawn.randrange(4)
    if way == 0:
        lines.insert(to, lines[at])
    elif way == 1:
        del lines[at]
    elif way == 2:
        lines[at], lines[to] = lines[to], lines[at]
    else:
        lines[at] = b"  " + lines[at]
    return b"".join(lines)


def _flipped(drawn: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(drawn.choice((1, 1, 2, 8, 40)) if changed else 0):
        changed[drawn.randrange(len(changed))] ^= 1 << drawn.randrange(8)
    return bytes(changed)


def _cut(drawn: random.Random, content: bytes) -> bytes:
    return content[: drawn.randrange(len(content) + 1)]


def _removed(drawn: random.Random, content: bytes) -> bytes:
    at = drawn.randrange(len(content) + 1)
    return content[:at] + content[at + drawn.randrange(40) :]


def _inserted(drawn: random.Random, content: bytes) -> bytes:
    at = drawn.randrange(len(content) + 1)
    return content[:at] + drawn.choice((*_PIECES, drawn.randbytes(5), drawn.choice(VALUES))) + content[at:]


def _repeated(drawn: random.Random, content: bytes) -> bytes:
    at = drawn.randrange(len(content) + 1)
    piece = content[at : at + drawn.randrange(1, 60)]
    return content[:at] + piece * drawn.choice((2, 2, 200)) + content[at:]


def _spliced(drawn: random.Random, content: bytes, other: bytes) -> bytes:
    return content[: drawn.randrange(len(content) + 1)] + other[drawn.randrange(len(other) + 1) :]


def _encoded(drawn: random.Random, content: bytes) -> bytes:
    if drawn.random() < 0.4:
        return content.replace(b"\n", drawn.choice((b"\r\n", b"\r", b"\n\n", "\u2028".encode())))
    return content.decode("latin-1").encode(drawn.choice(_ENCODINGS), "replace")


_GENERIC: tuple[Edit, ...] = (_flipped, _flipped, _cut, _removed, _inserted, _inserted, _repeated, _encoded)
