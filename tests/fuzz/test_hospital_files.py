"""Images, label tables and manifests that anyone may have written: each is used or refused, and all are counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedward.dataset.manifest import ROWS, read_manifest
from fedward.errors import CohortError
from tests.fuzz.indexing import manifest
from tests.fuzz.started import COUNT, fuzzed


@pytest.mark.slow
def test_five_thousand_images_end_in_the_manifest_or_in_quarantine_with_a_reason() -> None:
    found = fuzzed("indexing", "dicom", expects=0)
    assert found["used"] + found["quarantined"] == COUNT and min(found["used"], found["quarantined"]) > 300, found


@pytest.mark.parametrize("name", ["labels", "manifest"])
def test_five_thousand_tables_are_read_or_refused(name: str) -> None:
    fuzzed("indexing", name)


@pytest.mark.parametrize(
    "changes",
    [
        {"structures": [[1]]},
        {"patient": ["a"]},
        {"labels": {"lesion": 1}},
        {"shape": [True, 2]},
        {"shape": ["a"]},
        {"spacing_mm": [float("nan"), 1.0]},
        {"paths": "x"},
        {"masks": [{}]},
        {"age_decade": 1.5},
        {"split": "test"},
    ],
)
def test_a_row_with_a_value_of_another_kind_is_refused_though_its_hash_is_right(
    tmp_path: Path, changes: object
) -> None:
    whole = manifest(tmp_path).corpus[0].split(b"\n")
    row = json.loads(whole[1]) | changes
    (tmp_path / "index" / ROWS).write_bytes(b"\n".join([whole[0], json.dumps(row).encode(), *whole[2:]]))
    with pytest.raises(CohortError, match="index cannot be read"):
        read_manifest(tmp_path / "index")


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 6000, b"null", b""])
def test_a_manifest_that_nests_without_end_is_refused(tmp_path: Path, line: bytes) -> None:
    whole = manifest(tmp_path).corpus[0].split(b"\n")
    for lines in ([line, *whole[1:]], [whole[0], line, *whole[2:]]):
        (tmp_path / "index" / ROWS).write_bytes(b"\n".join(lines))
        with pytest.raises(CohortError, match="index cannot be read"):
            read_manifest(tmp_path / "index")
