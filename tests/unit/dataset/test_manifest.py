"""The manifest on disk: whole or not at all, and refused when it is not what was written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedward.dataset.manifest import (
    FORMAT,
    HEADER,
    ROWS,
    Manifest,
    MaskFile,
    Row,
    read_manifest,
    withdraw_manifest,
    write_manifest,
)
from fedward.errors import CohortError
from fedward.files import write_atomic

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
PARTS = st.lists(st.text("ab/ é", min_size=1, max_size=5), min_size=1, max_size=3).map(tuple)
GRID = st.tuples(*[st.integers(-1, 9)] * 6)


@st.composite
def masks(draw: st.DrawFn) -> MaskFile:
    """Mask files whose frames, slices and grids are of the same number, or that have no grids."""
    places = draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), GRID), max_size=3))
    return MaskFile(
        path=draw(TEXT),
        format=draw(st.sampled_from(["dicom-seg", "nifti"])),
        frames=tuple(frame for frame, _, _ in places),
        slices=tuple(of for _, of, _ in places),
        grids=tuple(grid for _, _, grid in places) if draw(st.booleans()) else (),
        structures=draw(st.dictionaries(TEXT, st.booleans(), max_size=2)),
        sha256="f" * 64,
    )


ROW = st.builds(
    Row,
    image=st.text("0123456789abcdef", min_size=16, max_size=16),
    patient=st.sampled_from(["a" * 16, "b" * 16]),
    study=st.just("c" * 16),
    split=st.sampled_from(["train", "validation"]),
    format=st.sampled_from(["dicom", "dicom-series", "nifti"]),
    paths=PARTS,
    shape=st.lists(st.integers(1, 999), min_size=2, max_size=3).map(tuple),
    spacing_mm=st.none() | st.tuples(st.floats(0.01, 9), st.floats(0.01, 9)),
    labels=st.dictionaries(TEXT, TEXT, max_size=2),
    masks=st.lists(masks(), max_size=2).map(tuple),
    modality=TEXT,
    manufacturer=TEXT,
    sex=st.sampled_from(["", "F"]),
    age_decade=st.none() | st.just(40),
    flags=st.lists(TEXT, max_size=2).map(tuple),
    sha256=st.just("f" * 64),
)


def manifest(rows: list[Row], root: str = "/nowhere/images") -> Manifest:
    return Manifest(
        cohort="chest", site="north", images_root=Path(root), masks_root=None, rows=tuple(rows), quarantined=2
    )


def rows(count: int) -> list[Row]:
    base = Row(
        image="",
        patient="p",
        study="s",
        split="train",
        format="dicom",
        paths=("a",),
        shape=(4, 4),
        spacing_mm=None,
        labels={},
        masks=(),
        modality="CR",
        manufacturer="",
        sex="",
        age_decade=None,
        flags=(),
        sha256="",
    )
    return [replace(base, image=f"{number:016x}") for number in range(count)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=st.lists(ROW, max_size=4))
def test_what_is_written_comes_back(tmp_path_factory: pytest.TempPathFactory, content: list[Row]) -> None:
    folder = tmp_path_factory.mktemp("m")
    made = manifest(content)
    write_manifest(made, folder)
    assert read_manifest(folder) == made


def test_the_hash_is_of_the_rows_alone() -> None:
    assert manifest(rows(3)).content_hash == manifest(rows(3), "/elsewhere").content_hash
    assert manifest(rows(3)).content_hash != manifest(rows(4)).content_hash
    assert manifest(rows(3)).content_hash != manifest(rows(3)[::-1]).content_hash


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda text: text.replace("CR", "DX"), "does not match its content hash"),
        (lambda text: "\n".join(text.splitlines()[:-1]), "does not match its content hash"),
        (lambda text: text.replace(f'"format": {FORMAT}', '"format": 99', 1), "of another format: 99"),
        (lambda text: text.replace('"flags"', '"flag"'), "cannot be read"),
        (lambda text: text[:-9], "cannot be read"),
        (lambda text: "", "cannot be read"),
        (lambda text: "[]", "cannot be read"),
    ],
)
def test_what_was_changed_by_hand_is_refused(tmp_path: Path, harm, message: str) -> None:  # type: ignore[no-untyped-def]
    write_manifest(manifest(rows(3)), tmp_path)
    text = (tmp_path / ROWS).read_text()
    assert harm(text) != text
    (tmp_path / ROWS).write_text(harm(text))
    with pytest.raises(CohortError, match=message) as refusal:
        read_manifest(tmp_path)
    assert "run `fedward site index SITE_TOML`" in str(refusal.value)


def test_a_withdrawn_manifest_is_gone(tmp_path: Path) -> None:
    write_manifest(manifest(rows(3)), tmp_path)
    (tmp_path / "quarantine.csv").write_text("")
    withdraw_manifest(tmp_path)
    withdraw_manifest(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["quarantine.csv"]
    with pytest.raises(CohortError, match="no index here"):
        read_manifest(tmp_path)


KILLED = """
import dataclasses, os, sys
from pathlib import Path
from fedward.dataset import manifest

steps = int(sys.argv[2])
def die(*_):
    global steps
    steps -= 1
    if steps < 0:
        os._exit(9)
real = os.fsync, Path.replace
os.fsync = lambda handle: (die(), real[0](handle))
Path.replace = lambda self, target: (die(), real[1](self, target), die())
old = manifest.read_manifest(Path(sys.argv[1]))
manifest.write_manifest(dataclasses.replace(old, rows=old.rows[:1]), Path(sys.argv[1]))
"""


@pytest.mark.parametrize("steps", range(7))
def test_a_run_that_is_killed_leaves_one_whole_manifest(tmp_path: Path, steps: int) -> None:
    before = manifest(rows(3))
    write_manifest(before, tmp_path)
    run = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(steps)], capture_output=True, text=True)
    assert run.returncode in (0, 9), run.stderr
    after = read_manifest(tmp_path)
    assert len(after.rows) == (3 if steps < 2 else 1)
    if run.returncode == 0:
        assert steps == 6
        assert json.loads((tmp_path / HEADER).read_text())["images"] == 1


def test_a_file_that_cannot_be_written_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(tmp_path / "a", "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(tmp_path / "a", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]
