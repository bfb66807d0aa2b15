"""Count what an index holds, for the hospital only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from fedward.dataset.manifest import Manifest
from fedward.indexing.quarantine import Table, read_quarantine, tally
from fedward.indexing.split.book import last_change
from fedward.indexing.split.sides import wanted
from fedward.indexing.tables.account import LabelLines, read_account
from fedward.settings import SitePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Counts of one index.

    Attributes:
        cohort, site: names from ``site.toml``.
        images, patients, train_patients, validation_patients: number of each.
        masks: images with a mask.
        structures: segment label or NIfTI value -> number of images on which a mask marks it.
        labels: label column -> number of images with each of its values.
        label_lines: account of the label table's lines; None without a table.
        modalities: modality -> images; "" for NIfTI and where the header has none.
        flags: remarks that excluded no image -> number of images.
        quarantined: reason, files, explanation; most frequent first.
        index: folder of the index.
        content_hash: hash of the manifest.
        split_version: number of the hospital's split; it grows when patients change sides.
        asked_validation: number of validation patients that ``validation_fraction`` asks for.
        moved: patients of this cohort that changed sides when the split got its number; 0 for another cohort's change.
    """

    cohort: str
    site: str
    images: int
    patients: int
    train_patients: int
    validation_patients: int
    masks: int
    structures: dict[str, int]
    labels: dict[str, dict[str, int]]
    label_lines: LabelLines | None
    modalities: dict[str, int]
    flags: dict[str, int]
    quarantined: Table
    index: str
    content_hash: str
    split_version: int
    asked_validation: int
    moved: int


def summarise(manifest: Manifest, policy: SitePolicy) -> Summary:
    """Count the content of ``manifest``, of a cohort of ``policy``."""
    chosen = policy.cohorts[manifest.cohort]
    index, last = chosen.index, last_change(policy)
    columns = sorted({column for row in manifest.rows for column in row.labels})
    return Summary(
        cohort=manifest.cohort,
        site=manifest.site,
        images=len(manifest.rows),
        patients=manifest.patients(),
        train_patients=manifest.patients("train"),
        validation_patients=manifest.patients("validation"),
        masks=sum(row.mask is not None for row in manifest.rows),
        structures=dict(sorted(Counter(name for row in manifest.rows for name in row.structures).items())),
        labels={
            column: dict(sorted(Counter(row.labels[column] for row in manifest.rows if column in row.labels).items()))
            for column in columns
        },
        label_lines=read_account(index),
        modalities=dict(sorted(Counter(row.modality for row in manifest.rows).items())),
        flags=dict(sorted(Counter(flag for row in manifest.rows for flag in row.flags).items())),
        quarantined=tally(read_quarantine(index)),
        index=str(index),
        content_hash=manifest.content_hash,
        split_version=manifest.split_version,
        asked_validation=wanted(manifest.patients(), chosen.validation_fraction),
        moved=last.moved if last is not None and last.cohort == manifest.cohort else 0,
    )
