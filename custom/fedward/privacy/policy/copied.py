"""Remark on a job that says another job's name or purpose, as a copy does whose settings alone were changed."""

from __future__ import annotations

from pathlib import Path

from fedward.settings import JobSpec
from fedward.structures import structure_key

SHIPPED: dict[str, tuple[str, tuple[str, ...]]] = {
    "cxr_classification": ("Tuberculosis or not, from one frontal chest radiograph", ("tb",)),
    "cxr_private": ("Finding or not, from one frontal chest radiograph, private for each patient", ("tb",)),
    "hippocampus_from_bundle": ("From the MONAI bundle Hippocampus segmentation 0.1.0", ("1", "2")),
    "hippocampus_segmentation": ("Anterior and posterior hippocampus in T1-weighted MRI", ("1", "2")),
    "lung_segmentation": ("Lung fields in a frontal chest radiograph", ("Lung",)),
    "tumour_segmentation": ("Brain tumour in slices of FLAIR MRI", ("Tumour",)),
}
"""Job of ``jobs/`` -> its description, and its labels or structures."""


def copied_remarks(job: JobSpec, folder: Path) -> list[str]:
    """Return a remark for a name that is not the folder's, and for a description that is of other labels or structures.

    Args:
        job: the job.
        folder: its folder, or its ``job.toml``.
    """
    path = folder.resolve()
    own = (path.parent if path.suffix == ".toml" else path).name
    found = []
    if own != job.job.name:
        found.append(f"job.name: {job.job.name!r} is not the folder's name, {own!r}: was the job copied? rename one")
    learnt = (*job.data.labels, *job.data.classes, *job.data.structures)
    for name, (description, targets) in SHIPPED.items():
        same = {structure_key(one) for one in learnt} == {structure_key(one) for one in targets}
        if job.job.description == description and not same:
            found.append(
                f"job.description: {description!r} is that of {name}, which learns {', '.join(targets)}; this job "
                f"learns {', '.join(learnt)}: say to the people who approve it what it is for"
            )
    return found
