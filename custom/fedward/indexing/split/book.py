"""Keep each patient's side of the split in a file beside the site's key, for all cohorts of the hospital.

The file is JSON, as "site.split" beside "site.key": the key's fingerprint, patients by pseudonym on either side, the
fraction of each cohort, and each change of sides with its version. Where there is none yet, the sides are those of the
hospital's manifests, so that an update of Fedward moves nobody.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from fedward.dataset.manifest import Row, Split, read_manifest
from fedward.errors import CohortError, SettingsError
from fedward.files import write_atomic
from fedward.indexing.site_key import SiteKey, load_key
from fedward.indexing.split.sides import divide, kinds_of, moved
from fedward.settings import SitePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Patients of a cohort that changed sides: how many, to which fraction; ``version`` is the split's from then on."""

    version: int
    cohort: str
    fraction: float
    moved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """Sides of a hospital's patients.

    Attributes:
        key: fingerprint of the site's key.
        sides: patient's pseudonym -> side.
        fractions: cohort -> fraction that its patients were divided by.
        changes: changes of sides, in order.
    """

    key: str
    sides: dict[str, Split] = field(default_factory=dict)
    fractions: dict[str, float] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()

    @property
    def version(self) -> int:
        """Number of the split: 1 until patients change sides."""
        return 1 + len(self.changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """Content of the file."""

    format: Literal[1]
    key: str
    fractions: dict[str, float]
    changes: tuple[Change, ...]
    train: list[str]
    validation: list[str]


_FORM = TypeAdapter(_File)


def book_of(policy: SitePolicy) -> Path:
    """Return the path of the hospital's split."""
    return policy.key.with_suffix(".split")


def with_sides(
    rows: Sequence[Row], *, policy: SitePolicy, cohort: str, key: SiteKey, anew: bool = False
) -> tuple[list[Row], Book]:
    """Give each row its patient's side, and keep the sides of new patients.

    Args:
        rows: rows of the cohort; their own ``split`` counts for nothing.
        policy: the hospital's ``site.toml``.
        cohort: name of the cohort there.
        key: the site's key.
        anew: divide the cohort's patients as if none had a side.

    Raises:
        SettingsError: the file is damaged or of another key.
        OSError: it cannot be written.
    """
    fraction, kinds = policy.cohorts[cohort].validation_fraction, kinds_of(rows)
    with _alone(policy.key):
        book = _read(policy, key)
        before = book.fractions.get(cohort, fraction)
        if anew:
            sides = divide(kinds, {}, fraction, draw=key.draw)
        elif before != fraction:
            sides = moved(kinds, book.sides, fraction, draw=key.draw)
        else:
            sides = divide(kinds, book.sides, fraction, draw=key.draw)
        count = sum(book.sides.get(patient, side) != side for patient, side in sides.items())
        changed = replace(book, sides=book.sides | sides, fractions=book.fractions | {cohort: fraction})
        if count:
            last = Change(version=book.version + 1, cohort=cohort, fraction=fraction, moved=count)
            changed = replace(changed, changes=(*book.changes, last))
        if changed != book:
            _write(book_of(policy), changed)
    return [replace(row, split=sides[row.patient]) for row in rows], changed


def last_change(policy: SitePolicy) -> Change | None:
    """Return the last change of sides; None: no patient ever changed. Errors as of ``with_sides``."""
    changes = _read(policy, load_key(policy.key)).changes
    return changes[-1] if changes else None


def keep_sides(policy: SitePolicy, key: SiteKey) -> None:
    """Write the file if there is none yet, before a manifest that it is made from may be withdrawn; errors as above."""
    with _alone(policy.key):
        if not book_of(policy).exists() and (book := _read(policy, key)).sides:
            _write(book_of(policy), book)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the site's key, so that two indexing processes take turns."""
    with path.open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _read(policy: SitePolicy, key: SiteKey) -> Book:
    path = book_of(policy)
    try:
        content = json.loads(path.read_text(encoding="ascii"))
        if set(content) != set(_File.__dataclass_fields__):
            raise ValueError
        found = _FORM.validate_python(content)
    except FileNotFoundError:
        return Book(key=key.fingerprint, sides=_of_manifests(policy))
    except (ValueError, TypeError):
        remedy = "restore it; without the file the sides are those of the cohorts' manifests"
        raise SettingsError("the split's file is damaged", where=path, remedy=remedy) from None
    if found.key != key.fingerprint:
        remedy = "restore the key; a new key gives new pseudonyms: then remove this file"
        raise SettingsError("the split is of another site key", where=path, remedy=remedy)
    sides: dict[str, Split] = dict.fromkeys(found.train, "train")
    sides |= dict.fromkeys(found.validation, "validation")
    return Book(key=found.key, sides=sides, fractions=found.fractions, changes=found.changes)


def _of_manifests(policy: SitePolicy) -> dict[str, Split]:
    """Return the sides of the patients in the hospital's manifests; one that cannot be read adds none."""
    sides: dict[str, Split] = {}
    for cohort in policy.cohorts.values():
        try:
            sides |= {row.patient: row.split for row in read_manifest(cohort.index).rows}
        except CohortError:
            continue
    return sides


def _write(path: Path, book: Book) -> None:
    train, validation = (
        sorted(patient for patient, own in book.sides.items() if own == side) for side in ("train", "validation")
    )
    file = _File(
        format=1,
        key=book.key,
        fractions=book.fractions,
        changes=book.changes,
        train=train,
        validation=validation,
    )
    write_atomic(path, json.dumps(asdict(file), indent=1) + "\n", mode=0o600)
