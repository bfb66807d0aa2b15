"""Compare an answer's values with the keys of the query, as PS3.4 C.2.2.2 matches them.

An archive that does not search by a key may return its attribute all the same. Where a value can be compared, it tells.

| attribute | matches (PS3.4) |
|---|---|
| UID | one of a list (C.2.2.2.2) |
| date, time | the same, or within a range (C.2.2.2.5); a time beside a range of dates is not compared |
| number | the same number |
| person's name | whole or by components, in any of its groups (PS3.5 6.2.1) |
| other text | the same, or as wildcards say (C.2.2.2.4) |

Texts are compared without regard to case, accents and repeated blanks: archives differ in these.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

from pydicom.datadict import dictionary_VR, tag_for_keyword

_TEXT = frozenset({"AE", "CS", "LO", "SH", "UC"})
_NUMBER = frozenset({"IS", "DS"})
_PARTS: dict[str, str] = {"DA": r"\d{8}", "TM": r"\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?"}
_RANGED = frozenset(_PARTS)


def unlike(keys: Mapping[str, str], values: Callable[[str], Sequence[str]]) -> frozenset[str]:
    """Return the keywords of the keys that an answer contradicts; an absent or empty value contradicts none.

    Args:
        keys: keyword -> value of the query; "" matches everything.
        values: returns an answer's values of an attribute.
    """
    ranged_date = "-" in keys.get("StudyDate", "")
    return frozenset(
        keyword
        for keyword, key in keys.items()
        if key.strip()
        and not (keyword == "StudyTime" and ranged_date)
        and (found := values(keyword))
        and not any(_matches(_vr(keyword), key.strip(), value) for value in found)
    )


def _vr(keyword: str) -> str:
    tag = tag_for_keyword(keyword)
    return "" if tag is None else dictionary_VR(tag)


def _matches(vr: str, key: str, value: str) -> bool:
    """True if a value matches, or cannot be compared."""
    if vr == "UI":
        return value in re.split(r"[\\,\s]+", key)
    if vr in _RANGED:
        return _in_range(_PARTS[vr], key, value)
    if vr in _NUMBER:
        return _same_number(key, value)
    if vr == "PN":
        return any(_name_like(key, group) for group in value.split("=") if group.strip("^ "))
    return vr not in _TEXT or any(_like(one, value) for one in key.split("\\"))


def _in_range(form: str, key: str, value: str) -> bool:
    value, key = (one.replace(":", "").strip() for one in (value, key))
    if re.fullmatch(r"\d{4}\.\d{2}\.\d{2}", value):  # as ACR-NEMA wrote dates (PS3.5 6.2)
        value = value.replace(".", "")
    bounds = re.fullmatch(f"({form})|({form})? *- *({form})?", key)
    if bounds is None or key.strip() == "-" or not re.fullmatch(form, value):
        return True
    same, first, last = bounds.groups()
    if same:
        return value.startswith(same) or same.startswith(value)
    return (not first or value >= first or first.startswith(value)) and (
        not last or value <= last or value.startswith(last)
    )


def _same_number(key: str, value: str) -> bool:
    try:
        return float(key) == float(value)
    except ValueError:
        return True


def _name_like(key: str, group: str) -> bool:
    wanted = key.split("=")[0].rstrip("^ ").split("^")
    found = group.rstrip("^ ").split("^")
    if _like(key.split("=")[0].rstrip("^ "), group.rstrip("^ ")):
        return True
    found += [""] * (len(wanted) - len(found))
    return all(not one.strip() or _like(one, there) for one, there in zip(wanted, found, strict=False))


def _like(key: str, value: str) -> bool:
    pattern = "".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in _plain(key))
    return re.fullmatch(pattern, _plain(value), re.DOTALL) is not None


def _plain(text: str) -> str:
    """Return a text without accents and repeated blanks, in lower case."""
    spread = unicodedata.normalize("NFKD", text)
    return " ".join("".join(sign for sign in spread if not unicodedata.combining(sign)).casefold().split())
