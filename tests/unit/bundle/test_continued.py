"""A finished job goes on: its rounds and ten more are those of one job, and what is not the same is said."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedward.bundle.continued import continue_job, differs, toml
from fedward.dataset.manifest import Manifest
from fedward.demo.simulate import Simulated, simulate, take_part
from fedward.errors import FedwardError
from fedward.metrics.events import EVENTS_FILE
from fedward.privacy.policy.canonical_job import job_files
from fedward.privacy.policy.job_hash import job_hash
from fedward.privacy.policy.wording import how_it_starts
from fedward.settings import JobSpec, parse, plain, read_job
from fedward.weights import MODEL_FILE, Weights
from tests.conftest import tiny_job_content
from tests.support.command_line import typed
from tests.support.report_events import made_events, made_job

MakeCohort = Callable[..., Manifest]


def job(rounds: int, **tables: dict[str, Any]) -> JobSpec:
    """Plain SGD with momentum inside a round, augmentation and steps that divide no pass evenly."""
    content = tiny_job_content()
    content["federation"] |= {"rounds": rounds}
    content["training"] |= {"optimizer": "SGD", "lr": 0.05, "local_steps": 3}
    del content["training"]["local_epochs"]
    content["transforms"] = {"augment": [{"name": "RandFlipd", "args": {"prob": 0.5, "spatial_axis": 1}}]}
    for name, table in tables.items():
        content[name] = content.get(name, {}) | table
    return parse(JobSpec, content, where="test")


def result(folder: Path, spec: JobSpec, weights: Weights, events: list[dict[str, Any]] | None = None) -> Path:
    """A result as FLARE's download leaves it."""
    for name, content in job_files(spec).items():
        path = folder / "job" / spec.job.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "workspace").mkdir()
    told = [{"event": "started"}, {"event": "finished"}] if events is None else events
    lines = [json.dumps({"at": 0.0, **event}) + "\n" for event in told]
    (folder / "workspace" / EVENTS_FILE).write_text("".join(lines))
    torch.save({name: torch.from_numpy(value) for name, value in weights.items()}, folder / "workspace" / MODEL_FILE)
    return folder


@pytest.fixture
def two(make_cohort: MakeCohort) -> dict[str, Manifest]:
    return {"north": make_cohort(16, site="north"), "south": make_cohort(24, site="south", seed=1)}


def run(spec: JobSpec, cohorts: dict[str, Manifest]) -> Simulated:
    return simulate(spec, take_part(spec, cohorts)[0])


@pytest.mark.parametrize("fedprox_mu", [0.0, 0.1])
def test_ten_rounds_and_ten_more_are_twenty_rounds_bit_for_bit(
    tmp_path: Path, two: dict[str, Manifest], fedprox_mu: float
) -> None:
    training = {"fedprox_mu": fedprox_mu}
    whole = run(job(20, training=training), two)
    first = run(job(10, training=training), two)
    done = continue_job(result(tmp_path / "r", job(10, training=training), first.weights), tmp_path / "next", rounds=10)
    assert done.differs == ()
    more = run(read_job(tmp_path / "next"), two)
    assert len(first.rounds) == len(more.rounds) == 10
    for found, due in zip((*first.rounds, *more.rounds), whole.rounds, strict=True):
        assert list(found) == list(due)
        for name in due:
            assert found[name].tobytes() == due[name].tobytes(), name


def test_a_job_goes_on_twice(tmp_path: Path, two: dict[str, Manifest]) -> None:
    """Three rounds, two, then one: the number of rounds adds up, and the model is that of six at once."""
    spec = job(3)
    weights = run(spec, two).weights
    for number, rounds in enumerate((2, 1)):
        done = continue_job(result(tmp_path / f"r{number}", spec, weights), tmp_path / f"n{number}", rounds=rounds)
        assert done.job.parent is not None and done.job.parent.job_hash == job_hash(spec)
        spec = done.job
        weights = run(spec, two).weights
    assert spec.first_round == 5
    due = run(job(6), two).weights
    assert all(weights[name].tobytes() == due[name].tobytes() for name in due)


def test_without_the_number_of_rounds_before_it_is_another_model(tmp_path: Path, two: dict[str, Manifest]) -> None:
    """The oracle can tell: the same start, numbered from 0, draws the first job's batches again."""
    spec = job(3)
    weights = run(spec, two).weights
    done = continue_job(result(tmp_path / "r", spec, weights), tmp_path / "n", rounds=2)
    counted_from_0 = done.job.model_copy(update={"parent": None})
    one, other = run(done.job, two).weights, run(counted_from_0, two).weights
    assert any((one[name] != other[name]).any() for name in one)


def test_the_learning_rate_falls_over_all_rounds() -> None:
    whole = job(20)
    parent = {"job_hash": "0" * 64, "model_sha256": "1" * 64, "rounds": 10}
    start = {"start": "start.npz", "start_sha256": "2" * 64}
    more = job(10, parent=parent, model=start)
    for number in range(10):
        for step in range(7):
            assert more.done(number, step / 7) == whole.done(10 + number, step / 7)
    assert more.done(0) == 0.5 and more.done(10) == 1.0 and whole.done(0) == 0.0


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"training": {"keep_optimizer": True}}, "momenta"),
        ({"training": {"lr_schedule": "cosine"}}, "learning rate"),
        ({"federation": {"aggregation": "fedadam"}}, "server's Adam"),
        ({"federation": {"select": "best"}}, "chosen model"),
        ({"model": {"batch_norm": "local"}}, "begin anew"),
        ({"encryption": {}, "federation": {"min_sites": 3}}, "rounds at random"),
        (
            {"privacy": {"mechanism": "dp-sgd", "dp_sgd": {"epsilon": 8.0, "delta": 1e-3, "clip_norm_l2": 1.0}}},
            "never repeat",
        ),
    ],
)
def test_what_does_not_go_on_is_said(tables: dict[str, Any], words: str) -> None:
    if "privacy" in tables:
        tables["privacy"]["dp_sgd"]["patients_per_step"] = 4
    found = differs(job(2, **tables))
    assert len(found) == 1 and words in found[0] and "\n" not in found[0]
    assert differs(job(2)) == ()


def test_the_new_job_has_its_lineage_and_all_other_settings(tmp_path: Path, two: dict[str, Manifest]) -> None:
    spec = job(2, job={"description": 'two "sites" \\ é\x7f', "seed": 9})
    spec = parse(JobSpec, {**plain(spec), "acceptance": {"threshold": 0.7}}, where="test")
    weights = run(spec, two).weights
    folder = result(tmp_path / "r", spec, weights)
    done = continue_job(folder, tmp_path / "n", rounds=5)
    file = (folder / "workspace" / MODEL_FILE).read_bytes()
    parent = {"job_hash": job_hash(spec), "model_sha256": hashlib.sha256(file).hexdigest(), "rounds": 2}
    assert tomllib.loads((tmp_path / "n" / "job.toml").read_text())["parent"] == parent
    was, now = plain(spec), plain(done.job)
    assert now.pop("parent") == parent and was.pop("parent") is None
    assert now["federation"].pop("rounds") == 5 and was["federation"].pop("rounds") == 2
    assert not now["federation"].pop("local_baseline") and was["federation"].pop("local_baseline")
    del now["model"]["start"], now["model"]["start_sha256"], was["model"]["start"], was["model"]["start_sha256"]
    assert now == was
    words = how_it_starts(done.job)
    assert job_hash(spec) in words and parent["model_sha256"] in words and "after 2 rounds" in words
    assert job_hash(done.job) != job_hash(spec)


def test_a_job_that_did_not_finish_or_has_no_model_does_not_go_on(tmp_path: Path, two: dict[str, Manifest]) -> None:
    spec = job(1)
    weights = run(spec, two).weights
    failed = result(tmp_path / "failed", spec, weights, [{"event": "started"}, {"event": "failed", "reason": "x"}])
    with pytest.raises(FedwardError, match="did not finish"):
        continue_job(failed, tmp_path / "n", rounds=1)
    kept = result(tmp_path / "kept", spec, weights)
    (kept / "workspace" / MODEL_FILE).unlink()
    with pytest.raises(FedwardError, match="no final model"):
        continue_job(kept, tmp_path / "n", rounds=1)
    other = result(tmp_path / "other", spec, {"weight": np.ones((2, 2), np.float32)})
    with pytest.raises(FedwardError, match="does not fit the network: it lacks"):
        continue_job(other, tmp_path / "n", rounds=1)
    assert not (tmp_path / "n").exists()
    (tmp_path / "n").mkdir()
    with pytest.raises(FedwardError, match="exists already"):
        continue_job(result(tmp_path / "r", spec, weights), tmp_path / "n", rounds=1)


def test_the_command_says_what_the_rounds_add_to_epsilon(
    tmp_path: Path, two: dict[str, Manifest], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fedward.training.networks import initial_weights

    private = made_job()
    folder = result(tmp_path / "private", private, initial_weights(private), made_events(private))
    assert typed(monkeypatch, "job", "continue", str(folder), "--rounds", "4", "--out", str(tmp_path / "n")) == 0
    said = capsys.readouterr().out
    assert "goes on from round 8 to round 12" in said and job_hash(private) in said
    (line,) = [one for one in said.splitlines() if one.startswith("elm: ε ")]
    before, more, total = (
        float(one) for one in line.removeprefix("elm: ε ").split(",")[0].replace("+", "=").split("=")
    )
    assert before > 0 and more > 0 and total == pytest.approx(before + more, abs=0.011)
    assert "not bit for bit that of 12 rounds in one job: noise and the draw of patients" in said
    spec = job(1)
    folder = result(tmp_path / "r", spec, run(spec, two).weights)
    assert typed(monkeypatch, "job", "continue", str(folder), "--rounds", "2", "--out", str(tmp_path / "m")) == 0
    assert "its model is bit for bit that of 3 rounds in one job" in capsys.readouterr().out
    assert typed(monkeypatch, "job", "plan", str(tmp_path / "m")) == 0
    assert "goes on after 1 rounds from the final model" in capsys.readouterr().out


def test_settings_survive_toml() -> None:
    content = {"one": {"text": 'a"\\\n\x7f é', "flag": True, "list": [1, 2.5, {"a b": [["x"]]}], "none": None}}
    assert tomllib.loads(toml(content)) == {"one": {k: v for k, v in content["one"].items() if v is not None}}
