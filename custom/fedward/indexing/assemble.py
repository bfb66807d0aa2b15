"""Turn the findings of single files into manifest rows. Pure: opens no file.

1. Remove duplicates (the first path stays).
2. Join slices into volumes, if the cohort takes volumes.
3. Match masks to images.
4. Match labels to images.
5. Remove images that lack something that the cohort requires.

Every input file ends in exactly one row or in quarantine.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from fedward.dataset.manifest import Row
from fedward.dicom.geometry import SAME_WITHIN, Place, order_slices, volume_spacing_mm
from fedward.errors import StudyError
from fedward.indexing.grouping.grids import with_grids
from fedward.indexing.grouping.volume import Volume
from fedward.indexing.labels import Assigned, LabelTable
from fedward.indexing.match_masks import match_masks
from fedward.indexing.quality import FileFacts, tilt_flags
from fedward.indexing.quarantine import Quarantined
from fedward.indexing.site_key import Kind, SiteKey
from fedward.indexing.tables.paths import file_names
from fedward.indexing.tables.spellings import cohort_spellings
from fedward.settings import CohortPolicy

MASK = "mask"
"""Value in ``CohortPolicy.require``: every image must have a mask."""


def assemble(
    images: Sequence[FileFacts],
    masks: Sequence[FileFacts],
    *,
    cohort: CohortPolicy,
    key: SiteKey,
    labels: LabelTable | None,
) -> tuple[list[Row], list[Quarantined], Assigned | None]:
    """Return the rows, sorted by image, every other file with its reason, and the account of the label table.

    Args:
        images, masks: findings with pseudonyms in place of identifiers.
        cohort: policy that states which files the hospital takes and requires.
        key: the site's key.
        labels: the label table, or None.

    Raises:
        CohortError: no label matches any image, every line of the table is refused, or labels contradict each other.
    """
    aside = [Quarantined(one.path, one.reason, one.detail) for one in images if one.reason]
    single = _without_duplicates(sorted((one for one in images if not one.reason), key=lambda one: one.path), aside)
    volumes = _volumes(single, images, cohort, key, aside)
    volumes = with_grids(volumes, cohort.sequences)
    matched, unmatched = match_masks(volumes, masks, images, rules=cohort.sequences)
    apart = f"{cohort.masks.name}/" if cohort.masks is not None and cohort.masks != cohort.images else ""
    aside += [replace(one, file=f"{apart}{one.file}") for one in unmatched]
    names = [_names(volume, key) for volume in volumes]
    labelled = None if labels is None else labels.assign(names, cohort_spellings(images, key))
    rows = []
    given = [{}] * len(volumes) if labelled is None else labelled.labels
    for volume, row, label in zip(volumes, matched, given, strict=True):
        row = replace(row, labels=label) if label else row
        missing = [column for column in cohort.require if column != MASK and column not in label]
        if missing:
            aside += [Quarantined(path, "missing-label", ", ".join(missing)) for path in volume.row.paths]
        elif MASK in cohort.require and not row.masks:
            aside += [Quarantined(path, "missing-mask") for path in volume.row.paths]
        else:
            rows.append(row)
    return sorted(rows, key=lambda row: row.image), aside, labelled


def _without_duplicates(findings: Iterable[FileFacts], aside: list[Quarantined]) -> list[FileFacts]:
    first: dict[str, str] = {}
    kept = []
    for finding in findings:
        before = first.get(finding.instance) or first.get(finding.sha256)
        if before is not None:
            aside.append(Quarantined(finding.path, "duplicate-instance", f"of {before}"))
            continue
        first[finding.instance] = first[finding.sha256] = finding.path
        kept.append(finding)
    return kept


def _volumes(
    findings: Sequence[FileFacts],
    seen: Sequence[FileFacts],
    cohort: CohortPolicy,
    key: SiteKey,
    aside: list[Quarantined],
) -> list[Volume]:
    def volume(
        parts: Sequence[FileFacts], kind: Literal["dicom", "dicom-series", "nifti"], gap: float | None
    ) -> Volume:
        return Volume(tuple(parts), _row(parts, kind, gap, cohort, key))

    if not cohort.volumes:
        return [volume([one], one.format, None) for one in findings]
    lost = {one.series for one in seen if one.reason and one.series}
    series: dict[str, list[FileFacts]] = defaultdict(list)
    volumes = []
    for one in findings:
        if one.format == "dicom" and len(one.shape) == 2:
            series[one.series].append(one)
        else:
            volumes.append(volume([one], one.format, None))
    for name, parts in series.items():
        try:
            if name in lost:
                raise StudyError("incomplete-series", "another of its slices is in quarantine")
            order, gap = _series_order(parts)
            volumes.append(volume([parts[index] for index in order], "dicom-series", gap))
        except StudyError as refusal:
            aside += [Quarantined(one.path, refusal.reason, refusal.detail) for one in parts]
    return volumes


def _series_order(parts: Sequence[FileFacts]) -> tuple[tuple[int, ...], float | None]:
    if len(parts) == 1:
        raise StudyError("incomplete-series", "a single slice")
    for what, values in _once_a_series(parts).items():
        if len(values) > 1:
            raise StudyError("mixed-series", f"slices of different {what}")
    spacings = [one.in_plane_mm for one in parts]
    if not all(len(one) == len(spacings[0]) and np.allclose(one, spacings[0], rtol=SAME_WITHIN) for one in spacings):
        raise StudyError("mixed-series", "slices of different pixel spacings")
    if all(one.blank for one in parts):
        raise StudyError("blank-image", "every slice is blank")
    return order_slices([Place(one.positions_mm[0], one.orientation, one.number) for one in parts])


def _once_a_series(parts: Sequence[FileFacts]) -> dict[str, set[object]]:
    """Return the values that all slices of a volume share: those of PS3.3 C.7.3.1 (one modality, study, equipment and
    frame of reference in a series), of C.7.6.3.1 (rows and columns), and the unit of the values (C.11.1.1.2)."""
    return {
        "shapes": {one.shape for one in parts},
        "patients": {one.patient for one in parts},
        "studies": {one.study for one in parts},
        "modalities": {one.modality for one in parts},
        "manufacturers": {one.manufacturer for one in parts},
        "frames of reference": {one.frame_of_reference for one in parts},
        "sequences by the rules": {one.sequence for one in parts},
        "units": {one.units for one in parts},
        "kinds, kernels or echo times": {one.scan for one in parts},
    }


def _row(
    parts: Sequence[FileFacts],
    kind: Literal["dicom", "dicom-series", "nifti"],
    gap: float | None,
    cohort: CohortPolicy,
    key: SiteKey,
) -> Row:
    first = parts[0]
    series = kind == "dicom-series"
    hashes = [one.sha256 for one in parts]
    return Row(
        image=first.series if series else first.instance,
        patient=first.patient,
        study=first.study,
        split="train",  # until ``fedward.indexing.split`` has divided the patients
        format=kind,
        paths=tuple(one.path for one in parts),
        shape=(len(parts), *first.shape) if series else first.shape,
        spacing_mm=volume_spacing_mm(gap, first.spacing_mm or ()) if series else first.spacing_mm,
        labels={},
        masks=(),
        modality=first.modality,
        manufacturer=first.manufacturer,
        sex=first.sex,
        age_decade=first.age_decade,
        flags=tuple(sorted({flag for one in parts for flag in one.flags} | (_tilt(parts) if series else set()))),
        sequence=first.sequence,
        sha256=hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest(),
    )


def _tilt(parts: Sequence[FileFacts]) -> set[str]:
    return set(tilt_flags([one.positions_mm[0] for one in parts], parts[0].orientation, parts[0].in_plane_mm))


def _names(volume: Volume, key: SiteKey) -> dict[Kind, frozenset[str]]:
    """Return the pseudonyms by which a label table may name an image."""
    first = volume.findings[0]
    images = {one.instance for one in volume.findings}
    if first.format == "nifti":
        images |= file_names(first.path, key)
    return {
        "image": frozenset(images),
        "series": frozenset({first.series} - {""}),
        "study": frozenset({first.study}),
        "patient": frozenset({first.patient}),
    }
