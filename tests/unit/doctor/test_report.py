"""Check the output of the command, for a person and for a ticket, and its exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from fedward.doctor.checks import Check
from fedward.doctor.context import Case
from fedward.doctor.findings import Finding, Level, Voice
from fedward.doctor.report import SCHEMA, VERSION, as_json, as_text, result
from fedward.doctor.run import examine
from tests.support.command_line import typed
from tests.support.doctor_case import SITE, case_of, write_kit


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return case_of(write_kit(tmp_path / "kit"))


def saying(*levels: Level) -> Check:
    def look(case: Case) -> Iterator[Finding]:
        for level in levels:
            remedy = f"mend {level}" if level in ("warn", "fail") else None
            yield Finding(check="one", level=level, what=f"is {level}", where="here", value="7", remedy=remedy)

    return Check(name="one", room="room", look=look)


@pytest.mark.parametrize(
    ("levels", "due"),
    [
        (("pass",), "pass"),
        (("pass", "skip"), "pass"),
        (("pass", "warn"), "warn"),
        (("warn", "fail", "pass"), "fail"),
        (("skip",), "fail"),  # nothing was looked at
    ],
)
def test_the_result_is_the_worst(case: Case, levels: tuple[Level, ...], due: Level) -> None:
    assert result(examine(case, checks=[saying(*levels)])) == due


def test_json_has_the_fields_of_its_schema_and_no_others(case: Case) -> None:
    heard = examine(case, checks=[saying(*get_args(Level))])
    answer = json.loads(as_json(heard, case))
    assert list(answer) == [
        "schema", "version", "at", "site", "server", "kit", "fedward", "flare", "python", "result", "counts",
        "findings",
    ]  # fmt: skip
    assert (
        (answer["schema"], answer["version"], answer["site"]) == (SCHEMA, VERSION, SITE) == ("fedward.doctor", 1, SITE)
    )
    assert answer["counts"] == {"pass": 1, "warn": 1, "fail": 1, "skip": 1}
    assert {tuple(sorted(finding)) for finding in answer["findings"]} == {
        ("check", "level", "remedy", "room", "value", "what", "where")
    }


def test_text_lists_all_and_then_what_to_do_failures_first(case: Case) -> None:
    text = as_text(examine(case, checks=[saying("pass", "warn", "fail", "skip")]), case)
    body, todo = text.split("what to do")
    assert all(f"is {level}" in body for level in get_args(Level))
    assert todo.strip().splitlines() == ["fail  one: mend fail", "  warn  one: mend warn"]


def test_the_same_remedy_is_said_once(case: Case) -> None:
    text = as_text(examine(case, checks=[saying("fail", "fail")]), case)
    assert text.count("mend fail") == 1


def test_a_report_without_a_policy_names_no_site(tmp_path: Path) -> None:
    case = case_of(write_kit(tmp_path / "kit", policy="not TOML"))
    heard = examine(case, checks=[saying("pass")])
    assert json.loads(as_json(heard, case))["site"] is None and as_text(heard, case)


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_folder_that_is_no_kit_ends_with_4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], format: str
) -> None:
    assert typed(monkeypatch, "site", "doctor", str(tmp_path), "--format", format) == 4
    out, errors = capsys.readouterr()
    assert errors.count("\n") == 1 and "not a site's kit" in errors
    assert json.loads(out)["error"] if format == "json" else not out


def test_a_kit_with_faults_ends_with_1_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = write_kit(tmp_path / "kit", policy="not TOML")
    assert typed(monkeypatch, "site", "doctor", str(kit), "--offline") == 1
    out, errors = capsys.readouterr()
    assert "Traceback" not in out + errors
    assert "site-toml" in out and "what to do" in out


def test_ctrl_c_stops_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*words: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fedward.doctor.run.examine", interrupted)
    assert typed(monkeypatch, "site", "doctor", str(write_kit(tmp_path / "kit"))) == 130
    assert "Traceback" not in "".join(capsys.readouterr())


def test_a_voice_speaks_in_single_lines() -> None:
    said = Voice("x").failed("two\nlines", remedy="a\n  b", value="c\n")
    assert (said.what, said.remedy, said.value) == ("two lines", "a b", "c")
