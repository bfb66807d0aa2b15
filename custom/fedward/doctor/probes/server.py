"""Send harmless probes to the server, with a person's certificate: each must be refused, or not answered at all."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Iterator

from cryptography.x509.oid import NameOID

from fedward.doctor.checks import Check
from fedward.doctor.findings import Finding, Voice
from fedward.doctor.probes.judgement import judge, judge_jobs
from fedward.doctor.server_context import ServerCase
from fedward.doctor.site import network
from fedward.flare.probes.outcome import Outcome, Probe
from fedward.provisioning.network.connectivity import goes_on

_UNLISTED = "cells", "peers server", "shell pwd", "pwd server"
_ANEW = "stop the server, make its kit anew with this release, and rotate as the page on a compromise says"


def sign_in(case: ServerCase) -> Iterator[Finding]:
    """Check that the server admits this person and names the connected hospitals."""
    say, sites = Voice("sign-in"), case.sites
    yield say.passed("lets this person in", where=case.server.address, value=f"{len(sites)} hospitals connected")


def tls_floor(case: ServerCase) -> Iterator[Finding]:
    """Check that the server accepts nothing older than TLS 1.3, and no client without a certificate."""
    say, where = Voice("tls-floor"), case.server.address
    asked = (
        ("a client of TLS 1.2", ssl.TLSVersion.TLSv1_2, True),
        ("a client without a certificate", ssl.TLSVersion.TLSv1_3, False),
    )
    for what, highest, certificate in asked:
        if goes_on(case.server, highest=highest, certificate=certificate, timeout_s=case.limits.answer_s):
            yield say.failed(f"goes on with {what}", where=where, remedy=_ANEW)
        else:
            yield say.passed(f"refuses {what}", where=where)


def between_participants(case: ServerCase) -> Iterator[Finding]:
    """Check that the server passes nothing from this person to a hospital, and discloses nothing of an absent one."""
    from fedward.flare.probes.requests import off_the_list

    nobody = f"nobody-{uuid.uuid4().hex[:12]}"
    requests = [request for site in (*case.sites, nobody) for request in off_the_list(site)]
    passed = f"passes nothing on to {len(case.sites)} hospitals"
    answered = "passes on a request between two participants, or answers it"
    yield from _silent("between-participants", case, case.line.ask_all(requests), passed, answered)


def server_messages(case: ServerCase) -> Iterator[Finding]:
    """Check that the server itself answers none of a person's requests that is on no list."""
    from fedward.flare.probes.requests import at_a_server

    probes = case.line.ask_all(at_a_server())
    passed, answered = "answers nothing that is on no list", "answers a request that is on no list"
    yield from _silent("server-messages", case, probes, passed, answered)


def origins(case: ServerCase) -> Iterator[Finding]:
    """Check that the server accepts nothing from this person in another's name; the names here are nobody's."""
    from fedward.flare.probes.requests import challenge

    names = (f"_admin_{uuid.uuid4()}", f"nobody-{uuid.uuid4().hex[:12]}")
    probes = case.line.ask_as(names, challenge())
    yield from _silent("origins", case, probes, "takes nothing in another's name", "takes a request in another's name")


def _silent(check: str, case: ServerCase, probes: tuple[Probe, ...], passed: str, answered: str) -> Iterator[Finding]:
    """Judge the probes; the control is the first message of a sign-in, which any person may send, on the same line."""
    from fedward.flare.probes.requests import challenge

    control, where = case.line.ask(challenge()), case.server.address
    yield from judge(
        Voice(check), control=control, probes=probes, passed=passed, answered=answered, remedy=_ANEW, where=where
    )


def commands(case: ServerCase) -> Iterator[Finding]:
    """Check that the server executes no console command that no role has."""

    def probe(command: str) -> Probe:
        done = case.console.does(command)
        return Probe(command, Outcome.UNKNOWN if done is None else Outcome.ANSWERED if done else Outcome.SILENT)

    control, probes = probe("check_status server"), tuple(probe(command) for command in _UNLISTED)
    yield from judge(
        Voice("commands"),
        control=control,
        probes=probes,
        passed="does no command that no role has",
        answered="does a command that no role has",
        remedy=_ANEW,
        where=case.server.address,
    )


def submissions(case: ServerCase) -> Iterator[Finding]:
    """Check that the server refuses a non-canonical job. One that it accepts is deleted at once and could not start."""
    from fedward.flare.job_checks.form import UNCHECKED
    from fedward.flare.probes.jobs import server_refusals
    from fedward.flare.submitter import SUBMITTERS

    say = Voice("submissions")
    roles = case.certificate.subject.get_attributes_for_oid(NameOID.UNSTRUCTURED_NAME)
    if not any(role.value in SUBMITTERS for role in roles):
        yield say.skipped(f"not offered: needs the kit of one who may submit jobs ({', '.join(SUBMITTERS)})")
        return
    yield from judge_jobs(say, refusals=server_refusals(case.console), unchecked=UNCHECKED, remedy=_ANEW)


_IN = ("sign-in",)

SERVER_CHECKS: tuple[Check, ...] = (
    Check(name="dns", room="network", look=network.dns, limit_s=6.0),
    Check(name="port", room="network", look=network.port, needs=("dns",), limit_s=7.0),
    Check(name="tls", room="network", look=network.tls, needs=("port",), limit_s=7.0),
    Check(name="tls-floor", room="network", look=tls_floor, needs=("port",), limit_s=25.0),
    Check(name="sign-in", room="server", look=sign_in, needs=("tls",), limit_s=30.0),
    Check(name="between-participants", room="doors", look=between_participants, needs=_IN, limit_s=60.0),
    Check(name="server-messages", room="doors", look=server_messages, needs=_IN),
    Check(name="origins", room="doors", look=origins, needs=_IN),
    Check(name="commands", room="doors", look=commands, needs=_IN, limit_s=30.0),
    Check(name="submissions", room="doors", look=submissions, needs=_IN, limit_s=60.0),
)
"""All checks of ``fedward federation doctor``, in order."""
