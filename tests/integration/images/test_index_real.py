"""The index on real data: a zoo of odd files, radiographs of three hospitals in DICOM, and MRI in NIfTI."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image as Picture

from fedward.dataset.load import load_image, load_mask
from fedward.indexing.index import index_cohort
from fedward.indexing.quarantine import QuarantineError, read_quarantine
from fedward.indexing.reasons import REASONS
from tests.conftest import OPEN_COHORT_TOML, OPEN_SITE_TOML
from tests.support.images.dicom_files import site

pytestmark = pytest.mark.integration
PER_SITE = 12


@pytest.fixture(scope="module")
def data() -> Path:
    folder = Path(__file__).resolve().parents[3].parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("real data is not beside the repository: shared/data")
    return folder


@pytest.fixture(scope="module")
def hospitals(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve real radiographs of each of three hospitals as DICOM, with lung masks as DICOM SEG."""
    out = tmp_path_factory.mktemp("hospitals")
    tool = data / "tools" / "make_dicom_cohort.py"
    subprocess.run([sys.executable, tool, out, "--limit", str(PER_SITE), "--seg"], check=True, capture_output=True)
    return out


def test_every_file_of_the_zoo_is_indexed_or_quarantined_with_a_reason(data: Path, tmp_path: Path) -> None:
    zoo = data / "data" / "dicom_zoo"
    start = time.monotonic()
    made = index_cohort(site(tmp_path, images=zoo), "chest")
    elapsed = time.monotonic() - start
    aside = {one.file: one for one in read_quarantine(tmp_path / "index")}
    rows = {path: row for row in made.rows for path in row.paths}
    files = {str(path.relative_to(zoo)) for path in zoo.rglob("*") if path.is_file()}
    assert set(rows) | set(aside) == files
    assert not set(rows) & set(aside)
    assert {one.reason for one in aside.values()} <= set(REASONS)
    assert elapsed < 60

    with (zoo / "manifest.csv").open(newline="", encoding="utf-8") as file:
        known = list(csv.DictReader(file))
    assert len(known) == 142
    by_policy = {"duplicate-instance", "missing-patient-id", "not-an-image", "blank-image"}
    for line in known:
        path, decodes = line["file"], line["pixels"] == "decodes"
        if path in rows:
            if decodes:
                shape = tuple(int(side) for side in line["shape"].split("x"))
                colour = shape[-1] == 3 and line["photometric"].startswith(("RGB", "YBR"))
                frames = shape[:-1] if colour else shape
                first_only = "first-frame-only" in rows[path].flags
                assert rows[path].shape == (frames[1:] if first_only else frames), path
            else:
                assert "first-frame-only" in rows[path].flags or path.startswith("odd_unparseable"), path
        elif decodes:
            assert aside[path].reason in by_policy, (path, aside[path])
        elif line["pixels"] == "none":
            assert aside[path].reason == "no-pixels", (path, aside[path])
    assert Counter(line["pixels"] == "decodes" for line in known if line["file"] in rows)[True] >= 70


def test_what_the_zoo_gave_can_be_read(data: Path, tmp_path: Path) -> None:
    made = index_cohort(site(tmp_path, images=data / "data" / "dicom_zoo"), "chest")
    for row in made.rows:
        image = load_image(row, made.images_root)
        assert image.pixels.shape == row.shape
        assert image.spacing_mm == row.spacing_mm
        assert np.isfinite(image.pixels).all()
        assert image.pixels.min() < image.pixels.max()


def test_nobodys_name_or_number_leaves_the_zoo(data: Path, tmp_path: Path) -> None:
    zoo = data / "data" / "dicom_zoo"
    index_cohort(site(tmp_path, images=zoo), "chest")
    long = {name for path in zoo.rglob("*.dcm") for name in _names(path) if len(name) > 8}
    assert len(long) > 50
    for name in ("manifest.jsonl", "cohort.json", "cache.jsonl"):
        content = (tmp_path / "index" / name).read_text()
        paths = "".join(str(path) for path in zoo.rglob("*"))
        assert not [one for one in long if one in content and one not in paths], name


def _names(path: Path) -> set[str]:
    keywords = ("PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on these headers
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
            return {str(header.get(keyword, "")) for keyword in keywords}
        except (pydicom.errors.InvalidDicomError, ValueError):
            return set()


@pytest.mark.parametrize("hospital", ["montgomery_us", "shenzhen_cn", "jsrt_jp"])
def test_real_radiographs_come_back_as_the_pictures_they_were(
    data: Path, hospitals: Path, tmp_path: Path, hospital: str
) -> None:
    folder, source = hospitals / hospital, data / "data" / "cxr_tb_lungseg_3site"
    policy = site(tmp_path, images=folder / "dicom", labels=folder / "labels.csv", masks=folder / "seg")
    made = index_cohort(policy, "chest")
    assert (len(made.rows), made.quarantined, made.patients()) == (PER_SITE, 0, PER_SITE)
    with (source / "manifest.csv").open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line["site"] == hospital]
    bits = 8 if hospital == "montgomery_us" else 12
    pictures = {}
    for line in lines:
        pixels = np.asarray(Picture.open(source / line["image"]).convert("L")).astype(np.uint32)
        stored = pixels if bits == 8 else pixels * ((1 << bits) - 1) // 255
        pictures[stored.astype(np.float32).tobytes()] = line
    masks = 0
    for row in made.rows:
        line = pictures[load_image(row, made.images_root).pixels.tobytes()]
        assert row.labels == ({"tb": line["tb"]} if line["tb"] else {})
        assert (row.mask is not None) == bool(line["mask"])
        if row.mask is not None:
            masks += 1
            lung = np.asarray(Picture.open(source / line["mask"]).convert("L")) > 0
            np.testing.assert_array_equal(load_mask(row, folder / "seg", ["Lung"]), lung)
    assert masks > 0


def test_real_volumes_and_their_masks(data: Path, tmp_path: Path) -> None:
    source = data / "data" / "hippocampus_mri_msd"
    policy = site(tmp_path, images=source / "images", masks=source / "labels", require=("mask",))
    made = index_cohort(policy, "chest")
    assert (len(made.rows), made.quarantined, made.patients()) == (260, 0, 260)
    for row in made.rows[::20]:
        pixels = load_image(row, made.images_root).pixels
        mask = load_mask(row, source / "labels", ["1", "2"])
        assert pixels.shape == mask.shape == row.shape
        assert set(np.unique(mask)) == {0, 1, 2}


def test_orphans_among_real_volumes(data: Path, tmp_path: Path) -> None:
    source = data / "data" / "hippocampus_mri_msd"
    images, masks = tmp_path / "images", tmp_path / "masks"
    for folder in (images, masks):
        folder.mkdir()
    for path in sorted((source / "images").iterdir())[:5]:
        shutil.copy(path, images)
        shutil.copy(source / "labels" / path.name, masks)
    for path in (source / "mismatched").iterdir():
        shutil.copy(path, images if path.name.startswith("image") else masks)
    made = index_cohort(site(tmp_path, masks=masks, require=("mask",)), "chest")
    assert len(made.rows) == 5
    assert Counter(one.reason for one in read_quarantine(tmp_path / "index")) == {"missing-mask": 1, "orphan-mask": 2}
    with pytest.raises(QuarantineError, match="1 of 6"):
        index_cohort(site(tmp_path, masks=masks, require=("mask",), max_quarantined_fraction=0.1), "chest")


def test_the_command_indexes_the_zoo_without_a_traceback(data: Path, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(
        f'site = "zoo"\nkey = "key"\n{OPEN_SITE_TOML}[cohorts.all]\n'
        f'images = "{data / "data" / "dicom_zoo"}"\nindex = "index"\n'
        f"max_quarantined_fraction = 0.9\nvalidation_fraction = 0.3\n{OPEN_COHORT_TOML}"
    )
    command = [Path(sys.executable).with_name("fedward"), "site", "index", tmp_path / "site.toml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "duplicate-instance" in done.stdout
