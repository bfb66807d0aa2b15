"""Represent clipped values by whole numbers, so that sums and noise are exact and ε holds for what is really released.

A value clipped to an L2 norm of C is divided by the grid's unit, C / steps, and each coordinate is rounded to the
nearest whole number. Rounding moves a vector of d coordinates by sqrt(d)/2 at most. So its whole numbers have an L2
norm of at most ``steps · (1 + HAIR) + sqrt(d)/2``: this, and not ``steps``, is what the noise is measured by. With 2^24
steps the bound is 0.008 % above C for seven million coordinates. Randomised rounding with a conditional bound (Kairouz,
Liu and Steinke 2021, section 4.1), which coarse grids need, would gain nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FINE = 1 << 24
"""Steps of a grid that no message limits: float32 still holds every whole number up to it."""
HAIR = 2.0**-22
"""Largest relative amount by which float32 makes a product with the factor of a clip too long."""
LARGEST = 1 << 52
"""Whole numbers up to it are exact in float64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Grid of a clipped vector.

    Attributes:
        norm_l2: bound on the vector's L2 norm, before rounding.
        values: number d of its coordinates.
        steps: units in ``norm_l2``.
    """

    norm_l2: float
    values: int
    steps: int = FINE

    @property
    def unit(self) -> float:
        """Value of one unit."""
        return self.norm_l2 / self.steps

    @property
    def most_l2(self) -> float:
        """Bound on the L2 norm of the whole numbers."""
        return self.steps * (1.0 + HAIR) + math.sqrt(self.values) / 2.0

    @property
    def growth(self) -> float:
        """Relative amount by which rounding enlarges the bound, and with it the noise."""
        return self.most_l2 / self.steps - 1.0

    def std(self, noise_multiplier: float) -> float:
        """Return the noise's standard deviation, in units, for a multiplier of the bound."""
        return noise_multiplier * self.most_l2
