"""A real federation of three small synthetic hospitals, for scripts that measure one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from fedward.demo.federate import Outcome, federate
from fedward.demo.prepare import gather
from fedward.dicom.synthetic.hospital import HOSPITALS, write_cohort
from fedward.flare.local_federation import free_port, interruptible
from fedward.reporting.data.from_events import report_of
from fedward.reporting.data.report import Report
from fedward.settings import JobSpec


def write_hospitals(folder: Path, *, images: int, label: str) -> Path:
    """Three hospitals with so many radiographs each, none of them faulty."""
    small = [replace(one, images=images, faults=()) for one in HOSPITALS]
    write_cohort(folder, label=label, masks=False, hospitals=small)
    return folder


def run(job: JobSpec, data: Path, folder: Path) -> tuple[Report, Outcome]:
    """Index, provision, run the job in real processes over mutual TLS, one thread a site."""
    hospitals = gather(job, data, folder, named={}).hospitals
    with interruptible():
        outcome = federate(
            job,
            hospitals,
            folder / "fl",
            port=free_port(),
            threads=1,
            on_event=lambda site, event: None,
        )
    return report_of(job, outcome.events, wall_s=outcome.wall_s), outcome


@contextmanager
def server_peak(folder: Path) -> Iterator[list[int]]:
    """Yield a list that has, after the block, the largest memory in bytes of the server's job process below a folder.

    It is what the kernel calls VmHWM: pages of the process in memory, its libraries among them, at their most.
    """
    found, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.25):
            for process in psutil.process_iter(["cmdline"]):
                words = " ".join(process.info["cmdline"] or ())
                if "app.server.runner_process" not in words or str(folder) not in words:
                    continue
                try:
                    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
                except OSError:
                    continue
                lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
                found[0] = max(found[0], *(int(line.split()[1]) * 1024 for line in lines), 0)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
