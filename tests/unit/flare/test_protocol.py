"""Check the messages on the wire: one kind of reply, and refusals that carry one line."""

from __future__ import annotations

import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.shareable import Shareable

from fedward.flare.protocol import (
    ROUND_NUMBER,
    Reply,
    global_weights,
    question,
    refusal,
    refuse,
    to_reply,
    to_shareable,
)

WEIGHTS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32([1.5])}


def test_a_model_and_its_round_arrive_as_sent() -> None:
    data = question(WEIGHTS, round_number=3)
    assert data.get_header(ROUND_NUMBER) == 3
    arrived = global_weights(data)
    assert set(arrived) == set(WEIGHTS)
    for name, array in WEIGHTS.items():
        np.testing.assert_array_equal(arrived[name], array)


def test_a_reply_arrives_as_sent() -> None:
    metrics = {"scores": {"auc": None, "patients": 3}, "loss": 0.5}
    reply = to_reply(to_shareable(Reply(metrics=metrics, update=WEIGHTS)))
    assert reply.metrics == metrics
    assert reply.update is not None
    np.testing.assert_array_equal(reply.update["a"], WEIGHTS["a"])
    assert to_reply(to_shareable(Reply(metrics=metrics))).update is None


@pytest.mark.parametrize(
    "payload",
    [
        DXO(data_kind=DataKind.WEIGHTS, data=WEIGHTS),
        DXO(data_kind=DataKind.COLLECTION, data={"update": DXO(data_kind=DataKind.WEIGHTS, data=WEIGHTS)}),
        DXO(data_kind=DataKind.COLLECTION, data={"extra": DXO(data_kind=DataKind.METRICS, data={})}),
    ],
    ids=["full weights", "full weights as update", "unknown part"],
)
def test_any_other_payload_is_refused(payload: DXO) -> None:
    with pytest.raises(ValueError, match="expected"):
        to_reply(payload.to_shareable())


def test_a_task_without_a_model_has_none() -> None:
    with pytest.raises(ValueError):
        global_weights(question(None, round_number=-1))


def test_a_refusal_carries_its_reason() -> None:
    assert refusal(refuse("no labels")) == "no labels"
    assert refusal(to_shareable(Reply())) is None
    bare = Shareable()
    bare.set_return_code("TASK_ABORTED")
    assert refusal(bare) == "site answered TASK_ABORTED"
