"""List all checks in the order in which they run, with the checks that each needs and its time limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fedward.doctor.findings import Finding
from fedward.doctor.probes import site
from fedward.doctor.site import certificates, hardening, images, keys, kit, machine, network, policy, server


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Check of a site or a server.

    Attributes:
        name: kebab-case; each of its findings has it.
        room: subject under which it is listed.
        look: makes the findings, at least one, of a ``Case`` or, for a server, a ``ServerCase``.
        needs: checks without which this one shows nothing new; if one did not go through, this one is skipped.
        online: true if it needs the server.
        limit_s: seconds after which it counts as failed and the others continue.
    """

    name: str
    room: str
    look: Callable[[Any], Iterable[Finding]]
    needs: tuple[str, ...] = ()
    online: bool = False
    limit_s: float = 10.0


_CERTIFICATE = ("certificate-files",)
_OWN = ("certificate-days", "certificate-key", "certificate-root")
_POLICY = ("site-toml",)

CHECKS: tuple[Check, ...] = (
    Check(name="site-toml", room="kit", look=kit.site_toml),
    Check(name="kit-stamp", room="kit", look=kit.kit_stamp),
    Check(name="versions", room="kit", look=kit.versions, needs=("kit-stamp",)),
    Check(name="wheel", room="kit", look=kit.wheel, needs=("kit-stamp",)),
    Check(name="startup-files", room="kit", look=hardening.startup_files, limit_s=20.0),
    Check(name="file-permissions", room="kit", look=keys.file_permissions),
    Check(name="certificate-files", room="certificates", look=certificates.certificate_files),
    Check(name="certificate-days", room="certificates", look=certificates.certificate_days, needs=_CERTIFICATE),
    Check(name="certificate-key", room="certificates", look=certificates.certificate_key, needs=_CERTIFICATE),
    Check(name="certificate-root", room="certificates", look=certificates.certificate_root, needs=_CERTIFICATE),
    Check(
        name="certificate-name", room="certificates", look=certificates.certificate_name, needs=_CERTIFICATE + _POLICY
    ),
    Check(name="mutual-tls", room="network", look=kit.mutual_tls),
    Check(name="dns", room="network", look=network.dns, online=True, limit_s=6.0),
    Check(name="port", room="network", look=network.port, online=True, needs=("dns",), limit_s=7.0),
    Check(name="tls", room="network", look=network.tls, online=True, needs=("port", *_OWN), limit_s=7.0),
    Check(name="server-answer", room="server", look=server.server_answer, online=True, needs=("tls",), limit_s=12.0),
    Check(name="clock", room="server", look=server.clock, online=True, needs=("server-answer",)),
    Check(
        name="server-match",
        room="server",
        look=server.server_match,
        online=True,
        needs=("server-answer", "versions", "wheel"),
    ),
    Check(name="bandwidth", room="server", look=server.bandwidth, online=True, needs=("server-answer",), limit_s=12.0),
    Check(name="private-files", room="keys", look=keys.private_files, needs=_POLICY),
    Check(name="site-key", room="keys", look=keys.site_key, needs=("private-files",)),
    Check(name="federation-key", room="keys", look=keys.federation_key, needs=("private-files",)),
    Check(name="roster", room="keys", look=keys.roster, needs=("private-files",)),
    Check(name="images", room="images", look=images.folders, needs=_POLICY),
    Check(name="pacs", room="images", look=images.pacs, needs=_POLICY),
    Check(name="index", room="images", look=images.index, needs=_POLICY, limit_s=60.0),
    Check(name="index-fresh", room="images", look=images.fresh, needs=("images", "index", "site-key"), limit_s=60.0),
    Check(name="quarantine", room="images", look=images.quarantine, needs=("index",)),
    Check(name="policy", room="policy", look=policy.policy, needs=_POLICY),
    Check(name="lax-policy", room="policy", look=policy.lax_policy, needs=_POLICY),
    Check(name="ledger", room="policy", look=policy.ledger, needs=("site-key",)),
    Check(name="record", room="policy", look=policy.record, needs=("ledger",)),
    Check(name="class-allow-list", room="side doors", look=hardening.class_allow_list, limit_s=20.0),
    Check(name="log-streaming", room="side doors", look=hardening.log_streaming),
    Check(name="components", room="side doors", look=hardening.components),
    Check(name="site-door", room="side doors", look=hardening.site_door),
    Check(name="job-form", room="side doors", look=site.job_form, limit_s=20.0),
    Check(name="authorization", room="side doors", look=hardening.authorization),
    Check(name="privacy-scope", room="side doors", look=hardening.privacy_scope),
    Check(name="custom-code", room="side doors", look=hardening.custom_code),
    Check(name="side-files", room="side doors", look=hardening.side_files),
    Check(name="log-config", room="side doors", look=hardening.log_config),
    Check(name="messages", room="service", look=site.messages, limit_s=30.0),
    Check(name="disk", room="machine", look=machine.disk, needs=_POLICY),
    Check(name="memory", room="machine", look=machine.memory),
    Check(name="processors", room="machine", look=machine.processors),
    Check(name="gpu", room="machine", look=machine.gpu, limit_s=30.0),
)
"""All checks of a site. Local checks come before network checks, so that a fault is reported at its cause."""
