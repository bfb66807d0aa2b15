"""Find the images that have the channels of a job: its colours, or its sequences of one study on one grid.

The index says which sequence an image is, and which images of a study are on one grid (``fedward.indexing.sequences``).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fedward.dataset.manifest import Row
from fedward.errors import CohortError
from fedward.settings import JobSpec


@dataclass(frozen=True, slots=True)
class Channelled:
    """Image of one or several channels.

    Attributes:
        row: its line of the manifest; of sequences the first one's, with the masks, labels and flags of all.
        channels: lines of its sequences, in the job's order; () where the job names none.
    """

    row: Row
    channels: tuple[Row, ...] = ()


def with_channels(job: JobSpec, rows: Sequence[Row], *, site: str) -> list[Channelled]:
    """Return the images that have the job's channels and, where it resamples, a spacing.

    Args:
        job: the job.
        rows: lines of the manifest that have the job's number of dimensions.
        site: for messages.

    Raises:
        CohortError: none has.
    """
    found = _sequences(job, rows, site=site) if job.data.sequences else [Channelled(row) for row in rows]
    if job.data.colour:
        found = _kept(
            [one for one in found if "colour" in one.row.flags],
            f"{len(rows)} of {len(rows)} images are grey, and data.colour asks for colour",
            remedy="leave data.colour out",
            site=site,
        )
    if job.data.spacing_mm is not None:
        found = _kept(
            [one for one in found if one.row.spacing_mm is not None],
            f"{len(found)} of {len(found)} images have no spacing in their header, and data.spacing_mm needs it",
            remedy="leave data.spacing_mm out",
            site=site,
        )
    return found


def _kept(found: list[Channelled], what: str, *, remedy: str, site: str) -> list[Channelled]:
    if not found:
        raise CohortError(what, where=site, remedy=remedy)
    return found


def _sequences(job: JobSpec, rows: Sequence[Row], *, site: str) -> list[Channelled]:
    """Join the rows of each grid; a grid on which a sequence is absent or there twice is left out."""
    grids: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.sequence in job.data.sequences:
            grids[row.grid].append(row)
    whole = []
    for members in grids.values():
        by_name = {row.sequence: row for row in members}
        if len(by_name) == len(members) == len(job.data.sequences):
            whole.append(_joined(tuple(by_name[name] for name in job.data.sequences)))
    names = ", ".join(job.data.sequences)
    known = Counter(row.sequence for row in rows if row.sequence)
    seen = ", ".join(f"{count} of {name}" for name, count in sorted(known.items())) or "no image of a known sequence"
    remedy = "give each a rule in sequences of the cohort in site.toml, and index again"
    return _kept(
        [one for one in whole if one is not None],
        f"no study has {names} on one grid; the index has {seen}",
        remedy=remedy,
        site=site,
    )


def _joined(rows: tuple[Row, ...]) -> Channelled | None:
    """Return the image of several sequences; None where two of them contradict each other about it."""
    labels: dict[str, str] = {}
    for row in rows:
        if any(labels.get(name, value) != value for name, value in row.labels.items()):
            return None
        labels |= row.labels
    marked = Counter(name for row in rows for mask in row.masks for name, there in mask.structures.items() if there)
    if any(count > 1 for count in marked.values()):
        return None
    masks = tuple(mask for row in rows for mask in row.masks)
    flags = tuple(sorted({flag for row in rows for flag in row.flags}))
    return Channelled(replace(rows[0], labels=labels, masks=masks, flags=flags), rows)
