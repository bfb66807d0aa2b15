"""Predict images with a bundle: DICOM or NIfTI in, probabilities or masks out, prepared as in training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fedward.bundle.export import as_built
from fedward.bundle.origin import Origin
from fedward.bundle.sources import images_in, read_image
from fedward.coldstart.model import Given, read_file
from fedward.dataset.images import plain_tensors
from fedward.dataset.transforms import after_fit, fit_of
from fedward.errors import JobError, StudyError
from fedward.settings import JOB_FILE, JobSpec, parse
from fedward.training.networks import build_network
from fedward.training.windows import whole_logits


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Answer for one image.

    Attributes:
        files: its paths, in the order in which they were given.
        probabilities: output -> probability; empty for a segmentation, and where there is none.
        mask: structure numbers on the image's own grid, uint8, 0 for background; None for a classification.
        refused: reason for which the image was not used; "" if it was.
    """

    files: tuple[Path, ...]
    probabilities: dict[str, float]
    mask: NDArray[np.uint8] | None = None
    refused: str = ""


def is_bundle(folder: Path) -> bool:
    """Return whether a folder has a bundle's job."""
    return (folder / "configs" / JOB_FILE).is_file()


def read_bundle(bundle: Path) -> Given:
    """Read a bundle's model with its job.

    Args:
        bundle: folder that ``export_bundle`` wrote.

    Raises:
        JobError: no bundle, or its model does not fit its job.
    """
    job = _job(bundle)
    content, sha256 = read_file(bundle / "models" / "model.pt")
    due = build_network(job).state_dict()
    if {name: tuple(array.shape) for name, array in content.items()} != {
        name: tuple(tensor.shape) for name, tensor in due.items()
    }:
        raise JobError("model does not fit the bundle's job", where=bundle, remedy="export it again")
    return Given(job=job, weights=content, sha256=sha256, took_part=frozenset())


class Predictor:
    """Model that predicts images.

    Args:
        model: folder that ``export_bundle`` wrote, or a model with its job.

    Attributes:
        job: the job that trained it.
        network: its network, in evaluation mode.
        origin: what a DICOM object says of it.

    Raises:
        JobError: no bundle, or its model does not fit its job.
    """

    def __init__(self, model: Path | Given) -> None:
        given = read_bundle(model) if isinstance(model, Path) else model
        self.job, self.network = given.job, as_built(given.job, given)
        names = self.job.data.structures if self.job.job.task == "segmentation" else self.job.output_names
        self.origin = Origin(job=self.job.job.name, sha256=given.sha256, names=tuple(names))
        self._fit, self._after = fit_of(self.job), after_fit(self.job)

    def images(self, files: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Return the files of each image; see ``images_in``."""
        return images_in(files, volumes=len(self.job.data.size) == 3)

    def each(self, images: Sequence[tuple[Path, ...]]) -> Iterator[Prediction]:
        """Yield the prediction for each image, in order; an image that cannot be used is refused with the reason."""
        for files in images:
            try:
                yield self._one(files)
            except StudyError as error:
                yield Prediction(files=files, probabilities={}, refused=str(error))

    def _one(self, files: tuple[Path, ...]) -> Prediction:
        data = self.job.data
        if len(data.sequences) > 1:
            needed = ", ".join(data.sequences)
            raise StudyError("unsupported-shape", f"one image, and the model needs {needed}: run it with plain MONAI")
        image = read_image(files, colour=data.colour)
        axes = image.pixels.ndim - data.colour
        if axes != len(data.size):
            raise StudyError("unsupported-shape", f"{axes} axes, the model has {len(data.size)}")
        if data.spacing_mm is not None and image.spacing_mm is None:
            raise StudyError("unsupported-shape", "its pixel spacing is unknown, and the model needs it")
        placed = self._fit.place(image.pixels, image.spacing_mm)
        item = {"image": self._fit.image(image.pixels, placed)}
        with plain_tensors(), torch.inference_mode():
            for step in self._after:
                item = step(item)
            logits = whole_logits(self.network, item["image"][None], data)
        if self.job.job.task == "segmentation":
            mask = logits.argmax(1)[0].numpy().astype(np.uint8)
            whole = self._fit.back(mask, image.pixels.shape[-axes:], placed)
            return Prediction(files=files, probabilities={}, mask=whole)
        found = logits.softmax(1) if data.target == "multiclass" else logits.sigmoid()
        return Prediction(
            files=files, probabilities=dict(zip(self.job.output_names, found[0].double().tolist(), strict=True))
        )


def _job(bundle: Path) -> JobSpec:
    where = bundle / "configs" / JOB_FILE
    try:
        content = json.loads(where.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        remedy = "give a folder that `fedward model export` wrote"
        raise JobError("is no bundle of Fedward's", where=bundle, remedy=remedy) from None
    return parse(JobSpec, content if isinstance(content, dict) else {}, where=where)
