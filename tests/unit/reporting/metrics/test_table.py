"""The table of a job's scores: every number that a hospital released, none that it withheld, and each once."""

from __future__ import annotations

import copy
import csv
import json
import math
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.errors import FedwardError
from fedward.metrics.events import EVENTS_FILE
from fedward.reporting.data.from_events import report_of
from fedward.reporting.data.score import OTHERS
from fedward.reporting.metrics.files import write_csv, write_parquet
from fedward.reporting.metrics.table import ALL_SITES, COLUMNS, Row, rows_of, score_rows
from fedward.reporting.metrics.trackers import MLFLOW_METRICS, write_mlflow, write_tensorboard
from fedward.settings import JOB_FILE, Disclosure, plain
from fedward.validation.scores import score_labels
from tests.support.command_line import typed
from tests.support.disclosure import release
from tests.support.report_events import AWAY, ROUNDS, SITES, made_events, made_job

JOB = made_job()


def table(events: list[dict[str, Any]]) -> dict[tuple[Any, ...], Row]:
    rows = rows_of(JOB, events)
    found = {(row.site, row.round, row.model, row.label, row.measure): row for row in rows}
    assert len(found) == len(rows), "each key once"
    return found


def test_the_rows_are_the_reports_numbers() -> None:
    events = made_events(JOB)
    report, found = report_of(JOB, events), table(events)
    for site in report.sites:
        for number, point in enumerate(site.history):
            key = (site.site, number, "federated", "", "auc")
            if point.value is None:
                assert key not in found
            else:
                row = found[key]
                assert (row.value, row.low, row.high) == (point.value, point.low, point.high)
        last = found[site.site, ROUNDS, "federated", "", "auc"]
        assert (last.value, last.n) == (site.federated.value, site.federated.n)
    pooled = found[ALL_SITES, ROUNDS, "federated", "", "auc"]
    assert (pooled.value, pooled.low, pooled.high, pooled.n) == (0.872, 0.851, 0.893, 757)
    rounds = {site: {key[1] for key in found if key[0] == site and key[4] == "auc"} for site in SITES}
    assert rounds == {site: set(range(ROUNDS + 1)) - set(AWAY.get(site, ())) for site in SITES}


def test_the_final_model_is_that_of_the_round_that_was_selected() -> None:
    events = made_events(JOB)
    events.insert(-1, {"event": "selected", "at": events[-1]["at"], "round": 5, "score": 0.8})
    found = table(events)
    assert found["elm", 5, "federated", "", "auc"].value == SITES["elm"]
    assert ("elm", ROUNDS, "federated", "", "auc") not in found


def test_what_is_withheld_or_no_number_has_no_row() -> None:
    """Whatever the events withhold at one site, its values are nowhere in the table."""
    events = copy.deepcopy(made_events(JOB))
    marked = 0.123456
    for event in events:
        if event["event"] == "answered" and event["site"] == "elm":
            scores = event["metrics"]["scores"]
            hidden = {
                "auc": None,
                "auc_low": None,
                "auc_high": None,
                "suppressed": True,
                "patients": None,
                "images": None,
            }
            scores.update(hidden | {"positives": None, "ece": math.nan, "loss": marked, "sensitivity": "0.5"})
            event["metrics"]["train_s"] = marked
    elm = [row for row in rows_of(JOB, events) if row.site == "elm"]
    assert {row.measure for row in elm} == {"average_precision", "specificity"}
    assert {row.n for row in elm} == {None}
    assert marked not in [value for row in elm for value in astuple(row)]


def test_losses_labels_and_models_trained_alone_are_named(tmp_path: Path) -> None:
    events = made_events(JOB)
    first = next(event for event in events if event["event"] == "answered")
    first["metrics"] |= {"loss": 0.7}
    first["metrics"]["scores"] |= {"labels": {"nodule": {"auc": 0.61, "patients": 44}}}
    alone = {**first, "task": "alone", "round": -1, "metrics": {"scores": {"auc": 0.55, "patients": 203}}}
    found, site = table([*events, alone]), first["site"]
    assert found[site, 1, "federated", "", "training_loss"].value == 0.7
    assert found[site, 0, "federated", "nodule", "auc"].n == 44
    assert found[site, None, "alone", "", "auc"].value == 0.55


def test_csv_and_parquet_hold_the_table(tmp_path: Path) -> None:
    rows = rows_of(JOB, made_events(JOB))
    write_csv(tmp_path / "new" / "scores.csv", rows)
    heading, *cells = csv.reader((tmp_path / "new" / "scores.csv").read_text().splitlines())
    assert tuple(heading) == COLUMNS == tuple(Row.__dataclass_fields__)
    assert cells == [["" if value is None else str(value) for value in astuple(row)] for row in rows]
    parquet = pytest.importorskip("pyarrow.parquet")
    write_parquet(tmp_path / "scores.parquet", rows)
    assert [tuple(row.values()) for row in parquet.read_table(tmp_path / "scores.parquet").to_pylist()] == [
        astuple(row) for row in rows
    ]


def test_tensorboard_reads_the_scores(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = made_events(JOB)
    write_tensorboard(tmp_path / "board", rows_of(JOB, events), at=5.0)
    read = EventAccumulator(str(tmp_path / "board"))
    read.Reload()
    found = {scalar.step: scalar.value for scalar in read.Scalars("auc/elm")}
    expected = {row.round: row.value for row in rows_of(JOB, events) if (row.site, row.measure) == ("elm", "auc")}
    assert found == pytest.approx(expected)
    with pytest.raises(FedwardError, match="exists already"):
        write_tensorboard(tmp_path / "board", (), at=5.0)


def test_without_its_library_a_format_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pyarrow", "tensorboard", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(FedwardError, match=r"run `pip install -c constraints\.txt pyarrow`, or write CSV"):
        write_parquet(tmp_path / "scores.parquet", ())
    with pytest.raises(FedwardError, match=r"run `pip install -c constraints\.txt tensorboard`, or write CSV"):
        write_tensorboard(tmp_path / "board", (), at=5.0)
    assert list(tmp_path.iterdir()) == []


def test_mlflow_gets_calls_that_its_server_takes(tmp_path: Path) -> None:
    rows = rows_of(JOB, made_events(JOB)) * 5
    write_mlflow(tmp_path / "run.json", JOB, rows, at=5.0)
    content = json.loads((tmp_path / "run.json").read_text())
    metrics = [one for call in content["log_batch"] for one in call.get("metrics", ())]
    params = {one["key"]: one["value"] for call in content["log_batch"] for one in call.get("params", ())}
    assert max(len(call.get("metrics", ())) for call in content["log_batch"]) == MLFLOW_METRICS < len(metrics)
    assert {"key": "auc.elm", "value": SITES["elm"], "timestamp": 5000, "step": ROUNDS} in metrics
    assert (params["training.lr"], params["job.name"]) == ("0.003", "cxr_lesions")


def test_mlflows_own_client_takes_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the data scientist's page has it."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    write_mlflow(tmp_path / "run.json", JOB, rows_of(JOB, made_events(JOB)), at=5.0)
    run = json.loads((tmp_path / "run.json").read_text())
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    made = client.create_run(client.create_experiment(run["experiment_name"]), run_name=run["run_name"]).info.run_id
    entities = {"metrics": mlflow.entities.Metric, "params": mlflow.entities.Param, "tags": mlflow.entities.RunTag}
    for call in run["log_batch"]:
        client.log_batch(made, **{name: [entities[name](**one) for one in items] for name, items in call.items()})
    assert [metric.step for metric in client.get_metric_history(made, "auc.elm")] == list(range(ROUNDS + 1))
    assert client.get_run(made).data.params["training.optimizer"] == "AdamW"


def test_the_command_writes_what_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run" / "job" / "cxr" / "app" / "config" / JOB_FILE
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps(plain(JOB)))
    (tmp_path / "run" / "workspace").mkdir()
    lines = [json.dumps(event) for event in made_events(JOB)]
    (tmp_path / "run" / "workspace" / EVENTS_FILE).write_text("\n".join(lines) + "\n")
    words = ("job", "metrics", str(tmp_path / "run"))
    assert typed(monkeypatch, *words) == 1
    assert "no file to write; add --csv FILE" in capsys.readouterr().err
    assert typed(monkeypatch, *words, "--csv", str(tmp_path / "a.csv"), "--mlflow", str(tmp_path / "a.json")) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "a.csv"), str(tmp_path / "a.json")]
    assert (tmp_path / "a.csv").read_text().startswith("site,round,model,label,measure,value,low,high,n\n")
    assert typed(monkeypatch, "job", "metrics", str(tmp_path), "--csv", str(tmp_path / "b.csv")) == 1
    assert "not a downloaded result" in capsys.readouterr().err


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0.01, 0.99)), min_size=4, max_size=40),
    st.integers(1, 12),
    st.sampled_from([("scores",), ("auc", "patients"), ("scores", "work"), ()]),
)
@settings(max_examples=40, deadline=None)
def test_what_a_hospitals_gate_withholds_has_no_row(
    drawn: list[tuple[bool, float]], floor: int, metrics: tuple[str, ...]
) -> None:
    """Scores of drawn patients go through the gate's own decision, as at a hospital, and then into the table."""
    truth = np.array([[int(sick)] for sick, _ in drawn])
    predicted = np.array([[score] for _, score in drawn])
    names = [str(number) for number in range(len(drawn))]
    scores = score_labels(truth, predicted, names=["lesion"], patients=names, loss=0.5).plain()
    told = release({"scores": scores}, Disclosure(metrics=metrics, decimals=4, min_count=floor), private=False)
    rows = score_rows(JOB, told.get("scores"), site="elm", number=1)
    left = told.get("scores") or {}
    assert {row.measure: row.value for row in rows} == {
        name: left[name] for name in ("auc", *OTHERS["classification"]) if left.get(name) is not None
    }
    positives = int(truth.sum())
    if min(positives, len(drawn) - positives) < floor or not metrics:
        assert not any(row.measure == "auc" for row in rows)
    assert all(row.n is None or row.n >= floor for row in rows)
