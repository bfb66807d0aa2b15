"""Files a second: the index, cold and with nothing changed, beside a bare loop of pydicom over the same files.

    python bench/index.py [--data FOLDER] [--workers N]

Without ``--data`` it makes its own hospitals (seeded). Every measure is the median of three, taken in turns in one run,
with the files in the page cache. The bare loop is ``pydicom.dcmread(path, stop_before_pixels=True)`` in one process: it
reads headers only, while the index also hashes every file, decodes its pixels and judges them. Prints a row and keeps
it in ``bench/results/index.md``.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pydicom

from fedward.dicom.header import quiet
from fedward.dicom.synthetic.hospital import write_cohort
from fedward.indexing.index import index_cohort
from fedward.settings import CohortPolicy, CohortPrivacy, Disclosure, SitePolicy

RESULTS = Path(__file__).resolve().parent / "results" / "index.md"
TURNS = 3
HEAD = """# Index: files a second

Written by `python bench/index.py`; medians of three in one run, files in the page cache. The bare loop is
`pydicom.dcmread(stop_before_pixels=True)` in one process. "× bare" is how many times the bare loop's files a second.

| files | MiB | bare loop | index, cold | × bare | index, nothing changed | × bare | workers | machine |
|---|---:|---:|---:|---:|---:|---:|---:|---|
"""


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, help="a folder of DICOM files")
    ask.add_argument("--workers", type=int, help="processes of the index; one a CPU by default")
    args = ask.parse_args()
    with tempfile.TemporaryDirectory(prefix="fedward-bench-") as name:
        folder = Path(name)
        data = args.data.resolve() if args.data is not None else make(folder)
        row = measure(data, folder, workers=args.workers, what="made hospitals" if args.data is None else data.name)
    print(HEAD + row)
    keep(row)


def make(folder: Path) -> Path:
    """Three made-up hospitals side by side below one folder."""
    write_cohort(folder / "hospitals", label="lesion", masks=False)
    for hospital in sorted((folder / "hospitals").iterdir()):
        (folder / "images").mkdir(exist_ok=True)
        (hospital / "dicom").rename(folder / "images" / hospital.name)
    return folder / "images"


def measure(data: Path, folder: Path, *, workers: int | None, what: str) -> str:
    """One row of the table."""
    files = sorted(path for path in data.rglob("*") if path.is_file())
    size = sum(len(path.read_bytes()) for path in files)  # and into the page cache with them
    took: dict[str, list[float]] = {"bare": [], "cold": [], "again": []}
    for turn in range(TURNS):
        policy = SitePolicy(
            site="bench",
            key=folder / "key",
            ledger=folder / "ledger.db",
            approved_jobs="any",
            disclosure=Disclosure(metrics=(), decimals=3, min_count=1),
            cohorts={
                "all": CohortPolicy(
                    images=data,
                    index=folder / f"index-{turn}",
                    max_quarantined_fraction=1.0,
                    validation_fraction=0.3,
                    privacy=CohortPrivacy(dp="not-required", encryption="not-required"),
                )
            },
        )
        took["bare"].append(seconds(partial(bare, files)))
        indexed = partial(index_cohort, policy, "all", workers=workers)
        took["cold"].append(seconds(indexed))
        took["again"].append(seconds(indexed))
    rate = {name: len(files) / statistics.median(each) for name, each in took.items()}
    cores = len(os.sched_getaffinity(0))
    machine = f"{cores} cores {platform.machine()}, Python {platform.python_version()}, pydicom {version('pydicom')}"
    return (
        f"| {len(files)} {what} | {size / 2**20:.0f} | {rate['bare']:.0f} | {rate['cold']:.0f} "
        f"| {rate['cold'] / rate['bare']:.2f} | {rate['again']:.0f} | {rate['again'] / rate['bare']:.2f} "
        f"| {workers or cores} | {machine} |\n"
    )


def bare(files: list[Path]) -> None:
    with quiet():
        for path in files:
            with suppress(Exception):  # what is broken on purpose
                pydicom.dcmread(path, stop_before_pixels=True)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def keep(row: str) -> None:
    """Put the row into the table, in place of the one for the same files."""
    RESULTS.parent.mkdir(exist_ok=True)
    there = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else HEAD
    rows = [line + "\n" for line in there.splitlines()[HEAD.count("\n") :] if line.strip()]
    first = row.split("|")[1]
    rows = [line for line in rows if line.split("|")[1] != first]
    RESULTS.write_text(HEAD + "".join([*rows, row]), encoding="utf-8")


if __name__ == "__main__":
    main()
