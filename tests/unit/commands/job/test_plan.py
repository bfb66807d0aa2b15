"""``fedward job plan``, as a data scientist types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedward.privacy.accountant import Event, epsilon
from tests.support.command_line import typed

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
    (folder / "job.toml").write_text(JOB + DP_SGD + '[encryption]\nprecision = "precise"\nopen_final = false\n')
    assert run(monkeypatch, str(folder), "--site", "north=80") == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("updates leave encrypted, in precise precision and by the scheme of the federation's key; ")
    assert last.endswith("; the final model stays with the hospitals")
    assert run(monkeypatch, str(folder), "--site", "north=80", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["encryption"] == last


def test_a_site_that_a_sum_has_no_room_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "job.toml").write_text(JOB + DP_SGD + "[encryption]\nmax_patients = 79\n")
    assert run(monkeypatch, str(folder), "--site", "north=80") == 1
    out, err = capsys.readouterr()
    assert err == (
        "fedward: north: more patients than encryption.max_patients, 79: 80; raise it, or say weighting 'equal'\n"
    )
    assert out == ""
    equal = JOB.replace("min_sites = 2", 'min_sites = 2\nweighting = "equal"')
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
