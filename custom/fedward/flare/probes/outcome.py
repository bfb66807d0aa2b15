"""What came of a request that the doctor sent, and of a job that it offered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What came of one request."""

    ANSWERED = "answered"
    """Something came back, whatever it says: a handler, or FLARE in its place, has read the request."""
    SILENT = "silent"
    """It was sent, and nothing came back in time; a command was refused in so many words."""
    UNKNOWN = "unknown"
    """It could not be sent, or a command was neither done nor refused: that shows nothing."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One request that was sent: its channel and topic, or command, and what came of it."""

    what: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Refusal:
    """One job that was offered.

    Attributes:
        what: how it differs from a job's one form.
        reason: why it was refused, in the words of who refused it; None: it was taken.
        expected: the reason that it must be refused for; None: any but ``unchecked`` and those of the others.
    """

    what: str
    reason: str | None
    expected: str | None = None
