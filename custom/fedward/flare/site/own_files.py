"""Write what only the hospital reads: its events, pictures, models and the state that it keeps from round to round.

None of these files is needed for an answer. Where the disk does not accept one, the site's log says so, and the task
goes on.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedward.encryption.masks.run_keys import RUN_KEYS_FILE, destroy_run_keys
from fedward.metrics.events import EVENTS_FILE, EventLog
from fedward.reporting.examples import write_examples
from fedward.weights import Weights, save_weights

if TYPE_CHECKING:
    from fedward.training.kept_state import KeptStates
    from fedward.validation.outlines import Outlined

LOCAL_ONLY_FILE, FINAL_FILE = "local_only.npz", "final_model.npz"
"""Model that this hospital trained alone, and final model of an encrypted job; both files stay in its run folder."""
_log = logging.getLogger("fedward.site")


class OwnFiles:
    """Files of one job at one hospital.

    Args:
        folder: the run's folder.
        kept: folder, in the kit, of what must outlive this process; see ``job_context.checkpoint_folder``.
    """

    def __init__(self, folder: Path, *, kept: Path) -> None:
        self._folder, self._kept = folder, kept
        self._events = EventLog(folder / EVENTS_FILE)
        self._failed: set[str] = set()

    def event(self, kind: str, **fields: Any) -> None:
        """Append an event to the hospital's own log of the job."""
        self._written("events", lambda: self._events.append(kind, **fields))

    def examples(self, outlined: Sequence[Outlined]) -> None:
        """Write the pictures of a segmentation."""
        self._written("pictures of validation images", lambda: write_examples(self._folder, outlined))

    def model(self, weights: Weights, name: str) -> None:
        """Write a model under a name of this module."""
        self._written(name, lambda: save_weights(weights, self._folder / name))

    def state(self, kept: KeptStates, *, run: str) -> None:
        """Write the state after a round, where the job keeps one."""
        from fedward.training.kept_state import write_state

        state = kept.last
        if state is not None:
            what = "state that the hospital keeps; after a restart an older one is used"
            self._written(what, lambda: write_state(self._kept, state, run=run))

    def restore(self, kept: KeptStates, *, run: str, left: int) -> None:
        """Give the states of an earlier process to a trainer.

        Args:
            kept: states of a new trainer.
            run: as ``state`` was given it.
            left: highest round whose update left; -1: none.

        Raises:
            JobError: a file does not verify; it is not used.
        """
        from fedward.training.kept_state import read_states

        if not kept.needed:
            return
        kept.restore(read_states(self._kept, run=run), left=left)
        reached = -1 if kept.last is None else kept.last.round_number
        if reached < left:
            found = "nothing" if kept.last is None else f"its state after round {reached}"
            _log.warning("round %d has left, and the hospital has kept %s: it goes on from there", left, found)

    def remove_state(self) -> None:
        """Remove the states of a run that has ended; keys of a masked run are overwritten first."""
        self._written("the end of the run's keys", lambda: destroy_run_keys(self._kept / RUN_KEYS_FILE))
        shutil.rmtree(self._kept, ignore_errors=True)

    def _written(self, what: str, write: Callable[[], None]) -> None:
        """Write a file, or say once in the log that it is not written."""
        try:
            write()
        except OSError as error:
            if what not in self._failed:
                _log.warning("not written at the moment, %s: %s", what, error.strerror or type(error).__name__)
            self._failed.add(what)
        else:
            self._failed.discard(what)


def run_of(job_id: str, job_hash: str) -> str:
    """Return the name by which a kept state knows its run."""
    return f"{job_id} {job_hash}"
