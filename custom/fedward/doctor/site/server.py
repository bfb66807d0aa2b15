"""Check the server's answers to this site: its clock, its versions, the line's speed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from importlib import metadata

import fedward
from fedward.doctor.context import Case
from fedward.doctor.findings import Finding, Voice
from fedward.errors import FederationError

_MB = 10**6


def server_answer(case: Case) -> Iterator[Finding]:
    """Check that the server accepts this site, and is a Fedward server."""
    say = Voice("server-answer")
    try:
        answer = case.hello
    except FederationError as error:
        remedy = (
            "ask the operator to look at `fedward federation status`: was this kit revoked, is the server up to date"
        )
        yield say.refused(error, remedy=remedy)
        return
    yield say.passed("answers this site", where=case.server.address, value=f"Fedward {answer.fedward}")


def clock(case: Case) -> Iterator[Finding]:
    """Compare our clock with the server's; half of the round-trip time is uncertainty."""
    say, limits = Voice("clock"), case.limits
    answer = case.hello
    offset = case.now() - time.time()  # 0 unless ``case.now`` is another clock
    ours, doubt = (answer.sent_at + answer.received_at) / 2 + offset, abs(answer.received_at - answer.sent_at) / 2
    skew = ours - answer.server_time
    value = f"{skew:+.1f} s, give or take {doubt:.1f} s"
    beyond = abs(skew) - doubt
    remedy = "let a time service set this machine's clock (timedatectl set-ntp true); tell the operator if it is right"
    if not math.isfinite(beyond) or beyond > limits.skew_fail_s:
        yield say.failed("this machine's clock is not the server's", value=value, remedy=remedy)
    elif beyond > limits.skew_warn_s:
        yield say.warned("this machine's clock drifts from the server's", value=value, remedy=remedy)
    else:
        yield say.passed("agrees with the server's", value=value)


def server_match(case: Case) -> Iterator[Finding]:
    """Check that the server runs the same versions as this site."""
    say, answer = Voice("server-match"), case.hello
    remedy = "install the release that the operator names, or ask for the server to be brought to this one"
    pairs = (
        ("Fedward", fedward.__version__, answer.fedward),
        ("FLARE", metadata.version("nvflare"), answer.flare),
        ("package hash", case.wheel, answer.wheel),
    )
    for name, ours, theirs in pairs:
        if ours != theirs:
            yield say.failed(f"server has another {name}", value=f"ours {ours}, theirs {theirs}", remedy=remedy)
            return
    yield say.passed("runs the same Fedward and FLARE", value=f"{answer.fedward}, {answer.flare}")


def bandwidth(case: Case) -> Iterator[Finding]:
    """Measure the speed of upload and download, and the time that a model takes."""
    say, limits = Voice("bandwidth"), case.limits
    remedy = "ask for a wider line to the server, or the data scientist for a smaller model or longer rounds"
    try:
        answer = case.ask(case.kit, timeout_s=limits.payload_s, payload_bytes=limits.payload_bytes)
    except FederationError:
        what = f"{limits.payload_bytes / _MB:.1f} MB did not go there and back in {limits.payload_s:g} s"
        yield say.warned(what, remedy=remedy)
        return
    for way, rate in (("up", answer.upload_bytes_per_s), ("down", answer.download_bytes_per_s)):
        if rate is None or not rate > 0.0:
            yield say.warned(
                f"server measured no rate {way}", remedy="ask the operator whether the server is up to date"
            )
            continue
        seconds = case.model_mb * _MB / rate
        what = f"{way}: {rate / _MB:.1f} MB/s; a model of {case.model_mb:g} MB takes {seconds:.1f} s"
        if seconds > limits.send_warn_s:
            yield say.warned(what, remedy=remedy)
        else:
            yield say.passed(what)
