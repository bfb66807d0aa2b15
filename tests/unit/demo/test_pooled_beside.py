"""A training beside others hands its model over, and a process that dies is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedward.demo import pooled_beside
from fedward.demo.pooled_beside import train_beside
from fedward.errors import JobError
from tests.support.flare.sum_job import sum_job


def test_a_process_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooled_beside, "_train", _dies)
    with pytest.raises(JobError, match="ended before its work did"):
        train_beside(sum_job(), {})()


def test_a_model_comes_back_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooled_beside, "_train", _sends)
    assert train_beside(sum_job(), {})()["bias"].tolist() == [1.0, 2.0]


def _dies(sender: Any, job: Any, cohorts: Any) -> None:
    raise SystemExit(3)


def _sends(sender: Any, job: Any, cohorts: Any) -> None:
    sender.send({"bias": np.array([1.0, 2.0], np.float32)})
