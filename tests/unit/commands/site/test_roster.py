"""``fedward site roster``, as hospital IT types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedward.encryption.masks.known_sites import key_fingerprint, read_roster
from tests.conftest import OPEN_COHORT_TOML, OPEN_SITE_TOML
from tests.support.authority import site_kit
from tests.support.command_line import typed
from tests.support.flare.signed import federation

FINGERPRINT = "3f0c 91ab 0000 1111 2222 3333 4444 5555"


@pytest.fixture
def site_toml(tmp_path: Path) -> Path:
    kit = tmp_path / "kit"
    site_kit(kit, federation(), target="localhost:1", certificate=federation().issue("north-clinic"))
    path = kit / "local" / "site.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f"""
        site = "north-clinic"
        key = "site.key"
        roster = "roster.json"
        min_known = 2
        {OPEN_SITE_TOML}
        [cohorts.chest]
        images = "chest"
        index = "index"
        max_quarantined_fraction = 0.5
        validation_fraction = 0.3
        {OPEN_COHORT_TOML}
        """
    )
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    return typed(monkeypatch, "site", "roster", *arguments)


def test_hospitals_are_added_listed_and_removed(
    site_toml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(site_toml), "--add", f"coast-institute={FINGERPRINT}") == 0
    out = capsys.readouterr().out
    own = key_fingerprint(federation().issue("north-clinic"))
    assert own[:4] in out and f"coast-institute: {FINGERPRINT}" in out
    assert "only with 2 other hospitals that are on this roster" in out
    digits = FINGERPRINT.replace(" ", "")
    assert read_roster(site_toml.parent / "roster.json") == {"coast-institute": digits}
    assert run(monkeypatch, str(site_toml), "--format", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"site": "north-clinic", "own": own, "min_known": 2, "sites": {"coast-institute": digits}}
    assert run(monkeypatch, str(site_toml), "--remove", "coast-institute") == 0
    assert "known by telephone: none" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--add", "coast-institute"], "is not SITE=FINGERPRINT"),
        (["--add", "Coast=" + FINGERPRINT], "is not SITE=FINGERPRINT"),
        (["--add", "coast-institute=3f0c"], "is not a fingerprint"),
        (["--add", "north-clinic=" + FINGERPRINT], "is this hospital itself"),
        (["--add", "coast-institute=" + FINGERPRINT, "--add", "coast-institute=" + "0" * 32], "another fingerprint"),
        (["--remove", "coast-institute"], "is not on the roster"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(
    site_toml: Path,
    words: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, str(site_toml), *words) == 1
    err = capsys.readouterr().err
    assert says in err and len(err.strip().splitlines()) == 1
    assert not (site_toml.parent / "roster.json").exists()


def test_a_policy_without_a_roster_says_what_to_write(
    site_toml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site_toml.write_text(site_toml.read_text().replace('roster = "roster.json"\n', "").replace("min_known = 2\n", ""))
    assert run(monkeypatch, str(site_toml)) == 1
    assert "write roster =" in capsys.readouterr().err


def test_one_fingerprint_is_of_one_hospital(
    site_toml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(site_toml), "--add", f"coast-institute={FINGERPRINT}") == 0
    capsys.readouterr()
    assert run(monkeypatch, str(site_toml), "--add", f"city-hospital={FINGERPRINT}") == 1
    assert "--add: has the fingerprint of coast-institute: 'city-hospital'" in capsys.readouterr().err
    assert list(read_roster(site_toml.parent / "roster.json")) == ["coast-institute"]
