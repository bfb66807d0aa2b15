"""Index a folder of images into a cohort manifest, for ``fedward site index``.

1. Walk the image and mask folders: list every file with its size and time.
2. Take unchanged files from the cache of the last run; examine the rest in worker processes, each file read once.
3. Replace identifiers by pseudonyms at once; only pseudonyms are kept.
4. Assemble rows; list all other files in ``quarantine.csv``, and refused lines of the label table in
   ``labels-refused.csv``, with reasons.
5. Refuse the cohort if more files are unusable than the site tolerates.
6. Divide the patients; write the manifest, whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from fedward.dataset.manifest import Manifest, withdraw_manifest, write_manifest
from fedward.errors import CohortError, SettingsError
from fedward.indexing.assemble import MASK, assemble
from fedward.indexing.grouping.nifti_names import patients_of
from fedward.indexing.grouping.sequences import Rules, without_sequence
from fedward.indexing.labels import read_labels, require_columns
from fedward.indexing.processes import examine_all
from fedward.indexing.quality import FileFacts
from fedward.indexing.quarantine import Quarantined, QuarantineError, tally, write_quarantine
from fedward.indexing.site_key import SiteKey, load_key
from fedward.indexing.split.book import keep_sides, with_sides
from fedward.indexing.tables.account import remove_account, write_account
from fedward.indexing.walk import fingerprint, read_cache, split_known, walk, walks, write_cache
from fedward.settings import CohortPolicy, SitePolicy

Progress = Callable[[int, int], None]


def index_cohort(
    policy: SitePolicy,
    cohort: str,
    *,
    progress: Progress | None = None,
    workers: int | None = None,
    new_split: bool = False,
) -> Manifest:
    """Index one cohort of a hospital and write its manifest; files that are unchanged since the last run are not read.

    Args:
        policy: the hospital's ``site.toml``, with absolute paths.
        cohort: name of the cohort in ``site.toml``.
        progress: called with files examined and files to examine, once at the start and after each file.
        workers: number of processes; None for one per CPU; 0 to use only this process.
        new_split: divide the patients anew; without it each keeps its side (``fedward.indexing.split``).

    Returns:
        The manifest, as written.

    Raises:
        SettingsError: no such cohort, or an unusable key.
        QuarantineError: more than ``max_quarantined_fraction`` of the image files is unusable, or all are.
            ``quarantine.csv`` is still written. An unusable mask counts only if the cohort requires a mask.
        CohortError: no such folder, an empty one, an unusable label table, or an index that cannot be written. But for
            the last, an earlier manifest is withdrawn: no job uses a refused cohort.
    """
    chosen = _chosen(policy, cohort)
    key = load_key(policy.key)
    try:
        keep_sides(policy, key)
        try:
            return _index(policy, cohort, chosen, key, progress, workers, new_split=new_split)
        except CohortError:
            withdraw_manifest(chosen.index)
            raise
    except OSError as error:
        remedy = "make room, or correct index in site.toml"
        raise CohortError("index cannot be written", where=chosen.index, value=error.strerror, remedy=remedy) from None


def _index(
    policy: SitePolicy,
    cohort: str,
    chosen: CohortPolicy,
    key: SiteKey,
    progress: Progress | None,
    workers: int | None,
    *,
    new_split: bool,
) -> Manifest:
    remove_account(chosen.index)
    seen, roots = _walk(chosen)
    labels = None if chosen.labels is None else read_labels(chosen.labels, key)
    require_columns(labels, [one for one in chosen.require if one != MASK], chosen.labels or chosen.images)
    found = _with_patients(_findings(seen, roots, chosen, key, progress, workers), key, chosen.sequences)
    masks = [one for one in found if one.role == "mask" or one.is_mask]
    images = [one for one in found if one.role == "image" and not one.is_mask]
    rows, aside, labelled = assemble(images, masks, cohort=chosen, key=key, labels=labels)
    write_quarantine(aside, chosen.index)
    if labelled is not None:
        write_account(labelled.lines, labelled.refused, chosen.index)
    unusable = len(images) - sum(len(row.paths) for row in rows)
    _require_usable(chosen, unusable=unusable, files=len(images), aside=aside)
    rows, book = with_sides(rows, policy=policy, cohort=cohort, key=key, anew=new_split)
    manifest = Manifest(
        cohort=cohort,
        site=policy.site,
        images_root=chosen.images,
        masks_root=chosen.masks,
        rows=tuple(rows),
        quarantined=len(aside),
        quarantined_patients=_patients(images, aside),
        split_version=book.version,
    )
    write_manifest(manifest, chosen.index)
    return manifest


def _patients(images: Sequence[FileFacts], aside: Sequence[Quarantined]) -> int:
    """Count the patients of the image files in quarantine."""
    whose = {one.path: one.patient for one in images}
    return len({whose.get(one.file, "") for one in aside} - {""})


def pseudonymous(finding: FileFacts, key: SiteKey) -> FileFacts:
    """Return the finding with keyed pseudonyms in place of every identifier."""
    return replace(
        finding,
        patient=key.pseudonym("patient", finding.patient),
        patient_alike=key.alike("patient", finding.patient),
        study=key.pseudonym("study", finding.study),
        series=key.pseudonym("series", finding.series),
        instance=key.pseudonym("image", finding.instance),
        frame_of_reference=key.pseudonym("image", finding.frame_of_reference),
        referenced_series=tuple(key.pseudonym("series", one) for one in finding.referenced_series),
        referenced_instances=tuple(key.pseudonym("image", one) for one in finding.referenced_instances),
        mask_frames=tuple(
            replace(
                place, sources=tuple((key.pseudonym("image", instance), frame) for instance, frame in place.sources)
            )
            for place in finding.mask_frames
        ),
    )


def _with_patients(found: Sequence[FileFacts], key: SiteKey, rules: Rules) -> list[FileFacts]:
    """Return the findings with the pseudonym of each NIfTI image's patient, by the names of all of them."""
    paths = [one.path for one in found if one.format == "nifti" and one.role == "image"]
    shared = {path: without_sequence(path, rules) for path in paths}
    by_shared = patients_of(dict.fromkeys(shared.values()))
    whose = {path: by_shared[name] for path, name in shared.items()}
    return [
        one
        if one.path not in whose or one.role != "image"
        else replace(
            one,
            patient=key.pseudonym("patient", whose[one.path]),
            patient_alike=key.alike("patient", whose[one.path]),
        )
        for one in found
    ]


def _chosen(policy: SitePolicy, cohort: str) -> CohortPolicy:
    if cohort not in policy.cohorts:
        remedy = f"name one of {', '.join(sorted(policy.cohorts))}"
        raise SettingsError("no such cohort", where=policy.site, value=cohort, remedy=remedy)
    return policy.cohorts[cohort]


def _walk(cohort: CohortPolicy) -> tuple[list[FileFacts], dict[str, Path]]:
    """Return every file of the cohort, and the folder of each role, from which its paths start."""
    seen: list[FileFacts] = []
    roots: dict[str, Path] = {}
    for role, root, without in walks(cohort):
        roots[role] = root
        seen += walk(root, role, without=without)
        if not seen:
            remedy = "correct the cohort's images in site.toml"
            raise CohortError("no files in here", where=cohort.images, remedy=remedy)
    return seen, roots


def _findings(
    seen: list[FileFacts],
    roots: dict[str, Path],
    cohort: CohortPolicy,
    key: SiteKey,
    progress: Progress | None,
    workers: int | None,
) -> list[FileFacts]:
    """Return a finding for each file, in order of role and path, from the cache or from the file."""
    mark = fingerprint(cohort, key.fingerprint)
    known, fresh = split_known(seen, read_cache(cohort.index, mark))
    found: dict[tuple[str, str], FileFacts] = {(one.role, one.path): one for one in known}
    if progress is not None:
        progress(0, len(fresh))
    try:
        with closing(examine_all(fresh, roots, cohort, workers=workers)) as examined:
            for done, finding in enumerate(examined, 1):
                found[finding.role, finding.path] = pseudonymous(finding, key)
                if progress is not None:
                    progress(done, len(fresh))
    finally:  # keep what has been read, even if Ctrl-C stops the rest
        if fresh or len(known) < len(seen):
            write_cache(cohort.index, mark, [found[name] for name in sorted(found)])
    return [found[name] for name in sorted(found)]


def _require_usable(chosen: CohortPolicy, *, unusable: int, files: int, aside: Sequence[Quarantined]) -> None:
    """Refuse a cohort with too many unusable files, or with no other.

    Raises:
        QuarantineError: it is so.
    """
    if unusable < files and unusable <= chosen.max_quarantined_fraction * files:
        return
    raise QuarantineError(
        where=chosen.images,
        unusable=unusable,
        files=files,
        tolerated=chosen.max_quarantined_fraction,
        table=tally(aside),
        index=chosen.index,
    )
