"""Files a second: the index, cold and with nothing changed, beside a bare loop of pydicom over the same files.

    python bench/index.py [--data FOLDER] [--workers N]

Without ``--data`` it makes its own hospitals (seeded). Every measure is the median of three, taken in turns in one run,
with the files in the page cache. The bare loop is ``pydicom.dcmread(path, stop_before_pixels=True)`` in one process: it
reads headers only, while the index also hashes every file, decodes its pixels and judges them. Prints a row and keeps
it in ``bench/results/index.md``. A second table says where the time of the cold index goes, in microseconds a file.
"""

from __future__ import annotations

import argparse
import hashlib
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

from fedward.dicom.header import parse, quiet, read_bytes
from fedward.dicom.synthetic.hospital import write_cohort
from fedward.errors import StudyError
from fedward.indexing.index import index_cohort, pseudonymous
from fedward.indexing.quality import examine
from fedward.indexing.site_key import load_key
from fedward.indexing.walk import walk
from fedward.settings import CohortPolicy, CohortPrivacy, Disclosure, SitePolicy

RESULTS = Path(__file__).resolve().parent / "results" / "index.md"
TURNS = 3
HEAD = """# Index: files a second

Written by `python bench/index.py`; medians of three in one run, files in the page cache. The bare loop is
`pydicom.dcmread(stop_before_pixels=True)` in one process. "× bare" is how many times the bare loop's files a second.

| files | MiB | bare loop | index, cold | × bare | index, nothing changed | × bare | workers | machine |
|---|---:|---:|---:|---:|---:|---:|---:|---|
"""
PARTS = """
## Where the time goes

Microseconds of one CPU for each file, in one process; the last line is the wall time of the cold index with its
workers. The whole file is parsed and not its header alone: the pixels are needed. `examine` is all that a worker does
with a file.

| part | µs a file |
|---|---:|
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
        parts = PARTS + split(data, folder, workers=args.workers)
    print(HEAD + row + parts)
    keep(row, parts)


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
        policy = site(data, folder, index=f"index-{turn}")
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


def site(data: Path, folder: Path, *, index: str) -> SitePolicy:
    """A hospital with one cohort, whose index is in FOLDER/INDEX."""
    cohort = CohortPolicy(
        images=data,
        index=folder / index,
        max_quarantined_fraction=1.0,
        validation_fraction=0.3,
        privacy=CohortPrivacy(dp="not-required", encryption="not-required"),
    )
    return SitePolicy(
        site="bench",
        key=folder / "key",
        ledger=folder / "ledger.db",
        approved_jobs="any",
        disclosure=Disclosure(metrics=(), decimals=3, min_count=1),
        cohorts={"all": cohort},
    )


def split(data: Path, folder: Path, *, workers: int | None) -> str:
    """The lines of the second table: medians of three, of CPU time but for the last."""
    policy = site(data, folder, index="index-parts")
    cohort = policy.cohorts["all"]
    seen = walk(data, "image")
    contents = [read_bytes(data / one.path) for one in seen]
    key = load_key(policy.key)

    def parse_all() -> None:
        for content in contents:
            with suppress(StudyError):
                parse(content)

    with quiet():
        facts = [examine(one, data, cohort) for one in seen]
        parts: dict[str, Callable[[], object]] = {
            "bare loop: the header alone": partial(bare, [data / one.path for one in seen]),
            "read the whole file": lambda: [read_bytes(data / one.path) for one in seen],
            "hash it": lambda: [hashlib.sha256(content).digest() for content in contents],
            "parse it": parse_all,
            "`examine`: these three, describe, decode, judge": lambda: [examine(one, data, cohort) for one in seen],
            "pseudonyms": lambda: [pseudonymous(one, key) for one in facts],
        }
        took = {part: [seconds(work, clock=time.process_time) for _ in range(TURNS)] for part, work in parts.items()}
    whole = [seconds(partial(cold, site(data, folder, index=f"parts-{turn}"), workers)) for turn in range(TURNS)]
    took["wall time of the cold index, with its workers"] = whole
    return "".join(f"| {part} | {statistics.median(each) / len(seen) * 1e6:.0f} |\n" for part, each in took.items())


def cold(policy: SitePolicy, workers: int | None) -> object:
    return index_cohort(policy, "all", workers=workers)


def bare(files: list[Path]) -> None:
    with quiet():
        for path in files:
            with suppress(Exception):  # what is broken on purpose
                pydicom.dcmread(path, stop_before_pixels=True)


def seconds(work: Callable[[], object], *, clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    work()
    return clock() - start


def keep(row: str, parts: str) -> None:
    """Put the row into the table, in place of the one for the same files, and the parts of this run below it."""
    RESULTS.parent.mkdir(exist_ok=True)
    there = RESULTS.read_text(encoding="utf-8").split(PARTS.splitlines()[1])[0] if RESULTS.exists() else HEAD
    rows = [line + "\n" for line in there.splitlines()[HEAD.count("\n") :] if line.strip()]
    first = row.split("|")[1]
    rows = [line for line in rows if line.split("|")[1] != first]
    RESULTS.write_text(HEAD + "".join([*rows, row]) + parts, encoding="utf-8")


if __name__ == "__main__":
    main()
