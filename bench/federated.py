"""A real federation of three small synthetic hospitals, for scripts that measure one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

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
