"""A model and its vector hold the same numbers in one order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedward.errors import EncryptionError
from fedward.weights import flatten, layout_of, parameter_count, unflatten

models = st.dictionaries(
    st.text(max_size=3), hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3, max_side=3)), max_size=4
)


def test_worked_by_hand() -> None:
    weights = {"b": np.float32([[1, 2], [3, 4]]), "a": np.array(5, np.float32), "c": np.zeros((0, 3), np.float32)}
    assert flatten(weights).tolist() == [5, 1, 2, 3, 4]
    assert flatten({"b": weights["b"].T}).tolist() == [1, 3, 2, 4]


@given(models)
def test_there_and_back(weights: dict[str, Any]) -> None:
    layout = layout_of(weights)
    vector = flatten(weights)
    assert vector.dtype == np.float32
    assert vector.shape == (parameter_count(layout),)
    found = unflatten(vector, layout)
    assert list(found) == sorted(weights)
    for name, array in weights.items():
        assert found[name].dtype == np.float32
        assert np.array_equal(found[name], array, equal_nan=True)
        assert found[name].shape == array.shape


def test_neither_way_shares_memory_with_its_input() -> None:
    weights = {"a": np.ones(3, np.float32)}
    vector = flatten(weights)
    found = unflatten(vector, layout_of(weights))
    vector[:] = 7
    assert weights["a"].tolist() == found["a"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.bool_, ">f4"])
def test_a_tensor_of_another_dtype_is_named_and_refused(dtype: Any) -> None:
    weights = {"good": np.ones(2, np.float32), "bn.count": np.ones(2, dtype)}
    with pytest.raises(EncryptionError, match=r"tensor bn\.count cannot be sealed: it is not float32"):
        flatten(weights)
    with pytest.raises(EncryptionError, match=r"tensor bn\.count cannot be sealed"):
        unflatten(np.ones(4, np.float32), layout_of(weights))


@pytest.mark.parametrize("vector", [np.ones(3, np.float32), np.ones((2, 2), np.float32), np.ones(4)])
def test_a_vector_of_another_length_or_dtype_is_refused(vector: Any) -> None:
    with pytest.raises(EncryptionError, match="vector is not 4 numbers"):
        unflatten(vector, layout_of({"a": np.ones((2, 2), np.float32)}))
