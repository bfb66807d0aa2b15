"""Make and read the invitation that a hospital receives first: its name, the server, the wheel, and first files.

It contains no secret. The authority signs it, and people compare the authority's fingerprint over the telephone: a
server, wheel or policy that was changed in transit is refused before a kit is made.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import AfterValidator, AwareDatetime, Field, ValidationError

from fedward.encryption.keys.site_identity import parse_certificate
from fedward.errors import EncryptionError, FederationError
from fedward.provisioning.authority import Authority, is_signed_by
from fedward.provisioning.participants import PARTICIPANT_NAME, Kind, Line, require_name
from fedward.settings import FederationSpec, Name, Settings

_LARGEST = 2**20
_TOPIC = b"fedward invitation 1\n"
_ASK = "ask the operator for the invitation again"


def local_name(name: str) -> str:
    """Return a file's name below a kit's ``local/``; refuse one that leaves the folder or would be imported as code."""
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in name or path.parts[0] == "custom":
        raise ValueError("is no file name below local/")
    return path.as_posix()


@dataclass(frozen=True, slots=True)
class LocalExtras:
    """Additions to a kit's ``local/`` besides the files of every kit.

    Attributes:
        files: text by name; no existing file is replaced.
        components: components of ``resources.json``, by id; None removes one.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    components: Mapping[str, dict[str, Any] | None] = field(default_factory=dict)


class Invitation(Settings):
    """Content of an invitation, which the authority signs.

    Attributes:
        id: of this invitation; a request belongs to one.
        host, port: of the server.
        fedward, flare, wheel: versions and package hash that the operator runs.
        files: text of further files for the kit's ``local/``, by name.
        components: components of ``resources.json`` that the site's template changes, by id.
    """

    id: str
    federation: Name
    name: Annotated[str, Field(pattern=f"^{PARTICIPANT_NAME}$")]
    kind: Kind
    organisation: Name
    role: str | None = None
    host: str
    port: int
    fedward: str
    flare: str
    wheel: str
    invited_at: AwareDatetime
    files: dict[Annotated[str, AfterValidator(local_name)], str]
    components: dict[str, dict[str, Any] | None]


class _Sealed(Settings):
    format: Literal["fedward invitation 1"]
    invitation: Invitation
    authority: str
    signature: str


def invite(
    line: Line,
    *,
    spec: FederationSpec,
    versions: tuple[str, str, str],
    extras: LocalExtras,
    now: datetime,
) -> Invitation:
    """Return an invitation for one line of the file.

    Args:
        versions: Fedward's version, FLARE's version, and the hash of the operator's package.
        extras: files and components that its template puts into the kit.
    """
    fedward, flare, wheel = versions
    return Invitation(
        id=uuid4().hex,
        federation=spec.name,
        name=line.name,
        kind=line.kind,
        organisation=line.organisation,
        role=line.role,
        host=spec.server.host,
        port=spec.server.port,
        fedward=fedward,
        flare=flare,
        wheel=wheel,
        invited_at=now,
        files=dict(extras.files),
        components=dict(extras.components),
    )


def seal_invitation(invitation: Invitation, authority: Authority) -> bytes:
    """Return the invitation's file, to be sent: JSON text with the authority's certificate and signature."""
    signature = authority.sign(_signed(invitation))
    sealed = _Sealed(
        format="fedward invitation 1",
        invitation=invitation,
        authority=authority.certificate.public_bytes(Encoding.PEM).decode("ascii"),
        signature=base64.b64encode(signature).decode("ascii"),
    )
    return sealed.model_dump_json(indent=2).encode() + b"\n"


def read_invitation(path: Path) -> tuple[Invitation, x509.Certificate]:
    """Read an invitation and the certificate of its authority, which must still be verified by telephone.

    Raises:
        FederationError: it cannot be read, was changed on its way, is not an invitation, or is for a name that no
            certificate can hold or that FLARE reserves.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST)
    except OSError as error:
        raise FederationError("invitation cannot be read", where=path, value=error.strerror) from None
    try:
        sealed = _Sealed.model_validate_json(content)
        authority = parse_certificate(sealed.authority.encode(), encoding=Encoding.PEM)
        signature = base64.b64decode(sealed.signature, validate=True)
        signed = is_signed_by(authority, signature, _signed(sealed.invitation))
    except (ValidationError, ValueError, EncryptionError):
        raise FederationError("is not an invitation", where=path, remedy=_ASK) from None
    if not signed:
        raise FederationError("invitation was changed after it was signed", where=path, remedy=_ASK)
    require_name(sealed.invitation.name, sealed.invitation.kind, where=path)
    require_name(sealed.invitation.host, Kind.server, where=path)
    return sealed.invitation, authority


def _signed(invitation: Invitation) -> bytes:
    content = json.loads(invitation.model_dump_json())
    return _TOPIC + json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
