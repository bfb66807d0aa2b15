"""Settings files that anyone may have written: each is read, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedward.errors import LONGEST, FedwardError, SettingsError, StudyError, brief
from fedward.settings import read_federation, read_job, read_site
from tests.fuzz.started import fuzzed


@pytest.mark.parametrize("name", ["job", "site", "federation", "upkeep"])
def test_five_thousand_files_are_read_or_refused(name: str) -> None:
    fuzzed("settings", name)


def one_line(error: FedwardError) -> str:
    assert str(error).isprintable() and len(str(error)) <= LONGEST
    return str(error)


@pytest.mark.parametrize(
    "value", ["[" * 3000, "9" * 5000, "0x" + "f" * 5000, "[" * 500 + "]" * 500, '"' + "x" * 100_000 + '"']
)
def test_a_value_without_measure_is_refused_in_one_line(tmp_path: Path, value: str) -> None:
    for name, text, read in (
        ("site.toml", f"site = {value}\n", read_site),
        ("job.toml", f"[job]\nname = {value}\n", read_job),
        ("federation.yml", f"name: {value}\n", read_federation),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(SettingsError) as raised:
            read(tmp_path / name)
        assert name in one_line(raised.value)


@pytest.mark.parametrize("value", ["2024-13-45", "!!bool x", "!!int ''", "!!timestamp x", "!!float x", "*a", "&a [*a]"])
def test_a_yaml_value_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "federation.yml").write_text(f"name: {value}\n")
    with pytest.raises(SettingsError) as raised:
        read_federation(tmp_path / "federation.yml")
    one_line(raised.value)


def test_a_yaml_key_that_stands_twice_is_refused_and_not_the_last_one_taken(tmp_path: Path) -> None:
    (tmp_path / "federation.yml").write_text("name: one\nserver: {host: a.org, host: b.org}\nname: two\n")
    with pytest.raises(SettingsError, match=r"a table has the key 'name' twice.*line 1"):
        read_federation(tmp_path / "federation.yml")


def test_yaml_that_grows_when_it_is_shown_is_not_shown(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (tmp_path / "federation.yml").write_text("\n".join([*lines, "hospitals: *a11", "name: *a11"]))
    with pytest.raises(SettingsError) as raised:
        read_federation(tmp_path / "federation.yml")
    one_line(raised.value)


def test_a_file_too_large_for_settings_is_not_read_into_memory(tmp_path: Path) -> None:
    with (tmp_path / "site.toml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(SettingsError, match="more than 1 MiB"):
        read_site(tmp_path / "site.toml")


def test_an_error_is_of_bounded_length_whatever_it_shows() -> None:
    itself: list[object] = []
    itself.append(itself)
    for value in ("x" * 10**6, 10**9000, [["a"] * 9000] * 9000, itself, {"a" * 9000: 1}, None):
        assert len(one_line(FedwardError("w" * 10**5, where="/place", value=value, remedy="do this"))) <= LONGEST
        assert len(brief(value)) < 20_000
    line = str(FedwardError("w" * 10**5, where="/place", remedy="do this"))
    assert line.startswith("/place: w") and line.endswith("; do this")
    assert len(StudyError("unreadable", "x" * 10**5).detail) <= LONGEST
    assert brief([1, "a"]) == repr([1, "a"]) and brief("a" * 900) == repr("a" * 900)
