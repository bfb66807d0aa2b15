"""``fedward job report``, ``fedward job release`` and ``fedward site report``, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fedward.metrics.events import EVENTS_FILE
from fedward.reporting.examples import write_examples
from fedward.settings import JOB_FILE, plain
from fedward.validation.outlines import Outlined
from tests.support.command_line import typed
from tests.support.report_events import made_events, made_job


def result(folder: Path, *, failed: str | None = None) -> Path:
    """A result as FLARE's download leaves it."""
    job = made_job()
    settings = folder / "job" / "fedward" / "app" / "config" / JOB_FILE
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(plain(job)))
    (folder / "workspace").mkdir()
    lines = [json.dumps(event) + "\n" for event in made_events(job, failed=failed)]
    (folder / "workspace" / EVENTS_FILE).write_text("".join(lines))
    (folder / "workspace" / "FL_global_model.pt").write_bytes(b"weights")
    return folder


def test_report_says_first_what_the_model_is_worth_then_who_took_part_and_last_where_the_page_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "job", "report", str(result(tmp_path / "r")), "--out", str(tmp_path / "out")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("The lowest AUC of 5 hospitals is 0.710")
    assert lines[1] == "cxr_lesions: success: every round counted"
    assert lines[-1] == str(tmp_path / "out" / "report.html")
    assert any("birch-clinic" in line and "6 of 8" in line for line in lines)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.json", "report.html"}


def test_release_writes_a_dossier_and_prints_what_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "job",
        "release",
        str(result(tmp_path / "r")),
        "--out",
        str(tmp_path / "out"),
        "--intended-use",
        "As a test.",
    )
    assert typed(monkeypatch, *words) == 0
    said = capsys.readouterr().out
    assert str(tmp_path / "out" / "dossier.html") in said
    sha256 = said.strip().rsplit(" ", 1)[-1]
    assert len(sha256) == 64 and sha256 in (tmp_path / "out" / "dossier.html").read_text()


@pytest.mark.parametrize(
    "line",
    [
        *("x", "[]", "[" * 100_000, '{"at": 1.0}', '{"event": "started", "at": "x"}'),
        '{"event": "pooled", "at": 1.0, "sites": ["a"], "pooled": null}',
    ],
)
@pytest.mark.parametrize("command", ["report", "release"])
def test_events_of_any_form_are_a_report_or_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, command: str
) -> None:
    folder = result(tmp_path / "r")
    with (folder / "workspace" / EVENTS_FILE).open("a") as file:
        file.write(line + "\n")
    assert typed(monkeypatch, "job", command, str(folder), "--out", str(tmp_path / "out")) == 1
    (said,) = capsys.readouterr().err.splitlines()
    no_event = "line of the job's log is no event" in said and "restore the file from a backup" in said
    assert no_event or ("report cannot be made of the events" in said and "download the result again" in said)


def test_a_failed_job_is_released_only_as_unfit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = result(tmp_path / "r", failed="alder-hospital is missing")
    words = ("job", "release", str(folder), "--out", str(tmp_path / "out"))
    assert typed(monkeypatch, *words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "not fit for release" in line and not (tmp_path / "out").exists()
    assert typed(monkeypatch, *words, "--unfit") == 0
    assert "Not fit for release" in (tmp_path / "out" / "dossier.html").read_text()


def test_a_hospitals_own_copy_has_its_pictures_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "job", "report", str(result(tmp_path / "r")), "--out", str(tmp_path / "out"))
    grey = np.arange(256.0).reshape(16, 16)
    mask = (grey > 100).astype(np.uint8)
    write_examples(tmp_path / "run", [Outlined(rank="best", dice=1.0, image=grey, truth=mask, predicted=mask)])
    capsys.readouterr()
    own = tmp_path / "own.html"
    report = str(tmp_path / "out" / "report.json")
    assert typed(monkeypatch, "site", "report", report, "--run-folder", str(tmp_path / "run"), "--out", str(own)) == 0
    assert "stays in the hospital" in capsys.readouterr().out and "data:image/png" in own.read_text()
    assert "<img" not in (tmp_path / "out" / "report.html").read_text()
