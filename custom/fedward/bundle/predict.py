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
from fedward.training.networks import build_network, predict


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


class Predictor:
    """Model of a bundle.

    Args:
        bundle: folder that ``export_bundle`` wrote.

    Attributes:
        job: the job that trained it.
        origin: what a DICOM object says of it.

    Raises:
        JobError: no bundle, or its model does not fit its job.
    """

    def __init__(self, bundle: Path) -> None:
        self.job = _job(bundle)
        content, sha256 = read_file(bundle / "models" / "model.pt")
        due = build_network(self.job).state_dict()
        if {name: tuple(array.shape) for name, array in content.items()} != {
            name: tuple(tensor.shape) for name, tensor in due.items()
        }:
            raise JobError("model does not fit the bundle's job", where=bundle, remedy="export it again")
        given = Given(job=self.job, weights=content, sha256=sha256, took_part=frozenset())
        names = self.job.data.structures if self.job.job.task == "segmentation" else self.job.output_names
        self.origin = Origin(job=self.job.job.name, sha256=sha256, names=tuple(names))
        self._network = as_built(self.job, given)
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
        image = read_image(files)
        if image.pixels.ndim != len(self.job.data.size):
            raise StudyError("unsupported-shape", f"{image.pixels.ndim} axes, the model has {len(self.job.data.size)}")
        box, added = self._fit.place(image.pixels, image.spacing_mm)
        item = {"image": self._fit.image(image.pixels, box, added)}
        with plain_tensors(), torch.inference_mode():
            for step in self._after:
                item = step(item)
            logits = predict(self._network, item["image"][None])
        if self.job.job.task == "segmentation":
            mask = logits.argmax(1)[0].numpy().astype(np.uint8)
            whole = self._fit.back(mask, image.pixels.shape, box, added)
            return Prediction(files=files, probabilities={}, mask=whole)
        found = logits.softmax(1) if self.job.data.target == "multiclass" else logits.sigmoid()
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
