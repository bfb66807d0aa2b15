"""The notebook: its cells run in order in a fresh process, and it is committed without outputs."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fedward.reporting.data.from_events import report_of
from fedward.reporting.write import write_report
from tests.support.report_events import made_events, made_job

LONGEST_S = 60.0
"""Seconds of one core, whatever else the machine does."""


@pytest.fixture
def notebook(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))
    return content


def test_it_is_a_notebook_of_format_4_without_outputs(notebook: dict[str, Any]) -> None:
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert set(notebook) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    names = [cell["id"] for cell in notebook["cells"]]
    assert len(set(names)) == len(names) and all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in names)
    for cell in notebook["cells"]:
        extra = {"outputs", "execution_count"} if cell["cell_type"] == "code" else set()
        assert set(cell) == {"cell_type", "id", "metadata", "source"} | extra
        assert cell["cell_type"] in ("code", "markdown") and all(isinstance(line, str) for line in cell["source"])
        assert not cell.get("outputs") and cell.get("execution_count") is None


def test_nbformat_itself_finds_it_valid(notebook: dict[str, Any]) -> None:
    pytest.importorskip("nbformat").validate(notebook)


@pytest.mark.slow
def test_its_cells_run_in_order(notebook: dict[str, Any], root: Path, tmp_path: Path) -> None:
    """From ``docs``, where Jupyter starts it; the value of a last line is shown as a notebook shows it."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "jobs").symlink_to(root / "jobs", target_is_directory=True)
    job = made_job()
    write_report(tmp_path / "build" / "demo", report_of(job, made_events(job)))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    run = (
        "import json, os, shutil, sys\n"
        "names = {'__name__': '__main__'}\n"
        "for cell in json.loads(sys.argv[1]):\n"
        "    exec(compile(cell, 'cell', 'exec'), names)\n"
        "assert names['done'].plot()._repr_svg_().startswith('<svg ')\n"
        "assert len(names['predictions']) == 4 and not any(one.refused for one in names['predictions'])\n"
        "shutil.rmtree(names['folder'])\n"
    )
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", run, json.dumps(cells)],
        cwd=tmp_path / "docs",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime < LONGEST_S
    assert len(re.findall(r"^[a-z-]+: AUC 0\.\d{3} \(0\.\d{3} to 0\.\d{3}\), \d+ patients$", done.stdout, re.M)) == 3
    assert "elm 0.71" in done.stdout and done.stdout.count("{'tb': 0.") == 4
