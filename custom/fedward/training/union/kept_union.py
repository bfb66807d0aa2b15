r"""Keep the model and optimizer of a job with noise for the sum at a hospital, through restarts.

The file is one line of JSON (format, run, SHA-256 of all else) and ``UnionModel.packed``. It is written after the sums
of a round were opened and before the model is used. A process that dies in between opens the same sums again: the
hospital's record takes no others.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedward.errors import JobError, LedgerIOError
from fedward.files import write_atomic
from fedward.privacy.sum_noise import sum_grid
from fedward.settings import JobSpec
from fedward.training.union.union_model import UnionModel

UNION_FILE = "union.model"
FORMAT = 1


class KeptUnion:
    """Model of one run.

    Args:
        initial: model before the first round.
        job: the job.
        folder: of the run, in the kit.
        run: id of the run and hash of its job; a file of another run is refused.

    Raises:
        JobError: the file does not verify.
        LedgerIOError: it cannot be read at the moment.
    """

    def __init__(self, initial: UnionModel, job: JobSpec, *, folder: Path, run: str) -> None:
        self._job, self._path, self._run = job, folder / UNION_FILE, run
        self._grid = sum_grid(job, values=initial.values)
        self.model: UnionModel = self._read(initial)
        """Model and optimizer after the sums that were opened so far."""
        self._digest: tuple[int, str] | None = None

    @property
    def digest(self) -> str:
        """Digest of the model and optimizer, computed once a round."""
        if self._digest is None or self._digest[0] != self.model.after:
            self._digest = (self.model.after, self.model.digest)
        return self._digest[1]

    def step(self, units: NDArray[np.int64], *, base: str) -> None:
        """Make the next round's step, and keep the result durably.

        Args:
            units: opened sum, int64 of shape (values,).
            base: identity of the sum.

        Raises:
            JobError: as ``UnionModel.step``.
            LedgerIOError: the disk does not accept it; the model is the one before.
        """
        made = self.model.step(units, unit=self._grid.unit, job=self._job, base=base)
        payload = made.packed()
        head = {"format": FORMAT, "run": self._run}
        line = json.dumps({**head, "sha256": _digest(head, payload)}).encode("ascii") + b"\n"
        try:
            write_atomic(self._path, line + payload, mode=0o600)
        except OSError as error:
            raise _unreachable(self._path, error) from None
        self.model = made

    def _read(self, initial: UnionModel) -> UnionModel:
        try:
            line, _, payload = self._path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return initial
        except OSError as error:
            raise _unreachable(self._path, error) from None
        try:
            head = json.loads(line)
            found = str(head.pop("sha256"))
            sound = head == {"format": FORMAT, "run": self._run} and hmac.compare_digest(_digest(head, payload), found)
        except (ValueError, KeyError, AttributeError, TypeError):
            sound = False
        if not sound:
            raise JobError("this hospital's copy of the job's model does not verify", where=self._path, remedy=_AGAIN)
        return UnionModel.unpacked(payload, like=initial)


def _unreachable(path: Path, error: OSError) -> LedgerIOError:
    what = "copy of the job's model cannot be read or written at the moment"
    return LedgerIOError(what, where=path, value=error.strerror, remedy="look at the disk")


def _digest(head: dict[str, object], payload: bytes) -> str:
    text = json.dumps(head, sort_keys=True).encode("ascii")
    return hashlib.sha256(len(text).to_bytes(8, "big") + text + payload).hexdigest()


_AGAIN = "restore the file, or submit the job again"
