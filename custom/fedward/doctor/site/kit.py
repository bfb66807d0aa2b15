"""Compare the kit with the software that runs: its stamp, versions, package hash, policy file and connection."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

import fedward
from fedward.doctor.context import CLIENT_FILE, Case
from fedward.doctor.findings import Finding, Voice
from fedward.errors import FederationError, SettingsError

SITE_FILE = "site.toml"
_INSTALL = "install the wheel that the operator's message names, with its hash: pip install --require-hashes"


def site_toml(case: Case) -> Iterator[Finding]:
    """Check that the policy can be read, and is the one that jobs meet."""
    say = Voice("site-toml")
    try:
        policy = case.policy
    except SettingsError as error:
        remedy = "copy site.toml from site_templates/ into the kit's local/ and correct it"
        yield say.refused(error, remedy=remedy)
        return
    used = case.local / SITE_FILE
    if not used.exists():
        remedy = f"put it there: cp {case.site_toml} {used}"
        yield say.failed("kit has no policy, so every job is refused", where=used, remedy=remedy)
    elif used.read_bytes() != case.site_toml.read_bytes():
        remedy = "look at the one that jobs meet: leave --site-toml out"
        yield say.warned("jobs meet another policy than this one", where=used, remedy=remedy)
    else:
        yield say.passed("can be read, and jobs meet it", where=case.site_toml, value=policy.site)


def kit_stamp(case: Case) -> Iterator[Finding]:
    """Check that the kit has a stamp, and that the stamp names this site."""
    say = Voice("kit-stamp")
    try:
        stamp = case.stamp
    except FederationError as error:
        yield say.refused(error, remedy="ask the operator for a kit of this release")
        return
    named = case.client["client"].get("fqsn")
    if stamp.participant != named:
        remedy = "ask the operator for a kit of your own; do not mix files of two kits"
        yield say.failed(f"stamp is {stamp.participant!r}'s and the kit {named!r}'s", remedy=remedy)
        return
    yield say.passed(f"made for {stamp.participant} in {stamp.federation}", value=f"Fedward {stamp.fedward}")


def versions(case: Case) -> Iterator[Finding]:
    """Check that the installed Fedward and FLARE are the versions that the kit was made with."""
    say, stamp = Voice("versions"), case.stamp
    pairs = (
        ("Fedward", fedward.__version__, stamp.fedward),
        ("FLARE", metadata.version("nvflare"), stamp.flare),
    )
    for name, installed, expected in pairs:
        if installed != expected:
            yield say.failed(
                f"{name} is not the kit's", value=f"installed {installed}, kit {expected}", remedy=_INSTALL
            )
        else:
            yield say.passed(f"{name} is the kit's", value=installed)


def wheel(case: Case) -> Iterator[Finding]:
    """Check that the installed package is, file by file, the one that the kit names."""
    say, expected = Voice("wheel"), case.stamp.wheel
    if case.wheel != expected:
        value = f"installed {case.wheel}, kit {expected}"
        yield say.failed("installed package is not the one that the kit names", value=value, remedy=_INSTALL)
        return
    yield say.passed("installed package is the one that the kit names", value=case.wheel)


def mutual_tls(case: Case) -> Iterator[Finding]:
    """Check that the kit connects by gRPC with certificates on both ends."""
    say, where = Voice("mutual-tls"), f"startup/{CLIENT_FILE}"
    remedy = "ask the operator for a kit that connects by mutual TLS"
    security = case.client["client"].get("connection_security")
    schemes = {server.get("service", {}).get("scheme") for server in case.client["servers"]}
    if security != "mtls":
        yield say.failed("connection is not by mutual TLS", where=where, value=security, remedy=remedy)
    elif schemes != {"grpc"}:
        value = ", ".join(sorted(map(str, schemes)))
        yield say.failed("connection is not by gRPC", where=where, value=value, remedy=remedy)
    elif len(case.client["servers"]) != 1:
        yield say.failed("kit names several servers", where=where, value=len(case.client["servers"]), remedy=remedy)
    else:
        yield say.passed("certificates on both ends", where=where, value=security)
