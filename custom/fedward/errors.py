"""Everything that Fedward refuses, as one tree.

::

    FedwardError
    ├── SettingsError      a job, site or federation file says something that cannot be
    ├── CohortError        a hospital's images, labels or index cannot serve
    │   └── StudyError   one image cannot: it goes to quarantine, the rest go on
    ├── JobError           a job asks for what cannot be built or may not run
    │   └── PolicyError  it asks for more than this hospital's policy gives
    ├── LedgerError        the privacy ledger is absent, damaged, or asked for what it cannot record
    │   └── BudgetError     a patient's ε would pass the hospital's cap, or a job its own ceiling
    ├── GateError        what came to a hospital's door may not pass it
    ├── EncryptionError    a key, a sealed message or a sum that cannot serve
    ├── StoreError         the server's metrics store cannot be read or written, or is another program's
    └── FederationError    processes, ports, kits and connections

A message is one line: what is wrong, where, the value, the remedy. It never carries a pixel, a weight or a patient's
identifier, so that it may be printed and logged. It is not sent: what a server is told is ``fedward.flare.refusal``'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path


def single_line(text: str) -> str:
    """One line; what prints nothing, or steers a terminal, is a space."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


class FedwardError(Exception):
    """What a person can mend, in one line.

    Args:
        what: what is wrong, as a phrase without a full stop.
        where: the file, folder, setting or site it concerns.
        value: the value that was found there, when it is safe to show.
        remedy: what to do about it, as an imperative.
    """

    def __init__(
        self, what: str, *, where: str | Path | None = None, value: object | None = None, remedy: str | None = None
    ) -> None:
        self.what, self.where, self.value, self.remedy = what, where, value, remedy
        line = what
        if value is not None:
            line += f": {value!r}"
        if where is not None:
            line = f"{where}: {line}"
        if remedy is not None:
            line += f"; {remedy}"
        super().__init__(single_line(line))


class SettingsError(FedwardError):
    """A job, site or federation file says something that cannot be."""


class CohortError(FedwardError):
    """A hospital's images, labels or index cannot serve."""


class StudyError(CohortError):
    """One image cannot serve; it goes to quarantine under ``reason`` and the rest go on.

    Args:
        reason: a short kebab-case name from ``fedward.indexing.quality.REASONS``.
        detail: one line for the hospital's own eyes.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, single_line(detail)
        super().__init__(f"{reason} ({self.detail})" if self.detail else reason)

    def __reduce__(self) -> tuple[type[StudyError], tuple[str, str]]:
        return type(self), (self.reason, self.detail)


class JobError(FedwardError):
    """A job asks for what cannot be built or may not run."""


class PolicyError(JobError):
    """A job asks for more than this hospital's policy gives.

    Args:
        what, where, value, remedy: as in ``FedwardError``; for the hospital's own eyes.
        settings: the settings that were refused, each with the policy's own bound, or None where it has none; under
            ``job`` the job's hash. The server may be told of these; see ``fedward.flare.refusal``.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | Path | None = None,
        value: object | None = None,
        remedy: str | None = None,
        settings: Mapping[str, float | str | None] | None = None,
    ) -> None:
        super().__init__(what, where=where, value=value, remedy=remedy)
        self.settings: dict[str, float | str | None] = dict(settings or {})


class LedgerError(FedwardError):
    """The privacy ledger is absent, damaged, or asked for what it cannot record."""


class BudgetError(LedgerError):
    """A patient's ε would pass the hospital's cap, or a job the ceiling that it was charged with."""


class GateError(FedwardError):
    """What came to a hospital's door, in or out, may not pass it."""


class EncryptionError(FedwardError):
    """A key, a sealed message or a sum of them that cannot serve."""


class StoreError(FedwardError):
    """The server's metrics store cannot be read or written, or the file is another program's."""


class FederationError(FedwardError):
    """Processes, ports, kits and connections."""


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,95}")


def shown(name: object) -> str:
    """A name as an error may show it: letters, digits, ``_`` and ``.``, or a word that says that it is not shown."""
    return name if type(name) is str and _NAME.fullmatch(name) else "(of a name that is not shown)"
