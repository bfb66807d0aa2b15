"""Word how a job stands and how it ended, once: report, dashboard, terminal, exit code and alerts take it from here.

Two programs know of an end: FLARE, by the job's status, and Fedward's server, by the job's last event. ``end_of`` holds
the two against each other. Where they agree there is one end; where they do not, the words say so, and it is no
success.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from fedward.visible import first_of, quoted

State = Literal["running", "resuming", "paused", "finished", "aborted", "failed"]
STATES: tuple[State, ...] = get_args(State)
ENDS: frozenset[State] = frozenset({"finished", "aborted", "failed"})
SUCCESS = "success: every round counted"
WAITS = frozenset({"SUBMITTED", "APPROVED"})
"""FLARE's statuses of a job that the server has not begun, or has to begin again."""
OPEN = WAITS | {"DISPATCHED", "RUNNING"}
"""FLARE's statuses of a job that has not ended."""
COMPLETED, ABORTED = "FINISHED:COMPLETED", "FINISHED:ABORTED"
WHY_FLARE = {
    "FINISHED:CAN_NOT_SCHEDULE": "the server could not schedule it",
    "FINISHED:FAILED_TO_RUN": "the server could not start it at the sites that it needs",
    "FINISHED:ABANDONED": "the server gave it up when it was started again",
}
_WHY_RESUMED = {
    "server process": "the job's process at the server was gone",
    "server": "the server was started again",
    "person": "a person takes it up again",
}
NOBODY = "a person, or the server was stopped"
"""Who aborted a job, where no record names anyone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A site whose last answer is missing.

    Attributes:
        site: id of the site.
        reason: reason why.
        since: first round, from 0, from which on none of its answers counted; the number of rounds if it missed only
            what comes after them; None if unknown.
    """

    site: str
    reason: str
    since: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """State of a job by Fedward's own record.

    Attributes:
        state: state in the metrics store.
        rounds_done, rounds_asked: rounds that counted, and rounds requested; None if unknown.
        reason: reason of a failure, an abort, a pause or a resumption.
        by: person who aborted it.
        attempt: number of the resumption, from 1.
        uncovered: True if it failed because its coverage was not met, which ``reason`` then says with the round.
        missing: sites that are missing at the end of a finished job.
    """

    state: State
    rounds_done: int = 0
    rounds_asked: int | None = None
    reason: str | None = None
    by: str | None = None
    attempt: int | None = None
    uncovered: bool = False
    missing: tuple[Missing, ...] = ()

    @property
    def ended(self) -> bool:
        """True once the job goes on no more."""
        return self.state in ENDS


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """State of a job by FLARE and by Fedward together.

    Attributes:
        words: one sentence for people.
        state: Fedward's state; "waiting" before the job began; None if no record says how it ended.
        ended: True once FLARE has ended the job.
        agreed: False if FLARE and Fedward tell different ends.
        success: True if the job has ended, both say so, and it is finished.
    """

    words: str
    state: State | Literal["waiting"] | None
    ended: bool
    agreed: bool
    success: bool


def missing_sites(
    reasons: Mapping[str, str] | None, *, last_counted: Mapping[str, int], rounds: int
) -> tuple[Missing, ...]:
    """Return the sites of a ``finished`` event's ``missing``, names sorted.

    Args:
        reasons: site -> reason; None: none.
        last_counted: site -> last round, from 0, in which its update counted; a site without one is not in it.
        rounds: number of rounds that counted.
    """
    return tuple(
        Missing(site=site, reason=str(reason), since=min(last_counted.get(site, -1) + 1, rounds))
        for site, reason in sorted((reasons or {}).items())
    )


def worded(job: JobState) -> str:
    """Return one sentence about a job, without a full stop; rounds are counted from 1."""
    return _WORDS[job.state](job)


def why_resumed(by: object) -> str | None:
    """Return the reason of a resumption from the ``by`` of its event; None for an unknown one."""
    return _WHY_RESUMED.get(str(by))


def not_covered(number: int | None, reason: str) -> str:
    """Return why a job's coverage was not met, with the round counted from 1; events count it from 0.

    Args:
        number: round, from 0; None before and after the rounds.
        reason: reason of an ``uncovered`` event.
    """
    if number is None:
        return reason
    return f"round {number + 1} did not count: {reason.removeprefix(f'round {number} does not count: ')}"


def end_of(flare: str, job: JobState | None) -> End:
    """Hold FLARE's status of a job against Fedward's record of it.

    Args:
        flare: FLARE's status, such as RUNNING or FINISHED:COMPLETED.
        job: state by the job's last event; None if no event is known.
    """
    if flare in OPEN:
        return _open(flare, job)
    if job is None:
        return _unrecorded(flare)
    agreed = flare in _AGREED.get(job.state, frozenset()) or (
        job.state == "failed" and flare not in (COMPLETED, ABORTED)
    )
    return End(
        words=worded(job) if agreed else _disagreed(flare, job),
        state=job.state,
        ended=True,
        agreed=agreed,
        success=agreed and job.state == "finished",
    )


def waiting(
    connected: Iterable[str], *, needed: int, required: Iterable[str] = (), known: Iterable[str] = (), why: str = ""
) -> str:
    """Return one line about a job that has not begun: how many sites are connected, and which are missing.

    Args:
        connected: sites that are connected now.
        needed: number of sites that the job needs.
        required: sites that it must include.
        known: further sites that the server knows.
        why: server's own reason, if the sites are there.
    """
    here, must = set(connected), set(required)
    everyone = here | must | set(known)
    line = f"waiting: {len(here)} of {len(everyone)} sites connected ({needed} needed)"
    absent = sorted(must - here)
    if not absent and len(here) >= needed:
        return f"{line}; {why or 'the server starts it next'}"
    named = absent or sorted(everyone - here)
    more = needed - len(here) - len(named)
    unnamed = [f"{more} more"] if more > 0 else []
    return f"{line}; missing {', '.join([*named, *unnamed])}"


def _open(flare: str, job: JobState | None) -> End:
    if job is None:
        if flare in WAITS:
            return End(words="waiting", state="waiting", ended=False, agreed=True, success=False)
        return End(words="starting", state="running", ended=False, agreed=True, success=False)
    if flare in WAITS and job.state in ("failed", "aborted"):  # the operator has asked for it
        job = replace(job, state="resuming", reason=why_resumed("person"))
    if job.ended:
        words = f"the server closes the job; FLARE still says {flare}: {worded(job)}"
        return End(words=words, state=job.state, ended=False, agreed=False, success=False)
    if flare in WAITS and job.state == "running":  # a server that was started again sends the job out again
        job = replace(job, state="resuming")
    return End(words=worded(job), state=job.state, ended=False, agreed=True, success=False)


def _unrecorded(flare: str) -> End:
    """Word an end of FLARE's where Fedward recorded no event: right for a job that never began, and only for that."""
    if flare == ABORTED:
        words = f"aborted before it began, by {NOBODY}"
        return End(words=words, state="aborted", ended=True, agreed=True, success=False)
    if flare in WHY_FLARE:
        words = f"failed before it began: {WHY_FLARE[flare]}"
        return End(words=words, state="failed", ended=True, agreed=True, success=False)
    words = f"FLARE says {_short(flare)}, and no record of the job's rounds is known"
    return End(words=words, state=None, ended=True, agreed=False, success=False)


def _disagreed(flare: str, job: JobState) -> str:
    what = {
        "finished": "every round counted",
        "aborted": "the job was aborted",
        "failed": "the job failed",
    }.get(job.state, "the job's record has no end")
    return f"FLARE says {_short(flare)} although {what}: {worded(job)}"


def _short(flare: str) -> str:
    return flare.removeprefix("FINISHED:")


_AGREED: Mapping[str, frozenset[str]] = {"finished": frozenset({COMPLETED}), "aborted": frozenset({ABORTED})}


def _of(job: JobState) -> str:
    return f"{job.rounds_done} of {job.rounds_asked} rounds" if job.rounds_asked else f"{job.rounds_done} rounds"


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def _place(job: JobState) -> str:
    if not job.rounds_done:
        return "before the first round"
    return f"after round {job.rounds_done}" + (f" of {job.rounds_asked}" if job.rounds_asked else "")


def _running(job: JobState) -> str:
    if not job.rounds_asked:
        return "running"
    if job.rounds_done >= job.rounds_asked:
        return f"running, all {job.rounds_asked} rounds counted; the last validation"
    return f"running, round {job.rounds_done + 1} of {job.rounds_asked}"


def _resuming(job: JobState) -> str:
    attempt = "" if job.attempt is None else f" (attempt {job.attempt})"
    return f"resuming {_place(job)}{attempt}{_because(job.reason)}"


def _finished(job: JobState) -> str:
    if not job.missing:
        return SUCCESS
    named = [f"{one.site} {_since(one, job.rounds_done)}, {quoted(one.reason)}" for one in job.missing]
    who = "; ".join(first_of(named))  # the report names all
    count = "1 site" if len(job.missing) == 1 else f"{len(job.missing)} sites"
    return f"success with {count} missing at the end: every round counted, without {who}"


def _since(one: Missing, rounds: int) -> str:
    if one.since is None:
        return "at the end"
    return "after the last round" if one.since >= rounds else f"since round {one.since + 1}"


_WORDS: Mapping[str, Callable[[JobState], str]] = {
    "running": _running,
    "resuming": _resuming,
    "paused": lambda job: f"paused {_place(job)}{_because(job.reason)}",
    "finished": _finished,
    "aborted": lambda job: f"aborted by {job.by or NOBODY} after {_of(job)}{_because(job.reason)}",
    "failed": lambda job: f"failed{'' if job.uncovered else ' after ' + _of(job)}{_because(job.reason)}",
}
