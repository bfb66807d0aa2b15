"""The order of images: each as often as any other, or each group as often as any other."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fedward.dataset.batches import batches


@pytest.mark.parametrize("seed", range(50))
def test_a_pass_has_every_image_as_often_as_asked(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    images, repeats, a_pass = int(drawn.integers(1, 40)), int(drawn.integers(1, 4)), int(drawn.integers(1, 6))
    found = list(batches(images, steps=2 * a_pass, steps_a_pass=a_pass, seed=seed, repeats=repeats))
    for half in (found[:a_pass], found[a_pass:]):
        assert Counter(np.concatenate(half).tolist()) == dict.fromkeys(range(images), repeats)


def test_steps_may_end_within_a_pass() -> None:
    assert len(list(batches(10, steps=7, steps_a_pass=5, seed=0))) == 7


@pytest.mark.parametrize("seed", range(50))
def test_balanced_groups_come_equally_often_and_their_images_in_turn(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    groups = drawn.integers(0, int(drawn.integers(2, 5)), int(drawn.integers(6, 60))).tolist()
    found = list(batches(len(groups), steps=12, steps_a_pass=3, seed=seed, groups=groups))
    for start in range(0, 12, 3):
        one = np.concatenate(found[start : start + 3])
        counts = Counter(groups[image] for image in one)
        assert len(one) == len(groups)
        assert max(counts.values()) - min(counts.get(group, 0) for group in set(groups)) <= 1
    for group in set(groups):
        times = Counter(image for image in np.concatenate(found).tolist() if groups[image] == group)
        every = [times[image] for image, its in enumerate(groups) if its == group]
        assert max(every) - min(every) <= 1


def test_one_seed_gives_one_order_and_another_gives_another() -> None:
    def order(seed: int) -> list[int]:
        found = batches(30, steps=3, steps_a_pass=3, seed=seed, groups=[n % 3 == 0 for n in range(30)])
        return np.concatenate(list(found)).tolist()

    assert order(1) == order(1) != order(2)
