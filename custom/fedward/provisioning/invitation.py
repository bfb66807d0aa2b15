"""What a hospital is sent first: who it is to be, where the server is, the operator's wheel, and files to start from.

There is no secret in it. The authority's signature covers it, and the authority is known by its fingerprint, which goes
by telephone: a server, wheel or policy that somebody put in on the way is refused before a kit is made.
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
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import AfterValidator, AwareDatetime, Field, ValidationError

from fedward.encryption.keys.site_identity import parse_certificate, public_key
from fedward.errors import EncryptionError, FederationError
from fedward.provisioning.authority import Authority
from fedward.provisioning.participants import PARTICIPANT_NAME, Kind, Line
from fedward.settings import FederationSpec, Name, Settings

_LARGEST = 2**20
_PADDING = PSS(mgf=MGF1(SHA256()), salt_length=PSS.DIGEST_LENGTH)
_TOPIC = b"fedward invitation 1\n"
_ASK = "ask the operator for the invitation again"


def local_name(name: str) -> str:
    """A file's name below a kit's ``local/``, unless it leaves that folder or would be imported as code there."""
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in name or path.parts[0] == "custom":
        raise ValueError("is no file name below local/")
    return path.as_posix()


@dataclass(frozen=True, slots=True)
class LocalExtras:
    """What a kit's ``local/`` gets besides what every kit has.

    Attributes:
        files: text by name; no file that is there already is replaced.
        components: of ``resources.json``, by id; None takes one out.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    components: Mapping[str, dict[str, Any] | None] = field(default_factory=dict)


class Invitation(Settings):
    """Signed by the authority.

    Attributes:
        id: of this invitation; a request belongs to one.
        host, port: of the server.
        fedward, flare, wheel: what the operator runs.
        files: text of further files for the kit's ``local/``, by name.
        components: of ``resources.json`` that the site's template changes, by id.
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
    """An invitation for one line of the file.

    Args:
        versions: Fedward's, FLARE's, and the hash of the operator's package.
        extras: what its template puts into the kit.
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
    """The invitation as the file that is sent: JSON text with the authority's certificate and signature."""
    signature = authority.key.sign(_signed(invitation), _PADDING, SHA256())
    sealed = _Sealed(
        format="fedward invitation 1",
        invitation=invitation,
        authority=authority.certificate.public_bytes(Encoding.PEM).decode("ascii"),
        signature=base64.b64encode(signature).decode("ascii"),
    )
    return sealed.model_dump_json(indent=2).encode() + b"\n"


def read_invitation(path: Path) -> tuple[Invitation, x509.Certificate]:
    """The invitation, and the authority that it says it is from: who that is, the telephone must say.

    Raises:
        FederationError: it cannot be read, was changed on its way, or is none.
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
        public_key(authority).verify(signature, _signed(sealed.invitation), _PADDING, SHA256())
    except (ValidationError, ValueError, EncryptionError):
        raise FederationError("is not an invitation", where=path, remedy=_ASK) from None
    except InvalidSignature:
        raise FederationError("invitation was changed after it was signed", where=path, remedy=_ASK) from None
    return sealed.invitation, authority


def _signed(invitation: Invitation) -> bytes:
    content = json.loads(invitation.model_dump_json())
    return _TOPIC + json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
