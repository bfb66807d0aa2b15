"""Five positive films of one patient at a floor of five: through executor's rules, gate, store, Prometheus, report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedward.flare.protocol import Task
from fedward.metrics.exporter import StoreCollector, exposition
from fedward.metrics.store import Store
from fedward.reporting.data.from_events import report_of
from fedward.settings import Disclosure
from fedward.training.scores.scoring import scores_of
from fedward.validation.pooling.pooled import pooled_scores, score_histogram
from fedward.validation.predictions import Predictions
from tests.support.disclosure import release
from tests.support.flare.hospital import LISTED, Hospital, assert_refused, parts, serialised

Make = Callable[..., Hospital]


def one_sick_patient(hospital: Hospital) -> dict[str, dict[str, Any]]:
    """Return the executor's metrics before its rules; the AUC is recognised by its digits."""
    rng = np.random.default_rng(3)
    owner = tuple(f"{max(0, k - 4):016x}" for k in range(65))
    labels = (np.arange(65) < 5).astype(np.int64)[:, np.newaxis]
    found = Predictions(patients=owner, images=owner, scores=rng.random((65, 1)), labels=labels, loss=0.25)
    pooled = pooled_scores(hospital.job, score_histogram(hospital.job, found))
    return {"scores": scores_of(hospital.job, found).plain(), "pooled": pooled}


def rounded(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: rounded(value) for name, value in content.items()}
    return round(content, 3) if isinstance(content, float) else content


def of(hospital: Hospital, metrics: dict[str, Any]) -> dict[str, Any]:
    disclosure = Disclosure(metrics=tuple(json.loads(f"[{LISTED}]")), decimals=3, min_count=5)
    return release(metrics, disclosure, private=False, names=hospital.job.names, exclusive=hospital.job.exclusive)


@pytest.mark.parametrize(("group", "task"), [("scores", Task.ROUND), ("scores", Task.FINAL), ("pooled", Task.POOL)])
def test_a_gate_lets_no_such_number_past_whatever_the_executor_says(make: Make, group: str, task: Task) -> None:
    measured = one_sick_patient(make())[group]
    assert measured["auc"] is not None and measured["positives"] == 1
    told = {"patients": 61, "images": 65, "auc": round(measured["auc"], 3)}
    for claimed in (
        {group: rounded(measured)},
        {group: told | {"positives": 1}},
        {group: told | {"positives": None, "suppressed": True}},
        {group: told},
        {group: {"n": 65, "positives": 5, "patients": 61, "auc": told["auc"]}},
    ):
        hospital = make(received=task is Task.ROUND)
        update = hospital.update() if task is Task.ROUND else None
        assert_refused(hospital.send(hospital.answer(update, metrics=claimed), task))


def test_what_the_executor_makes_of_it_passes_and_tells_nothing(make: Make, tmp_path: Path) -> None:
    hospital = make()
    measured = one_sick_patient(hospital)
    allowed = of(hospital, measured)
    wire = hospital.send(hospital.answer(hospital.update(), metrics={"scores": allowed["scores"]}))
    shown = parts(wire)["metrics"].data["scores"]
    told = {"patients": 61, "images": 65, "loss": 0.25, "suppressed": True}
    assert {name: value for name, value in shown.items() if value is not None} == told
    assert f"{measured['scores']['auc']:.3f}".encode() not in serialised(wire)

    answered = {"event": "answered", "site": "north", "task": "final", "round": -1, "metrics": {"scores": shown}}
    lines = [
        {"event": "started", "job": "tiny", "task": "classification", "rounds": 1, "sites": ["north"]},
        {"event": "admitted", "site": "north"},
        {"event": "round", "round": 0, "sites": ["north"], "wall_s": 1.0},
        answered,
        {"event": "pooled", "sites": ["north", "south", "coast"], "pooled": allowed["pooled"]},
    ]
    events = [{"at": float(at), **line} for at, line in enumerate(lines)]
    with Store.open(tmp_path / "metrics.db", create=True) as store:
        for event in events:
            store.write("job", event)
        text = exposition(StoreCollector(lambda: store, clock=lambda: 10.0)).decode()
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert any(line.startswith("fedward_validation_patients{") and line.endswith(" 61.0") for line in samples)
    for name in ("fedward_auc", "fedward_validation_positive"):
        assert not [line for line in samples if line.startswith(name)]

    done = report_of(hospital.job, events)
    (north,) = done.sites
    for score in (north.federated, done.pooled):
        assert (score.value, score.low, score.high, score.positives, score.suppressed) == (None, None, None, None, True)
        assert (score.n, score.images) == (61, 65)
    assert all(other.value is None for other in north.others.values())
    assert {point.tpr for point in done.pooled_curves["lesion"].roc} == {None}
    assert {row.observed for row in done.pooled_curves["lesion"].reliability} == {None}
