"""Read the Warning header of an archive's answer (PS3.18 8.3.4.4, RFC 7234 5.5).

| warning | announces further answers |
|---|---|
| 299 or 199 that speaks of results cut short, whatever else it speaks of | yes |
| 299 about fuzzy matching, which is never requested, or an interface that will be withdrawn | no |
| 299 with another text, or with none | yes; ``remark`` returns the text |
| other codes: caches and transformations | no |
"""

from __future__ import annotations

import re

_WARNING = re.compile(
    r"""(?:^|,)\s*(?P<code>[1-9]\d\d)(?=[\s,]|$)[^\S\r\n]*(?P<text>(?:"(?:[^"\\]|\\.)*"|[^,"]|"|,(?!\s*[12]\d\d(?:[\s,]|$)))*)"""
)
_NUMBER = r"(\d{1,3}(?:[,.'’\u00a0\u202f ]\d{3})+|\d{1,9})"
_REMAINING = re.compile(rf"(?<![\d.,])\b{_NUMBER} (?:additional|more|remaining|further)\b", re.IGNORECASE)
_OF_RESULTS = re.compile(
    r"\b(?:additional|remaining|further|more|limited|limit (?:of|to|reached)|exceed\w*|truncat\w*|partial\w*|"
    r"incomplete|cut (?:off|short)|maximum|not all)\b",
    re.IGNORECASE,
)
_OF_OTHER_THINGS = re.compile("fuzzy|literal|deprecat|sunset", re.IGNORECASE)


def announced(status: int, warning: str) -> int | None:
    """Return the number of further answers that a response announces; 0 for none, None for an unknown number.

    Status 206 was QIDO-RS's sign of a list cut short before the header was.

    Args:
        status: HTTP status.
        warning: values of the Warning header, or "".
    """
    found: int | None = None if status == 206 else 0
    for code, text in _warnings(warning):
        if not _announces(code, text):
            continue
        number = _REMAINING.search(text)
        if number is None:
            return None
        found = max(found or 0, int(re.sub(r"\D", "", number[1])))
    return found


def remark(status: int, warning: str) -> str:
    """Return the warning if it announces further answers, but no text of it speaks of results; else ""."""
    telling = [(code, text) for code, text in _warnings(warning) if _announces(code, text)]
    if status == 206 or not telling or any(_OF_RESULTS.search(text) for _, text in telling):
        return ""
    return warning


def _announces(code: str, text: str) -> bool:
    if code not in ("199", "299"):
        return False
    return bool(_OF_RESULTS.search(text)) or (code == "299" and not _OF_OTHER_THINGS.search(text))


def _warnings(warning: str) -> list[tuple[str, str]]:
    return [(one["code"], one["text"].strip()) for one in _WARNING.finditer(warning)]
