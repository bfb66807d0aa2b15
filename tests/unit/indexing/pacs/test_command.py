"""``fedward site index --pacs``, as hospital IT types it; the archive is in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedward.indexing.pacs import fetch
from tests.conftest import OPEN_COHORT_TOML, OPEN_SITE_TOML
from tests.support.command_line import typed
from tests.support.images.dicom_files import image
from tests.unit.indexing.pacs.test_fetch import Shelf


@pytest.fixture
def site_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shelf = Shelf([image(name=n, patient=f"P{n}") for n in range(4)])
    monkeypatch.setattr(fetch, "open_archive", lambda pacs: shelf)
    path = tmp_path / "site.toml"
    pacs = '{ protocol = "dicomweb", url = "https://archive", query = { StudyDate = "2020-" }, ca = "ca.pem" }'
    path.write_text(
        f"""site = "north-clinic"
key = "site.key"
{OPEN_SITE_TOML}
[cohorts.chest]
images = "images"
index = "index"
max_quarantined_fraction = 0.5
validation_fraction = 0.3
pacs = {pacs}
{OPEN_COHORT_TOML}
[cohorts.folder]
images = "nowhere"
index = "index-folder"
max_quarantined_fraction = 0.5
validation_fraction = 0.3
{OPEN_COHORT_TOML}"""
    )
    return path


def test_counts_for_people_and_for_scripts(
    site_toml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "site", "index", str(site_toml), "--pacs", "--workers", "1") == 0
    out = capsys.readouterr().out
    assert "4 instances in 4 series of 4 studies" in out and "cohort chest" in out and "nowhere" not in out
    assert typed(monkeypatch, "site", "index", str(site_toml), "--pacs", "--workers", "1", "--format", "json") == 0
    (summary,) = json.loads(capsys.readouterr().out)
    assert (summary["archive"]["already"], summary["archive"]["fetched"], summary["images"]) == (4, 0, 4)


def test_a_cohort_without_an_archive_is_an_error(
    site_toml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "site", "index", str(site_toml), "--pacs", "--cohort", "folder") == 1
    assert "cohort names no archive" in capsys.readouterr().err
