"""Draw a synthetic head in magnetic resonance: skull, brain, ventricles, and at most one tumour with a core.

A tumour is small and in about a third of the slices, as in real cohorts of brain tumours. It is bright in FLAIR, where
bright spots that are no tumour are too, and dark in T1, where the ventricles are as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Sequence = Literal["T1", "FLAIR"]
SEQUENCES: tuple[Sequence, ...] = ("T1", "FLAIR")
_GREY: dict[Sequence, dict[str, float]] = {
    "T1": {"skull": 0.9, "brain": 0.6, "ventricles": 0.25, "tumour": 0.42, "core": 0.34, "spots": 0.62},
    "FLAIR": {"skull": 0.7, "brain": 0.45, "ventricles": 0.15, "tumour": 0.75, "core": 0.95, "spots": 0.8},
}
"""Grey value of each tissue, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Head:
    """Tissues of one head.

    Attributes:
        tissues: name -> bool (slices, rows, columns), in the order in which they are drawn over each other.
    """

    tissues: dict[str, NDArray[np.bool_]]

    def masks(self, structures: int) -> list[NDArray[np.bool_]]:
        """Return the marks of a mask file: the whole tumour as one structure, or its rim and its core as two."""
        tumour, core = self.tissues["tumour"], self.tissues["core"]
        return [tumour] if structures == 1 else [tumour & ~core, core]


def draw_head(rng: np.random.Generator, *, shape: tuple[int, int, int], ill: bool) -> Head:
    """Draw a head.

    Args:
        rng: source of the draws.
        shape: slices, rows, columns.
        ill: True if it has a tumour.
    """
    grid = np.stack(np.meshgrid(*(np.linspace(-1.0, 1.0, side) for side in shape), indexing="ij"))
    sides = np.array([1.05, 0.86, 0.7]) * rng.uniform(0.93, 1.05, 3)
    tilt, wobble = rng.uniform(-0.15, 0.15), _waves(rng, grid)
    turned = np.stack([grid[0], grid[1] * np.cos(tilt) - grid[2] * np.sin(tilt), grid[1] * np.sin(tilt) + grid[2]])
    head = _ball(turned, (0.0, 0.0, 0.0), sides) + 0.04 * wobble
    brain = head < 0.78
    gap = rng.uniform(0.08, 0.16)
    ventricles = np.zeros(shape, dtype=bool)
    for side in (-1.0, 1.0):
        ventricles |= _ball(turned, (0.1, -0.05, side * gap), (0.45, rng.uniform(0.25, 0.4), 0.07)) < 1.0
    spots = np.zeros(shape, dtype=bool)
    for _ in range(rng.integers(2, 6)):
        middle = _inside(rng, sides)
        spots |= _ball(turned, middle, np.array([0.12, 0.07, 0.07]) * rng.uniform(0.8, 1.6)) < 1.0
    tumour = core = np.zeros(shape, dtype=bool)
    if ill:
        middle, radii = _inside(rng, sides), np.array([0.36, 0.2, 0.2]) * rng.uniform(0.75, 1.35, 3)
        outline = _ball(turned, middle, radii) + 0.35 * _waves(rng, grid)
        tumour, core = outline < 1.0, outline < 0.3
    tissues = {"skull": head < 1.0, "brain": brain, "ventricles": ventricles & brain, "spots": spots & brain}
    return Head(tissues | {"tumour": tumour & brain, "core": core & brain})


def scan(head: Head, sequence: Sequence, rng: np.random.Generator, *, noise: float, bias: float) -> NDArray[np.float64]:
    """Return the grey values of a head in one sequence, 0 or more, mostly below 1.

    Args:
        head: the head.
        sequence: decides each tissue's grey value.
        rng: source of the noise.
        noise: standard deviation of the noise in each part of the complex signal, whose magnitude is returned.
        bias: largest relative change of brightness from one side of the head to the other.
    """
    values: NDArray[np.float64] = np.zeros(head.tissues["skull"].shape)
    for name, where in head.tissues.items():
        values[where] = _GREY[sequence][name]
    slope = np.linspace(1.0 - bias, 1.0 + bias, values.shape[-1])
    signal = values * slope + 0.03 * (values > 0) * rng.standard_normal(values.shape)
    real, imaginary = (noise * rng.standard_normal(values.shape) for _ in range(2))
    found: NDArray[np.float64] = np.hypot(signal + real, imaginary)
    return found


def _ball(grid: NDArray[np.float64], middle: ArrayLike, radii: ArrayLike) -> NDArray[np.float64]:
    """Return the distance from an ellipsoid's middle, 1 on its surface."""
    centre, sides = (np.asarray(one, dtype=np.float64).reshape(3, 1, 1, 1) for one in (middle, radii))
    apart = (grid - centre) / sides
    found: NDArray[np.float64] = np.sqrt((apart**2).sum(axis=0))
    return found


def _inside(rng: np.random.Generator, sides: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draw a place in the brain."""
    direction = rng.standard_normal(3)
    found: NDArray[np.float64] = direction / np.linalg.norm(direction) * sides * rng.uniform(0.15, 0.52)
    return found


def _waves(rng: np.random.Generator, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draw a smooth field between -1 and 1, for outlines that are no ellipsoids."""
    found = np.zeros(grid.shape[1:])
    for _ in range(3):
        found += np.sin(np.tensordot(rng.uniform(-6.0, 6.0, 3), grid, axes=1) + rng.uniform(0.0, 2 * np.pi)) / 3
    return found
