"""Plan what provisioning would do, before it does it: a pure function of file, inventory and day.

| sign | meaning |
|---|---|
| ``+`` | a kit is made |
| ``=`` | nothing is done |
| ``~`` | the file requests a change that is impossible for an existing kit; the whole run is refused |
| ``-`` | no longer a participant: gone from the file, or revoked |
| ``!`` | a certificate that ends soon, or has ended |
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from fedward.errors import FederationError
from fedward.provisioning.inventory import Inventory, Participant
from fedward.provisioning.participants import Kind, Line, lines_of
from fedward.provisioning.validity import SOON_DAYS
from fedward.settings import FederationSpec

Action = Literal["new", "kept", "refused", "gone", "revoked", "soon", "waiting", "left-out"]
_SIGNS: dict[Action, str] = {
    "new": "+",
    "kept": "=",
    "waiting": "=",
    "left-out": "=",
    "refused": "~",
    "gone": "-",
    "revoked": "-",
    "soon": "!",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Action for one participant, and its reason."""

    name: str
    kind: Kind
    action: Action
    note: str

    def __str__(self) -> str:
        return f"{_SIGNS[self.action]} {self.name} ({self.note})"


@dataclass(frozen=True, slots=True)
class Plan:
    steps: tuple[Step, ...]

    def names(self, action: Action) -> frozenset[str]:
        """Return the participants with this action."""
        return frozenset(step.name for step in self.steps if step.action == action)

    def require_possible(self) -> None:
        """Refuse the whole run if one step cannot be done.

        Raises:
            FederationError: the first such step.
        """
        for step in self.steps:
            if step.action == "refused":
                raise FederationError(f"{step.note}; nothing was written", where=step.name)


def make_plan(
    spec: FederationSpec,
    inventory: Inventory | None,
    *,
    today: datetime,
    only: Collection[str] = (),
    anew: Collection[str] = (),
) -> Plan:
    """Plan the central way for every line of ``spec``.

    Args:
        inventory: certificates issued so far; None: none.
        today: date and time, with a time zone.
        only: make new kits for these names only; empty: for every line that has none.
        anew: names whose certificates are revoked and that get a new kit.

    Raises:
        FederationError: ``only`` or ``anew`` has a name that the file does not have.
    """
    lines = lines_of(spec)
    unknown = sorted({*only, *anew} - {line.name for line in lines})
    if unknown:
        raise FederationError("is not in the federation's file", value=unknown[0], remedy="add its line first")
    steps = [_moved(spec, inventory)] if inventory is not None else []
    for line in lines:
        known = inventory.find(line.name) if inventory is not None else None
        if known is None:
            steps.append(_unknown(line, wanted=not only or line.name in only or line.name in anew))
        else:
            steps.append(_known(line, known, today=today, anew=line.name in anew))
    if inventory is not None:
        steps += _gone(inventory, {line.name for line in lines})
    return Plan(tuple(step for step in steps if step is not None))


def days_left(until: datetime, today: datetime) -> int:
    """Return the whole days until then; negative if it has passed."""
    return (until - today).days


def _moved(spec: FederationSpec, inventory: Inventory) -> Step | None:
    old, new = f"{inventory.host}:{inventory.port}", f"{spec.server.host}:{spec.server.port}"
    if old == new:
        return None
    note = f"server changed from {old} to {new}, which is in every kit; not done: put it back, or give another --out"
    return Step(name=spec.server.host, kind=Kind.server, action="refused", note=note)


def _unknown(line: Line, *, wanted: bool) -> Step:
    if not wanted:
        return Step(name=line.name, kind=line.kind, action="left-out", note="no kit yet; not asked for")
    return Step(name=line.name, kind=line.kind, action="new", note="new kit, central")


def _known(line: Line, known: Participant, *, today: datetime, anew: bool) -> Step:
    def step(action: Action, note: str) -> Step:
        return Step(name=line.name, kind=line.kind, action=action, note=note)

    current = known.current
    if current is None and known.invited_at is not None:
        return step("waiting", f"invited {known.invited_at.date()}, waits for its request")
    if current is None:
        if anew:
            return step("new", "new kit, central; the old certificate stays revoked")
        return step("revoked", f"revoked; `--anew {line.name}` or `federation invite {line.name}` admits it again")
    if anew:
        return step("refused", "has a certificate that is not revoked; not done: `federation revoke` it first")
    changed = [
        what
        for what, old, new in (
            ("kind", known.kind, line.kind),
            ("organisation", known.organisation, line.organisation),
            ("role", known.role, line.role),
        )
        if old != new
    ]
    if changed:
        return step("refused", f"{' and '.join(changed)} changed; not done: revoke and provision anew")
    left = days_left(current.not_after, today)
    if left < SOON_DAYS:
        when = f"expires in {left} days" if left >= 0 else f"expired {current.not_after.date()}"
        return step("soon", f"{when}: federation renew {line.name}")
    return step("kept", f"kept, certificate {left} days")


def _gone(inventory: Inventory, names: set[str]) -> list[Step]:
    return [
        Step(
            name=one.name,
            kind=one.kind,
            action="gone",
            note=f"gone from the file: {'still has a certificate' if one.live else 'still invited'}; "
            f"federation revoke {one.name}",
        )
        for one in inventory.participants
        if one.name not in names and (one.live or one.invited_at is not None)
    ]
