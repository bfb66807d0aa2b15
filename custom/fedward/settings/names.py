"""Define the form of every name that becomes a certificate's name, an organisation or a folder.

| name | form | limit | source |
|---|---|---|---|
| site's id | lower-case kebab, none of FLARE's own words | 48 | a label in dashboards and Kubernetes |
| server's host | DNS name (RFC 1123 section 2.1) or IPv4 address | 64 | RFC 5280 appendix A |
| a label of it | letters, digits and hyphens | 63 | RFC 1035 section 2.3.4 |
| person's e-mail | ASCII, a domain whose last label has two letters or more | 64 | FLARE's pattern for "admin" |
| organisation | letter, then letters, digits and ``_`` | 64 | RFC 5280 appendix A |
| federation | as an organisation | 63 | FLARE cuts a longer one, and would not find its authority |
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated

from pydantic import AfterValidator, Field

CERTIFICATE_NAME_LIMIT = 64
"""Characters of a common name and of an organisation in a certificate: RFC 5280 appendix A, ub-common-name."""
_FEDERATION_LIMIT = 63
_LABEL_LIMIT = 63
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?")
_LOCAL_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_SITE_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_THIS_NETWORK = IPv4Network("0.0.0.0/8")
_LAST_LABEL = re.compile(r"[A-Za-z]{2,}")

FLARE_WORDS = {
    "server": "the root of the server's cells",  # fuel/common/fqn.py FQN.ROOT_SERVER, apis/job_def.py SERVER_SITE_NAME
    "all": "every site, in its commands",  # fuel/flare_api/api_spec.py TargetType.ALL, job_cmds.py all_targets
    "client": "the clients, in its commands",  # api_spec.py TargetType.CLIENT, apis/fl_constant.py SiteType.CLIENT
    "admin": "its console",  # lighter/constants.py ParticipantType.ADMIN, f3/cellnet/defs.py CellChannel.CLIENT_MAIN
    "relay": "a relay",  # lighter/constants.py ParticipantType.RELAY
    "default": "no site in particular",  # job_config/script_runner.py, site_name in ("default", "server")
}
"""Word that FLARE 2.9 keeps for itself, in the form of a site's id -> its meaning there.

``@ALL``, ``server_parent`` and ``_admin_…`` are FLARE's too; the form of a site's id excludes them, and the separators
``.`` and ``/``.
"""


def require_short(value: str, limit: int, remedy: str) -> None:
    """Refuse a name that a certificate cannot hold.

    Raises:
        ValueError: names length, limit and remedy.
    """
    if len(value) > limit:
        raise ValueError(f"has {len(value)} characters, and a certificate holds {limit}: {remedy}")


def host_name(value: str) -> str:
    """Return a host that certificate, folder and FLARE can all hold.

    Raises:
        ValueError: it is neither a DNS name nor an IPv4 address, or is too long.
    """
    require_short(value, CERTIFICATE_NAME_LIMIT, "give a shorter alias in DNS")
    labels = value.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(
            "is no host name: give letters, digits and hyphens between dots, without port and brackets; an "
            "international name in its xn-- form, an IPv6 address as a name in DNS"
        )
    if max(map(len, labels)) > _LABEL_LIMIT:
        raise ValueError(f"has a part of more than {_LABEL_LIMIT} characters: give a shorter alias in DNS")
    if labels[-1].isdecimal():
        _require_reachable(value)
    return value


def _require_reachable(value: str) -> None:
    """Refuse what is no IPv4 address, and one that no host has: RFC 1122 section 3.2.1.3, RFC 5771, RFC 1112 section 4.

    Raises:
        ValueError: it is so.
    """
    try:
        address = IPv4Address(value)
    except ValueError:
        raise ValueError("is no IPv4 address, and a host name does not end in a number: correct it") from None
    if address in _THIS_NETWORK or address.is_multicast or address.is_reserved:
        raise ValueError("is an address that nobody can connect to: give the name or address that the hospitals use")


def email(value: str) -> str:
    """Return an e-mail address that certificate, folder and FLARE can all hold.

    Raises:
        ValueError: it has another form, or is too long.
    """
    require_short(value, CERTIFICATE_NAME_LIMIT, "give a shorter address; it is a sign-in name and gets no mail")
    local, at, domain = value.partition("@")
    labels = domain.split(".")
    plain = at and _LOCAL_PART.fullmatch(local) and len(labels) > 1 and all(map(_LABEL.fullmatch, labels))
    if not plain or not _LAST_LABEL.fullmatch(labels[-1]):
        raise ValueError(
            "is no e-mail address that FLARE takes: give name@domain in letters, digits and . _ + -, a letter or digit "
            "first, letters last"
        )
    return value


def _plain(value: str, joint: str) -> str:
    """Return the text in ASCII letters and digits with ``joint`` for each run of anything else: a name to suggest."""
    letters = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[^A-Za-z0-9]+", joint, letters).strip(joint)


def _name(value: str) -> str:
    if _NAME.fullmatch(value) is None:
        like = _plain(value, "_")
        like = like if _NAME.fullmatch(like) else "north_clinic"
        raise ValueError(f"is no name here: give letters, digits and _, a letter first, such as {like!r}")
    return value


def _site_id(value: str) -> str:
    if _SITE_ID.fullmatch(value) is None:
        like = _plain(value, "-").lower()
        like = like if _SITE_ID.fullmatch(like) else "north-clinic"
        rule = "give lower-case letters, digits and single hyphens between them, a letter first"
        raise ValueError(f"is no site's id: {rule}, such as {like!r}")
    if (meaning := FLARE_WORDS.get(value)) is not None:
        raise ValueError(f"is reserved by FLARE, for {meaning}: give the hospital another id")
    return value


def _federation(value: str) -> str:
    require_short(value, _FEDERATION_LIMIT, "give a shorter name")
    return value


def ambiguous(names: Collection[str]) -> str | None:
    """Return the first name that is there twice when case is ignored, as a certificate's reader and a disk may."""
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            return name
        seen.add(name.casefold())
    return None


SiteId = Annotated[str, Field(max_length=48), AfterValidator(_site_id)]
"""Site's id in lower-case kebab: the same in certificate, folder, label and dashboard."""
Name = Annotated[str, Field(max_length=CERTIFICATE_NAME_LIMIT), AfterValidator(_name)]
FederationName = Annotated[Name, AfterValidator(_federation)]
HostName = Annotated[str, AfterValidator(host_name)]
Email = Annotated[str, AfterValidator(email)]
