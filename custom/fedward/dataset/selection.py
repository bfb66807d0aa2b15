"""Select the images of a cohort that a job uses, with their side of the split and their truth.

The index makes the split: by patient, fixed by the site's key. Messages count images and patients and never name one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedward.dataset.channels import with_channels
from fedward.dataset.manifest import Manifest, Row
from fedward.errors import CohortError
from fedward.label_words import NO, YES
from fedward.settings import JobSpec
from fedward.structures import structure_key

_MOST_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Image that a job uses.

    Attributes:
        row: its line of the manifest; of several sequences the first one's, with the masks and labels of all.
        channels: lines of its sequences, in the job's order; () where the job names none.
        images_root, masks_root: base folders of its paths.
        truth: one number a label (binary, multilabel), or the class's index (multiclass); empty for segmentation.
    """

    row: Row
    images_root: Path
    masks_root: Path | None
    truth: tuple[int, ...]
    channels: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """Counts of the patients and images from which a site's numbers are computed.

    Attributes:
        train_patients, train_images, validation_patients, validation_images: counts of those that a job uses.
        left_out: patients with an unused image, which lacks a label, a mask or the right number of dimensions.
        train_positives, validation_positives: patients with yes for a label in an image (multiclass: with an image of
            a class), by name; empty for segmentation.
    """

    train_patients: int
    train_images: int
    validation_patients: int
    validation_images: int
    left_out: int
    train_positives: dict[str, int]
    validation_positives: dict[str, int]

    def plain(self) -> dict[str, Any]:
        """Return the counts as JSON-ready data."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Images of a job at a site, in the order of the manifest.

    Attributes:
        train, validation: the images of either side of the split.
        support: their counts.
        absent: labels, classes or structures of the job that no training image has: the site teaches nothing about
            them. For the hospital's own screens, as is ``elsewhere``.
        elsewhere: number of images whose masks mark structures, but none of the job's.
        undescribed: structures of the job -> images whose masks describe others, and not this one; it counts as absent.
    """

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    support: Support
    absent: tuple[str, ...]
    elsewhere: int
    undescribed: dict[str, int]

    @property
    def train_patients(self) -> frozenset[str]:
        """Pseudonyms of the training patients."""
        return frozenset(example.row.patient for example in self.train)


def select(job: JobSpec, cohorts: Sequence[Manifest], *, site: str, min_patients: int = 2) -> Selection:
    """Choose the images that a job can use.

    Args:
        job: the job.
        cohorts: one cohort, or several that are pooled.
        site: for messages.
        min_patients: smallest number of patients, both splits together, with which the site takes part.

    Raises:
        CohortError: no image has the label or a mask, a label is neither yes nor no, there is one class only, there
            are too few patients, one side of the split is empty, or a patient is on both.
    """
    _on_one_side(cohorts, site=site)
    examples = [example for cohort in cohorts for example in _examples(job, cohort, site=site)]
    _enough(examples, job, cohorts, site=site, min_patients=min_patients)
    train = tuple(example for example in examples if example.row.split == "train")
    validation = tuple(example for example in examples if example.row.split == "validation")
    for name, side in (("training", train), ("validation", validation)):
        if not side:
            raise CohortError(
                f"none of {_patients(examples)} patients is on the {name} side of the split",
                where=site,
                remedy="index more patients or change validation_fraction in site.toml",
            )
    support = Support(
        train_patients=_patients(train),
        train_images=len(train),
        validation_patients=_patients(validation),
        validation_images=len(validation),
        left_out=_left_out(examples, cohorts),
        train_positives=_positive_patients(job, train),
        validation_positives=_positive_patients(job, validation),
    )
    return Selection(
        train=train,
        validation=validation,
        support=support,
        absent=_absent(job, train),
        elsewhere=_elsewhere(job, examples),
        undescribed=_undescribed(job, examples),
    )


def _on_one_side(cohorts: Sequence[Manifest], *, site: str) -> None:
    """Refuse a patient who is on one side in one cohort of a hospital, and on the other in another."""
    sides = {(cohort.site, row.patient, row.split) for cohort in cohorts for row in cohort.rows}
    both = len(sides) - len({(hospital, patient) for hospital, patient, _ in sides})
    if both:
        what = f"{both} patient{' is' if both == 1 else 's are'} on both sides of the split, in different cohorts"
        raise CohortError(what, where=site, remedy="run `fedward site index SITE_TOML` for all cohorts")


def _examples(job: JobSpec, cohort: Manifest, *, site: str) -> list[Example]:
    rows = [row for row in cohort.rows if len(row.shape) == len(job.data.size)]
    total = len(cohort.rows)
    if not rows:
        what = f"{total} of {total} images have not the {len(job.data.size)} dimensions of data.size"
        volumes = "true" if len(job.data.size) == 3 else "false"
        remedy = f"set volumes = {volumes} for the cohort in site.toml and index again, or change data.size"
        raise CohortError(what, where=site, remedy=remedy)
    images = with_channels(job, rows, site=site)
    channels, rows = {one.row.image: one.channels for one in images}, [one.row for one in images]
    if job.job.task == "segmentation":
        return _made([(row, ()) for row in _masked(job, rows, site=site)], cohort, channels)
    for label in job.data.labels:
        missing = sum(label not in row.labels for row in rows)
        if missing == len(rows):
            what = f"{missing} of {len(rows)} images have no value for {label!r}"
            remedy = "name a label table with that column in site.toml and index"
            raise CohortError(what, where=site, remedy=remedy)
    complete = [row for row in rows if all(label in row.labels for label in job.data.labels)]
    if not complete:
        what = f"none of {len(rows)} images has a value for each of {', '.join(job.data.labels)}"
        raise CohortError(what, where=site, remedy="complete the label table and index")
    return _made([(row, _truth(job, row, site=site)) for row in complete], cohort, channels)


def _masked(job: JobSpec, rows: Sequence[Row], *, site: str) -> list[Row]:
    """Return the rows with a mask that describes a structure of the job; refuse masks that mark none of them at all.

    A NIfTI mask without one of the values counts as one that shows the structure absent.
    """
    masked = [row for row in rows if row.masks]
    if not masked:
        what = f"{len(rows)} of {len(rows)} images have no mask"
        raise CohortError(what, where=site, remedy="name masks in site.toml and index")
    wanted = {structure_key(name) for name in job.data.structures}
    known = [
        row for row in masked if any(mask.format == "nifti" or wanted & set(mask.structures) for mask in row.masks)
    ]
    if not any(wanted & row.structures for row in known):
        there = sorted({name for row in masked for name in row.structures})
        shown = ", ".join(there[:_MOST_SHOWN]) + (", …" if len(there) > _MOST_SHOWN else "") if there else "nothing"
        what = (
            f"{len(masked)} of {len(masked)} masks mark none of the job's structures {', '.join(job.data.structures)}"
        )
        remedy = "write the masks with the structures that the job names, and index again"
        raise CohortError(f"{what}, but {shown}", where=site, remedy=remedy)
    return known


def _made(
    chosen: Sequence[tuple[Row, tuple[int, ...]]], cohort: Manifest, channels: Mapping[str, tuple[Row, ...]]
) -> list[Example]:
    images, masks = cohort.images_root, cohort.masks_root
    return [
        Example(row=row, images_root=images, masks_root=masks, truth=truth, channels=channels[row.image])
        for row, truth in chosen
    ]


def _truth(job: JobSpec, row: Row, *, site: str) -> tuple[int, ...]:
    if job.data.target == "multiclass":
        (label,) = job.data.labels
        value = row.labels[label].strip()
        if value not in job.data.classes:
            remedy = f"data.classes has {', '.join(job.data.classes)}"
            raise CohortError(
                f"label {label!r} holds what is no class of the job", where=site, value=value, remedy=remedy
            )
        return (job.data.classes.index(value),)
    return tuple(_yes_or_no(label, row.labels[label], site=site) for label in job.data.labels)


def _yes_or_no(label: str, value: str, *, site: str) -> int:
    word = value.strip().lower().removesuffix(".0")
    if word in YES or word in NO:
        return int(word in YES)
    remedy = "write 1, yes or true, or else 0, no or false, and index again"
    raise CohortError(f"label {label!r} holds neither yes nor no", where=site, value=value, remedy=remedy)


def _enough(
    examples: Sequence[Example], job: JobSpec, cohorts: Sequence[Manifest], *, site: str, min_patients: int
) -> None:
    patients = _patients(examples)
    if patients < min_patients:
        indexed = sum(cohort.patients() for cohort in cohorts)
        raise CohortError(
            f"{patients} of {indexed} indexed patient{'' if indexed == 1 else 's'} can serve",
            where=site,
            remedy=f"a site needs {min_patients} or more (min_patients in site.toml)",
        )
    if job.job.task == "segmentation":
        return
    counts = {name: len(those) for name, those in having(job, examples).items()}
    if job.data.target == "multiclass":
        present = [name for name, count in counts.items() if count]
        one_only = f"only class {present[0]!r} of label {job.data.labels[0]!r} occurs" if len(present) == 1 else None
    else:
        same = [name for name, count in counts.items() if count in (0, len(examples))]
        word = "" if not same else "yes" if counts[same[0]] else "no"
        one_only = f"label {same[0]!r} is {word} for all {len(examples)} images: one class only" if same else None
    if one_only:
        raise CohortError(one_only, where=site, remedy="index images of the other class")


def having(job: JobSpec, examples: Sequence[Example]) -> dict[str, list[Example]]:
    """Return label or class -> the examples that have it; empty for a segmentation."""
    if job.job.task == "segmentation":
        return {}
    if job.data.target == "multiclass":
        return {name: [e for e in examples if e.truth == (i,)] for i, name in enumerate(job.data.classes)}
    return {name: [e for e in examples if e.truth[i] == 1] for i, name in enumerate(job.data.labels)}


def shows_structure(job: JobSpec, example: Example) -> bool:
    """Return whether the masks of an image mark a structure of the job."""
    return bool({structure_key(name) for name in job.data.structures} & example.row.structures)


def _absent(job: JobSpec, train: Sequence[Example]) -> tuple[str, ...]:
    if job.job.task == "segmentation":
        marked = {name for example in train for name in example.row.structures}
        return tuple(name for name in job.data.structures if structure_key(name) not in marked)
    return tuple(name for name, those in having(job, train).items() if not those)


def _elsewhere(job: JobSpec, examples: Sequence[Example]) -> int:
    wanted = {structure_key(name) for name in job.data.structures}
    marked = [example.row.structures for example in examples if example.row.structures]
    return sum(not wanted & structures for structures in marked) if wanted else 0


def _undescribed(job: JobSpec, examples: Sequence[Example]) -> dict[str, int]:
    """Count by structure; a NIfTI mask describes every value."""
    described = [
        {name for mask in example.row.masks for name in mask.structures}
        for example in examples
        if example.row.masks and all(mask.format == "dicom-seg" for mask in example.row.masks)
    ]
    counts = {name: sum(structure_key(name) not in names for names in described) for name in job.data.structures}
    return {name: count for name, count in counts.items() if count}


def _patients(examples: Sequence[Example]) -> int:
    return len({(example.row.patient, example.images_root) for example in examples})


def _positive_patients(job: JobSpec, examples: Sequence[Example]) -> dict[str, int]:
    return {name: _patients(those) for name, those in having(job, examples).items()}


def _left_out(examples: Sequence[Example], cohorts: Sequence[Manifest]) -> int:
    """Count the patients with an image that the job does not use."""
    used = {(row.image, example.images_root) for example in examples for row in (example.row, *example.channels)}
    rows = [(row, cohort.images_root) for cohort in cohorts for row in cohort.rows]
    return len({(row.patient, root) for row, root in rows if (row.image, root) not in used})
