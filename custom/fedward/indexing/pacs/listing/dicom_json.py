"""Read values of DICOM JSON (PS3.18 F.2). Null and empty values are absent; a whole number may be written as 3.0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydicom.datadict import keyword_for_tag, tag_for_keyword


def values(answer: Mapping[str, Any], keyword: str) -> tuple[str, ...]:
    """Return an attribute's values as texts, without those that are null or empty (PS3.18 F.2.5).

    A person's name (F.2.2) is its groups, joined by ``=``.
    """
    attribute = answer.get(f"{tag_for_keyword(keyword):08X}")
    found = attribute.get("Value") if isinstance(attribute, Mapping) else None
    texts = (_text(one) for one in (found if isinstance(found, list) else [found]))
    return tuple(one for one in texts if one)


def first(answer: Mapping[str, Any], keyword: str) -> str:
    """Return an attribute's first value as a text; "" if it has none."""
    return next(iter(values(answer, keyword)), "")


def count(answer: Mapping[str, Any], keyword: str) -> int | None:
    """Return a whole number of at least 0, written as 3, 3.0, "3" or "3.0"; None for anything else."""
    whole, _, rest = first(answer, keyword).removeprefix("+").partition(".")
    return int(whole) if whole.isascii() and whole.isdecimal() and not rest.strip("0") else None


def keywords(answer: Mapping[str, Any]) -> frozenset[str]:
    """Return the keywords of an answer's attributes, with or without a value."""
    return frozenset(keyword for tag in answer if (keyword := keyword_for_tag(tag)))


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        groups = [str(value.get(group) or "") for group in ("Alphabetic", "Ideographic", "Phonetic")]
        return "=".join(groups).rstrip("=").strip(" \0")
    return "" if value is None or isinstance(value, bool) else str(value).strip(" \0")
