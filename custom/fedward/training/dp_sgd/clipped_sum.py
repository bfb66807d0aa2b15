"""Clip patients' gradients, round each to whole numbers, and add these: the sum is exact in any order.

Guarantee: the whole numbers change by at most ``Grid.most_l2`` in L2 norm when a patient is added or removed, for all
images and weights. Proof:

1. A patient's gradient is kept as the rounded numbers that were computed, and these numbers are clipped: their norm is
   not taken from another formula. Where positions or images cancel, the rounded gradient itself is measured.
2. The numbers depend on the patient and the network alone, bit by bit: ``one_by_one`` processes each patient
   separately, and ``fits`` checks this for ``by_layer``. So the other patients' parts do not change.
3. Squares of float32 numbers neither overflow nor underflow in float64. Their sum, in blocks of 2^18 numbers, has a
   relative error below 1e-10 for up to 10^9 parameters (Higham 2002, section 4.2), and ``HAIR`` is more: a clipped
   patient's norm is at most ``norm_l2`` before its products are rounded to float32, which ``Grid.most_l2`` includes.
4. Each product is rounded to a whole number, which moves it by 1/2 at most: ``Grid.most_l2`` includes this too.
5. Whole numbers up to 2^53 are added in float64 without error. Steps with more patients than that are refused.

So two computations that share patients and draws have the same sum, to the bit, whether they add the patients at one
hospital or at many.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedward.errors import JobError
from fedward.privacy.grid import FINE, LARGEST, Grid

HAIR = 1e-9
"""Relative margin of clipped gradients below the bound, so that a rounded norm never exceeds it."""
_BLOCK = 1 << 18
"""Numbers converted to float64 at a time: they fit into the processor's cache."""
_WIDE = 2.0**100
"""Factors between its inverse and it are float32's own, with all of their digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipped:
    """Sum of the clipped gradients of a step's patients, before noise: it never leaves the step.

    Attributes:
        units: float64 tensors of whole numbers, one for each trainable parameter, in the network's order; zeros if no
            patient was drawn.
        grid: their grid.
        patients: number of drawn patients.
        loss: the sum of their mean losses.
    """

    units: tuple[Tensor, ...]
    grid: Grid
    patients: int
    loss: float

    @property
    def mean_loss(self) -> float:
        """Mean loss of the drawn patients, not protected; NaN where none was drawn."""
        return self.loss / self.patients if self.patients else math.nan

    @property
    def total(self) -> tuple[Tensor, ...]:
        """The sum in the gradients' own unit, float64."""
        return tuple(part * self.grid.unit for part in self.units)


class ClippedSum:
    """Sum of patients' gradients, each clipped when it is added; for the guarantee see the module.

    Args:
        parameters: the trainable parameters; every argument and result has their order.
        norm_l2: bound on a patient's gradient over all parameters together.
        steps: units of the grid in ``norm_l2``.
    """

    def __init__(self, parameters: Iterable[Tensor], norm_l2: float, *, steps: int = FINE) -> None:
        self._total = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]
        self._grid = Grid(norm_l2=norm_l2, values=sum(part.numel() for part in self._total), steps=steps)
        self._patients, self._loss = 0, 0.0

    def add(self, gradients: Sequence[Tensor | None], *, losses: Sequence[float]) -> None:
        """Clip some patients' gradients and add them.

        Args:
            gradients: (P, ...) for each parameter, for any P; None if the loss does not depend on the parameter.
            losses: of the P patients.

        Raises:
            JobError: a gradient is not finite, or the step has more patients than the guarantee covers; the step must
                not be used.
        """
        self._patients += len(losses)
        most = LARGEST // (2 * self._grid.steps)
        if self._patients > most:
            remedy = "lower privacy.dp_sgd.patients_per_step"
            raise JobError("too many patients in a step", where="DP-SGD", value=f"> {most}", remedy=remedy)
        rows = [None if value is None else value.reshape(len(losses), -1) for value in gradients]
        squares = [_squares(part) for part in rows if part is not None]
        norms = torch.stack(squares).sum(0).sqrt() if squares else torch.zeros(len(losses), dtype=torch.float64)
        factors = clip_factors(norms, self._grid.norm_l2) / self._grid.unit
        for total, part in zip(self._total, rows, strict=True):
            if part is not None:
                _add(total, part, factors)
        self._loss += sum(losses)

    def result(self) -> Clipped:
        """Return the sum so far."""
        return Clipped(units=tuple(self._total), grid=self._grid, patients=self._patients, loss=self._loss)


def clip_factors(norms: Tensor, norm_l2: float) -> Tensor:
    """Return the factor of each patient's gradient that makes its norm at most ``norm_l2``; 1 for a zero gradient.

    Args:
        norms: float64 (P,), the gradients' L2 norms.
        norm_l2: the bound.

    Raises:
        JobError: a norm is not finite, or the bound is not finite and positive.
    """
    if not bool(torch.isfinite(norms).all()):
        raise JobError(
            "a patient's gradient is not finite", where="training", remedy="lower training.lr or change the loss"
        )
    if not (math.isfinite(norm_l2) and norm_l2 > 0.0):
        raise JobError("clip norm must be > 0", where="privacy.dp_sgd.clip_norm_l2", value=norm_l2, remedy="correct it")
    bound = norm_l2 * (1.0 - HAIR)
    return torch.where(norms > bound, bound / norms, torch.ones_like(norms))


def _squares(rows: Tensor) -> Tensor:
    """Return each row's sum of squares, float64 (P,), from (P, n)."""
    found = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for block in torch.split(rows, max(1, _BLOCK // len(rows)), dim=1):
        found += block.to(torch.float64, copy=True).square_().sum(1)
    return found


def _add(total: Tensor, rows: Tensor, factors: Tensor) -> None:
    """Add each row of (P, n) times its factor, rounded to whole numbers, to ``total``."""
    if float(factors.max()) > _WIDE or float(factors.min()) < 1.0 / _WIDE:
        rows = rows.double()  # float32 has no such factor, or loses digits of it
    scale, width = factors.to(rows.dtype)[:, None], max(1, _BLOCK // len(rows))
    for part, block in zip(torch.split(total.view(-1), width), torch.split(rows, width, dim=1), strict=True):
        part += (block * scale).round_().sum(0, dtype=torch.float64)
