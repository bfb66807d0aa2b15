"""Clip patients' gradients, round each to whole numbers, and add these: the sum is exact in any order.

Guarantee: the whole numbers change by at most ``Grid.most_l2`` in L2 norm when a patient is added or removed, for all
images and weights. Proof:

0. A patient whose gradient is not finite adds zeros, and the step goes on: a refusal would tell, without noise, that
   this patient was drawn, and a server can choose a model at which one patient's numbers overflow.
1. A patient's gradient is kept as the rounded numbers that were computed, and these numbers are clipped: their norm is
   not taken from another formula. Where positions or images cancel, the rounded gradient itself is measured.
2. The numbers depend on the patient and the network alone, bit by bit: ``one_by_one`` processes each patient
   separately, and ``fits`` checks this for ``by_layer``, for the sum of squares as well. Empty slots of a pass are
   measured too, since another number of rows could be summed in another order. So other patients' parts do not change.
3. Squares of float32 numbers neither overflow nor underflow in float64. Their sum, in blocks of 2^13 numbers, has a
   relative error below 1e-10 for up to 10^9 parameters (Higham 2002, section 4.2), and ``HAIR`` is more: a clipped
   patient's norm is at most ``norm_l2`` before its products are rounded to float32, which ``Grid.most_l2`` includes.
4. Each product is rounded to a whole number, which moves it by 1/2 at most: ``Grid.most_l2`` includes this too.
5. Whole numbers up to 2^53 are added in float64 without error. Steps with more patients than that are refused. Patients
   that are added at a time are first added to each other, in int32 where their sum cannot reach 2^31.

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
_BLOCK = 1 << 16
"""Numbers converted at a time: with their copies they fit into the processor's cache."""
_ROW = 1 << 13
"""Numbers of a patient whose squares are added at a time."""
_WIDE = 2.0**100
"""Factors between its inverse and it are float32's own, with all of their digits; others are applied in float64."""


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
        """Mean loss of the drawn patients, not protected; NaN where none was drawn, or one has a loss that is none."""
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
            losses: of the first patients of the P, who are added; the others are empty slots.

        Raises:
            JobError: the step has more patients than the guarantee covers; it must not be used.
        """
        self._patients += len(losses)
        most = LARGEST // (2 * self._grid.steps)
        if self._patients > most:
            remedy = "lower privacy.dp_sgd.patients_per_step"
            raise JobError("too many patients in a step", where="DP-SGD", value=f"> {most}", remedy=remedy)
        rows = [None if value is None else value.flatten(1) for value in gradients]
        norms = self._norms([part for part in rows if part is not None], real=len(losses))
        sound = torch.isfinite(norms)
        factors = clip_factors(norms[sound], self._grid.norm_l2) / self._grid.unit
        wide = (factors > _WIDE) | (factors < 1.0 / _WIDE)
        all_sound, some_wide = bool(sound.all()), bool(wide.any())
        for total, part in zip(self._total, rows, strict=True):
            if part is None:
                continue
            part = part[: len(losses)] if all_sound else part[: len(losses)][sound]
            if some_wide:
                _add(total, part[wide].double(), factors[wide], steps=self._grid.steps)
                _add(total, part[~wide], factors[~wide], steps=self._grid.steps)
            else:
                _add(total, part, factors, steps=self._grid.steps)
        self._loss += sum(losses)

    def _norms(self, rows: Sequence[Tensor], *, real: int) -> Tensor:
        """Return the L2 norms of the first ``real`` patients' gradients, float64; of an odd gradient inf or NaN."""
        squares = self._total[0].new_zeros(len(rows[0]) if rows else real)
        for part in rows:
            squares += squares_of(part)
        return squares[:real].sqrt()

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


def squares_of(rows: Tensor) -> Tensor:
    """Return each row's sum of squares, float64 (P,), from (P, n)."""
    found = rows.new_zeros(len(rows), dtype=torch.float64)
    for block in torch.split(rows, _ROW, dim=1):
        found += torch.linalg.vector_norm(block, dim=1, dtype=torch.float64).square_()
    return found


def _add(total: Tensor, rows: Tensor, factors: Tensor, *, steps: int) -> None:
    """Add each row of (P, n) times its factor, rounded to whole numbers below 2 * ``steps``, to ``total``."""
    scale, width = factors.to(rows.dtype)[:, None], max(1, _BLOCK // max(1, len(rows)))
    whole = torch.int32 if len(rows) * 2 * steps < 1 << 31 else torch.float64
    for part, block in zip(torch.split(total.view(-1), width), torch.split(rows, width, dim=1), strict=True):
        part += (block * scale).round_().to(whole).sum(0, dtype=whole)
