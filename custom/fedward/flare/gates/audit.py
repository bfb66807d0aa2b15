"""Record in the hospital's audit log what its egress gate lets out; without the entry it does not leave."""

from __future__ import annotations

from nvflare.apis.fl_context import FLContext

from fedward.flare.audit_trail.notes import note
from fedward.flare.gates.state import GateState
from fedward.privacy.ledger.runs import OPEN


def note_update(state: GateState, context: FLContext, *, round_number: int, entry: int) -> None:
    """Record that a round's update leaves, after the ledger's file has its own entry and before the update leaves.

    Args:
        entry: number of that entry.

    Raises:
        AuditError: it cannot be recorded.
    """
    note(context, "update-left", round=round_number, protection=_protection(state), ledger=entry)


def note_opened(state: GateState, context: FLContext) -> None:
    """Record that the final model leaves opened, after the ledger's file has its own entry and before it leaves.

    Raises:
        AuditError: it cannot be recorded.
    """
    note(context, "model-opened", protection=_protection(state), ledger=_ledger_entry(state, OPEN))


def _protection(state: GateState) -> str:
    sealed = "" if state.job.encryption is None else ", encrypted"
    return f"{state.agreement.mechanism}{sealed}"


def _ledger_entry(state: GateState, kind: str) -> int | None:
    """Return the number of the last entry of this kind about the run in the ledger's file."""
    numbers = (one.number for one in reversed(state.record.entries()) if _is_of(one.kind, one.body, kind, state))
    return next(numbers, None)


def _is_of(found: str, body: dict[str, object], kind: str, state: GateState) -> bool:
    return found == kind and body.get("job_id") == state.job_id
