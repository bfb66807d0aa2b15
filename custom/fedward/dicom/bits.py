"""Find the stored values in their memory cells, by BitsAllocated, BitsStored, HighBit, PixelRepresentation.

Source: PS3.5 8.1.1 and PS3.3 C.7.6.3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from fedward.dicom.header import is_stated, required
from fedward.errors import StudyError

_ALLOCATED = frozenset({1, 8, 16, 32})


@dataclass(frozen=True, slots=True)
class Bits:
    """Place of a stored value in its memory cell.

    Attributes:
        allocated: bits of a cell: 1, 8, 16 or 32.
        stored: bits of a value, 1 to ``allocated``.
        high: the value's most significant bit, from ``stored - 1`` to ``allocated - 1``.
        signed: True for two's complement.
        stated: False where the header has no HighBit, and ``high`` is ``stored - 1``.
    """

    allocated: int
    stored: int
    high: int
    signed: bool
    stated: bool = True

    @property
    def low(self) -> float:
        """Least value that the bits can hold."""
        return -(2.0 ** (self.stored - 1)) if self.signed else 0.0

    @property
    def greatest(self) -> float:
        """Greatest value that the bits can hold."""
        return 2.0 ** (self.stored - self.signed) - 1

    def wrap(self, number: int) -> int:
        """Return a number of a 16-bit element, US or SS, as the value that a pixel with the same bits has."""
        if self.signed and number > 32_767:
            number -= 65_536
        kept = number % (1 << self.stored)
        return kept - (1 << self.stored) if self.signed and kept > self.greatest else kept


def bits_of(header: Dataset) -> Bits:
    """Return the place of the stored values.

    Raises:
        StudyError: "undecodable", with the element or the numbers, where one is absent or they contradict each other.
    """
    allocated, stored = required(header, "BitsAllocated"), required(header, "BitsStored")
    signed = required(header, "PixelRepresentation")
    stated = is_stated(header, "HighBit")
    high = required(header, "HighBit") if stated else stored - 1
    numbers = f"BitsAllocated {allocated}, BitsStored {stored}, HighBit {high}"
    if allocated not in _ALLOCATED:
        raise StudyError("undecodable", f"BitsAllocated (0028,0100) is {allocated}, not 1, 8, 16 or 32")
    if signed not in (0, 1):
        raise StudyError("undecodable", f"PixelRepresentation (0028,0103) is {signed}, not 0 or 1")
    if not (1 <= stored <= allocated and stored - 1 <= high < allocated):
        raise StudyError("undecodable", f"{numbers} do not fit together")
    return Bits(allocated, stored, high, bool(signed), stated)


def stored_values(cells: NDArray[Any], bits: Bits) -> NDArray[Any]:
    """Return the values in ``cells``, in the type of the cells; a view where the values fill them.

    Bits above and below a value are ignored: they may hold anything, such as old overlays. A sign is extended.

    Raises:
        StudyError: "undecodable" where the header has no HighBit and the bits above BitsStored are in use.
    """
    if bits.stored == bits.allocated:
        return cells
    values = cells << (bits.allocated - bits.high - 1) >> (bits.allocated - bits.stored)
    if not bits.stated and not np.array_equal(values, cells):
        raise StudyError("undecodable", f"HighBit (0028,0102) is absent and bits above {bits.stored} are in use")
    return values


def cleared(cells: NDArray[Any], bits: Bits) -> NDArray[Any]:
    """Return ``cells`` with the same values at the same place and nothing below them; a sign is extended above."""
    below = bits.high + 1 - bits.stored
    return cells << (bits.allocated - bits.high - 1) >> (bits.allocated - bits.high - 1) >> below << below
