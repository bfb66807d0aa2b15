"""Check that ``constraints.txt`` records its age, and that ``deploy/pins.py`` reads it."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

LIST = """# Resolved on 2026-11-10.
# Pinned.
Flask-SQLAlchemy==3.1.1  # 2023-09-11
numpy==2.4.6  # 2026-11-09
"""
LOCK = """lock-version = "1.0"
[[packages]]
name = "flask-sqlalchemy"
version = "3.1.1"
wheels = [{{ url = "https://index.test/a.whl", upload-time = 2023-09-11T21:42:34Z, hashes = {{}} }}]
sdist = {{ url = "https://index.test/a.tar.gz", upload-time = 2023-09-11T21:42:30Z, hashes = {{}} }}
[[packages]]
name = "numpy"
version = "{numpy}"
wheels = [{{ url = "https://index.test/b.whl", upload-time = 2026-11-24T01:00:00Z, hashes = {{}} }},
          {{ url = "https://index.test/c.whl", upload-time = 2026-11-23T23:59:59Z, hashes = {{}} }}]
"""


@pytest.fixture
def pins(root: Path) -> dict[str, Any]:
    return runpy.run_path(str(root / "deploy" / "pins.py"))


def said(root: Path, *words: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": str(path or "/nowhere")}
    command = [sys.executable, str(root / "deploy" / "pins.py"), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_list_says_when_each_library_was_released_and_when_it_was_resolved(
    root: Path, pins: dict[str, Any]
) -> None:
    text = (root / "constraints.txt").read_text(encoding="utf-8")
    on = pins["resolved"](text)
    listed = pins["read"](text)
    assert len(listed) > 100
    assert all(released is not None and released <= on for _, released in listed.values())


def test_what_the_project_pins_itself_is_pinned_the_same(root: Path, pins: dict[str, Any]) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    wanted = [name.partition("!=")[0] for names in (project["project"]["dependencies"], *extras) for name in names]
    wanted += project["build-system"]["requires"]
    listed = pins["read"]((root / "constraints.txt").read_text(encoding="utf-8"))
    held = {pins["normal"](name): version for name, (version, _) in listed.items()}
    for requirement in wanted:
        name, _, version = requirement.partition("==")
        assert held[pins["normal"](name)] == (version or held[pins["normal"](name)]), requirement


def test_check_prints_the_ages_and_that_no_audit_ran_without_a_network(root: Path) -> None:
    done = said(root)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert "pinned libraries, resolved on 20" in first and " days ago; released from 20" in first
    assert second.startswith("no dependency audit ran: ") and "safety-db's ends at 2021-07-01" in second
    assert second.endswith("pip-audit --strict --no-deps --disable-pip -r constraints.txt")


def test_make_check_runs_it(root: Path) -> None:
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    check = makefile.split("\ncheck:")[1].split("\n\n")[0]
    assert "\t$(RUN)/python deploy/pins.py" in check


def test_age_alone_never_fails(pins: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text(LIST)
    assert pins["main"]([], constraints=tmp_path / "constraints.txt", today=date(2046, 11, 10)) == 0
    out = capsys.readouterr().out
    assert "2 pinned libraries, resolved on 2026-11-10, 7305 days ago" in out
    assert "released from 2023-09-11 (Flask-SQLAlchemy) to 2026-11-09 (numpy)" in out
    assert "before 2 of these 2 releases" in out


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("numpy==2.4.6  # 2026-11-09", "numpy==2.4.7", "without a release date: numpy"),
        ("# 2026-11-09", "# 2026-11-11", "without a release date: numpy"),
        ("numpy==2.4.6", "numpy>=2.4.6", "not a pin"),
        ("numpy==2.4.6", "Flask-SQLAlchemy==2.4.6", "a second one"),
        ("# Resolved on 2026-11-10.\n", "", "when it was resolved"),
    ],
)
def test_a_list_that_does_not_say_it_fails_in_one_line(
    pins: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path, before: str, after: str, words: str
) -> None:
    assert before in LIST
    (tmp_path / "constraints.txt").write_text(LIST.replace(before, after))
    assert pins["main"]([], constraints=tmp_path / "constraints.txt", today=date(2026, 11, 12)) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1 and words in printed.err


def test_dates_are_those_of_the_first_file_and_only_a_new_pin_is_a_new_resolution(
    pins: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv, constraints = tmp_path / "bin" / "uv", tmp_path / "constraints.txt"
    uv.parent.mkdir()
    uv.write_text(f"#!/bin/sh\ncat <<'E'\n{LOCK.format(numpy='2.4.7')}E\n")
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{uv.parent}{os.pathsep}{os.environ['PATH']}")
    constraints.write_text(LIST.replace("numpy==2.4.6  # 2026-11-09", "numpy==2.4.7"))
    assert pins["main"](["--date"], constraints=constraints, today=date(2026, 11, 25)) == 0
    after = LIST.replace("2.4.6  # 2026-11-09", "2.4.7  # 2026-11-23").replace("on 2026-11-10", "on 2026-11-25")
    assert constraints.read_text() == after
    assert pins["main"](["--date"], constraints=constraints, today=date(2026, 12, 25)) == 0
    assert constraints.read_text() == after, "nothing was resolved anew"


def test_without_uv_dates_are_not_made_up(root: Path) -> None:
    done = said(root, "--date")
    assert done.returncode == 1 and "pip install uv" in done.stderr
