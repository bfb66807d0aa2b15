"""Run the demo from its first folder to its report."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from fedward.dashboard.background import start_background
from fedward.demo.compare import Comparison, compare
from fedward.demo.federate import HOST, NAME, Outcome, federate
from fedward.demo.hospitals import DemoHospital
from fedward.demo.prepare import Gathered, gather
from fedward.demo.progress import Show
from fedward.errors import CohortError, FederationError
from fedward.flare.local_federation import free_port, interruptible, require_free_port
from fedward.metrics.store import STORE_FILE
from fedward.provisioning.folder import KITS
from fedward.settings import JobSpec

if TYPE_CHECKING:
    from fedward.demo.contribution import Contribution

FEDERATION = "federation"
NEEDED_BYTES = 500 * 1024 * 1024
_MADE_HERE = ".fedward-demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """Options of ``fedward demo``.

    Attributes:
        out: folder for all output of the demo; replaced if it belongs to an older demo.
        data: folder of hospitals, or None for synthetic ones.
        split_every, split_named: division of one hospital's images among several sites.
        port: port of the server, or None for a free one.
        centralised: also train one model on all hospitals' images in one place.
        threads: CPU threads for each site.
        dashboard: port of the dashboard, 0 for a free one, or None for no dashboard.
        contribution: True to measure each hospital's contribution to the model too.
        seed: seed of the synthetic images and of the demo's site keys.
    """

    out: Path
    data: Path | None = None
    split_every: int | None = None
    split_named: Mapping[str, int]
    port: int | None = None
    centralised: bool = True
    threads: int = 1
    dashboard: int | None = 0
    contribution: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstrated:
    """Measurements of the demo, before they become a report."""

    job: JobSpec
    hospitals: tuple[DemoHospital, ...]
    refused: Mapping[str, str]
    synthetic: bool
    outcome: Outcome
    comparison: Comparison
    contributions: Mapping[str, Contribution] = field(default_factory=dict)


def run_demo(job: JobSpec, options: DemoOptions, console: Console) -> Demonstrated:
    """Make or find hospitals, index them, federate, compare. Every process it starts is stopped before it returns.

    Raises:
        FedwardError: any fault that the user can correct, in one line.
    """
    port = options.port or free_port()
    require_free_port(HOST, port)
    prepare_folder(options.out)
    with interruptible(), ExitStack() as beside, Show(job, console) as show:
        if options.dashboard is not None:
            url = beside.enter_context(start_background(store_of(options.out), port=options.dashboard)).url
            show.show_line(Text.assemble(("dashboard", "bold"), f"   {url}   live until the demo ends"))
        gathered = _gathered(job, options, show)
        hospitals, refused = gathered.hospitals, gathered.refused
        began = f": a server and {len(hospitals)} hospitals on {HOST}:{port}, mutual TLS"
        show.show_line(Text.assemble(("federation", "bold"), began))
        if job.encryption is not None and not job.is_masked:
            maker = min(hospital.site for hospital in hospitals)
            show.show_line(f"  {maker:<22} makes the federation's key and seals it to the others' certificates")
        outcome = federate(
            job, hospitals, options.out / FEDERATION, port=port, on_event=show.event, threads=options.threads
        )
        show.show_line("comparison", "bold")
        took_part = {event["site"] for event in outcome.of("admitted")}
        cohorts = {hospital.site: hospital.manifest for hospital in hospitals if hospital.site in took_part}
        comparison = compare(
            job, cohorts, outcome.model, outcome.local_only, centralised=options.centralised, log=show.show_line
        )
        measured: Mapping[str, Contribution] = {}
        if options.contribution:
            show.show_line("  training once more in this process, for what each hospital brought")
            from fedward.demo.contribution import contributions

            measured = contributions(job, cohorts)
    return Demonstrated(
        job=job,
        hospitals=hospitals,
        refused=refused,
        synthetic=options.data is None,
        outcome=outcome,
        comparison=comparison,
        contributions=measured,
    )


def store_of(out: Path) -> Path:
    """Return the path of the server's metrics store for the demo in ``out``; it exists from the first job on."""
    return out / FEDERATION / NAME / KITS / HOST / STORE_FILE


def prepare_folder(out: Path) -> None:
    """Empty ``out``; refuse a folder that no demo made, and a disk without room.

    Raises:
        FederationError: the folder or the disk is refused.
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


def _gathered(job: JobSpec, options: DemoOptions, show: Show) -> Gathered:
    """Make or find the hospitals and index them.

    Raises:
        CohortError: none of them has a usable cohort.
    """
    show.show_line("hospitals", "bold")
    if options.data is None:
        show.show_line("  making three hospitals' synthetic radiographs as DICOM")
    gathered = gather(
        job,
        options.data,
        options.out,
        named=options.split_named,
        every=options.split_every,
        seed=options.seed,
        made=show.made,
        log=show.hospital,
    )
    if not gathered.hospitals:
        raise CohortError("no hospital has a usable cohort", remedy="look at each one's reason above")
    return gathered
