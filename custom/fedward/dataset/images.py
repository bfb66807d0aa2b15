"""Prepare the images of one side of a split once, keep them in memory (MONAI CacheDataset), and return batches."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.data import CacheDataset, Dataset, get_track_meta, set_track_meta
from numpy.typing import NDArray
from torch import Tensor

from fedward.dataset.selection import Example, shows_structure
from fedward.dataset.transforms import Item, build_transforms
from fedward.errors import CohortError, FedwardError, StudyError
from fedward.settings import JobSpec


class Images:
    """Prepared images of one site, in the order of their examples.

    Args:
        job: sizes, preparation, and the choice to keep images in memory.
        examples: the images.
        training: True if the job's random transforms apply.
        site: for messages.

    Raises:
        CohortError: an image that was indexed can no longer be read.
        JobError: a transform cannot be built or does not keep the image's shape.
    """

    def __init__(self, job: JobSpec, examples: Sequence[Example], *, training: bool, site: str) -> None:
        self._site = site
        self.groups = tuple(_group(job, example) for example in examples)
        """What each image shows, for a balanced draw: its label or class, or the structures that it has."""
        chain = build_transforms(job, training=training)
        make = {"cache_rate": 1.0, "progress": False, "num_workers": 1} if job.data.cache else {}
        kind = CacheDataset if job.data.cache else Dataset
        with plain_tensors(), self._one_line():
            self._items = kind(data=list(examples), transform=chain, **make)

    def __len__(self) -> int:
        return len(self._items)

    def reseed(self, seed: int) -> None:
        """Restart the random transforms from ``seed``, independent of earlier draws."""
        self._items.transform.set_random_state(seed=seed)

    def batches(self, order: Iterable[NDArray[np.int64]]) -> Iterator[list[Item]]:
        """Yield the items at each array of positions, in order and in one thread, so that draws are reproducible."""
        for positions in order:
            with plain_tensors(), self._one_line():
                items = [self._items[int(position)] for position in positions]
            yield items

    def each(self) -> Iterator[NDArray[np.float32]]:
        """Yield each prepared image, in order."""
        for (item,) in self.batches(np.arange(len(self))[:, np.newaxis]):
            yield np.asarray(item["image"])

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        """Raise Fedward's own error in place of the one that MONAI wraps around it."""
        try:
            yield
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, FedwardError):
                cause = cause.__cause__
            if cause is None:
                raise
            if isinstance(cause, StudyError):
                what = f"an indexed image can no longer be used ({cause.reason})"
                raise CohortError(what, where=self._site, remedy="run `fedward site index SITE_TOML` again") from None
            raise cause from None


def _group(job: JobSpec, example: Example) -> Hashable:
    if job.job.task == "classification":
        return example.truth
    return shows_structure(job, example)


def stack(items: Sequence[Item], key: str) -> Tensor:
    """Stack the items' ``key`` into one tensor (B, ...); images become float32 and masks uint8."""
    kind = {"image": torch.float32, "mask": torch.uint8}.get(key)
    return torch.stack([torch.as_tensor(item[key], dtype=kind) for item in items])


@contextmanager
def plain_tensors() -> Iterator[None]:
    """Switch MONAI's per-image metadata off inside: nothing here reads it, and it slows every transform."""
    before: Any = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)
