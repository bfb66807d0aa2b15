"""Names of NIfTI files: folders count wherever both sides have them, and nobody is on two sides of the split."""

from __future__ import annotations

import pytest

from fedward.indexing.grouping.nifti_names import NiftiNames, patients_of


@pytest.mark.parametrize(
    ("images", "mask", "found"),
    [
        (["a.nii.gz"], "a.nii", ["a.nii.gz"]),
        (["a.nii.gz"], "seg/a.nii", ["a.nii.gz"]),
        (["p/a.nii.gz"], "a.nii.gz", ["p/a.nii.gz"]),
        (["p/a.nii.gz"], "seg/p/a.nii.gz", ["p/a.nii.gz"]),
        (["p/a.nii.gz", "q/a.nii.gz"], "q/a.nii", ["q/a.nii.gz"]),
        (["p/a.nii.gz", "q/a.nii.gz"], "a.nii", ["p/a.nii.gz", "q/a.nii.gz"]),
        (["p/a.nii.gz"], "q/a.nii.gz", []),
        (["case_1/imaging.nii.gz"], "case_11/imaging.nii.gz", []),
        (["a.nii.gz"], "b.nii.gz", []),
        (["a.b.nii.gz"], "a.nii.gz", []),
    ],
)
def test_which_images_a_name_may_mean(images: list[str], mask: str, found: list[str]) -> None:
    assert NiftiNames(images).of(mask) == found


@pytest.mark.parametrize(
    "paths",
    [
        {"a/b/case_7.nii.gz": "case_7", "x/case_8.nii": "case_8"},
        {"sub-01_ses-2_T1w.nii.gz": "sub-01", "x/sub-01_ses-3_T1w.nii": "sub-01", "sub-02.NII.GZ": "sub-02"},
        {"sub-01/ses-1/anat/T1w.nii.gz": "sub-01", "sub-02/ses-1/anat/T1w.nii.gz": "sub-02"},
        {"sub-.nii": "sub-", "submarine.nii": "submarine"},
        {f"p{n}/{when}.nii.gz": f"p{n}" for n in range(3) for when in ("baseline", "followup")},
        {"p0/baseline.nii": "p0", "p1/baseline.nii": "p1", "p1/only.nii": "p1", "flat.nii": "flat"},
        {"p0/s1/t1.nii": "p0", "p0/s2/t1.nii": "p0"},
        {f"Pat{n}/Pat{n}_{kind}.nii.gz": f"Pat{n}" for n in range(3) for kind in ("t1", "flair")},
        {f"Pat{n}/Pat{n}_2020/i_{n}{k}.nii.gz": f"Pat{n}" for n in range(3) for k in range(2)},
        {f"{kind}/Pat{n}.nii.gz": f"Pat{n}" for n in range(9) for kind in ("T1", "T2", "FLAIR")},
        {f"{site}/p{n}/img.nii.gz": site for n in range(3) for site in ("a", "b")},
        {f"case_{n}_000{k}.nii.gz": f"case_{n}" for n in range(3) for k in range(2)},
        {f"patient_000{n}.nii.gz": f"patient_000{n}" for n in range(4)},
        {"a/abc.nii": "abc", "b/bcd.nii": "bcd"},
    ],
)
def test_whose_file_it_is(paths: dict[str, str]) -> None:
    assert patients_of(paths) == paths
