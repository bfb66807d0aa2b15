"""Run a job at several ε for ``fedward job sweep``, and show its scores against ε."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from rich.table import Table

from fedward.demo.prepare import Gathered
from fedward.demo.sweep import epsilons_of, run_sweep
from fedward.measures import TITLES
from fedward.reporting.sweep.chart import shown
from fedward.reporting.sweep.page import table, write_sweep
from fedward.reporting.sweep.sweep import NOTE, Sweep, plain_sweep
from fedward.screen import line, screen
from fedward.settings import JobSpec


class OverEpsilon:
    """Sweep over ε.

    Args:
        job: the job.
        epsilons: as typed.
        seeds: number of seeds of each run.
        out: folder for the results.

    Raises:
        SettingsError: ``epsilons`` is no list of ε.
    """

    def __init__(self, job: JobSpec, epsilons: str, *, seeds: int, out: Path) -> None:
        self._job, self._asked, self._seeds, self._out = job, epsilons_of(epsilons), seeds, out
        self._done: Sweep

    def run(self, gathered: Gathered, *, follow: Callable[[float, str], None]) -> None:
        """Run every ε, and write the results so far after each run; errors as of ``run_sweep``."""
        self._done = run_sweep(
            self._job,
            gathered.cohorts,
            epsilons=self._asked,
            seeds=self._seeds,
            refused=gathered.refused,
            follow=follow,
            keep=self._keep,
        )

    def as_json(self) -> str:
        """Return the results as JSON."""
        return json.dumps(plain_sweep(self._done), indent=2)

    def show(self) -> None:
        """Print the table, the note and the page's path."""
        done, page = self._done, write_sweep(self._out, self._done)
        console, rows = screen(), table(done)
        classes = len({row.name for row in rows}) > 1
        heads = ("way", "site") if len(done.ways) > 1 else ("site", "class")
        epsilons = [f"ε {shown(epsilon)}" for epsilon in done.epsilons]
        columns = [heads[0], *([heads[1]] if classes else []), *epsilons, "few"]
        drawn = Table(*columns, title=f"{done.job}: {TITLES[done.measure]} against ε", title_justify="left")
        for row in rows:
            cells = ["not measured" if cell is None else f"{cell.value}\n{cell.interval}" for cell in row.cells]
            drawn.add_row(row.site, *([row.name or "mean"] if classes else []), *cells, row.few)
        console.print(drawn)
        for site, reason in done.aside.items():
            console.print(line(f"{site} takes no part: {reason}"), soft_wrap=True)
        console.print(NOTE)
        console.print(str(page), soft_wrap=True)

    def _keep(self, so_far: Sweep) -> None:
        write_sweep(self._out, so_far)
