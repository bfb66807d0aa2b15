"""``fedward job check``, as a data scientist types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import read_job
from tests.support.command_line import typed

SOUND = """
[job]
name = "tiny"
task = "classification"
[federation]
rounds = 2
min_sites = 2
round_timeout_s = 60.0
[data]
cohort = "chest"
size = [24, 24]
labels = ["lesion"]
[model]
network = "DenseNet"
args = { init_features = 8, growth_rate = 4, block_config = [2, 2], bn_size = 2 }
[training]
loss = { name = "BCEWithLogitsLoss" }
optimizer = "AdamW"
lr = 0.003
batch_size = 8
local_steps = 3
[privacy]
mechanism = "dp-sgd"
[privacy.dp_sgd]
epsilon = 8.0
delta = 1e-3
clip_norm_l2 = 1.0
patients_per_step = 8
"""


def check(
    folder: Path, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *more: str
) -> tuple[int, str, str]:
    (folder / "job.toml").write_text(text)
    code = typed(monkeypatch, "job", "check", str(folder), *more)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_sound_job_and_the_hash_that_hospitals_approve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = check(tmp_path, SOUND, monkeypatch, capsys)
    assert code == 0
    found = job_hash(read_job(tmp_path))
    assert f"hash {found}" in out
    assert "tiny: nothing wrong" in out
    assert "note: federation.weighting" in out
    code, out, _ = check(tmp_path, SOUND, monkeypatch, capsys, "--format", "json")
    answer = json.loads(out)
    assert (code, answer["job"], answer["hash"], answer["problems"]) == (0, "tiny", found, [])


def test_how_updates_leave_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = check(tmp_path, SOUND, monkeypatch, capsys)
    assert "note: encryption: none, so every update leaves in the clear" in out
    assert "updates leave in the clear: the server reads every one, and every model" in out
    sealed = SOUND.replace("min_sites = 2", "min_sites = 3") + "[encryption]\n"
    code, out, _ = check(tmp_path, sealed, monkeypatch, capsys)
    assert code == 0
    assert "in the clear" not in out
    [line] = [
        line for line in out.splitlines() if line.startswith("updates leave masked: the server and up to 1 hospital")
    ]
    assert "scores and cohort statistics are sealed too" in line
    assert line.endswith("a hospital opens the final model for who submitted the job")
    code, out, _ = check(tmp_path, sealed, monkeypatch, capsys, "--format", "json")
    assert json.loads(out)["encryption"] == line


def test_an_encrypted_job_of_two_sites_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = check(tmp_path, SOUND + "[encryption]\n", monkeypatch, capsys)
    assert code == 1
    assert "federation.min_sites: a sum of fewer than 3 sites" in err
    assert "nothing wrong" not in out


def test_the_linters_faults_come_first_and_the_others_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SOUND.replace("BCEWithLogitsLoss", "NoSuchLoss")
    text = text.replace("[federation]\n", '[federation]\nselect = "best"\n')
    text = text.replace("[model]\n", '[model]\nbatch_norm = "local"\n')
    code, out, _ = check(tmp_path, text, monkeypatch, capsys, "--format", "json")
    problems = json.loads(out)["problems"]
    assert code == 1
    assert [problem.split(":")[0] for problem in problems] == [
        "model.batch_norm",
        "federation.select",
        "training.loss.name",
    ]
    code, out, err = check(tmp_path, text, monkeypatch, capsys)
    assert code == 1
    assert "nothing wrong" not in out
    assert err.count("fedward: ") == len(problems)


def test_a_network_that_mixes_patients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = 'norm = ["batch", { track_running_stats = false }], init_features = 8'
    code, out, _ = check(tmp_path, SOUND.replace("init_features = 8", batch), monkeypatch, capsys, "--format", "json")
    assert code == 1
    (problem,) = json.loads(out)["problems"]
    assert "BatchNorm2d mixes patients under DP-SGD" in problem and "features.norm0" in problem
