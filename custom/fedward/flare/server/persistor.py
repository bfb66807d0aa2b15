"""Store the server's copy of the model: initial weights from the job, each round's model, the final file.

FLARE's ``PTFileModelPersistor`` takes a class path from the job, so it is not on any allow-list here.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext

from fedward.errors import FederationError
from fedward.files import write_atomic
from fedward.flare import job_context
from fedward.flare.protocol import Model
from fedward.settings import JobSpec
from fedward.training import libraries
from fedward.weights import MODEL_FILE, Weights, save_weights

LATEST_FILE, SEALED_FILE = "latest_model.npz", "latest_model.sealed"


class ModelStore(FLComponent):  # type: ignore[misc]
    """Store of the newest model in the job's run folder; every file appears whole or not at all.

    The final model is also kept in the job's checkpoint folder, since FLARE removes the run folder when it deploys the
    job again.
    """

    def __init__(self) -> None:
        super().__init__()
        job_context.leave_quickly()
        self._folder: Path | None = None
        self._kept: Path | None = None
        self.durably: Callable[[Callable[[], None]], None] = lambda write: write()
        """Calls the function that writes a file; the controller sets one that waits for a full disk."""

    def open(self, context: FLContext) -> None:
        """Set the job whose folders are used."""
        self._folder, self._kept = job_context.run_folder(context), job_context.checkpoint_folder(context)

    def load_weights(self, job: JobSpec) -> Weights:
        """Compute the initial weights from only the job's network and seed: equal on every machine."""
        libraries.ready()
        from fedward.training.networks import initial_weights

        return initial_weights(job)

    def keep(self, model: Model) -> None:
        """Save the model of a complete round, as the server has it: unencrypted, or as a sum that hospitals open."""
        weights, sealed = model.weights, model.sealed
        if weights is not None:
            self.durably(lambda: save_weights(weights, self._path(LATEST_FILE)))
        elif sealed is not None:
            self.durably(lambda: write_atomic(self._path(SEALED_FILE), sealed))

    def finish(self, weights: Weights) -> Path:
        """Write ``FL_global_model.pt``: a torch state dict of the exchanged tensors, without pickled objects."""
        import torch

        path, content = self._path(MODEL_FILE), io.BytesIO()
        torch.save({name: torch.from_numpy(array.copy()) for name, array in weights.items()}, content)
        for place in (path, *(() if self._kept is None else (self._kept / MODEL_FILE,))):
            self.durably(partial(write_atomic, place, content.getvalue()))
        return path

    def restore(self) -> None:
        """Write the final model of an earlier process to the run folder, if it has made one."""
        kept = None if self._kept is None else self._kept / MODEL_FILE
        if kept is not None and kept.exists():
            self.durably(lambda: write_atomic(self._path(MODEL_FILE), kept.read_bytes()))

    def _path(self, name: str) -> Path:
        if self._folder is None:
            raise FederationError("model store was not opened")
        return self._folder / name
