"""A folder of hospitals, or made-up ones -> each hospital's index, for measurements in this one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from fedward.dataset.manifest import Manifest
from fedward.demo.hospitals import apply_splits, find_sources, write_site
from fedward.errors import CohortError
from fedward.settings import JobSpec, read_site


def gather(
    job: JobSpec,
    data: Path | None,
    folder: Path,
    *,
    named: Mapping[str, int],
    every: int | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, Manifest], dict[str, str]]:
    """Index every hospital in this process.

    Args:
        job: names the cohort, and what synthetic images have to show.
        data: folder of hospitals; None: synthetic ones, made in ``folder``.
        folder: for keys, indices and splits; the caller removes it.
        named, every: how to deal one hospital's images to several; see ``apply_splits``.
        seed: of the synthetic images and of the hospitals' keys.
        say: told of each hospital as it is read.

    Returns:
        Site -> its images, and site -> why its cohort is refused.

    Raises:
        CohortError: no hospital at all.
    """
    from fedward.dicom.index import index_cohort

    if data is None:
        from fedward.dicom.synthetic import write_cohort

        data = folder / "hospitals"
        label = job.data.labels[0] if job.data.labels else "lesion"
        write_cohort(data, seed=seed, label=label, masks=job.job.task == "segmentation")
    found: dict[str, Manifest] = {}
    refused: dict[str, str] = {}
    for source in apply_splits(find_sources(data), every=every, named=named, out=folder / "split", seed=seed):
        say(source.site)
        config = write_site(source, folder / "sites" / source.site, job, seed=seed)
        try:
            found[source.site] = index_cohort(read_site(config), job.data.cohort, workers=0)
        except CohortError as error:
            refused[source.site] = str(error)
    return found, refused
