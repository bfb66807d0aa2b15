"""Hold what a hospital keeps of its own from round to round: its own layers (FedBN) and the optimizer's momenta.

The state after each of the last two rounds is held, so that a round that comes again starts from the state before it,
and its update is the same. ``write_state`` and ``read_states`` keep both on the disk, for a process that is started
again: a file is whole or absent, and one that does not verify is refused and never used.

A file is one line of JSON (format, run, round, SHA-256 of all else) and the state as ``torch.save`` writes it. It is
read with ``weights_only``, so that no code in it runs.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedward.errors import JobError
from fedward.files import write_atomic
from fedward.settings import JobSpec

FORMAT = 1
HELD = 2
"""States that are held: after the last round, and after the one before it."""
_NAME = re.compile(r"kept-(\d{6})\.state")


@dataclass(frozen=True, slots=True, eq=False)
class KeptState:
    """State after a round.

    Attributes:
        round_number: the round.
        local: tensors that no site exchanges, by name.
        optimizer: the optimizer's ``state_dict``; None where the job does not keep it.
    """

    round_number: int
    local: Mapping[str, Tensor]
    optimizer: Mapping[str, Any] | None

    @classmethod
    def copied(cls, round_number: int, local: Mapping[str, Tensor], optimizer: Mapping[str, Any] | None) -> KeptState:
        """Copy every tensor, so that later steps change none of them."""
        own = {name: value.detach().clone() for name, value in local.items()}
        return cls(round_number, own, deepcopy(dict(optimizer)) if optimizer is not None else None)


class KeptStates:
    """States of one job at one site, the last ``HELD`` of them, in the order of their rounds."""

    def __init__(self, job: JobSpec) -> None:
        self.needed = job.training.keep_optimizer or job.model.batch_norm != "refuse"
        """True if the job keeps anything at a site from round to round."""
        self._states: list[KeptState] = []
        self._trimmed = False
        self._lost = -1

    @property
    def last(self) -> KeptState | None:
        """State from which the next round starts; None: the initial one."""
        return self._states[-1] if self._states else None

    def add(self, state: KeptState) -> None:
        """Hold the state after a round, in place of one of the same or a later round."""
        before = [one for one in self._states if one.round_number < state.round_number]
        self._trimmed = self._trimmed or len(before) >= HELD
        self._states = [*before[-(HELD - 1) :], state]

    def go_back(self, round_number: int) -> None:
        """Forget the states after this round and later ones, so that the round starts from the state before it.

        Raises:
            JobError: that state is no longer held.
        """
        before = [one for one in self._states if one.round_number < round_number]
        lost = 0 < round_number <= self._lost and (before[-1].round_number if before else -1) != round_number - 1
        if lost or (self._states and not before and self._trimmed):
            what = "what this site kept before the round is no longer held"
            raise JobError(what, where=f"round {round_number}", remedy="go on with a later round")
        self._states = before

    def restore(self, states: Sequence[KeptState], *, left: int = -1) -> None:
        """Take the states of an earlier process, as ``read_states`` returned them.

        Unless the first is of round 0, there may have been one before it: to go back before the first is refused. If
        the last is older than the last update that left, states are lost: then a round comes again only from the state
        of the round before it, since another update could leave for the same model.

        Args:
            left: highest round whose update left; -1: none.
        """
        self._states = sorted(states, key=lambda one: one.round_number)[-HELD:]
        self._trimmed = self._trimmed or any(one.round_number > 0 for one in self._states[:1])
        self._lost = left if left > (self._states[-1].round_number if self._states else -1) else -1


def write_state(folder: Path, state: KeptState, *, run: str) -> None:
    """Write the state after a round, durably, and remove all but the last ``HELD``.

    Args:
        folder: of the run.
        state: to write.
        run: id of the run and hash of its job; a state of another run is refused when it is read.

    Raises:
        OSError: the disk does not accept it; the files of earlier rounds stay.
    """
    buffer = io.BytesIO()
    torch.save({"local": dict(state.local), "optimizer": state.optimizer}, buffer)
    payload = buffer.getvalue()
    head = {"format": FORMAT, "run": run, "round": state.round_number}
    line = json.dumps({**head, "sha256": _digest(head, payload)}).encode("ascii") + b"\n"
    write_atomic(folder / f"kept-{state.round_number:06d}.state", line + payload, mode=0o600)
    files = _files(folder)
    later = [path for number, path in files.items() if number > state.round_number]
    kept = [path for number, path in files.items() if number <= state.round_number][-HELD:]
    for path in set(files.values()) - set(kept) | set(later):
        path.unlink()


def read_states(folder: Path, *, run: str) -> list[KeptState]:
    """Read and verify the states in the order of their rounds; none where there is no file.

    Raises:
        JobError: a file was changed, is of another run, or cannot be read; nothing of it is used.
    """
    return [_read(path, number, run) for number, path in _files(folder).items()]


def _read(path: Path, number: int, run: str) -> KeptState:
    try:
        line, _, payload = path.read_bytes().partition(b"\n")
        head = json.loads(line)
        digest = str(head.pop("sha256"))
        sound = head == {"format": FORMAT, "run": run, "round": number}
        if not sound or not hmac.compare_digest(_digest(head, payload), digest):
            raise ValueError("another state than was written")
        content = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        return KeptState(number, content["local"], content["optimizer"])
    except OSError as error:
        what = "what this hospital kept of the job cannot be read"
        raise JobError(what, where=path, value=error.strerror, remedy="look at the disk") from None
    except Exception:  # noqa: BLE001 - torch raises errors of many kinds for a file that is none of its own
        what = "what this hospital kept of the job does not verify, and is not used"
        remedy = "restore the file, or delete it: the job then goes on with nothing of the hospital's own"
        raise JobError(what, where=path, remedy=remedy) from None


def _files(folder: Path) -> dict[int, Path]:
    found = {}
    for path in folder.glob("kept-*.state"):
        if match := _NAME.fullmatch(path.name):
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def _digest(head: Mapping[str, Any], payload: bytes) -> str:
    text = json.dumps(head, sort_keys=True).encode("ascii")
    return hashlib.sha256(len(text).to_bytes(8, "big") + text + payload).hexdigest()
