"""Define a volume: the files of one image in slice order, and its manifest row."""

from __future__ import annotations

from dataclasses import dataclass

from fedward.dataset.manifest import Row
from fedward.indexing.quality import FileFacts


@dataclass(frozen=True, slots=True)
class Volume:
    """One image: its findings in slice order (one, except for a series), and its row so far."""

    findings: tuple[FileFacts, ...]
    row: Row
