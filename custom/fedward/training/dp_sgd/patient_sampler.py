"""Draw the patients of a DP-SGD step: each patient independently, by a cryptographic generator.

The amplification that the accountant counts (Poisson sampling, Abadi et al. 2016, section 3.1) is proven for secret,
independent draws. A generator seeded by the job would disclose the draws to everyone who knows the job.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fedward.dataset.images import Images, stack
from fedward.dataset.selection import Example
from fedward.privacy.noise import SecureRandom
from fedward.training.dp_sgd.patient_gradients import Patient


def by_patient(examples: Sequence[Example]) -> tuple[tuple[int, ...], ...]:
    """Return the positions of each patient's images in ``examples``, patients in order of their first image."""
    found: dict[object, list[int]] = {}
    for position, example in enumerate(examples):
        found.setdefault((example.row.patient, example.images_root), []).append(position)
    return tuple(tuple(positions) for positions in found.values())


class PatientSampler:
    """Sampler of a step's patients and of their images.

    Args:
        patients: positions of each patient's images.
        sampling_rate: probability with which each patient takes part in a step.
        images_per_patient: images of a drawn patient; if a patient has fewer, they are repeated in turn.
        augmentations: augmented copies of each of these images.
        source: generator of the draws.
    """

    def __init__(
        self,
        patients: Sequence[Sequence[int]],
        *,
        sampling_rate: float,
        images_per_patient: int,
        augmentations: int,
        source: SecureRandom,
    ) -> None:
        self._patients = [np.asarray(positions, dtype=np.int64) for positions in patients]
        self._rate, self._source = sampling_rate, source
        self._images, self._copies = images_per_patient, augmentations

    def draw(self) -> list[NDArray[np.int64]]:
        """Draw one step: for each drawn patient the positions of its K = images_per_patient * augmentations images.

        The list may be empty: a step without patients counts as a step.
        """
        drawn = np.flatnonzero(self._source.bernoulli(len(self._patients), self._rate))
        return [self._positions(self._patients[int(number)]) for number in drawn]

    @property
    def first(self) -> NDArray[np.int64]:
        """Positions of K images of the first patient, whether drawn or not."""
        return self._positions(self._patients[0])

    def _positions(self, own: NDArray[np.int64]) -> NDArray[np.int64]:
        shuffled = own if len(own) == 1 else own[self._source.permutation(len(own))]
        return np.repeat(np.resize(shuffled, self._images), self._copies)


def load(images: Images, draw: Sequence[NDArray[np.int64]], *, truth: str) -> Iterator[Patient]:
    """Prepare the drawn patients' images, one patient after another.

    Augmentation starts from a new secret seed for each patient. So the images of one patient do not depend on whether
    another patient was drawn before; the bound on a patient's part in the step requires this.

    Args:
        images: the training images.
        draw: positions, one array for each patient.
        truth: "mask" or "truth", the items' key.
    """
    for positions in draw:
        images.reseed(secrets.randbits(32))
        for items in images.batches([positions]):
            yield Patient(images=stack(items, "image"), truth=stack(items, truth))
