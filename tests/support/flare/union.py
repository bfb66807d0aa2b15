"""Simulate hospitals and a server in one job with noise for the sum, as their gates see it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from nvflare.apis.shareable import Shareable

from fedward.encryption.message import unpack
from fedward.encryption.sums import identity_of
from fedward.flare.protocol import Model, Payload, Task, refusal, to_reply
from fedward.flare.secagg_context import INITIAL
from fedward.privacy.grid import Grid
from fedward.privacy.sum_noise import sum_grid
from fedward.training.networks import trained_keys
from fedward.training.union.kept_union import KeptUnion
from fedward.training.union.union_model import UnionModel, initial_union
from tests.support.flare.three import SITES, Three


class Union(Three):
    """As ``Three``; each hospital answers a round with clipped gradients of its own.

    Args:
        folder: to write to.
        dp_sgd: changes to the job's ``[privacy.dp_sgd]``.
        others: as for ``Three``.
    """

    def __init__(self, folder: Path, *, sites: tuple[str, ...] = SITES, dp_sgd: Any = None, **others: Any) -> None:
        super().__init__(folder, "sum", key=None, sites=sites, dp_sgd=dp_sgd, **others)
        self.sums: list[Model] = []
        """Model of each round, so that what a hospital missed can be sent."""

    @property
    def start(self) -> UnionModel:
        first = self.hospitals[self.sites[0]]
        return initial_union(first.model, trained_keys(first.job), base=INITIAL)

    @property
    def grid(self) -> Grid:
        return sum_grid(self.hospitals[self.sites[0]].job, values=self.start.values)

    def units(self, site: str, number: int) -> dict[str, NDArray[np.int64]]:
        """The clipped gradients of a hospital in a round, without noise, by trained tensor."""
        generator = np.random.default_rng([self.seeds[site], number])
        start, grid = self.start, self.grid
        size = 3 * grid.steps / np.sqrt(grid.values)
        found = {name: generator.normal(0, size, start.weights[name].shape) for name in start.trained}
        return {name: np.rint(array).astype(np.int64) for name, array in found.items()}

    def flat(self, site: str, number: int) -> NDArray[np.int64]:
        units = self.units(site, number)
        return np.concatenate([units[name].ravel() for name in sorted(units)])

    def kept(self, site: str) -> KeptUnion:
        return self.secure_aggregation(site).gradients._kept

    def codes(self, site: str, number: int) -> NDArray[np.int64]:
        """The sum of a round, as a hospital opens it, without a record."""
        found = self.secure_aggregation(site)
        sealed = self.sums[number].sealed
        base = unpack(sealed or b"").topic.base
        return found._keys.open(sealed, found._topics.model(number, base=base)).codes

    def base(self, number: int) -> str:
        return identity_of(self.sums[number - 1].sealed or b"")

    def give(self, site: str, task: Task, carried: Payload, *, number: int = -1) -> Shareable:
        """Send what the hospital has not had before, as the server does."""
        if isinstance(carried, Model) and carried.after > 1:
            has = self.kept(site).model.after
            missing = tuple(one.sealed or b"" for one in self.sums[has : carried.after - 1])
            carried = replace(carried, earlier=missing)
        return super().give(site, task, carried, number=number)

    def train(self, site: str, model: Model, *, patients: int | None = None, units: Any = None) -> Shareable:
        received = self.give(site, Task.ROUND, model, number=model.after)
        assert refusal(received) is None
        return self.sent(site, model.after, units=units)

    def sent(self, site: str, number: int, *, units: Any = None, **changes: Any) -> Shareable:
        """Answer the round in hand."""
        hospital = self.hospitals[site]
        found = self.units(site, number) if units is None else units
        return hospital.send(hospital.answer(found, proof=hospital.proof(found, number=number, **changes)))

    def round(self, model: Model, sites: tuple[str, ...] | None = None) -> tuple[Model, Any]:
        taken = self.exchange.round(model)
        for site in sites or self.sites:
            taken.take(site, to_reply(self.train(site, model)))
        made = self.closed(taken, number=model.after)  # type: ignore[arg-type]
        self.sums.append(made)
        return made, taken
