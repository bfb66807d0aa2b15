"""Define ``fedward demo``: three hospitals, a server, a job and a report on one machine."""

from __future__ import annotations

from pathlib import Path

import typer

from fedward.commands.splits import split_of
from fedward.settings import read_job


def demo(
    job: Path = typer.Option(Path("jobs/cxr_private"), help="A job's folder."),
    data: Path | None = typer.Option(None, help="Folder with one folder a hospital. None: synthetic hospitals."),
    out: Path = typer.Option(Path("build/demo"), help="Folder for everything the demo makes."),
    split_sites: int | None = typer.Option(None, help="Deal the only hospital's images to this many sites."),
    split: list[str] = typer.Option(
        [], metavar="SITE=PARTS", help="Deal one hospital's images to several; repeatable."
    ),
    port: int | None = typer.Option(None, min=1, max=65_535, help="The server's port on localhost. None: a free one."),
    centralised: bool = typer.Option(
        True, help="Also train one model on all hospitals' images in one place, to compare with."
    ),
    dashboard: bool = typer.Option(True, help="Serve the dashboard on this machine while the demo runs."),
    dashboard_port: int = typer.Option(0, min=0, max=65_535, help="The dashboard's port on 127.0.0.1. 0: a free one."),
    contribution: bool = typer.Option(
        False, help="Also measure what each hospital brought: trains once more, scores 2^hospitals models."
    ),
    threads: int = typer.Option(1, min=1, help="CPU threads for each site's training."),
    seed: int = typer.Option(0, min=0, help="Seed of the synthetic images and of the patients' splits."),
) -> None:
    """Run a whole federation on this machine. DICOM in, training, a report and summary.json out; Ctrl-C stops
    all of it."""
    from fedward.demo.report import write_demo_report
    from fedward.demo.run import DemoOptions, run_demo
    from fedward.screen import screen
    from fedward.training.check import require_sound

    options = DemoOptions(
        out=out,
        data=data,
        split_every=split_sites,
        split_named=dict(split_of(text) for text in split),
        port=port,
        centralised=centralised,
        threads=threads,
        dashboard=dashboard_port if dashboard else None,
        contribution=contribution,
        seed=seed,
    )
    console = screen()
    spec = read_job(job)
    require_sound(spec)
    demonstrated = run_demo(spec, options, console)
    write_demo_report(demonstrated, out, console)
