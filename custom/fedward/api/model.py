"""A trained model as a torch module, with the preparation of images that it was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from fedward.api.job import Job
from fedward.bundle.predict import Prediction, Predictor
from fedward.coldstart.model import Given


class Model(nn.Module):
    """Model of a job, in evaluation mode and without gradients; ``network.requires_grad_(True)`` gives them back.

    Args:
        given: the model, with its job.

    Attributes:
        network: the network as it was built; torch and MONAI alone run it.
        job: the job that it is of.
        outputs: names of its output channels, in order.
        sha256: hash of its file; of a simulation, of its arrays.
    """

    def __init__(self, given: Given) -> None:
        super().__init__()
        self._predictor = Predictor(given)
        self.network = self._predictor.network
        self.job, self.outputs, self.sha256 = Job(given.job), given.job.output_names, given.sha256
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits, (n, outputs, ...), of prepared images, float32 (n, channels, *data.size)."""
        from fedward.training.networks import predict

        return predict(self.network, images)

    def predict(self, files: Sequence[Path | str]) -> list[Prediction]:
        """Predict DICOM or NIfTI files, prepared as in training, in their order.

        For a model of volumes the slices of one DICOM series are one image. One that cannot be used has its reason in
        ``refused``. A classification has ``probabilities``, output ->
        probability; a segmentation has ``mask``, structure numbers on the grid of the file's image.
        """
        return list(self._predictor.each(self._predictor.images([Path(file) for file in files])))
