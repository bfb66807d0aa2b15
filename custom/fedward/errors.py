"""Define every error of Fedward, as one tree.

::

    FedwardError
    ├── SettingsError      an error in a job, site or federation file
    ├── CohortError        a hospital's images, labels or index cannot be used
    │   └── StudyError     one image cannot be used: it goes to quarantine, the rest continue
    ├── JobError           a job cannot be built or may not run
    │   └── PolicyError    a job asks for more than this hospital's policy allows
    ├── LedgerError        the privacy ledger is missing or damaged, or cannot record a value
    │   ├── BudgetError    a patient's ε would pass the hospital's cap, or a job its own ceiling
    │   ├── PatientsError  a job comes again with other patients than it was charged for
    │   └── LedgerIOError  the disk or another process is in the way at the moment; the ledger itself is sound
    │       └── DiskFullError  the disk has no room for an entry
    ├── GateError          a hospital's gate refuses data, incoming or outgoing
    │   └── RepeatError    a task that may not come again is refused, and the job goes on
    ├── EncryptionError    a key, a ciphertext or a sum of ciphertexts cannot be used
    │   └── RosterError    hospitals or key of a masked run do not do for this hospital
    ├── AuditError         an audit log was changed, or an act is refused because it cannot be recorded
    ├── StoreError         the server's metrics store cannot be read or written, or is another program's
    └── FederationError    an error of processes, ports, kits or connections

A message is one line: what is wrong, where, the value, the remedy. It never carries a pixel, a weight or a patient's
identifier, so that it may be printed and logged. It is not sent: ``fedward.flare.refusal`` decides what a server
receives.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from pathlib import Path

from fedward.visible import readable

LONGEST = 4000
"""Characters of an error: its beginning, which has the place, and its end, which has the remedy, are kept."""
_END = 900
_CUT = " … "


class _Brief(reprlib.Repr):
    """``repr`` of bounded length; it shows a table that holds itself, and a number that Python refuses to print."""

    def __init__(self, longest: int) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 2, longest, longest, 60
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = 20

    def repr_int(self, x: int, level: int) -> str:
        return f"a number of {x.bit_length()} bits" if x.bit_length() > 1000 else super().repr_int(x, level)


def brief(value: object, *, longest: int = 1000) -> str:
    """Return a value's ``repr`` in about ``longest`` characters at most: the middle of a long text is left out."""
    return _Brief(longest).repr(value)


def bounded(text: str) -> str:
    """Return the text in ``LONGEST`` characters at most; the middle of a longer one is left out."""
    return text if len(text) <= LONGEST else text[: LONGEST - _END - len(_CUT)] + _CUT + text[-_END:]


def single_line(text: str) -> str:
    """Return the text as one line; unprintable characters, such as terminal control codes, become spaces."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in readable(text)).split())


class FedwardError(Exception):
    """An error that a person can correct, in one line of at most ``LONGEST`` characters.

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
            line += f": {brief(value)}"
        if where is not None:
            line = f"{where}: {line}"
        if remedy is not None:
            line += f"; {remedy}"
        super().__init__(bounded(single_line(line)))


class SettingsError(FedwardError):
    """An error in a job, site or federation file."""


class CohortError(FedwardError):
    """Images, labels or an index of a hospital that cannot be used."""


class StudyError(CohortError):
    """An image that cannot be used; it goes to quarantine under ``reason`` and the rest continue.

    Args:
        reason: a short kebab-case name from ``fedward.indexing.reasons.REASONS``.
        detail: one line that only the hospital sees.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, bounded(single_line(detail))
        super().__init__(f"{reason} ({self.detail})" if self.detail else reason)

    def __reduce__(self) -> tuple[type[StudyError], tuple[str, str]]:
        return type(self), (self.reason, self.detail)


class JobError(FedwardError):
    """A job that cannot be built or may not run."""


class PolicyError(JobError):
    """A job that asks for more than this hospital's policy allows.

    Args:
        what, where, value, remedy: as in ``FedwardError``; only the hospital sees them.
        settings: the settings that were refused, each with the policy's own bound, or None where it has none; under
            ``job`` the job's hash. These may be sent to the server; see ``fedward.flare.refusal``.
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
    """A privacy ledger that is missing or damaged, or a value that it cannot record."""


class BudgetError(LedgerError):
    """A charge that would take a patient's ε past the hospital's cap, or a job past its own ceiling."""


class PatientsError(LedgerError):
    """A job that comes again with other patients than it was charged for."""


class LedgerIOError(LedgerError):
    """A privacy ledger that cannot be read or written at the moment; nothing is wrong with its content.

    The disk, the permissions or another process is in the way. No entry was promised, and the same call may succeed
    later.
    """


class DiskFullError(LedgerIOError):
    """A disk that has no room for an entry of the privacy ledger."""


class GateError(FedwardError):
    """Data that a hospital's gate refuses, incoming or outgoing."""


class RepeatError(GateError):
    """A task that may not come again: it alone is refused, and the job goes on with the next task."""


class EncryptionError(FedwardError):
    """A key, a ciphertext or a sum of ciphertexts that cannot be used."""


class KeyFileError(EncryptionError):
    """A file of this hospital's own key or certificate that cannot be read now, and perhaps at the next task."""


class RosterError(EncryptionError):
    """A masked run that this hospital can take no part in as it stands; another task may bring what is missing."""


class AuditError(FedwardError):
    """An audit log that was changed or cannot be read, or an act that is refused because it cannot be recorded."""


class StoreError(FedwardError):
    """A metrics store of the server that cannot be read or written, or a file that is another program's."""


class FederationError(FedwardError):
    """An error of processes, ports, kits or connections."""


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,95}")


def shown(name: object) -> str:
    """Return a name as an error may show it: letters, digits, ``_`` and ``.``; otherwise a fixed phrase."""
    return name if type(name) is str and _NAME.fullmatch(name) else "(of a name that is not shown)"
