"""``fedward job sweep --set`` as a person types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import tiny_job_content
from tests.support.command_line import typed
from tests.support.images.dicom_files import image, pattern, save

WAIT_S = 60.0
DP_SGD = """
[privacy]
mechanism = "dp-sgd"
dp_sgd = { epsilon = 8.0, delta = 1e-3, clip_norm_l2 = 1.0, patients_per_step = 4 }
"""


def toml(content: dict[str, Any]) -> str:
    """A job's tables as TOML; JSON's lists and texts are TOML's too."""
    lines = []
    for table, values in content.items():
        lines.append(f"[{table}]")
        for key, value in values.items():
            if isinstance(value, dict):
                lines.append(f"{key} = {{ {', '.join(f'{name} = {json.dumps(one)}' for name, one in value.items())} }}")
            else:
                lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    content = tiny_job_content()
    path = tmp_path / "tiny" / "job.toml"
    path.parent.mkdir()
    path.write_text(toml(content))
    assert tomllib.loads(path.read_text()) == content
    return path.parent


@pytest.fixture
def hospitals(tmp_path: Path) -> Path:
    for number, site in enumerate(("north", "south")):
        lines = ["PatientID,lesion"]
        for patient in range(12):
            folder = tmp_path / "hospitals" / site
            name = f"P{number}{patient}"
            save(image(pattern((site, patient)), name=patient, patient=name), folder / "dicom" / f"{patient}.dcm")
            lines.append(f"{name},{patient % 2}")
        (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "hospitals"


def test_a_search_prints_the_best_first_and_what_to_make_of_it(
    job: Path, hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("job", "sweep", str(job), "--data", str(hospitals), "--out", str(tmp_path / "out"))
    words = (*words, "--set", "training.lr=0.003,1e-9", "--set", "training.local_steps=2")
    assert typed(monkeypatch, *words) == 0
    said = capsys.readouterr().out
    assert "2 of 2 settings have a score, in 2 runs." in said and "optimistic" in said and "Papernot" in said
    content = json.loads((tmp_path / "out" / "search.json").read_text())
    best = content["ranking"][0]["settings"]
    assert said.index(f"training.lr={best['training.lr']}") < said.index("settings have a score")
    assert content["complete"] and content["on_patients"] and len(content["trials"]) == 2
    assert typed(monkeypatch, *words, "--public-data", "--format", "json") == 0
    assert not json.loads(capsys.readouterr().out)["on_patients"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "training.lrr=1"), "did you mean training.lr?"),
        (("--set", "training.lr=1", "--set", "training.lr=2"), "is given twice: 'training.lr'"),
        (("--set", "training.lr=1", "--epsilon", "2"), "--epsilon: draws the cost of ε, and --set searches"),
        (("--halving",), "--halving or --public-data: is for a search; add --set"),
        (("--set", "training.lr"), "write SETTING=VALUE,VALUE"),
    ],
)
def test_what_is_no_search_is_refused_in_one_line(
    job: Path, words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "job", "sweep", str(job), *words) == 1
    printed = capsys.readouterr().err
    assert said in printed and len(printed.splitlines()) == 1


def test_a_private_job_is_refused_on_patients_before_an_image_is_read(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (job / "job.toml").read_text()
    (job / "job.toml").write_text(text[: text.index("[privacy]")] + DP_SGD)
    words = ("job", "sweep", str(job), "--set", "training.lr=0.1,0.2", "--data", str(tmp_path / "none"))
    assert typed(monkeypatch, *words) == 1
    assert "costs more ε than the chosen job's (Papernot & Steinke 2022)" in capsys.readouterr().err
    assert typed(monkeypatch, *words, "--public-data") == 1
    assert "no such folder" in capsys.readouterr().err


def test_ctrl_c_leaves_no_process_and_keeps_what_was_done(job: Path, hospitals: Path, tmp_path: Path) -> None:
    words = ("job", "sweep", str(job), "--data", str(hospitals), "--out", str(tmp_path / "out"))
    words = (*words, "--set", "federation.rounds=1,1000")
    run = subprocess.Popen(
        [sys.executable, "-c", "from fedward import cli; cli.main()", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    end = time.monotonic() + WAIT_S
    while not (tmp_path / "out" / "search.csv").exists():
        assert run.poll() is None and time.monotonic() < end, run.communicate()
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    said = run.communicate(timeout=WAIT_S)
    assert run.returncode == 130 and "stopped" in said[1]
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)
    content = json.loads((tmp_path / "out" / "search.json").read_text())
    assert not content["complete"] and [trial["rounds"] for trial in content["trials"]] == [1]
