"""Write an identifier in a normal form, in which the spellings that a spreadsheet makes of it are equal.

A label is never matched by a normal form. It only shows that two identifiers may be one.

>>> {normal_form(one) for one in ("0012", "12", "12.0", "1.2E+01", " 12 ", "'0012", '="0012"')}
{'12'}
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_NUMBER = re.compile(r"\+?([0-9]{1,64})(?:[.,]([0-9]{0,64}))?(?:e([+-]?[0-9]{1,3}))?")
_LARGEST_POWER = 64
"""Characters that a PatientID may have (PS3.5 6.2, LO)."""
_LONGEST_PADDED = 16


def normal_form(identifier: str) -> str:
    """Return the identifier without blanks, case, quotes and, if it is a number, padding and exponent.

    Compatible characters are equal (Unicode NFKC); invisible ones are removed.
    """
    text = identifier if identifier.isascii() else unicodedata.normalize("NFKC", identifier)
    text = "".join(sign for sign in text if sign.isprintable() and not sign.isspace()).casefold()
    return _without_padding(text.removeprefix("=").strip("\"'`´‘’"))


def paddings(form: str) -> Iterator[str]:
    """Yield a normal form with 1, 2, … leading zeros, up to 16 digits; nothing if it is not a whole number."""
    if form.isascii() and form.isdecimal():
        yield from (form.zfill(digits) for digits in range(len(form) + 1, _LONGEST_PADDED + 1))


def _without_padding(text: str) -> str:
    found = _NUMBER.fullmatch(text)
    if found is None:
        return text
    whole, part, power = found[1], found[2] or "", int(found[3] or 0)
    if abs(power) > _LARGEST_POWER:
        return text
    digits, shift = whole + part, power - len(part)
    if shift >= 0:
        return str(int(digits) * 10**shift)
    digits = digits.zfill(1 - shift)
    fraction = digits[shift:].rstrip("0")
    return str(int(digits[:shift])) + (f".{fraction}" if fraction else "")
