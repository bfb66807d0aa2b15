"""The demo from its first folder to its report."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from fedward.demo.compare import Comparison, compare
from fedward.demo.federate import Outcome, federate
from fedward.demo.gather import gather
from fedward.demo.hospitals import DemoHospital
from fedward.demo.show import Show
from fedward.errors import CohortError, FederationError
from fedward.flare.processes import free_port, interruptible, require_free_port
from fedward.settings import JobSpec

NEEDED_BYTES = 500 * 1024 * 1024
_MADE_HERE = ".fedward-demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What ``fedward demo`` was asked for.

    Attributes:
        out: folder for everything the demo makes; replaced when it is an older demo's.
        data: folder of hospitals, or None for synthetic ones.
        split_every, split_named: how to deal one hospital's images to several sites.
        port: the server's port, or None for a free one.
        centralised: also train one model on the pooled data.
        threads: CPU threads a site.
        seed: of the synthetic images and of the demo's site keys.
    """

    out: Path
    data: Path | None = None
    split_every: int | None = None
    split_named: Mapping[str, int]
    port: int | None = None
    centralised: bool = True
    threads: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstrated:
    """What the demo measured, before it is a report."""

    job: JobSpec
    hospitals: tuple[DemoHospital, ...]
    refused: Mapping[str, str]
    synthetic: bool
    outcome: Outcome
    comparison: Comparison


def run_demo(job: JobSpec, options: DemoOptions, console: Console) -> Demonstrated:
    """Make or find hospitals, index them, federate, compare. Every process it starts is stopped before it returns.

    Raises:
        FedwardError: whatever a person can mend, in one line.
    """
    port = options.port or free_port()
    require_free_port("localhost", port)
    prepare_folder(options.out)
    with interruptible(), Show(job, console) as show:
        show.say("[bold]hospitals[/bold]")
        if options.data is None:
            show.say("  making three hospitals' synthetic radiographs as DICOM")
        gathered = gather(
            job,
            options.data,
            options.out,
            named=options.split_named,
            every=options.split_every,
            seed=options.seed,
            made=show.made,
            say=show.hospital,
        )
        hospitals, refused = gathered.hospitals, gathered.refused
        if not hospitals:
            raise CohortError("no hospital has a usable cohort", remedy="look at each one's reason above")
        show.say(f"[bold]federation[/bold]: a server and {len(hospitals)} hospitals on localhost:{port}, mutual TLS")
        if job.encryption is not None:
            maker = min(hospital.site for hospital in hospitals)
            show.say(f"  {maker:<22} makes the federation's key and seals it to the other hospitals' certificates")
        outcome = federate(
            job, hospitals, options.out / "federation", port=port, on_event=show.event, threads=options.threads
        )
        show.say("[bold]comparison[/bold]")
        took_part = {event["site"] for event in outcome.of("admitted")}
        cohorts = {hospital.site: hospital.manifest for hospital in hospitals if hospital.site in took_part}
        comparison = compare(
            job, cohorts, outcome.model, outcome.local_only, centralised=options.centralised, say=show.say
        )
    return Demonstrated(
        job=job,
        hospitals=hospitals,
        refused=refused,
        synthetic=options.data is None,
        outcome=outcome,
        comparison=comparison,
    )


def prepare_folder(out: Path) -> None:
    """Make ``out`` empty; refuse a folder that no demo made, and a disk without room.

    Raises:
        FederationError: either of these.
    """
    marker = out / _MADE_HERE
    if out.exists() and any(out.iterdir()) and not marker.is_file():
        raise FederationError("folder is not a demo's", where=out, remedy="give another --out or empty it")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    marker.touch()
    free = shutil.disk_usage(out).free
    if free < NEEDED_BYTES:
        raise FederationError(
            "disk has no room for the demo",
            where=out,
            value=f"{free // 2**20} MiB free",
            remedy=f"free {NEEDED_BYTES // 2**20} MiB or give another --out",
        )
