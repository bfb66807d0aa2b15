"""Check each cohort: its folders, its PACS, its index, and that the index matches the present files.

A name below a cohort's folders may be a patient's: no finding here discloses one.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

from fedward.dataset.manifest import ROWS, read_manifest
from fedward.doctor.context import Case
from fedward.doctor.findings import Finding, Voice
from fedward.errors import CohortError
from fedward.indexing.quality import FileFacts
from fedward.indexing.walk import CACHE, fingerprint, walk, walks
from fedward.settings import CohortPolicy

_DAY_S = 86_400.0
_COLUMNS = [field.name for field in dataclasses.fields(FileFacts)]
_KEPT = [_COLUMNS.index(name) for name in ("role", "path", "size", "mtime_ns")]
_INDEX = "run `fedward site index {}`"


def folders(case: Case) -> Iterator[Finding]:
    """Check that this user can read images, labels and masks."""
    say = Voice("images")
    if not case.policy.cohorts:
        yield say.failed("policy names no cohort", remedy="add a [cohorts.<name>] table to site.toml")
    for name, cohort in case.policy.cohorts.items():
        for what, path in (("images", cohort.images), ("masks", cohort.masks), ("labels", cohort.labels)):
            if path is None:
                continue
            fault = _unreadable_file(path) if what == "labels" else _unreadable_folder(path)
            if fault is None and what == "images" and not any(path.iterdir()):
                pull = (
                    f"run `fedward site index {case.site_toml} --pacs`"
                    if cohort.pacs is not None
                    else f"put images into {path}"
                )
                yield say.failed(f"{what} of {name}: none there", where=path, remedy=pull)
            elif fault is None:
                yield say.passed(f"{what} of {name} can be read", where=path)
            else:
                remedy = f"mount it, let this user read it, or correct cohorts.{name}.{what} in site.toml"
                yield say.failed(f"{what} of {name} cannot be read", where=path, value=fault, remedy=remedy)


def pacs(case: Case) -> Iterator[Finding]:
    """Check that each cohort's archive answers."""
    say = Voice("pacs")
    named = {name: cohort.pacs for name, cohort in case.policy.cohorts.items() if cohort.pacs is not None}
    if not named:
        yield say.skipped("no cohort names one")
        return
    from fedward.indexing.pacs import echo

    for name, archive in named.items():
        where = archive.url or f"{archive.host}:{archive.port}"
        shorter = archive.model_copy(update={"timeout_s": min(archive.timeout_s, case.limits.answer_s)})
        try:
            echo(shorter)
        except CohortError as error:
            remedy = f"let TCP to {where} through, and have {archive.calling_ae_title} put into the archive's list"
            yield say.refused(error, where=where, remedy=remedy)
        else:
            yield say.passed(f"archive of {name} answers", where=where)


def index(case: Case) -> Iterator[Finding]:
    """Check that each cohort's manifest can be read, is unchanged, and is of this site and of these folders."""
    say = Voice("index")
    for name, cohort in case.policy.cohorts.items():
        remedy = _INDEX.format(case.site_toml)
        try:
            manifest = read_manifest(cohort.index)
        except CohortError as error:
            yield say.failed(f"{name}: {error.what}", where=cohort.index, remedy=remedy)
            continue
        expected = (case.policy.site, name, cohort.images, cohort.masks)
        if (manifest.site, manifest.cohort, manifest.images_root, manifest.masks_root) != expected:
            yield say.failed(f"{name}: index is of another site or folder", where=cohort.index, remedy=remedy)
            continue
        case.manifests[name] = manifest
        people = f"{manifest.patients()} patients, {len(manifest.rows)} images"
        yield say.passed(f"{name}: reads and is unchanged", where=cohort.index, value=people)


def fresh(case: Case) -> Iterator[Finding]:
    """Check that each cohort's files are those that were indexed, with the same size and time; none is opened."""
    say, limits = Voice("index-fresh"), case.limits
    remedy = _INDEX.format(case.site_toml)
    for name, cohort in case.policy.cohorts.items():
        known = _known(case, cohort)
        if known is None:
            what = f"{name}: what was indexed is not on record, or was for other settings or another release"
            yield say.failed(what, where=cohort.index, remedy=remedy)
            continue
        written = (cohort.index / ROWS).stat().st_mtime
        if (cohort.index / CACHE).stat().st_mtime > written:
            yield say.failed(f"{name}: the last indexing did not end", where=cohort.index, remedy=remedy)
            continue
        try:
            new, gone, other = _compared(_files(cohort), known)
        except CohortError as error:  # the path may name a patient
            let = f"let this user list all folders below {cohort.images}"
            yield say.failed(f"{name}: a folder {error.what}", where=cohort.images, value=error.value, remedy=let)
            continue
        value = f"{new} new, {gone} gone, {other} changed, of {len(known)}"
        days = (case.now() - written) / _DAY_S
        if gone or other or new > limits.new_fail_fraction * len(known):
            yield say.failed(f"{name}: index is stale", where=cohort.images, value=value, remedy=remedy)
        elif new:
            yield say.warned(f"{name}: files that no job uses yet", where=cohort.images, value=value, remedy=remedy)
        elif days > limits.index_warn_days:
            yield say.warned(f"{name}: indexed {days:.0f} days ago", where=cohort.index, remedy=remedy)
        else:
            yield say.passed(f"{name}: of what is there", where=cohort.images, value=f"{len(known)} files")


def quarantine(case: Case) -> Iterator[Finding]:
    """Compare the fraction of each cohort in quarantine with the fraction that the policy tolerates."""
    say = Voice("quarantine")
    for name, manifest in case.manifests.items():
        cohort = case.policy.cohorts[name]
        files = manifest.quarantined + sum(len(row.paths) for row in manifest.rows)
        fraction = manifest.quarantined / max(files, 1)
        value = f"{manifest.quarantined} of {files} files, tolerated {cohort.max_quarantined_fraction:.0%}"
        if fraction > cohort.max_quarantined_fraction / 2:
            remedy = f"see reasons in {cohort.index}/quarantine.csv, and have the export mended"
            yield say.warned(f"{name}: {fraction:.0%} set aside", value=value, remedy=remedy)
        else:
            yield say.passed(f"{name}: {fraction:.0%} set aside", value=value)


def _unreadable_folder(path: Path) -> str | None:
    """Return why a folder cannot be listed, or the first file below it opened; None if it can or there is no file."""
    try:
        with os.scandir(path) as entries:
            first = next((entry for entry in entries if not entry.name.startswith(".")), None)
        if first is None:
            return None
        return _unreadable_folder(Path(first.path)) if first.is_dir() else _unreadable_file(Path(first.path))
    except OSError as error:
        return error.strerror


def _unreadable_file(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return error.strerror
    return None


Files = dict[tuple[str, str], tuple[int, int]]
"""Size in bytes and time in ns of files, by role and path."""


def _known(case: Case, cohort: CohortPolicy) -> Files | None:
    """Return the sizes and times that ``fedward site index`` keeps of files, without its facts on their content."""
    from fedward.indexing.site_key import load_key

    mark = fingerprint(cohort, load_key(case.policy.key).fingerprint)
    try:
        with (cohort.index / CACHE).open(encoding="utf-8") as file:
            if json.loads(file.readline()) != json.loads(mark):
                return None
            kept = [[line[column] for column in _KEPT] for line in map(json.loads, file)]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return {(role, path): (size, mtime_ns) for role, path, size, mtime_ns in kept} or None


def _files(cohort: CohortPolicy) -> Files:
    """Return the files that ``fedward site index`` would walk."""
    return {
        (one.role, one.path): (one.size, one.mtime_ns)
        for role, root, without in walks(cohort)
        for one in walk(root, role, without=without)
    }


def _compared(there: Files, known: Files) -> tuple[int, int, int]:
    """Count the files that are new, gone, and changed."""
    both = there.keys() & known.keys()
    changed = sum(there[name] != known[name] for name in both)
    return len(there) - len(both), len(known) - len(both), changed
