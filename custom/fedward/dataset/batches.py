"""Draw the images of each optimizer step, pass after pass."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def batches(
    images: int, *, steps: int, steps_a_pass: int, seed: int, repeats: int = 1, groups: Sequence[Hashable] | None = None
) -> Iterator[NDArray[np.int64]]:
    """Yield the images of ``steps`` batches.

    A pass is a shuffle of all images, each ``repeats`` times, split evenly into ``steps_a_pass`` batches. With
    ``groups`` a pass has as many draws, but each group has as many as any other, within one; a group's images come in
    turn, shuffled anew whenever all of them were drawn, so that images of a small group come more often.

    Args:
        images: number of images.
        steps, steps_a_pass: batches, in all and in one pass.
        seed: decides the order.
        repeats: draws of an image in a pass.
        groups: group of each image; None: no balance.
    """
    generator = np.random.default_rng(seed)
    balanced = None if groups is None else _Balanced(groups, generator)
    left = steps
    while left > 0:
        if balanced is None:
            order = generator.permutation(images * repeats) % images
        else:
            order = balanced.draw(images * repeats)
        yield from np.array_split(order, steps_a_pass)[:left]
        left -= steps_a_pass


class _Balanced:
    """Draws of as many images from each group."""

    def __init__(self, groups: Sequence[Hashable], generator: np.random.Generator) -> None:
        self._generator = generator
        names = list(dict.fromkeys(groups))
        self._members = [np.array([i for i, group in enumerate(groups) if group == name]) for name in names]
        self._waiting: list[list[int]] = [[] for _ in names]

    def draw(self, count: int) -> NDArray[np.int64]:
        """Return ``count`` images, shuffled; groups take turns, in an order that is drawn."""
        turns = np.resize(self._generator.permutation(len(self._members)), count)
        order = np.array([self._next(int(group)) for group in turns], dtype=np.int64)
        return self._generator.permutation(order)

    def _next(self, group: int) -> int:
        if not self._waiting[group]:
            self._waiting[group] = self._generator.permutation(self._members[group]).tolist()
        return self._waiting[group].pop()
