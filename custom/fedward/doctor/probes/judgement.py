"""Judge every probe by its answer or its silence. Pure: nothing is sent here.

A gate is closed if its process stays silent. Silence alone proves nothing, since a dead line is silent too: each set of
probes has a control, a request that must be answered, on the same line and at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fedward.doctor.findings import Finding, Voice
from fedward.flare.probes.outcome import Outcome, Probe, Refusal


def judge(
    say: Voice,
    *,
    control: Probe,
    probes: Sequence[Probe],
    passed: str,
    answered: str = "answers a request that is on no list",
    remedy: str,
    where: str | None = None,
) -> Iterator[Finding]:
    """Check that only the control was answered.

    Args:
        say: maker of the check's findings.
        control: the request that must be answered.
        probes: the requests that must not be answered; an empty list proves nothing, and fails.
        passed, answered: what silence shows, and what an answer shows.
        remedy: for a request that was answered.
        where: the process that was asked.

    Returns:
        A failure for each request that was answered, or whose outcome is unknown, and one if the control was not
        answered; else one pass that names all of them.
    """
    names = ", ".join(dict.fromkeys(probe.what for probe in probes))
    unshown = "cannot be shown that nothing else is answered"
    again = "run it again; if it stays so, look at the log of who was asked"
    faults: list[Finding] = []
    for what in dict.fromkeys(probe.what for probe in probes if probe.outcome is Outcome.ANSWERED):
        faults.append(say.failed(answered, where=where, value=what, remedy=remedy))
    if control.outcome is not Outcome.ANSWERED:
        what = f"{unshown}: {control.what}, which must be, got no answer"
        faults.append(say.failed(what, where=where, remedy=again))
    elif not probes:
        faults.append(say.failed(f"{unshown}: nothing was asked", where=where, remedy=again))
    else:
        for what in dict.fromkeys(probe.what for probe in probes if probe.outcome is Outcome.UNKNOWN):
            faults.append(
                say.failed(f"{unshown}: it is not known what came of this", where=where, value=what, remedy=again)
            )
    yield from faults or [say.passed(passed, where=where, value=names)]


def judge_jobs(say: Voice, *, refusals: Sequence[Refusal], unchecked: str, remedy: str) -> Iterator[Finding]:
    """Check that each job was refused, and for its own fault.

    Args:
        say: maker of the check's findings.
        refusals: one for each job that was offered.
        unchecked: reason that a check sends when it throws: the job is refused, but its fault was not found.
        remedy: for a job that was accepted.

    Returns:
        One finding for each job.
    """
    known = {refusal.expected for refusal in refusals if refusal.expected is not None} | {unchecked}
    for refusal in refusals:
        right = refusal.reason == refusal.expected if refusal.expected is not None else refusal.reason not in known
        if refusal.reason is None:
            yield say.failed(f"a job that {refusal.what} is taken", remedy=remedy)
        elif not right:
            what = f"cannot be shown that a job that {refusal.what} is refused for that"
            yield say.failed(what, value=refusal.reason, remedy=remedy)
        else:
            yield say.passed(f"a job that {refusal.what} is refused")
    if not refusals:
        yield say.failed("cannot be shown that any job is refused", remedy=remedy)
