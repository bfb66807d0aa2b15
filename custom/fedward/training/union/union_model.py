"""Make the model's step from the sum of all hospitals' gradients, the same at every hospital, to the bit.

In a job with noise for the sum no model travels: each hospital opens the noisy sum of a round, and makes the step of
the optimizer by itself. All arithmetic is NumPy's, number by number in float64, rounded to float32 where one is kept:
additions, products, quotients and square roots, which IEEE 754 defines to the bit. torch's own optimizers fuse some of
them on some processors, and two hospitals' models would drift apart. The steps are those of torch's SGD, Adam and AdamW
(Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2), up to that rounding.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedward.errors import JobError
from fedward.settings import JobSpec, Training
from fedward.training.optimizers import learning_rate
from fedward.weights import Weights, layout_of

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
"""Adam's constants, torch's defaults."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnionModel:
    """Model and optimizer state after some rounds.

    Attributes:
        weights: all tensors that sites share, float32; those that are not trained stay as they are.
        trained: names of the trained tensors, sorted: the order of a sum's numbers.
        after: number of rounds that made it.
        base: identity of the sum of the last of them; of the initial model as the caller chooses it.
        moments: of each trained tensor and kind, float32.
    """

    weights: Weights
    trained: tuple[str, ...]
    base: str
    after: int = 0
    moments: Mapping[str, Weights] = field(default_factory=dict)

    @property
    def values(self) -> int:
        """Number of trained values, which is the length of a sum."""
        return sum(self.weights[name].size for name in self.trained)

    def step(self, units: NDArray[np.int64], *, unit: float, job: JobSpec, base: str) -> Self:
        """Return the model after one more round.

        Args:
            units: opened sum, int64 of shape (values,): the trained tensors' gradients in the order of ``trained``.
            unit: value of one unit of the sum's grid.
            job: the job, whose ``patients_per_step`` divides the sum.
            base: identity of the sum.

        Raises:
            JobError: the sum has another length, the job no DP-SGD, or a weight is no longer finite.
        """
        asked = job.privacy.dp_sgd
        if asked is None or units.dtype != np.int64 or units.shape != (self.values,):
            raise JobError("sum of gradients does not fit the job's network", where=job.job.name, value=units.shape)
        scale = unit / asked.patients_per_step
        rate = float(f"{learning_rate(job.training, done=job.done(self.after)):.9g}")
        weights, moments = dict(self.weights), dict[str, Weights]()
        at, number = 0, self.after + 1
        for name in self.trained:
            old = self.weights[name]
            part = units[at : at + old.size].astype(np.float64).reshape(old.shape)
            at += old.size
            kept = {kind: each[name].astype(np.float64) for kind, each in self.moments.items()}
            with np.errstate(over="ignore", invalid="ignore"):
                new, after = _step(job.training, old.astype(np.float64), part * scale, kept, rate=rate, number=number)
                weights[name] = new.astype(np.float32)
                for kind, value in after.items():
                    moments.setdefault(kind, {})[name] = value.astype(np.float32)
            if not all(np.isfinite(each[name]).all() for each in (weights, *moments.values())):
                raise JobError("the model is no longer finite", where="training.lr", remedy="lower it")
        return replace(self, weights=weights, moments=moments, after=self.after + 1, base=base)

    @property
    def digest(self) -> str:
        """SHA-256, 64 hexadecimal digits, of the model, the optimizer's state and the number of rounds."""
        found = hashlib.sha256(json.dumps([self.after, self.base, list(self.trained)]).encode("ascii"))
        for kind, arrays in (("", self.weights), *sorted(self.moments.items())):
            for name in sorted(arrays):
                found.update(f"\n{kind} {name} {arrays[name].shape}\n".encode())
                found.update(np.ascontiguousarray(arrays[name], "<f4").tobytes())
        return found.hexdigest()

    def packed(self) -> bytes:
        """Return all of it as one file's content: a line of JSON, then the numbers, little-endian float32."""
        kinds = sorted(self.moments)
        head = {"after": self.after, "base": self.base, "trained": list(self.trained), "kinds": kinds}
        arrays = [self.weights[name] for name in sorted(self.weights)]
        arrays += [self.moments[kind][name] for kind in kinds for name in self.trained]
        return json.dumps(head).encode("ascii") + b"\n" + b"".join(array.astype("<f4").tobytes() for array in arrays)

    @classmethod
    def unpacked(cls, content: bytes, *, like: UnionModel) -> UnionModel:
        """Invert ``packed``.

        Args:
            content: from a file whose digest was verified.
            like: initial model of the same job.

        Raises:
            JobError: it is no such model of this job.
        """
        line, _, numbers = content.partition(b"\n")
        try:
            head = json.loads(line)
            if tuple(head["trained"]) != like.trained:
                raise ValueError("another network")
            values, at = np.frombuffer(numbers, "<f4"), 0
            layout = layout_of(like.weights)
            found: list[Weights] = []
            for names in (sorted(layout), *([like.trained] * len(head["kinds"]))):
                taken: Weights = {}
                for name in names:
                    size = math.prod(layout[name].shape)
                    taken[name] = values[at : at + size].reshape(layout[name].shape).astype(np.float32)
                    at += size
                found.append(taken)
            if at != values.size:
                raise ValueError("another length")
            weights, *moments = found
            return cls(
                weights=weights,
                trained=like.trained,
                base=str(head["base"]),
                after=int(head["after"]),
                moments=dict(zip(head["kinds"], moments, strict=True)),
            )
        except (ValueError, LookupError, TypeError):
            what, remedy = "kept model of the job cannot be read", "delete the file, if the run has only begun"
            raise JobError(what, where="kept model", remedy=remedy) from None


def initial_union(weights: Weights, trained: Sequence[str], *, base: str) -> UnionModel:
    """Return the model before the first round.

    Args:
        weights: the job's initial weights.
        trained: names of the tensors that are trained, in any order.
        base: identity of the initial model.

    Raises:
        JobError: a trained tensor is not among the shared ones.
    """
    if missing := sorted(set(trained) - set(weights)):
        raise JobError(
            "a trained tensor is not shared", where="model", value=missing[0], remedy="choose another network"
        )
    return UnionModel(weights=dict(weights), trained=tuple(sorted(trained)), base=base)


Arrays = Mapping[str, NDArray[np.float64]]


def _step(
    training: Training,
    weights: NDArray[np.float64],
    gradient: NDArray[np.float64],
    kept: Arrays,
    *,
    rate: float,
    number: int,
) -> tuple[NDArray[np.float64], Arrays]:
    """Return a tensor after one step, and its moments, in float64; ``number`` counts steps from 1."""
    if training.optimizer == "AdamW":
        weights = weights * (1.0 - rate * training.weight_decay)
    elif training.weight_decay:
        gradient = gradient + training.weight_decay * weights
    if training.optimizer == "SGD":
        if not training.momentum:
            return weights - rate * gradient, {}
        momentum = gradient if "m" not in kept else training.momentum * kept["m"] + gradient
        return weights - rate * momentum, {"m": momentum}
    zero = np.zeros_like(gradient)
    first = BETA1 * kept.get("m", zero) + (1.0 - BETA1) * gradient
    second = BETA2 * kept.get("v", zero) + (1.0 - BETA2) * (gradient * gradient)
    share, squared = 1.0 - _power(BETA1, number), 1.0 - _power(BETA2, number)
    return weights - rate * ((first / share) / (np.sqrt(second / squared) + EPS)), {"m": first, "v": second}


def _power(base: float, number: int) -> float:
    """Return a power by products alone, which are the same on every machine."""
    found = 1.0
    for _ in range(number):
        found *= base
    return found
