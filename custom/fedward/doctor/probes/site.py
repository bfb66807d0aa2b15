"""Send harmless probes to the site: requests that its process must not answer, and jobs that it must refuse."""

from __future__ import annotations

from collections.abc import Iterator

from fedward.doctor.context import Case
from fedward.doctor.findings import Finding, Voice
from fedward.doctor.probes.judgement import judge, judge_jobs
from fedward.errors import FederationError

_ANEW = "stop the service, ask the operator for the kit anew and for what to rotate: others may have read files here"
_WHEEL = "install the wheel that the operator's message names, with its hash: pip install --require-hashes"


def messages(case: Case) -> Iterator[Finding]:
    """Check that the site's process answers none of its jobs' unlisted requests; the operator's page has the list."""
    from fedward.doctor.site.process import running
    from fedward.flare.probes.requests import ask_site

    say, site = Voice("messages"), str(case.client["client"]["fqsn"])
    found = running(case.kit)
    if not found:
        yield say.skipped("not asked: no process of this kit runs here as this user")
        return
    for process in found:
        if not process.ports:
            remedy = "wait until the service is up, and run it again"
            yield say.failed("cannot be shown: process listens to no job", value=process.pid, remedy=remedy)
        for port in process.ports:
            where = f"process {process.pid}, port {port}"
            try:
                control, probes = ask_site(site, port)
            except FederationError as error:
                yield say.refused(error, where=where, remedy="run it again; if it stays so, look at the site's log")
                continue
            passed = "process answers nothing that is on no list"
            yield from judge(say, control=control, probes=probes, passed=passed, remedy=_ANEW, where=where)


def job_form(case: Case) -> Iterator[Finding]:
    """Check that the code that deploys jobs here refuses one that is not canonical, and one that is not signed."""
    from fedward.flare.job_checks.form import UNCHECKED
    from fedward.flare.probes.jobs import site_refusals

    refusals = site_refusals(case.kit, str(case.client["client"]["fqsn"]))
    yield from judge_jobs(Voice("job-form"), refusals=refusals, unchecked=UNCHECKED, remedy=_WHEEL)
