"""Check FLARE's own filters through their DXO interface: they work as FLARE's do, and pass no data on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.filters.percentile_privacy import PercentilePrivacy

from fedward.errors import GateError
from fedward.flare.gates.stock_filters import LABEL, STOCK_FILTERS, apply_stock_filter, labelled
from fedward.weights import Weights
from tests.support.flare.hospital import MECHANISMS, Hospital, assert_refused, parts


def update() -> Weights:
    rng = np.random.default_rng(0)
    return {"a": rng.normal(0, 0.01, (30, 20)).astype(np.float32), "b": np.array(0.5, np.float32)}


@pytest.mark.parametrize("name", STOCK_FILTERS)
def test_a_filter_changes_values_and_nothing_else(name: str) -> None:
    given, before = update(), update()
    found = apply_stock_filter(name, given, FLContext())
    assert all(np.array_equal(given[tensor], before[tensor]) for tensor in before)
    assert not np.array_equal(found["a"], before["a"])
    assert {tensor: (array.dtype, array.shape) for tensor, array in found.items()} == {
        tensor: (array.dtype, array.shape) for tensor, array in before.items()
    }


def test_percentile_is_flares_own() -> None:
    due = PercentilePrivacy().process_dxo(
        DXO(data_kind=DataKind.WEIGHT_DIFF, data={"a": update()["a"].copy()}), Shareable(), FLContext()
    )
    found = apply_stock_filter("PercentilePrivacy", {"a": update()["a"]}, FLContext())
    np.testing.assert_array_equal(found["a"], due.data["a"].astype(np.float32))


@pytest.mark.parametrize("name", STOCK_FILTERS)
def test_wherever_it_is_shown_it_is_said_what_it_is_not(name: str) -> None:
    assert labelled(name) == f"{name} (not differential privacy)" and LABEL in labelled(name)


@pytest.mark.parametrize("answer", [None, "as it was", DXO(data_kind=DataKind.WEIGHT_DIFF, data={"c": 1})])
def test_a_filter_that_declines_is_a_refusal(answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PercentilePrivacy, "process_dxo", lambda *given: answer)
    with pytest.raises(GateError, match="did not filter"):
        apply_stock_filter("PercentilePrivacy", update(), FLContext())


def test_an_unknown_filter_is_refused() -> None:
    with pytest.raises(GateError, match="none of FLARE's"):
        apply_stock_filter("ExcludeVars", update(), FLContext())


def test_at_the_gate_a_filter_that_throws_stops_the_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise ValueError("MARK")

    privacy = {"mechanism": "none", "update": {"clip_norm_l2": 1.0, "filters": ["PercentilePrivacy"]}}
    monkeypatch.setitem(MECHANISMS, "filtered", privacy)
    hospital = Hospital(tmp_path / "one", "filtered")
    hospital.receive()
    sent = parts(hospital.send(hospital.honest()[1]))["update"].data
    assert any((array == 0).any() for array in sent.values())
    monkeypatch.setattr(PercentilePrivacy, "process_dxo", fail)
    hospital = Hospital(tmp_path / "two", "filtered")
    hospital.receive()
    given, answer = hospital.honest()
    assert_refused(hospital.send(answer), says="ValueError", payload=given)
