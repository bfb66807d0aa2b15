"""Read and write the list of issued certificates, ``state/inventory.json``: names and numbers, no key."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field, ValidationError

from fedward.errors import FederationError
from fedward.provisioning.participants import Kind
from fedward.settings import Name, Settings

INVENTORY_FILE = "inventory.json"
Way = Literal["central", "distributed"]
Reason = Literal["unspecified", "key-compromise", "superseded", "cessation-of-operation", "affiliation-changed"]
"""Reason of a revocation, in the terms of RFC 5280, 5.3.1."""


class Issued(Settings):
    """Issued certificate.

    Attributes:
        serial: hexadecimal, as openssl prints it.
        key: SHA-256 of its public key.
        issued_at, not_after: start and end of its validity.
        revoked_at, reason: None while it is not revoked.
    """

    serial: str
    key: str
    issued_at: AwareDatetime
    not_after: AwareDatetime
    revoked_at: AwareDatetime | None = None
    reason: Reason | None = None

    @property
    def number(self) -> int:
        return int(self.serial, 16)


class Participant(Settings):
    """Participant that has a certificate, had one, or is invited to request one.

    Attributes:
        way: "central": the operator made the private key; "distributed": it was made on the machine that uses it.
        fedward, flare, wheel: versions and package hash that its kit was made with.
        invited_at: date of an invitation that waits for its request.
        certificates: all certificates issued under the name, oldest first.
    """

    name: str
    kind: Kind
    organisation: Name
    role: str | None = None
    way: Way
    fedward: str
    flare: str
    wheel: str
    invited_at: AwareDatetime | None = None
    certificates: tuple[Issued, ...] = ()

    @property
    def current(self) -> Issued | None:
        """Newest certificate, unless it is revoked."""
        newest = self.certificates[-1] if self.certificates else None
        return newest if newest is not None and newest.revoked_at is None else None

    @property
    def live(self) -> tuple[Issued, ...]:
        """Certificates that are not revoked."""
        return tuple(issued for issued in self.certificates if issued.revoked_at is None)

    def with_certificate(self, issued: Issued) -> Participant:
        return self.model_copy(update={"certificates": (*self.certificates, issued), "invited_at": None})


class Inventory(Settings):
    """List of all that one authority issued.

    Attributes:
        host, port: of the server, as every kit has them.
        crl_number: of the last certificate revocation list.
    """

    federation: Name
    host: str
    port: int
    crl_number: int = Field(ge=1)
    participants: tuple[Participant, ...] = ()

    def find(self, name: str) -> Participant | None:
        return next((one for one in self.participants if one.name == name), None)

    def having(self, *changed: Participant) -> Inventory:
        """Return the inventory with these participants in place of those of the same names, or at its end."""
        by_name = {one.name: one for one in self.participants} | {one.name: one for one in changed}
        return self.model_copy(update={"participants": tuple(by_name.values())})

    def without(self, name: str) -> Inventory:
        return self.model_copy(update={"participants": tuple(one for one in self.participants if one.name != name)})

    @property
    def revoked(self) -> dict[int, datetime]:
        """Revoked serial numbers with their dates, as in the revocation list."""
        return {
            issued.number: issued.revoked_at
            for one in self.participants
            for issued in one.certificates
            if issued.revoked_at is not None
        }


def encode_inventory(inventory: Inventory) -> bytes:
    """Return an inventory as JSON; the same inventory gives the same bytes."""
    return inventory.model_dump_json(indent=2, exclude_none=True).encode() + b"\n"


def read_inventory(path: Path) -> Inventory | None:
    """Read an inventory; return None if there is none.

    Raises:
        FederationError: it cannot be read.
    """
    try:
        return Inventory.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FederationError("inventory cannot be read", where=path, value=error.strerror) from None
    except ValidationError:
        raise FederationError(
            "inventory is damaged", where=path, remedy="restore the state folder from its backup"
        ) from None
