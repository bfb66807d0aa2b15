"""Write the doctor's report: text for a person, JSON for a ticket. No secret, and no name below a cohort's folders.

JSON, schema ``fedward.doctor``, version 1; a field is only ever added under the same version::

    {
      "schema": "fedward.doctor", "version": 1,
      "at": "2026-01-31T12:00:00+00:00",              our clock, UTC
      "site": "north-clinic" | null,                  of site.toml; null if that cannot be read, and for a server
      "server": "fl.example.org:8102" | null,
      "kit": "/opt/fedward/north-clinic",
      "fedward": "0.1.0", "flare": "2.9.0", "python": "3.11.9",
      "result": "pass" | "warn" | "fail",             the worst level of all findings but "skip"
      "counts": {"pass": 40, "warn": 1, "fail": 0, "skip": 2},
      "findings": [                                   in the order of the checks
        {"check": "dns", "room": "network", "level": "pass" | "warn" | "fail" | "skip",
         "what": "…", "where": "…" | null, "value": "…" | null, "remedy": "…" | null}
      ]
    }

``check`` is the stable name of a check; ``what``, ``value`` and ``remedy`` are for people and may change.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from typing import get_args

import fedward
from fedward.doctor.context import Visit
from fedward.doctor.findings import Finding, Level
from fedward.doctor.run import Heard

SCHEMA, VERSION = "fedward.doctor", 1
_WORSE: tuple[Level, ...] = ("skip", "pass", "warn", "fail")


def result(heard: Sequence[Heard]) -> Level:
    """Return the worst level of all findings; a skipped check is neither good nor bad."""
    worst = _worst(list(_findings(heard)))
    return "fail" if worst == "skip" else worst


def as_json(heard: Sequence[Heard], case: Visit) -> str:
    """Return the report as JSON text; see the module for its schema."""
    counts = _counts(heard)
    content = {
        "schema": SCHEMA,
        "version": VERSION,
        "at": datetime.fromtimestamp(case.now(), UTC).isoformat(timespec="seconds"),
        "site": case.site,
        "server": case.server_address,
        "kit": str(case.kit),
        "fedward": fedward.__version__,
        "flare": metadata.version("nvflare"),
        "python": platform.python_version(),
        "result": result(heard),
        "counts": {level: counts[level] for level in get_args(Level)},
        "findings": [{"room": one.check.room, **asdict(finding)} for one in heard for finding in one.findings],
    }
    return json.dumps(content, indent=2, allow_nan=False)


def as_text(heard: Sequence[Heard], case: Visit) -> str:
    """Return the report for a person: findings by subject, then one line for each remedy."""
    lines = [f"{case.title}: {case.kit}"]
    widest = max(len(one.check.name) for one in heard)
    for room in dict.fromkeys(one.check.room for one in heard):
        lines += ["", room]
        for one in heard:
            if one.check.room == room:
                lines += [f"  {f.level:4}  {f.check:{widest}}  {_said(f)}" for f in one.findings]
    levels = [_worst(one.findings) for one in heard]
    counts: dict[Level, int] = {level: levels.count(level) for level in get_args(Level)}
    shown = ", ".join(f"{counts[level]} {word}" for level, word in _WORDS.items() if counts[level])
    lines += ["", f"{len(heard)} checks, each by its worst line: {shown}"]
    if todo := list(_todo(heard)):
        lines += ["", "what to do", *todo]
    return "\n".join(lines)


_WORDS: dict[Level, str] = {"pass": "passed", "warn": "warn", "fail": "failed", "skip": "not looked at"}


def _findings(heard: Sequence[Heard]) -> Iterator[Finding]:
    for one in heard:
        yield from one.findings


def _worst(findings: Sequence[Finding]) -> Level:
    return max((finding.level for finding in findings), key=_WORSE.index)


def _counts(heard: Sequence[Heard]) -> dict[Level, int]:
    levels = [finding.level for finding in _findings(heard)]
    return {level: levels.count(level) for level in get_args(Level)}


def _said(finding: Finding) -> str:
    place = "" if finding.where is None else f"{finding.where}: "
    value = "" if finding.value is None else f" ({finding.value})"
    return f"{place}{finding.what}{value}"


def _todo(heard: Sequence[Heard]) -> Iterator[str]:
    """Yield the remedies, of failures first; each remedy once."""
    for level in ("fail", "warn"):
        expected = [f for f in _findings(heard) if f.level == level and f.remedy is not None]
        for remedy in dict.fromkeys(finding.remedy for finding in expected):
            names = dict.fromkeys(finding.check for finding in expected if finding.remedy == remedy)
            yield f"  {level}  {', '.join(names)}: {remedy}"
