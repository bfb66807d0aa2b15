"""Make the findings of a check: each has its level, the value that was found, and a remedy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedward.errors import FedwardError

Level = Literal["pass", "warn", "fail", "skip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Finding of a check.

    Attributes:
        check: the check's kebab-case name.
        level: ``fail`` must be mended before the service starts; ``warn`` may be intended; ``skip`` was not checked.
        what: the finding, as a phrase. Never a secret nor a patient's identifier.
        where: file, folder, setting or address.
        value: the value found there, if it is safe to show.
        remedy: the action to take, as an imperative; every ``warn`` and ``fail`` has one.
    """

    check: str
    level: Level
    what: str
    where: str | None = None
    value: str | None = None
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Voice:
    """Maker of one check's findings."""

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
        """Return a failure with the error's text; ``remedy`` if it has none, ``where`` in place of its own."""
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
