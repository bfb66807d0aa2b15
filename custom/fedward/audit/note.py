"""Record an act in one call, for commands and processes; refuse it, or say so, where it cannot be recorded."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fedward.audit.actions import ACTIONS, UNDONE
from fedward.audit.entry import Entry
from fedward.audit.log import AuditLog
from fedward.errors import AuditError

UNPROVEN = "not proven"
"""Who, where no signature that holds names a person."""
Warn = Callable[[str], object]


def local_account() -> str:
    """Return the operating system's account, and with sudo the user who called it; at most 64 characters."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    borrowed = os.environ.get("SUDO_USER", "")
    return (f"{name} for {borrowed}" if name == "root" and borrowed.isalnum() else name)[:64]


def own_account() -> str:
    """Return who acts where no certificate does: the account of the hospital's, server's or operator's own machine."""
    return f"own account {local_account()}"


def note(log: AuditLog | None, what: str, *, warn: Warn, who: str | None = None, **about: object) -> Entry | None:
    """Record an act that was done, or is about to be; nothing where there is no log.

    Args:
        log: the log; None: this process belongs to no kit.
        what: a name in ``ACTIONS``.
        warn: says in one line that the act was not recorded.
        who: None: the machine's own account.
        about: facts, by a name in ``ABOUT``; None leaves one out.

    Raises:
        AuditError: the act cannot be recorded, and is one that must be.
    """
    if log is None:
        return None
    try:
        return log.append(what, who=own_account() if who is None else who, about=about)
    except AuditError as error:
        if ACTIONS[what].must:
            raise AuditError(
                f"{what} is refused: {error.what}", where=error.where, value=error.value, remedy=error.remedy
            ) from None
        warn(f"{what} is not in the audit log: {error}")
        return None


@contextmanager
def recorded(log: AuditLog | None, what: str, *, warn: Warn, who: str | None = None, **about: object) -> Iterator[None]:
    """Record an act before the body of the ``with`` does it; where the body raises, a further entry says so.

    Raises:
        AuditError: as ``note``; the body does not run.
    """
    entry = note(log, what, warn=warn, who=who, **about)
    try:
        yield
    except BaseException:
        if entry is not None:
            note(log, UNDONE, warn=warn, who=who, entry=entry.number)
        raise
