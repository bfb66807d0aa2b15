"""Results as DICOM: highdicom, pydicom and dcmtk read them back, and the index takes a SEG as the mask of its image."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes

from fedward.bundle.dicom_seg import codes_of
from fedward.bundle.dicom_sr import write_report
from fedward.bundle.export import export_bundle
from fedward.bundle.masks import write_mask
from fedward.bundle.origin import SCHEME, Origin
from fedward.bundle.predict import Predictor
from fedward.bundle.sources import images_in, read_image
from fedward.dataset.load import load_image, load_mask
from fedward.errors import StudyError
from fedward.indexing.index import index_cohort
from tests.support.command_line import typed
from tests.support.images.dicom_files import image, pattern, save, segmentation, series, site, uid
from tests.support.packages import needs
from tests.unit.bundle.test_bundle import JOBS, trained

ORIGIN = Origin(job="lungs", sha256="ab" * 32, names=("Lung", "rare spot"))


def enhanced(frames: int, *, order: list[int]) -> Dataset:
    """A multi-frame MR image whose frames are stored in ``order`` of their positions."""
    made = image(pattern("mr", (frames, 10, 8)), name="mr", modality="MR", ImageType=["ORIGINAL", "PRIMARY", "", ""])
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness, measures.SpacingBetweenSlices = [0.7, 0.8], 2.0, 2.0
    orientation.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    made.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for place in order:
        group, position = Dataset(), Dataset()
        position.ImagePositionPatient = [0.0, 0.0, 2.0 * place]
        group.PlanePositionSequence = [position]
        groups.append(group)
    made.PerFrameFunctionalGroupsSequence = groups
    made.PositionReferenceIndicator = ""
    return made


OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)
SOURCES: dict[str, list[Dataset]] = {
    "radiograph": [image(name="cr")],
    "radiograph without a frame of reference": [image(name="cr2", FrameOfReferenceUID=None)],
    "radiograph, in colour": [
        image(np.stack([pattern(k, (16, 12), bits=8) for k in range(3)], axis=-1), bits=8, photometric="RGB")
    ],
    "slice with a position": series(1, name="one"),
    "multi-frame": [enhanced(5, order=[0, 1, 2, 3, 4])],
    "multi-frame, stored out of order": [enhanced(5, order=[3, 0, 4, 2, 1])],
    "series": series(6),
    "series, oblique and stored backwards": series(6, orientation=OBLIQUE, name="o")[::-1],
}


def drawn_mask(shape: tuple[int, ...], seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed)
    mask = drawn.integers(0, 3, shape).astype(np.uint8)
    if len(shape) == 3:
        mask[drawn.integers(shape[0])] = 0  # the SEG leaves this slice out
    return mask


def saved(sources: list[Dataset], folder: Path) -> tuple[Path, ...]:
    """Files whose names say nothing of their order."""
    return tuple(
        save(one, folder / f"{number * 7 % 11}-{number}.dcm")
        for number, one in enumerate(reversed(sources) if len(sources) % 2 else sources)
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SOURCES)
def test_the_index_takes_a_seg_as_the_mask_of_its_image(name: str, seed: int, tmp_path: Path) -> None:
    sources = SOURCES[name]
    files = saved(sources, tmp_path / "images" / "deep")
    read = read_image(files)
    mask = drawn_mask(read.pixels.shape, seed)
    path = write_mask(mask, like=files, out=tmp_path / "masks", origin=ORIGIN)
    options: dict[str, Any] = {"masks": tmp_path / "masks", "volumes": len(files) > 1}
    (row,) = index_cohort(site(tmp_path, **options), "chest", workers=0).rows
    np.testing.assert_array_equal(load_image(row, tmp_path / "images").pixels, read.pixels)
    np.testing.assert_array_equal(load_mask(row, tmp_path / "masks", ORIGIN.names), mask)
    written = dcmread(path)
    assert written.PatientID == "P1"
    assert written.SegmentationType == "BINARY"
    assert written.DeviceSerialNumber == ORIGIN.sha256
    assert [one.SegmentLabel for one in written.SegmentSequence] == list(ORIGIN.names)
    referred = written.ReferencedSeriesSequence[0]
    assert referred.SeriesInstanceUID == sources[0].SeriesInstanceUID
    named = {one.ReferencedSOPInstanceUID for one in referred.ReferencedInstanceSequence}
    assert named == {one.SOPInstanceUID for one in sources}


def test_highdicom_reads_a_series_mask_back(tmp_path: Path) -> None:
    files = saved(SOURCES["series"], tmp_path)
    mask = drawn_mask((6, 8, 6), 4)
    read = hd.seg.segread(write_mask(mask, like=files, out=tmp_path / "out", origin=ORIGIN))
    instances = [one.SOPInstanceUID for one in SOURCES["series"]]  # in order of position
    pixels = read.get_pixels_by_source_instance(instances, combine_segments=True, assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal(pixels, mask)


def test_a_mask_without_a_mark_is_a_seg_without_a_mark(tmp_path: Path) -> None:
    files = saved(SOURCES["radiograph"], tmp_path / "images")
    write_mask(np.zeros((16, 12), dtype=np.uint8), like=files, out=tmp_path / "masks", origin=ORIGIN)
    (row,) = index_cohort(site(tmp_path, masks=tmp_path / "masks"), "chest", workers=0).rows
    assert not load_mask(row, tmp_path / "masks", ORIGIN.names).any()


def test_structures_have_the_codes_of_dicom_where_it_has_their_name() -> None:
    assert codes_of(" lung ") == (codes.SCT.AnatomicalStructure, codes.SCT.Lung)
    assert codes_of("Tumour") == (codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Neoplasm)
    category, kind = codes_of("rare spot")
    assert category == codes.SCT.Tissue
    assert (kind.value, kind.scheme_designator, kind.meaning) == ("rare spot", SCHEME, "rare spot")


def test_the_slices_of_a_series_are_one_image_for_a_model_of_volumes(tmp_path: Path) -> None:
    first, second = saved(series(4, name="a"), tmp_path / "x"), saved(series(4, name="b"), tmp_path / "x" / "y")
    alone = (save(enhanced(3, order=[0, 1, 2]), tmp_path / "mr"), tmp_path / "text.txt")
    alone[1].write_text("no image")
    mask = save(segmentation(series(4, name="a"), {"Lung": np.ones((4, 8, 6), dtype=bool)}), tmp_path / "mask.dcm")
    every = sorted([*first, *second, *alone, mask])
    assert set(images_in(every, volumes=True)) == {
        tuple(sorted(first)),
        tuple(sorted(second)),
        *((one,) for one in (*alone, mask)),
    }
    assert images_in(every, volumes=False) == [(one,) for one in every]
    assert refusal(mask) == "not-an-image"
    mixed = [*series(3, name="m"), image(pattern("m", (8, 6)), name="other", SeriesInstanceUID=uid("P1", "m"))]
    assert refusal(*saved(mixed, tmp_path / "mixed")) == "mixed-series"
    holed = series(5, name="h")
    assert refusal(*saved([*holed[:2], *holed[3:]], tmp_path / "holed")) == "incomplete-series"


def refusal(*files: Path) -> str:
    with pytest.raises(StudyError) as refused:
        read_image(files)
    return refused.value.reason


def test_an_image_that_cannot_carry_a_result_is_refused_and_names_do_not_collide(tmp_path: Path) -> None:
    mask = np.ones((16, 12), dtype=np.uint8)
    bare = saved([image(name="bare", StudyInstanceUID=None)], tmp_path / "bare")
    with pytest.raises(StudyError, match=r"StudyInstanceUID \(0020,000D\) is absent"):
        write_mask(mask, like=bare, out=tmp_path / "out", origin=ORIGIN)
    with pytest.raises(StudyError, match=r"StudyInstanceUID \(0020,000D\) is absent"):
        write_report({"lesion": 0.5}, files=bare, out=tmp_path / "out", origin=ORIGIN)
    assert not (tmp_path / "out").exists()
    named = [save(image(name=name), tmp_path / name) for name in ("one", "one.dcm")]
    write_mask(mask, like=named[:1], out=tmp_path / "out", origin=ORIGIN)
    with pytest.raises(StudyError, match=r"another image gave one\.seg\.dcm"):
        write_mask(mask, like=named[1:], out=tmp_path / "out", origin=ORIGIN)


@pytest.mark.parametrize("name", ["radiograph", "radiograph without a frame of reference", "multi-frame", "series"])
def test_a_report_holds_each_probability_and_the_images(name: str, tmp_path: Path) -> None:
    files, values = saved(SOURCES[name], tmp_path), {"lesion": 0.123456, "an effusion of the pleura": 1.0}
    path = write_report(values, files=files, out=tmp_path / "out", origin=ORIGIN)
    read = hd.sr.srread(path)
    (group,) = read.content.get_image_measurement_groups()
    found = {one.name.meaning: one.value for one in group.get_measurements()}
    assert found == pytest.approx({f"probability of {output}": value for output, value in values.items()})
    assert {one.unit for one in group.get_measurements()} == {codes.UCUM.NoUnits}
    instances = {one.SOPInstanceUID for one in SOURCES[name]}
    assert {one.referenced_sop_instance_uid for one in group.source_images} == instances
    assert {str(one[2]) for one in read.get_evidence()} == instances
    needs("dcmtk")
    shown = subprocess.run(["dsrdump", str(path)], capture_output=True, text=True, check=True)
    assert "0.123456" in shown.stdout
    assert "error" not in shown.stderr.lower(), shown.stderr


def test_the_command_writes_segs_of_series_and_reports_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    volumes, flat = tmp_path / "volumes", tmp_path / "flat"
    export_bundle(trained(JOBS["UNet, 3D"]), volumes, intended_use="as a test")
    files = saved(series(16, shape=(32, 16)), tmp_path / "images" / "a")
    out = tmp_path / "masks"
    assert typed(monkeypatch, "model", "predict", str(volumes), str(tmp_path / "images"), "--out", str(out)) == 0
    (written,) = out.rglob("*.dcm")
    assert written == out / "a" / f"{min(files).stem}.seg.dcm"
    (expected,) = Predictor(volumes).each([tuple(sorted(files))])
    (row,) = index_cohort(site(tmp_path, masks=out, volumes=True), "chest", workers=0).rows
    assert expected.mask is not None
    assert expected.mask.any()
    np.testing.assert_array_equal(load_mask(row, out, ("1", "2")), expected.mask)

    export_bundle(trained(JOBS["DenseNet"]), flat, intended_use="as a test")
    for number in range(2):
        save(image(pattern(number), name=number), tmp_path / "chest" / f"{number}.dcm")
    words = ("model", "predict", str(flat), str(tmp_path / "chest"), "--out", str(tmp_path / "found.csv"))
    assert typed(monkeypatch, *words, "--sr", str(tmp_path / "sr")) == 0
    _, *rows = csv.reader((tmp_path / "found.csv").read_text().splitlines())
    for file, value in rows:
        (group,) = hd.sr.srread(tmp_path / "sr" / f"{Path(file).stem}.sr.dcm").content.get_image_measurement_groups()
        assert group.get_measurements()[0].value == pytest.approx(float(value), abs=1e-6)
    capsys.readouterr()
    words = ("model", "predict", str(volumes), str(tmp_path / "images"), "--out", str(tmp_path / "again"))
    assert typed(monkeypatch, *words, "--sr", str(tmp_path / "sr2")) == 1
    assert "--sr is for probabilities" in capsys.readouterr().err
