"""Report the status of a federation: each participant's kit, its certificate's end, and when it was last seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from fedward.provisioning.inventory import Inventory, Participant
from fedward.provisioning.participants import Kind
from fedward.provisioning.plan import days_left
from fedward.provisioning.stamp import Stamp
from fedward.provisioning.validity import SOON_DAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class KitStatus:
    """Status of one participant's kit.

    Attributes:
        state: "valid", "soon" (ends within 30 days), "expired", "revoked" or "invited".
        days_left: days left of the newest certificate; None if it is revoked or there is none.
        same_wheel: true if its kit was made with the wheel that runs here.
        last_seen: time of the last heartbeat; None if nobody asked the server, or it does not know.
        kit: stamp of the kit in this folder; None: it is on another machine.
        runs, runs_at: version that the site was last admitted to a job with, and when; None: the server does not know.
    """

    name: str
    kind: Kind
    way: str
    state: str
    days_left: int | None
    fedward: str
    flare: str
    wheel: str
    same_wheel: bool
    last_seen: datetime | None
    kit: Stamp | None = None
    runs: str | None = None
    runs_at: datetime | None = None

    @property
    def newest(self) -> str:
        """Version of Fedward by the best source there is: a job, else the kit here, else what the kit was made with."""
        return self.runs or (self.kit.fedward if self.kit is not None else self.fedward)


def standing(
    inventory: Inventory,
    *,
    today: datetime,
    wheel: str,
    seen: Mapping[str, datetime] | None = None,
    kits: Mapping[str, Stamp] | None = None,
    runs: Mapping[str, tuple[str, datetime]] | None = None,
) -> tuple[KitStatus, ...]:
    """Return the status of every participant, in the order in which they joined.

    Args:
        wheel: hash of the package that runs here.
        seen: last heartbeat at the server, by site.
        kits: stamps of the kits on this machine, by participant.
        runs: version and time of each site's last admission to a job.
    """
    rows = tuple(_standing(one, today, wheel, (seen or {}).get(one.name)) for one in inventory.participants)
    none: tuple[None, None] = (None, None)
    return tuple(
        replace(row, kit=(kits or {}).get(row.name), runs=version, runs_at=at)
        for row in rows
        for version, at in [(runs or {}).get(row.name, none)]
    )


def fleet(standings: tuple[KitStatus, ...]) -> dict[str, tuple[str, ...]]:
    """Return version -> server and sites that have it, by the best source there is; more than one: a mixed fleet.

    Participants without a valid certificate do not count.
    """
    found: dict[str, list[str]] = {}
    for one in standings:
        if one.kind is not Kind.person and one.state in ("valid", "soon"):
            found.setdefault(one.newest, []).append(one.name)
    return {version: tuple(names) for version, names in sorted(found.items())}


def wants_attention(standings: tuple[KitStatus, ...]) -> bool:
    """True if a certificate in use ends within 30 days, or has ended."""
    return any(one.state in ("soon", "expired") for one in standings)


def _standing(one: Participant, today: datetime, wheel: str, seen: datetime | None) -> KitStatus:
    left = None if one.current is None else days_left(one.current.not_after, today)
    if left is None:
        state = "invited" if one.invited_at is not None else "revoked"
    else:
        state = "expired" if left < 0 else "soon" if left < SOON_DAYS else "valid"
    return KitStatus(
        name=one.name,
        kind=one.kind,
        way=one.way,
        state=state,
        days_left=left,
        fedward=one.fedward,
        flare=one.flare,
        wheel=one.wheel,
        same_wheel=one.wheel == wheel,
        last_seen=seen,
    )
