"""The sum of patients' clipped gradients: what is measured is what is added, and both in float64.

Guarantee: the sum moves by at most ``norm_l2 * (1 + SLACK)`` in L2 norm when a patient is added or removed, whatever
images and weights are, rounding included. ``SLACK`` is the accountant's, whose sensitivity carries it. In four steps,
with u = 2^-53 and N patients (Higham 2002, Accuracy and Stability of Numerical Algorithms; sections in brackets):

1. A patient's gradient is kept as the numbers that were computed, rounded as they are, and these numbers are clipped:
   no formula stands in for their norm. Where positions or images cancel, the rounded gradient is measured itself.
2. The numbers depend on the patient and the network alone, bit by bit; ``one_by_one`` takes each patient by itself,
   and ``fits`` finds out whether ``by_layer`` does. The other patients' parts therefore do not move.
3. Squares of float32 numbers neither overflow nor underflow in float64. Their sum, in blocks of 2^18 numbers, has a
   relative error below 1e-10 for up to 10^9 parameters (4.2), and ``HAIR`` is more: a clipped part's norm is at most
   ``norm_l2``. Where the order of that sum differs, a factor differs by 1e-10 at most, N of them by N · 1e-10.
4. The weighted sum of N parts has an error of at most (N + 1) · u · N · ``norm_l2`` in any order (3.1), in the sum
   with the patient and in the one without. All three stay below ``SLACK`` for up to ``MOST_PATIENTS``; more are
   refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedward.errors import JobError
from fedward.privacy.accountant import SLACK

HAIR = 1e-9
"""Kept clear of the bound by what is clipped, so that no rounding of a norm passes it."""
MOST_PATIENTS = math.isqrt(int(SLACK * 2.0**51))
"""Patients of a step for which rounding is half of ``SLACK`` at most: 1.5 million."""
_BLOCK = 1 << 18
"""Numbers turned into float64 at a time: small enough for the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipped:
    """The sum of the clipped gradients of a step's patients, before noise: it never leaves the step.

    Attributes:
        total: float64, one tensor a trainable parameter, in the network's order; zeros where no patient was drawn.
        patients: how many were drawn.
        loss: the sum of their mean losses.
    """

    total: tuple[Tensor, ...]
    patients: int
    loss: float


class ClippedSum:
    """Takes patients' gradients, clips each and adds them; see the module for the guarantee.

    Args:
        parameters: the trainable ones, whose order is that of every argument and result.
        norm_l2: bound on a patient's gradient over all parameters together.
    """

    def __init__(self, parameters: Iterable[Tensor], norm_l2: float) -> None:
        self._total = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]
        self._norm, self._patients, self._loss = norm_l2, 0, 0.0

    def add(self, gradients: Sequence[Tensor | None], *, losses: Sequence[float]) -> None:
        """Clip some patients' gradients and add them.

        Args:
            gradients: (P, ...) a parameter, whatever P; None where the loss does not reach the parameter.
            losses: of the P patients.

        Raises:
            JobError: a gradient that is not finite, or a step of more patients than the guarantee is for; nothing of
                the step may then be used.
        """
        self._patients += len(losses)
        if self._patients > MOST_PATIENTS:
            remedy = "lower privacy.dp_sgd.patients_per_step"
            raise JobError("too many patients in a step", where="DP-SGD", value=f"> {MOST_PATIENTS}", remedy=remedy)
        rows = [None if value is None else value.reshape(len(losses), -1) for value in gradients]
        squares = [_squares(part) for part in rows if part is not None]
        norms = torch.stack(squares).sum(0).sqrt() if squares else torch.zeros(len(losses), dtype=torch.float64)
        factors = clip_factors(norms, self._norm)
        for total, part in zip(self._total, rows, strict=True):
            if part is not None:
                _add(total, part, factors)
        self._loss += sum(losses)

    def result(self) -> Clipped:
        """The sum so far."""
        return Clipped(total=tuple(self._total), patients=self._patients, loss=self._loss)


def clip_factors(norms: Tensor, norm_l2: float) -> Tensor:
    """What each patient's gradient is multiplied with so that its norm is at most ``norm_l2``; 1 for a zero gradient.

    Args:
        norms: float64 (P,), the gradients' L2 norms.
        norm_l2: the bound.

    Raises:
        JobError: a norm that is not finite, or a bound that is not positive.
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
    """Each row's sum of squares, float64 (P,), from (P, n)."""
    found = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for block in torch.split(rows, max(1, _BLOCK // len(rows)), dim=1):
        found += block.to(torch.float64, copy=True).square_().sum(1)
    return found


def _add(total: Tensor, rows: Tensor, factors: Tensor) -> None:
    """``total += factors @ rows`` in float64, from (P, n)."""
    width = max(1, _BLOCK // len(rows))
    for part, block in zip(torch.split(total.view(-1), width), torch.split(rows, width, dim=1), strict=True):
        torch.addmv(part, block.double().T, factors, out=part)
