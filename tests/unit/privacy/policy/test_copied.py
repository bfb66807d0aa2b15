"""A copied job whose labels were changed keeps the description of the other; `fedward job check` says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fedward.privacy.policy.copied import SHIPPED, copied_remarks
from fedward.settings import read_job
from tests.conftest import ROOT
from tests.support.command_line import typed

JOBS = sorted(path.parent for path in (ROOT / "jobs").glob("*/job.toml"))


@pytest.mark.parametrize("folder", JOBS, ids=lambda folder: folder.name)
def test_what_is_known_of_a_shipped_job_is_what_it_says(folder: Path) -> None:
    job = read_job(folder)
    entry = (job.job.description, (*job.data.labels, *job.data.classes, *job.data.structures))
    assert SHIPPED.get(folder.name) == entry, f"write into copied.SHIPPED: {folder.name!r}: {entry!r}"
    assert copied_remarks(job, folder) == []
    assert copied_remarks(job, folder / "job.toml") == []


def test_no_job_is_known_that_is_gone() -> None:
    assert set(SHIPPED) == {folder.name for folder in JOBS}


def test_a_copy_for_another_finding_is_told_and_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "pneumonia"
    shutil.copytree(ROOT / "jobs" / "cxr_classification", copy)
    text = (copy / "job.toml").read_text(encoding="utf-8").replace('labels = ["tb"]', 'labels = ["pneumonia"]')
    (copy / "job.toml").write_text(text, encoding="utf-8")
    assert typed(monkeypatch, "job", "check", str(copy)) == 0
    out = capsys.readouterr().out
    assert "note: job.name: 'cxr_classification' is not the folder's name, 'pneumonia': was the job copied?" in out
    assert "note: job.description: 'Tuberculosis or not, from one frontal chest radiograph' is that of" in out
    assert "which learns tb; this job learns pneumonia" in out
    assert "nothing wrong" in out
    assert typed(monkeypatch, "job", "check", str(copy), "--format", "json") == 0
    assert len([one for one in json.loads(capsys.readouterr().out)["remarks"] if "job." in one[:4]]) == 2
    (copy / "job.toml").write_text(
        text.replace("Tuberculosis or not", "Pneumonia or not").replace('"cxr_classification"', '"pneumonia"')
    )
    monkeypatch.chdir(copy)
    assert typed(monkeypatch, "job", "check", ".") == 0
    assert "note: job." not in capsys.readouterr().out
