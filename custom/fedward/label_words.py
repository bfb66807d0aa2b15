"""Name the words of a label table that are a yes, a no, or no value; the one place that does.

Programs write a missing value as a word: R ``NA``, pandas ``nan``, Excel ``#N/A``, SQL ``NULL``, SAS and Stata ``.``,
CheXpert ``-1``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

YES, NO = frozenset({"1", "yes", "true"}), frozenset({"0", "no", "false"})
"""Values for yes and for no in a label column, in upper or lower case; also 1.0 and 0.0."""
_MISSING = frozenset(
    {"na", "n/a", "n.a", "n.a.", "n. a.", "n/a.", "#na", "#n/a", "#nv", "<na>", "(na)", "nan", "+nan", "-nan", "nat"}
    | {"null", "<null>", "(null)", "[null]", "#null", "\\n", "undefined", "unknown", "<unknown>", "unk", "unavailable"}
    | {"missing", "<missing>", "missing value", "(blank)", "no data", "no value"}
    | {"not available", "not applicable", "not known", "not recorded", "not reported", "not specified"}
)
_PERHAPS = frozenset({"none", "nil"})
"""Words for no value, or for a finding that is absent, which may be a class."""
_SIGNS = re.compile(r"[-–—]+|[.…]+|\?+|#(?:n/a|ref|value|div/0|num|null)!|#name\?|-1(?:[.,]0+)?")
"""Dashes, dots, question marks, errors of a spreadsheet, and minus one."""
_NUMBER = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?(?:e[+-]?[0-9]+)?")
_PLUS, _MINUS = re.compile(r"[+]+|\([+]+\)"), re.compile(r"[-–—]+")
"""A finding that is present, and one that is absent."""


def is_missing(value: str) -> bool:
    """True for a word that means no value in every column, in any case and with blanks around it."""
    word = _word(value)
    return word in _MISSING or _SIGNS.fullmatch(word) is not None


def missing_words(values: Iterable[str]) -> frozenset[str]:
    """Return the values of one column that mean no value.

    "none" and "nil" are among them if all other values are numbers or words for yes and no, and there is one at least:
    a class may be called "none". -1 is a value in a column of numbers that has other negative ones, and - is a value in
    a column that has +.
    """
    given = frozenset(values)
    perhaps = frozenset(value for value in given if _word(value) in _PERHAPS)
    missing = frozenset(value for value in given if is_missing(value))
    others = given - perhaps - missing
    if others and all(map(_is_number, others)) and any(_word(value).startswith("-") for value in others):
        missing -= frozenset(value for value in missing if _is_number(value))
    if any(_PLUS.fullmatch(_word(value)) for value in others):
        missing -= frozenset(value for value in missing if _MINUS.fullmatch(_word(value)))
    return missing | perhaps if others and all(map(_is_plain, others)) else missing


def _word(value: str) -> str:
    return " ".join(value.split()).casefold().replace("\N{MINUS SIGN}", "-")


def _is_plain(value: str) -> bool:
    return _word(value) in YES | NO or _is_number(value)


def _is_number(value: str) -> bool:
    return _NUMBER.fullmatch(_word(value)) is not None
