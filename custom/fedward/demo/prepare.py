"""Prepare real or synthetic hospitals for the demo: each gets a site.toml, a key, a ledger and an index."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedward.dataset.manifest import Manifest
from fedward.dataset.rarity import rarity_words
from fedward.dataset.selection import select
from fedward.demo.hospitals import DemoHospital, apply_splits, find_sources, write_site
from fedward.errors import CohortError
from fedward.settings import JobSpec, read_site

LUNGS = ("Lung",)
"""Structures of the synthetic radiographs; for others, and for volumes, synthetic heads are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Hospitals with a usable cohort, and for the others site -> reason."""

    hospitals: tuple[DemoHospital, ...]
    refused: Mapping[str, str]

    @property
    def cohorts(self) -> dict[str, Manifest]:
        """Return site -> its images."""
        return {hospital.site: hospital.manifest for hospital in self.hospitals}


def gather(
    job: JobSpec,
    data: Path | None,
    folder: Path,
    *,
    named: Mapping[str, int],
    every: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    made: Callable[[str, int, int], None] | None = None,
    log: Callable[[str, str], None] = lambda site, what: None,
) -> Gathered:
    """Make synthetic hospitals if there are none, and index every one; a refused cohort's hospital is left out.

    Args:
        job: job that names the cohort, and the labels that synthetic images must show.
        data: folder of hospitals; None: synthetic ones, written in ``folder``.
        folder: folder for keys, ledgers, indices and splits.
        named, every: division of one hospital's images among several; see ``apply_splits``.
        seed: seed of the synthetic images and of the hospitals' keys.
        workers: processes that read images; None: one a CPU.
        made: called for each synthetic image with site, number done and total.
        log: called for each hospital with its result: usable, or the reason.

    Raises:
        CohortError: no hospital at all.
    """
    from fedward.indexing.index import index_cohort

    synthetic = data is None
    if data is None:
        data = _write_synthetic(job, folder / "hospitals", seed=seed, made=made)
    # synthetic data are known; other data are not filtered, because their owner set no rule
    modalities, require = (("CR", "DX", "MR"), job.data.labels) if synthetic else ((), ())
    hospitals, refused = [], {}
    for source in apply_splits(find_sources(data), every=every, named=named, out=folder / "split", seed=seed):
        site = folder / "sites" / source.site
        config = write_site(source, site, job, seed=seed, modalities=modalities, require=require)
        try:
            manifest = index_cohort(read_site(config), job.data.cohort, workers=workers)
        except CohortError as error:
            refused[source.site] = str(error)
            log(source.site, f"takes no part: {error}")
            continue
        named_as = "" if source.folder in ("", source.site) else f" from folder {source.folder}"
        counts = f"{len(manifest.rows)} images of {manifest.patients()} patients indexed{named_as}"
        coloured = sum("colour" in row.flags for row in manifest.rows)
        used = "" if job.data.colour else ", of which only the luminance is used"
        grey = f"; {coloured} in colour{used}" if coloured else ""
        log(source.site, f"{counts}, {manifest.quarantined} in quarantine{grey}")
        hospitals.append(DemoHospital(site=source.site, config=config, manifest=manifest))
        try:
            least = read_site(config).cohorts[job.data.cohort].min_patients
            chosen = select(job, [manifest], site=source.site, min_patients=least)
            if (rare := rarity_words(job, chosen.train)) is not None:
                log(source.site, f"warning: {rare}")
        except CohortError as error:  # it says no itself, and tells the server less
            log(source.site, f"will take no part: {error}")
    return Gathered(hospitals=tuple(hospitals), refused=refused)


def _write_synthetic(job: JobSpec, data: Path, *, seed: int, made: Callable[[str, int, int], None] | None) -> Path:
    from fedward.dicom.synthetic.head import SEQUENCES
    from fedward.dicom.synthetic.hospital import write_cohort
    from fedward.dicom.synthetic.mri import write_mri

    if job.job.task == "segmentation" and (len(job.data.size) == 3 or job.data.structures != LUNGS):
        sequences = SEQUENCES if len(job.data.sequences) > 1 else SEQUENCES[-1:]
        write_mri(data, structures=job.data.structures, sequences=sequences, seed=seed, progress=made)
        return data
    label = job.data.labels[0] if job.data.labels else "lesion"
    write_cohort(data, seed=seed, label=label, masks=job.job.task == "segmentation", progress=made)
    return data
