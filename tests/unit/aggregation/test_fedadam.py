"""FedAdam against the paper's formula, written out in Python's own numbers, and against torch where the two agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedward.aggregation.fedadam import FedAdam
from fedward.aggregation.step import ServerStep
from fedward.errors import JobError
from fedward.settings import JobSpec, parse
from fedward.weights import Weights
from tests.conftest import tiny_job_content

VALUES = st.floats(-100, 100, width=32)


def by_hand(differences: list[float], server_lr: float) -> list[float]:
    """Reddi et al. 2021, Algorithm 2, for one weight."""
    m, v, steps = 0.0, 1e-3**2, []
    for delta in differences:
        m = 0.9 * m + 0.1 * delta
        v = 0.99 * v + 0.01 * delta * delta
        steps.append(server_lr * m / (math.sqrt(v) + 1e-3))
    return steps


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=8), st.floats(1e-4, 1.0))
def test_it_is_the_papers_formula(rounds: list[tuple[float, float]], server_lr: float) -> None:
    adam = FedAdam(server_lr)
    steps = [adam.step({"w": np.array(values, np.float64)})["w"] for values in rounds]
    for position in (0, 1):
        expected = by_hand([values[position] for values in rounds], server_lr)
        np.testing.assert_allclose([step[position] for step in steps], expected, rtol=1e-12, atol=1e-300)


def test_after_many_rounds_it_walks_as_torchs_adam_does() -> None:
    """Their difference is torch's correction of bias, and how v begins: both fade as rounds pass."""
    random = np.random.default_rng(7)
    weight = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    other = torch.optim.Adam([weight], lr=0.01, betas=(0.9, 0.99), eps=1e-3)
    adam, model = FedAdam(0.01), np.zeros(5)
    for _ in range(2500):
        delta = 1.0 + random.normal(size=5)
        before = weight.detach().numpy().copy()
        weight.grad = torch.from_numpy(-delta)
        other.step()
        step = adam.step({"w": delta})["w"]
        model += step
    np.testing.assert_allclose(step, weight.detach().numpy() - before, rtol=1e-9)


def test_no_difference_is_no_step_at_first_and_momentum_later() -> None:
    adam = FedAdam(0.5)
    zero, one = {"w": np.zeros(2, np.float32)}, {"w": np.ones(2, np.float32)}
    np.testing.assert_array_equal(adam.step(zero)["w"], [0, 0])
    assert (adam.step(one)["w"] > 0).all()
    assert (adam.step(zero)["w"] > 0).all()


@given(VALUES, st.floats(1e-4, 1.0))
def test_the_first_step_moves_no_weight_by_more_than_the_learning_rate(delta: float, server_lr: float) -> None:
    assert abs(FedAdam(server_lr).step({"w": np.array(delta)})["w"]) <= server_lr


def test_dtype_and_order_of_names_and_the_input_stays() -> None:
    update = {"z": np.array(2.0, np.float32), "a": np.ones((2, 3), np.float32)}
    before = {name: array.copy() for name, array in update.items()}
    step = FedAdam(0.01).step(update)
    assert list(step) == ["a", "z"]
    assert {name: (array.shape, array.dtype) for name, array in step.items()} == {
        "a": ((2, 3), np.dtype(np.float32)),
        "z": ((), np.dtype(np.float32)),
    }
    for name, array in update.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("update", "says"),
    [
        ({"w": np.float32([1, np.nan])}, "not finite"),
        ({"w": np.array([1, 2])}, "cannot take a step"),
        ({"v": np.float32([1, 2])}, "on one side only"),
        ({"w": np.float32([1, 2, 3])}, "two shapes"),
    ],
)
def test_a_refused_step_leaves_no_trace(update: dict[str, np.ndarray], says: str) -> None:
    tried, other, first = FedAdam(0.01), FedAdam(0.01), {"w": np.float32([1, 2])}
    for adam in (tried, other):
        adam.step(first)
    with pytest.raises(JobError, match=says):
        tried.step(update)
    np.testing.assert_array_equal(tried.step(first)["w"], other.step(first)["w"])


@pytest.mark.parametrize("server_lr", [0.0, -1.0, math.nan, math.inf])
def test_refuses_a_learning_rate_that_is_none(server_lr: float) -> None:
    with pytest.raises(JobError, match="above 0"):
        FedAdam(server_lr)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=6), st.data())
def test_another_object_goes_on_with_its_moments_to_the_bit(
    rounds: list[tuple[float, float]], data: st.DataObject
) -> None:
    stop = data.draw(st.integers(0, len(rounds)))
    whole, first, second = FedAdam(0.1), FedAdam(0.1), FedAdam(0.1)
    expected = [whole.step({"w": np.array(values, np.float32)})["w"] for values in rounds]
    found = [first.step({"w": np.array(values, np.float32)})["w"] for values in rounds[:stop]]
    second.restore(*first.moments)
    found += [second.step({"w": np.array(values, np.float32)})["w"] for values in rounds[stop:]]
    assert [one.tobytes() for one in found] == [one.tobytes() for one in expected]


@pytest.mark.parametrize(
    ("mean", "square"),
    [
        ({"w": np.zeros(2)}, {}),
        ({"w": np.zeros(2)}, {"w": np.zeros(3)}),
        ({"w": np.zeros(2, np.float32)}, {"w": np.zeros(2)}),
    ],
)
def test_moments_of_another_shape_are_refused(mean: Weights, square: Weights) -> None:
    with pytest.raises(JobError):
        FedAdam(0.1).restore(mean, square)


@pytest.mark.parametrize(
    ("aggregation", "parts"),
    [("mean", {"mean", "square"}), ("median", {"mean"}), ("fedadam", {"mean"}), ("mean", {"another"})],
)
def test_the_state_of_another_aggregation_is_refused(aggregation: str, parts: set[str]) -> None:
    content = tiny_job_content()
    content["federation"]["aggregation"] = aggregation
    with pytest.raises(JobError, match="state of another aggregation"):
        ServerStep(parse(JobSpec, content, where="test")).restore({part: {"w": np.zeros(1)} for part in parts})
