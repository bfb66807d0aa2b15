"""Turn folders of images into demo hospitals, each with its own ``site.toml``, key and index."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedward.dataset.manifest import Manifest
from fedward.errors import CohortError, JobError
from fedward.indexing.site_key import load_key
from fedward.privacy.ledger.ledger import Ledger
from fedward.settings import JobSpec

MAX_QUARANTINED, VALIDATION = 0.1, 0.3
EPSILON_CAP = 8.0
"""Largest ε that a patient of the demo may spend."""
_TABLE, LEDGER, FEDERATION_KEY, ROSTER = "labels.csv", "ledger.db", "federation.key", "roster.json"
METRICS = (
    *("scores", "support", "work", "cohort", "privacy", "subgroups", "curves", "profile"),
    *("pooled", "cohort_statistics"),
)
"""All metrics that a site can report; see ``fedward.privacy.disclosure.release``."""
MIN_COUNT = 5
"""Minimum count; a smaller count does not leave a demo's hospital."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Images of one hospital as found.

    Attributes:
        site: id, lower-case kebab.
        images, masks, labels: paths; None for those that do not exist.
        folder: name of the hospital's folder, from which the id is made; "" for a part of a hospital.
    """

    site: str
    images: Path
    masks: Path | None
    labels: Path | None
    folder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoHospital:
    """A hospital of the demo, ready to take part."""

    site: str
    config: Path
    manifest: Manifest


def find_sources(data: Path) -> tuple[Source, ...]:
    """Find hospitals below ``data``.

    Either one folder for each hospital with ``dicom/`` and, if available, ``labels.csv`` and ``seg/``; or NIfTI files
    of one hospital in ``images/`` with masks of the same names in ``labels/``.

    Raises:
        CohortError: no such folder, or nothing of either form in it.
    """
    if not data.is_dir():
        raise CohortError("no such folder", where=data, remedy="give the folder that holds one folder a hospital")
    if (data / "images").is_dir():
        labels = data / "labels"
        return (
            Source(
                site=site_id(data.resolve().name),
                folder=data.resolve().name,
                images=data / "images",
                masks=labels if labels.is_dir() else None,
                labels=None,
            ),
        )
    found = tuple(
        Source(
            site=site_id(folder.name),
            folder=folder.name,
            images=folder / "dicom",
            masks=folder / "seg" if any((folder / "seg").glob("*")) else None,
            labels=folder / _TABLE if (folder / _TABLE).is_file() else None,
        )
        for folder in sorted(data.iterdir())
        if (folder / "dicom").is_dir()
    )
    if not found:
        raise CohortError(
            "no hospital in this folder",
            where=data,
            remedy="it needs <hospital>/dicom/, or images/ and labels/ of NIfTI",
        )
    return found


def site_id(name: str) -> str:
    """Turn a folder's name into a site id."""
    kebab = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not re.match(r"[a-z]", kebab):
        raise CohortError("folder name cannot be a site id", value=name, remedy="start it with a letter")
    return kebab


def split_source(source: Source, parts: int, out: Path, *, seed: int) -> tuple[Source, ...]:
    """Divide one hospital's images among ``parts`` hospitals by keyed hash of the patient (DICOM folder or NIfTI file).

    The images stay in place; each part is a folder of links. No patient is in two parts.
    """
    if parts < 2:
        raise CohortError("a hospital is split in two or more", value=parts, where=source.site)
    nifti = not any(entry.is_dir() for entry in source.images.iterdir())
    sites = [f"{source.site}-{number + 1}" for number in range(parts)]
    chosen: dict[str, list[Path]] = {site: [] for site in sites}
    for entry in sorted(source.images.iterdir()):
        if entry.name.startswith("."):
            continue
        digest = hashlib.sha256(f"{seed}/{entry.name}".encode()).digest()
        chosen[sites[int.from_bytes(digest[:8], "big") % parts]].append(entry)
    dealt = []
    for site, entries in chosen.items():
        folder = out / site
        (folder / "dicom").mkdir(parents=True)
        for entry in entries:
            (folder / "dicom" / entry.name).symlink_to(entry.resolve(), target_is_directory=entry.is_dir())
        masks, labels = source.masks, source.labels
        if nifti and masks is not None:
            (folder / "seg").mkdir()
            for entry in entries:
                if (masks / entry.name).exists():
                    (folder / "seg" / entry.name).symlink_to((masks / entry.name).resolve())
            masks = folder / "seg"
        if labels is not None:
            _part_of_table(labels, folder / _TABLE, {entry.name for entry in entries})
            labels = folder / _TABLE
        dealt.append(Source(site=site, images=folder / "dicom", masks=masks, labels=labels))
    return tuple(dealt)


def write_site(
    source: Source,
    folder: Path,
    job: JobSpec,
    *,
    seed: int,
    modalities: Sequence[str] = (),
    require: Sequence[str] = (),
    min_count: int = MIN_COUNT,
) -> Path:
    """Write the hospital's ``site.toml`` for the job's cohort; return its path.

    A real hospital's key is random and created at first use. The demo's key comes from its seed, so that a rerun splits
    the patients as before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "site.key"
    key.touch(mode=0o600)
    key.write_text(hashlib.sha256(f"fedward demo/{seed}/{source.site}".encode()).hexdigest() + "\n", encoding="ascii")
    lines = [
        f"site = {_quoted(source.site)}",
        f"key = {_quoted(str(key.resolve()))}",
        f"ledger = {_quoted(str((folder / LEDGER).resolve()))}",
        f"roster = {_quoted(str((folder / ROSTER).resolve()))}",
        *_federation_key(job, folder),
        'approved_jobs = "any"',
        f"disclosure = {{ metrics = {_list(METRICS)}, decimals = 4, min_count = {min_count} }}",
        "",
        f"[cohorts.{job.data.cohort}]",
        f"images = {_quoted(str(source.images.resolve()))}",
        f"index = {_quoted(str((folder / 'index').resolve()))}",
    ]
    if source.labels is not None:
        lines.append(f"labels = {_quoted(str(source.labels.resolve()))}")
    if source.masks is not None:
        lines.append(f"masks = {_quoted(str(source.masks.resolve()))}")
    lines.append(f"volumes = {'true' if len(job.data.size) == 3 else 'false'}")
    if job.data.sequences:
        rules = ", ".join(f"{_quoted(name)} = {_quoted(f'*{name}*')}" for name in job.data.sequences)
        lines.append(f"sequences = {{ {rules} }}")
    lines += [f"modalities = {_list(modalities)}", f"require = {_list(require)}"]
    lines += [f"max_quarantined_fraction = {MAX_QUARANTINED}", f"validation_fraction = {VALIDATION}"]
    lines.append(f"privacy = {_privacy(job)}")
    path = folder / "site.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if not (folder / LEDGER).exists():
        Ledger.create(folder / LEDGER, site=source.site, key=load_key(key).secret)
    return path


def apply_splits(
    sources: Sequence[Source], *, every: int | None, named: Mapping[str, int], out: Path, seed: int
) -> tuple[Source, ...]:
    """Divide hospitals as requested: one single hospital among ``every`` sites, or each ``named`` one in its number.

    Raises:
        JobError: ``every`` with several hospitals, or a name that is not among them.
    """
    known = {source.site for source in sources}
    for name in named:
        if name not in known:
            raise JobError("no such hospital to split", value=name, remedy=f"there are {', '.join(sorted(known))}")
    if every is not None:
        if len(sources) != 1:
            raise JobError(
                "--split-sites is for the data of one hospital", value=len(sources), remedy="use --split SITE=PARTS"
            )
        return split_source(sources[0], every, out, seed=seed)
    dealt: list[Source] = []
    for source in sources:
        parts = named.get(source.site)
        dealt += [source] if parts is None else split_source(source, parts, out, seed=seed)
    return tuple(dealt)


def _privacy(job: JobSpec) -> str:
    """Return a privacy policy that requires differential privacy and encryption if the demo's job offers them."""
    delta, encryption = job.privacy.delta, "not-required" if job.encryption is None else "required"
    if job.privacy.mechanism == "none" or delta is None:
        return f'{{ dp = "not-required", encryption = "{encryption}" }}'
    shared = ", noise_for_sum = true" if job.noises_sum else ""
    return f'{{ dp = "required", epsilon_cap = {EPSILON_CAP}, delta = {delta}, encryption = "{encryption}"{shared} }}'


def _part_of_table(table: Path, out: Path, patients: set[str]) -> None:
    with table.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if row.get("PatientID") in patients]
        columns = reader.fieldnames or []
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)


def _list(texts: Sequence[str]) -> str:
    return "[" + ", ".join(map(_quoted, texts)) + "]"


def _federation_key(job: JobSpec, folder: Path) -> list[str]:
    """Return the line that names the federation's key; a masked job makes its own."""
    if job.is_masked:
        return []
    return [f"federation_key = {_quoted(str((folder / FEDERATION_KEY).resolve()))}"]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
