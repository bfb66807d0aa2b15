"""The file of the split: patients keep their sides over updates, refused cohorts and changes, which are counted."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedward.dataset.manifest import Manifest, read_manifest, write_manifest
from fedward.errors import CohortError, SettingsError
from fedward.indexing.index import index_cohort
from fedward.indexing.split.book import book_of, last_change
from fedward.settings import SitePolicy
from tests.support.images.dicom_files import image, save, site


def cohort(root: Path, patients: int, *, first: int = 0) -> None:
    for number in range(first, first + patients):
        save(image(name=number, patient=f"P{number}"), root / "images" / f"{number}.dcm")


def index(policy: SitePolicy, **options: Any) -> Manifest:
    return index_cohort(policy, "chest", workers=0, **options)


def sides(made: Manifest) -> dict[str, str]:
    return {row.patient: row.split for row in made.rows}


def test_an_update_moves_nobody(tmp_path: Path) -> None:
    """The sides of an index of an earlier version, which had no such file, are kept."""
    cohort(tmp_path, 12)
    policy = site(tmp_path)
    before = sides(index(policy, new_split=False))
    _, *rows = (tmp_path / "index" / "manifest.jsonl").read_text().splitlines()
    odd = [json.loads(row) | {"split": "train" if number else "validation"} for number, row in enumerate(rows)]
    book_of(policy).unlink()
    made = read_manifest(tmp_path / "index")
    rows_then = tuple(replace(row, split=one["split"]) for row, one in zip(made.rows, odd, strict=True))
    write_manifest(replace(made, rows=rows_then), tmp_path / "index")
    after = index(policy)
    assert sides(after) == {one["patient"]: one["split"] for one in odd} != before
    assert (after.split_version, last_change(policy)) == (1, None)


def test_a_refused_cohort_keeps_its_sides(tmp_path: Path) -> None:
    cohort(tmp_path, 12)
    policy = site(tmp_path, max_quarantined_fraction=0.0)
    before = sides(index(policy))
    book_of(policy).unlink()
    (tmp_path / "images" / "bad.dcm").write_bytes(b"no image")
    with pytest.raises(CohortError):
        index(policy)
    (tmp_path / "images" / "bad.dcm").unlink()
    assert sides(index(policy)) == before


def test_what_is_removed_and_comes_back_is_on_its_side(tmp_path: Path) -> None:
    cohort(tmp_path, 12)
    policy = site(tmp_path)
    before = sides(index(policy))
    shutil.move(tmp_path / "images", tmp_path / "away")
    cohort(tmp_path, 3, first=50)
    index(policy)
    for one in (tmp_path / "away").iterdir():
        shutil.move(one, tmp_path / "images" / one.name)
    after = sides(index(policy))
    assert {patient: after[patient] for patient in before} == before


def test_another_fraction_and_a_new_split_are_counted(tmp_path: Path) -> None:
    cohort(tmp_path, 20)
    first = index(site(tmp_path, validation_fraction=0.3))
    assert (first.patients("validation"), first.split_version) == (6, 1)
    policy = site(tmp_path, validation_fraction=0.5)
    second = index(policy)
    change = last_change(policy)
    assert change is not None and (change.moved, change.version, change.fraction) == (4, 2, 0.5)
    assert (second.patients("validation"), second.split_version) == (10, 2)
    assert read_manifest(tmp_path / "index").split_version == 2
    assert index(policy).split_version == 2, "nobody moves again"
    assert index(policy, new_split=True).patients("validation") == 10


def test_a_small_side_of_an_earlier_version_can_be_divided_anew(tmp_path: Path) -> None:
    cohort(tmp_path, 14)
    policy = site(tmp_path, validation_fraction=0.3)
    index(policy)
    content = json.loads(book_of(policy).read_text())
    content["train"], content["validation"] = [*content["train"], *content["validation"][1:]], content["validation"][:1]
    book_of(policy).write_text(json.dumps(content))
    assert index(policy).patients("validation") == 1
    made = index(policy, new_split=True)
    assert (made.patients("validation"), made.split_version) == (4, 2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "the split's file is damaged"),
        ({"key": "0" * 16}, "the split is of another site key"),
        ({"train": {"a": 1}}, "the split's file is damaged"),
        ({"fractions": {"chest": "x"}}, "the split's file is damaged"),
        ({"more": 1}, "the split's file is damaged"),
    ],
)
def test_a_damaged_file_is_refused_and_divides_nobody(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    cohort(tmp_path, 6)
    policy = site(tmp_path)
    index(policy)
    book_of(policy).write_text(json.dumps(json.loads(book_of(policy).read_text()) | change))
    before = book_of(policy).read_bytes()
    with pytest.raises(SettingsError, match=says):
        index(policy)
    assert book_of(policy).read_bytes() == before
    assert book_of(policy).stat().st_mode & 0o077 == 0


def test_it_holds_pseudonyms_only(tmp_path: Path) -> None:
    save(image(name=1, patient="Johansson^Anna"), tmp_path / "images" / "a.dcm")
    save(image(name=2, patient="P2"), tmp_path / "images" / "b.dcm")
    policy = site(tmp_path)
    index(policy)
    assert "Johansson" not in book_of(policy).read_text()
