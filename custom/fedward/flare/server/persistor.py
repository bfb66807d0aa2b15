"""Store the server's copy of the model: initial weights from the job, each round's model, the final file.

FLARE's ``PTFileModelPersistor`` takes a class path from the job, so it is not on any allow-list here.
"""

from __future__ import annotations

from pathlib import Path

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext

from fedward.errors import FederationError
from fedward.files import write_atomic
from fedward.flare import job_context
from fedward.flare.protocol import Model
from fedward.settings import JobSpec
from fedward.weights import MODEL_FILE, Weights, save_weights

LATEST_FILE, SEALED_FILE = "latest_model.npz", "latest_model.sealed"


class ModelStore(FLComponent):  # type: ignore[misc]
    """Store of the newest model in the job's run folder; every file appears whole or not at all."""

    def __init__(self) -> None:
        super().__init__()
        job_context.leave_quickly()
        self._folder: Path | None = None

    def open(self, context: FLContext) -> None:
        """Set the job whose run folder is used."""
        self._folder = job_context.run_folder(context)

    def load_weights(self, job: JobSpec) -> Weights:
        """Compute the initial weights from only the job's network and seed: equal on every machine."""
        from fedward.training.networks import initial_weights

        return initial_weights(job)

    def keep(self, model: Model) -> None:
        """Save the model of a complete round, as the server has it: unencrypted, or as a sum that hospitals open."""
        if model.weights is not None:
            save_weights(model.weights, self._path(LATEST_FILE))
        elif model.sealed is not None:
            write_atomic(self._path(SEALED_FILE), model.sealed)

    def finish(self, weights: Weights) -> Path:
        """Write ``FL_global_model.pt``: a torch state dict of the exchanged tensors, without pickled objects."""
        import torch

        path = self._path(MODEL_FILE)
        state = {name: torch.from_numpy(array.copy()) for name, array in weights.items()}
        write_atomic(path, lambda file: torch.save(state, file))
        return path

    def _path(self, name: str) -> Path:
        if self._folder is None:
            raise FederationError("model store was not opened")
        return self._folder / name
