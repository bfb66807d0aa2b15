"""Define a model's predictions on a site's validation images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Predictions of a model for each validation image; they stay at the site.

    Attributes:
        patients, images: pseudonyms, one for each image.
        scores: float64 (n, outputs): probability of yes for each label, or of each class.
        labels: int64 (n, labels) of 0 and 1, or (n,) of class indices for multiclass.
        loss: mean loss.
    """

    patients: tuple[str, ...]
    images: tuple[str, ...]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    loss: float
