"""Who takes part in a step of DP-SGD: every patient by a coin of its own, thrown by a cryptographic generator.

The amplification that the accountant counts (Poisson sampling, Abadi et al. 2016, section 3.1) is proven for secret,
independent draws. A generator that is seeded by the job would let whoever knows the job know the draws.
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
    """Positions of each patient's images among ``examples``, patients in order of their first image."""
    found: dict[object, list[int]] = {}
    for position, example in enumerate(examples):
        found.setdefault((example.row.patient, example.images_root), []).append(position)
    return tuple(tuple(positions) for positions in found.values())


class PatientSampler:
    """Draws a step's patients and what of each is looked at.

    Args:
        patients: positions of each patient's images.
        sampling_rate: probability with which each patient takes part in a step.
        images_per_patient: images of a drawn patient; one with fewer shows them in turn.
        augmentations: augmented copies of each of these images.
        source: where the draws come from.
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
        """One step: for each drawn patient the positions of its K = images_per_patient * augmentations images.

        The list may be empty: a step without patients is a step.
        """
        drawn = np.flatnonzero(self._source.bernoulli(len(self._patients), self._rate))
        return [self._positions(self._patients[int(number)]) for number in drawn]

    def _positions(self, own: NDArray[np.int64]) -> NDArray[np.int64]:
        shuffled = own if len(own) == 1 else own[self._source.permutation(len(own))]
        return np.repeat(np.resize(shuffled, self._images), self._copies)


def load(images: Images, draw: Sequence[NDArray[np.int64]], *, truth: str) -> Iterator[Patient]:
    """The drawn patients' images, prepared one patient after another.

    Augmentation starts from a new secret seed for each patient: what is done to one patient's images may not tell
    whether another was drawn before, as the bound on a patient's part in the step demands.

    Args:
        images: the training images.
        draw: positions, an array a patient.
        truth: "mask" or "truth", the items' key.
    """
    for positions in draw:
        images.reseed(secrets.randbits(32))
        for items in images.batches([positions]):
            yield Patient(images=stack(items, "image"), truth=stack(items, truth))
