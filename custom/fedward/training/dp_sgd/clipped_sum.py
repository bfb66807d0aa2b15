"""Clip patients' gradients and add them: the norm is measured on the same numbers that are added, both in float64.

Guarantee: the sum changes by at most ``norm_l2 * (1 + SLACK)`` in L2 norm when a patient is added or removed, for all
images and weights, rounding included. ``SLACK`` is part of the accountant's sensitivity. Proof in four steps, with
u = 2^-53 and N patients (Higham 2002, Accuracy and Stability of Numerical Algorithms; sections in brackets):

1. A patient's gradient is kept as the rounded numbers that were computed, and these numbers are clipped: their norm is
   not taken from another formula. Where positions or images cancel, the rounded gradient itself is measured.
2. The numbers depend on the patient and the network alone, bit by bit: ``one_by_one`` processes each patient
   separately, and ``fits`` checks this for ``by_layer``. So the other patients' parts do not change.
3. Squares of float32 numbers neither overflow nor underflow in float64. Their sum, in blocks of 2^18 numbers, has a
   relative error below 1e-10 for up to 10^9 parameters (4.2), and ``HAIR`` is more: a clipped part's norm is at most
   ``norm_l2``. If the order of that sum differs, a factor differs by at most 1e-10, and N factors by N · 1e-10.
4. The weighted sum of N parts has an error of at most (N + 1) · u · N · ``norm_l2`` in any order (3.1), both with the
   patient and without. All three errors together stay below ``SLACK`` for up to ``MOST_PATIENTS``; more are refused.
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
"""Relative margin of clipped gradients below the bound, so that a rounded norm never exceeds it."""
MOST_PATIENTS = math.isqrt(int(SLACK * 2.0**51))
"""Largest number of patients in a step, for which rounding is at most half of ``SLACK``: 1.5 million."""
_BLOCK = 1 << 18
"""Numbers converted to float64 at a time: they fit into the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipped:
    """Sum of the clipped gradients of a step's patients, before noise: it never leaves the step.

    Attributes:
        total: float64, one tensor for each trainable parameter, in the network's order; zeros if no patient was drawn.
        patients: number of drawn patients.
        loss: the sum of their mean losses.
    """

    total: tuple[Tensor, ...]
    patients: int
    loss: float


class ClippedSum:
    """Sum of patients' gradients, each clipped when it is added; for the guarantee see the module.

    Args:
        parameters: the trainable parameters; every argument and result has their order.
        norm_l2: bound on a patient's gradient over all parameters together.
    """

    def __init__(self, parameters: Iterable[Tensor], norm_l2: float) -> None:
        self._total = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]
        self._norm, self._patients, self._loss = norm_l2, 0, 0.0

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
        """Return the sum so far."""
        return Clipped(total=tuple(self._total), patients=self._patients, loss=self._loss)


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
    """Compute ``total += factors @ rows`` in float64, from (P, n)."""
    width = max(1, _BLOCK // len(rows))
    for part, block in zip(torch.split(total.view(-1), width), torch.split(rows, width, dim=1), strict=True):
        torch.addmv(part, block.double().T, factors, out=part)
