"""``fedward job plan``, as a data scientist types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedward.commands.job.plan_bytes import round_bytes
from fedward.errors import JobError
from fedward.privacy.accountant import Event, epsilon
from fedward.settings import JobSpec, parse
from fedward.training.networks import initial_weights, trained_keys
from tests.conftest import tiny_job_content
from tests.support.command_line import typed
from tests.support.flare.sum_job import sum_job

JOB = """
[job]
name = "tiny"
task = "classification"
[federation]
rounds = 3
min_sites = 2
round_timeout_s = 60.0
[data]
cohort = "chest"
labels = ["lesion"]
size = [24, 24]
[model]
network = "DenseNet"
[training]
loss = { name = "BCEWithLogitsLoss" }
optimizer = "SGD"
lr = 0.1
batch_size = 8
local_epochs = 2
"""
DP_SGD = """
[privacy]
mechanism = "dp-sgd"
[privacy.dp_sgd]
noise_multiplier = 2.0
delta = 1e-3
clip_norm_l2 = 1.0
patients_per_step = 10.0
"""
SUMMED = JOB.replace("min_sites = 2", "min_sites = 3")
"""Of an encrypted job."""
CLEAR = "updates leave in the clear: the server reads every one, and every model"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A job with DP-SGD."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "job.toml").write_text(JOB + DP_SGD)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setenv("COLUMNS", "120")
    return typed(monkeypatch, "job", "plan", *arguments)


def test_a_table_for_people(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, str(folder), "--site", "north=80", "--site", "south=100") == 0
    out, err = capsys.readouterr()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert [row[:5] for row in rows] == [["north", "80", "0.125", "2", "48"], ["south", "100", "0.1", "2", "60"]]
    assert [row[7] for row in rows] == ["0.001", "0.001"]
    assert all(0.5 < float(row[5]) < float(row[6]) < 8 for row in rows), "at most, with rounds repeated"
    assert "tiny, dp-sgd, ε for each patient" in out and err == ""


def test_the_same_for_scripts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(folder), "--site", "north=80", "--format", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["job"], answer["mechanism"]) == ("tiny", "dp-sgd")
    (north,) = answer["sites"]
    assert (north["site"], north["patients"], north["sampling_rate"], north["steps"]) == ("north", 80, 0.125, 48)
    assert (north["delta"], north["clip_norm_l2"], north["noise_multiplier"]) == (1e-3, 1.0, 2.0)
    more = Event(sampling_rate=0.125, noise_multiplier=2.0, steps=48 + north["allowance"])
    assert north["ceiling"] == epsilon([more], delta=1e-3) > north["epsilon"]


def test_an_infinite_epsilon_is_null(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "job.toml").write_text(JOB + DP_SGD.replace("noise_multiplier = 2.0", "noise_multiplier = 0.001"))
    assert run(monkeypatch, str(folder), "--site", "north=80", "--format", "json") == 0
    (site,) = json.loads(capsys.readouterr().out)["sites"]
    assert site["epsilon"] is None and site["ceiling"] is None
    assert run(monkeypatch, str(folder), "--site", "north=80") == 0
    assert "infinite" in capsys.readouterr().out


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_job_without_protection_says_so(
    folder: Path, format: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "job.toml").write_text(JOB + '[privacy]\nmechanism = "none"\n')
    assert run(monkeypatch, str(folder), "--site", "north=80", "--format", format) == 0
    out, err = capsys.readouterr()
    if format == "json":
        answer = json.loads(out)
        assert (answer["job"], answer["mechanism"], answer["sites"]) == ("tiny", "none", [])
        assert answer["encryption"] == CLEAR
    else:
        assert out == f"tiny: no differential privacy, so no ε; privacy.mechanism is none\n{CLEAR}\n"
    assert err == ""


def test_an_encrypted_job_says_how_it_is_sealed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "job.toml").write_text(SUMMED + DP_SGD + '[encryption]\nprecision = "precise"\nopen_final = false\n')
    assert run(monkeypatch, str(folder), "--site", "north=80") == 0
    *_, last, size = capsys.readouterr().out.splitlines()
    assert size.startswith("a round with 3 hospitals: each sends ") and size.endswith("MB")
    says = "updates leave masked: the server and up to 1 hospital together learn only the sum of"
    assert last.startswith(f"{says} the others', in precise precision; ")
    assert last.endswith("; the final model stays with the hospitals")
    assert run(monkeypatch, str(folder), "--site", "north=80", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["encryption"] == last


def test_a_site_that_a_sum_has_no_room_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "job.toml").write_text(SUMMED + DP_SGD + "[encryption]\nmax_patients = 79\n")
    assert run(monkeypatch, str(folder), "--site", "north=80") == 1
    out, err = capsys.readouterr()
    assert err == (
        "fedward: north: more patients than encryption.max_patients, 79: 80; raise it, or say weighting 'equal'\n"
    )
    assert out == ""
    equal = SUMMED.replace("min_sites = 3", 'min_sites = 3\nweighting = "equal"')
    (folder / "job.toml").write_text(equal + DP_SGD + "[encryption]\nmax_patients = 79\n")
    assert run(monkeypatch, str(folder), "--site", "north=80") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--site: names no site"),
        (["--site", "north"], "--site: not NAME=PATIENTS: 'north'"),
        (["--site", "north=many"], "--site: not NAME=PATIENTS: 'north=many'"),
        (["--site", "north=0"], "--site: not NAME=PATIENTS: 'north=0'"),
        (["--site", "=80"], "--site: not NAME=PATIENTS: '=80'"),
        (["--site", "north=80", "--site", "north=90"], "--site: a site is given twice: 'north'"),
        (
            ["--site", "north=200"],
            "north: delta is too large: 0.001; give at most 0.0005, which is 1/(10 · 200 patients)",
        ),
        (["--site", "north=9"], "north: a step expects more patients than the 9 there are: 10.0"),
    ],
)
def test_one_line_for_a_mistake(
    folder: Path,
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, str(folder), *arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"fedward: {said}") and len(err.splitlines()) == 1


# the lines


def test_a_line_that_is_too_slow_is_refused_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(folder), "--mbit-s", "0.5", "--work-s", "5") == 1
    said = capsys.readouterr().err
    assert "at 0.5 Mbit/s an update of" in said and "round_timeout_s = 60" in said and len(said.splitlines()) == 1


def test_a_line_gives_the_table_for_the_job_and_the_table_is_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (str(folder), "--mbit-s", "100", "--work-s", "5", "--round-trip-ms", "300")
    assert run(monkeypatch, *words) == 0
    said = capsys.readouterr().out
    table = said.split("in job.toml:\n\n")[1].split("\n\n")[0]
    assert table.startswith("[transport]\nmbit_s = 100\n")
    (folder / "job.toml").write_text(JOB + DP_SGD + table)
    assert run(monkeypatch, *words) == 0
    assert run(monkeypatch, str(folder), "--mbit-s", "50", "--work-s", "5") == 1
    assert "write mbit_s = 50" in capsys.readouterr().err


def test_with_sites_both_plans_are_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (str(folder), "--mbit-s", "100", "--work-s", "5", "--site", "north=80")
    assert run(monkeypatch, *words, "--format", "json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["sites"][0]["site"] == "north" and said["transport"]["client"]["get_task_timeout"] == 10.0
    assert run(monkeypatch, *words) == 0
    said = capsys.readouterr().out
    assert "north" in said and "a round at the slowest hospital" in said


def test_an_earlier_run_gives_what_is_not_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = {"event": "answered", "task": "round", "site": "far", "seconds": 11.0, "metrics": {"train_s": 3.0}}
    (folder / "events.jsonl").write_text(json.dumps({**answer, "sent_bytes": 10**8, "received_bytes": 10**8}) + "\n")
    assert run(monkeypatch, str(folder), "--measured", str(folder), "--format", "json") == 0
    said = json.loads(capsys.readouterr().out)["transport"]
    assert (said["transport"]["mbit_s"], said["work_s"]) == (200.0, 3.0)
    (folder / "events.jsonl").write_text("no json\n")
    assert run(monkeypatch, str(folder), "--measured", str(folder)) == 1
    assert run(monkeypatch, str(folder), "--measured", str(folder / "absent")) == 1
    assert run(monkeypatch, str(folder), "--mbit-s", "8") == 1
    assert "--work-s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("scheme", "least", "most"),
    [("masked", 4.0, 4.2), ("aes-ctr", 4.0, 4.2), ("bfv", 7.0, 9.0), ("ckks", 14.0, 36.0)],
)
def test_an_encrypted_job_is_planned_with_the_bytes_of_its_scheme(
    folder: Path,
    scheme: str,
    least: float,
    most: float,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bytes a parameter; docs/encryption.md has the measured ones."""
    words = (str(folder), "--mbit-s", "10000", "--work-s", "5", "--format", "json")
    assert run(monkeypatch, *words) == 0
    clear = json.loads(capsys.readouterr().out)["transport"]["transport"]["message_mb"]
    (folder / "job.toml").write_text(f'{SUMMED}{DP_SGD}\n[encryption]\nscheme = "{scheme}"\n')
    assert run(monkeypatch, *words) == 0
    sealed = json.loads(capsys.readouterr().out)["transport"]["transport"]["message_mb"]
    assert least <= sealed / clear * 4.0 <= most


@pytest.mark.parametrize(
    ("aggregation", "least", "times_up", "times_held"), [("byzsecagg", 5, 1.03, 5.0), ("grouped-median", 9, 1.0, 1.0)]
)
def test_a_robust_job_is_planned_with_what_it_sends_and_holds(
    aggregation: str, least: int, times_up: float, times_held: float
) -> None:
    content = tiny_job_content() | {"encryption": {"max_colluding": 1}}
    content["federation"] |= {"aggregation": aggregation, "weighting": "equal", "min_sites": least}
    content["model"] = {"network": "DenseNet121", "args": {}}
    job = parse(JobSpec, content, where="robust")
    found = round_bytes(job, sites=least)
    model = round_bytes(parse(JobSpec, content | {"encryption": None}, where="clear"), sites=1).up
    assert found.up / model == pytest.approx(times_up, abs=0.03)
    assert found.held / model == pytest.approx(times_held, rel=0.05)
    if aggregation == "byzsecagg":
        with pytest.raises(JobError, match="models of fewer than 5 hospitals cannot be compared"):
            round_bytes(job, sites=4)


def test_what_stays_as_it_starts_is_not_sent() -> None:
    whole, part = sum_job(), sum_job()
    first = next(name for name in trained_keys(whole) if name.endswith("weight"))
    part = part.model_copy(update={"model": part.model.model_copy(update={"freeze": (first,)})})
    count = initial_weights(whole)[first].size
    spared = round_bytes(whole, sites=3).up - round_bytes(part, sites=3).up
    assert spared == pytest.approx(4 * count, abs=8)


def test_a_sparse_graph_takes_fewer_bytes() -> None:
    content = tiny_job_content() | {"encryption": {"max_colluding": 33, "max_sites": 128, "graph": "ccesa"}}
    found = []
    for graph in ("ccesa", "complete"):
        content["encryption"]["graph"] = graph
        found.append(round_bytes(parse(JobSpec, content, where=graph), sites=100))
    sparse, whole = found
    assert sparse.up < whole.up and sparse.held < whole.held / 2
