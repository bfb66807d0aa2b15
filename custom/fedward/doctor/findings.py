"""What a check says: one thing each, with its level, the value that was found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedward.errors import FedwardError

Level = Literal["pass", "warn", "fail", "skip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a check found.

    Attributes:
        check: the check's kebab-case name.
        level: ``fail`` is mended before the service starts; ``warn`` may be meant; ``skip`` could not be looked at.
        what: what was found, as a phrase. Never a secret nor a patient's identifier.
        where: file, folder, setting or address.
        value: what was found there, where it is safe to show.
        remedy: what to do, as an imperative; every ``warn`` and ``fail`` has one.
    """

    check: str
    level: Level
    what: str
    where: str | None = None
    value: str | None = None
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Voice:
    """Speaks for one check: makes its findings."""

    check: str

    def passed(self, what: str, *, where: str | Path | None = None, value: object = None) -> Finding:
        return self._say("pass", what, where, value, None)

    def warned(self, what: str, *, remedy: str, where: str | Path | None = None, value: object = None) -> Finding:
        return self._say("warn", what, where, value, remedy)

    def failed(self, what: str, *, remedy: str, where: str | Path | None = None, value: object = None) -> Finding:
        return self._say("fail", what, where, value, remedy)

    def skipped(self, what: str) -> Finding:
        return self._say("skip", what, None, None, None)

    def refused(self, error: FedwardError, *, remedy: str, where: str | Path | None = None) -> Finding:
        """A failure in the error's own words; ``remedy`` where it has none, ``where`` in place of its own."""
        place = error.where if where is None else where
        return self._say("fail", error.what, place, error.value, error.remedy or remedy)

    def _say(self, level: Level, what: str, where: str | Path | None, value: object, remedy: str | None) -> Finding:
        return Finding(
            check=self.check,
            level=level,
            what=_line(what),
            where=None if where is None else str(where),
            value=None if value is None else _line(str(value)),
            remedy=None if remedy is None else _line(remedy),
        )


def _line(text: str) -> str:
    return " ".join(text.split())
