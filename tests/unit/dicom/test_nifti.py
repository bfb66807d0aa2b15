"""Check faulty NIfTI files, and the patient that a file belongs to."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from fedward.dicom.nifti import is_nifti, parse_nifti, patient_of, stem
from fedward.errors import StudyError
from tests.support.dicom_files import save_nifti


def made(tmp_path: Path, shape: tuple[int, ...] = (3, 4, 5), name: str = "a.nii.gz") -> bytes:
    values = np.arange(int(np.prod(shape)), dtype=np.int16).reshape(shape)
    return save_nifti(values, tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((3, 4, 5), (5, 4, 3)), ((3, 4, 5, 1), (5, 4, 3)), ((3, 4, 1), (4, 3)), ((3, 4), (4, 3))],
)
def test_axes(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    found = parse_nifti(made(tmp_path, shape))
    assert found.values.shape == expected
    assert len(found.spacing_mm) == len(expected)
    assert found.spacing_mm[-1] == pytest.approx(0.5)


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (3, 4, 5, 1, 2)])
def test_more_than_three_axes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(StudyError) as refusal:
        parse_nifti(made(tmp_path, shape))
    assert refusal.value.reason == "unsupported-shape"


def test_nifti_2_is_read_too(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    nibabel.save(nibabel.Nifti2Image(values, np.eye(4)), tmp_path / "a.nii")
    np.testing.assert_array_equal(parse_nifti((tmp_path / "a.nii").read_bytes()).values, values.T)


@pytest.mark.parametrize("part", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_cut_short_is_refused(tmp_path: Path, part: float, name: str) -> None:
    data = made(tmp_path, (20, 20, 20), name)
    with pytest.raises(StudyError) as refusal:
        parse_nifti(data[: int(len(data) * part)])
    assert refusal.value.reason in ("truncated", "unreadable")


@pytest.mark.parametrize(
    "data", [b"", b"no nifti", b"\x1f\x8bno gzip", gzip.compress(b"no nifti", mtime=0), b"\x5c\x01" + b"\0" * 400]
)
def test_what_is_no_nifti_is_refused(data: bytes) -> None:
    with pytest.raises(StudyError):
        parse_nifti(data)


def test_a_header_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    header = nibabel.Nifti1Image(np.zeros((2, 2, 2), dtype=np.int16), np.eye(4)).header
    header["dim"] = [3, 30_000, 30_000, 30_000, 1, 1, 1, 1]
    with pytest.raises(StudyError) as refusal:
        parse_nifti(header.binaryblock + b"\0" * 100)
    assert refusal.value.reason == "undecodable"


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("a/b/case_7.nii.gz", "case_7"),
        ("sub-01_ses-2_T1w.nii.gz", "sub-01"),
        ("x/sub-01_ses-3_T1w.nii", "sub-01"),
        ("sub-01.NII.GZ", "sub-01"),
        ("sub-.nii", "sub-"),
        ("submarine.nii", "submarine"),
    ],
)
def test_whom_a_file_is_about(name: str, patient: str) -> None:
    assert is_nifti(name)
    assert patient_of(name) == patient
    assert "/" not in stem(name)
