"""Read look-up tables: modality and VOI (PS3.3 C.11.1.1.1, C.11.2.1.1) and palettes (C.7.6.3.1.5, C.7.9.2).

Entries are stored in three ways: 16 bits each; 8 bits each, two to a word, the low byte first; or 8 bits each in words
of their own. The length of the data against the number of entries tells them apart. Words are in the byte order of the
data set, in nested items too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from fedward.dicom.header import named, numbers, value
from fedward.errors import StudyError

_FULL = 65_536
_DISCRETE, _LINEAR, _INDIRECT = range(3)


@dataclass(frozen=True, slots=True)
class Table:
    """Look-up table.

    Attributes:
        entries: float32, one or more.
        first: input value of the first entry; lower inputs take the first entry, higher ones the last.
        bits: bits of an entry, 8 to 16.
    """

    entries: NDArray[np.float32]
    first: int
    bits: int

    @property
    def greatest(self) -> float:
        """Greatest value that an entry may have; the least is 0."""
        return 2.0**self.bits - 1

    def look_up(self, values: NDArray[np.generic]) -> NDArray[np.float32]:
        """Map values, rounded to whole numbers; NaN stays."""
        at = values.astype(np.float64)
        absent = np.isnan(at)
        index = np.clip(np.rint(np.where(absent, 0, at)) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        found = self.entries[index]
        return np.where(absent, np.float32(np.nan), found) if absent.any() else found


def read_table(
    holder: Dataset,
    *,
    signed: bool,
    little: bool,
    descriptor: str = "LUTDescriptor",
    data: str = "LUTData",
) -> Table:
    """Read a table from the data set or item that holds it.

    Args:
        holder: data set with the two elements.
        signed: True if inputs may be negative: the first input value is then in two's complement, however written.
        little: True if words are little-endian.
        descriptor, data: keywords of the elements; a segmented palette is expanded.

    Raises:
        StudyError: "undecodable", with the numbers, where the elements are absent, malformed or do not fit together.
    """
    count, first, bits = _descriptor(holder, descriptor, signed=signed)
    words = _words(holder, data, little=little)
    if data.startswith("Segmented"):
        entries = _expanded(words, data, wide=bits > 8)
        if len(entries) != count:
            raise StudyError("undecodable", f"{named(data)} expands to {len(entries)} entries, not {count}")
    else:
        entries = _entries(words, count, bits, data)
    if entries.max() > (1 << bits) - 1:
        raise StudyError("undecodable", f"{named(data)} has an entry of {entries.max()}, in {bits} bits")
    return Table(entries.astype(np.float32), first, bits)


def _descriptor(holder: Dataset, keyword: str, *, signed: bool) -> tuple[int, int, int]:
    """Return the number of entries, the first input value and the bits of an entry.

    The first two are 16-bit patterns: a reader takes them as US or SS after the pixels, not after the table.
    """
    found = numbers(holder, keyword)
    if len(found) != 3 or any(one != int(one) for one in found):
        raise StudyError("undecodable", f"{named(keyword)} has {len(found)} values, not three whole numbers")
    count, first, bits = (int(one) for one in found)
    if not (all(-32_768 <= one < _FULL for one in (count, first)) and 8 <= bits <= 16):
        raise StudyError("undecodable", f"{named(keyword)} is {count}, {first}, {bits}")
    first &= 0xFFFF
    return (count & 0xFFFF) or _FULL, first - _FULL if signed and first > 32_767 else first, bits


def _words(holder: Dataset, keyword: str, *, little: bool) -> NDArray[np.uint16]:
    """Return the data as words of 16 bits; an odd last byte is padded."""
    found = value(holder, keyword)
    if isinstance(found, bytes):
        bytewise = not little and holder[keyword].VR == "OB"
        kind = "<u2" if little or bytewise else ">u2"
        return np.frombuffer(found + b"\0" * (len(found) % 2), dtype=kind).astype(np.uint16)
    several = [found] if isinstance(found, int) else list(found or ())
    if not several:
        raise StudyError("undecodable", f"{named(keyword)} is absent or empty")
    if not all(isinstance(one, int) and -32_768 <= one < _FULL for one in several):
        raise StudyError("undecodable", f"{named(keyword)} has values that are not of 16 bits")
    return (np.array(several, dtype=np.int64) & 0xFFFF).astype(np.uint16)


def _entries(words: NDArray[np.uint16], count: int, bits: int, keyword: str) -> NDArray[np.uint16]:
    if bits == 8 and len(words) == (count + 1) // 2:
        return words.astype("<u2").view(np.uint8)[:count].astype(np.uint16)
    if len(words) == count:
        return words
    raise StudyError("undecodable", f"{named(keyword)} has {2 * len(words)} bytes for {count} entries of {bits} bits")


def _expanded(words: NDArray[np.uint16], keyword: str, *, wide: bool) -> NDArray[np.uint16]:
    """Expand a segmented palette (PS3.3 C.7.9.2)."""
    data = words if wide else words.astype("<u2").view(np.uint8)
    out: list[int] = []
    try:
        for piece in _segments([int(one) for one in data], 0, None, out, wide=wide):
            out.extend(piece)
            if len(out) > _FULL:
                raise StudyError("undecodable", f"{named(keyword)} expands to more than {_FULL} entries")
    except (IndexError, ValueError):
        raise StudyError("undecodable", f"{named(keyword)} has segments that contradict each other") from None
    return np.array(out, dtype=np.int64).astype(np.uint16)


def _segments(
    data: list[int], at: int, most: int | None, out: list[int], *, wide: bool, nested: bool = False
) -> Iterator[list[int]]:
    """Give the entries of each segment; ``out`` holds those before it. Raises IndexError or ValueError."""
    while at + 1 < len(data) and (most is None or most > 0):
        kind, length = data[at], data[at + 1]
        if kind == _DISCRETE:
            yield _slice(data, at + 2, length)
            at += 2 + length
        elif kind == _LINEAR:
            yield [int(one) for one in np.rint(np.linspace(out[-1], data[at + 2], length + 1)[1:])]
            at += 3
        elif kind == _INDIRECT and not nested:
            offset = _slice(data, at + 2, 2 if wide else 4)
            size = 16 if wide else 8
            start = sum(part << (size * place) for place, part in enumerate(offset))
            yield from _segments(data, start // (2 if wide else 1), length, out, wide=wide, nested=True)
            at += 2 + len(offset)
        else:
            if not any(data[at:]):
                return
            raise ValueError(kind)
        most = None if most is None else most - 1


def _slice(data: list[int], start: int, length: int) -> list[int]:
    found = data[start : start + length]
    if len(found) < length:
        raise IndexError(start)
    return found
