"""Search for a job's settings for ``fedward job sweep --set``, and show the best first."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from fedward.demo.prepare import Gathered
from fedward.demo.search.override import choices
from fedward.demo.search.result import Search, plain_search, worded, write_search
from fedward.demo.search.run import choices_of, require_free_choice, run_search
from fedward.errors import SettingsError
from fedward.measures import TITLES
from fedward.screen import line, screen
from fedward.settings import JobSpec


class SettingsSearch:
    """Search over settings.

    Args:
        job: the job.
        asked: each setting with its values, as typed.
        halving: True for successive halving, False for a grid.
        seeds: number of seeds of each run.
        on_patients: True if the images are of patients whom an ε may protect.
        out: folder for the results.

    Raises:
        SettingsError: no setting, a value that is not allowed, or too many.
        JobError: a job with a fault, or a private one on patients' images.
    """

    def __init__(
        self, job: JobSpec, asked: Sequence[str], *, halving: bool, seeds: int, on_patients: bool, out: Path
    ) -> None:
        self._job, self._halving, self._seeds, self._on_patients, self._out = job, halving, seeds, on_patients, out
        self._settings: dict[str, tuple[Any, ...]] = {}
        for text in asked:
            key, values = choices(text)
            if key in self._settings:
                raise SettingsError("is given twice", where="--set", value=key, remedy=f"write --set {key}=VALUE,VALUE")
            self._settings[key] = values
        require_free_choice([one for _, one in choices_of(job, self._settings)], on_patients=on_patients)
        self._done: Search

    def run(self, gathered: Gathered, *, follow: Callable[[float, str], None]) -> None:
        """Run every trial, and write the results so far after each run; errors as of ``run_search``."""
        self._done = run_search(
            self._job,
            gathered.cohorts,
            settings=self._settings,
            halving=self._halving,
            seeds=self._seeds,
            on_patients=self._on_patients,
            refused=gathered.refused,
            follow=follow,
            keep=self._keep,
        )

    def as_json(self) -> str:
        """Return the results as JSON."""
        return json.dumps(plain_search(self._done), indent=2)

    def show(self) -> None:
        """Print the table, the notes and the file's path."""
        done, console = self._done, screen()
        title = f"{done.job}: {TITLES[done.measure]} of the sites' validation patients"
        drawn = Table("settings", "rounds", "mean", "worst site", title=title, title_justify="left")
        for one in done.ranking:
            cells = ("none", "") if one.score is None or one.worst is None else (f"{one.score:.3f}", f"{one.worst:.3f}")
            drawn.add_row(worded(one.settings), str(one.rounds), *cells)
        console.print(drawn)
        for one in done.ranking:
            if one.failed:
                console.print(line(f"{worded(one.settings)}: {one.failed}"), soft_wrap=True)
        for site, reason in done.aside.items():
            console.print(line(f"{site} takes no part: {reason}"), soft_wrap=True)
        for note in done.notes:
            console.print(line(note))
        console.print(str(write_search(self._out, done)), soft_wrap=True)

    def _keep(self, so_far: Search) -> None:
        write_search(self._out, so_far)
