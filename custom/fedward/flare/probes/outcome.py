"""Define the outcome of a request that the doctor sent, and of a job that it submitted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """Outcome of one request."""

    ANSWERED = "answered"
    """An answer of any content came back: a handler, or FLARE in its place, has read the request."""
    SILENT = "silent"
    """The request was sent, and no answer came in time; or a command was refused explicitly."""
    UNKNOWN = "unknown"
    """The request could not be sent, or a command was neither executed nor refused: this shows nothing."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One request that was sent: its channel and topic, or command, and its outcome."""

    what: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Refusal:
    """One job that was submitted to be refused.

    Attributes:
        what: difference from a job's canonical form.
        reason: reason of the refusal, in its original text; None: the job was accepted.
        expected: reason for which it must be refused; None: any except ``unchecked`` and those of the others.
    """

    what: str
    reason: str | None
    expected: str | None = None
