"""Show progress on a terminal: one bar for each training site, one line for each site and round that is done."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeElapsedColumn
from rich.text import Text

from fedward.screen import column, line
from fedward.settings import JobSpec


class Show:
    """Printer of the demo's progress; it draws bars only on a terminal."""

    def __init__(self, job: JobSpec, console: Console) -> None:
        self._job, self._console = job, console
        self._measure = job.measure
        columns = (
            column("{task.description:<22}"),
            BarColumn(),
            MofNCompleteColumn(),
            column("{task.fields[note]}"),
        )
        self._progress = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show_line(self, words: str | Text, style: str = "") -> None:
        """Print one line unchanged: nothing in it is markup."""
        self._progress.console.print(line(words, style) if isinstance(words, str) else words, soft_wrap=True)

    def made(self, site: str, done: int, total: int) -> None:
        """Show the number of a hospital's synthetic images that are made."""
        if site not in self._bars:
            self._bars[site] = self._progress.add_task(site, total=total, note="")
        self._progress.update(self._bars[site], description=f"{site} images", completed=done, total=total)

    def hospital(self, site: str, what: str) -> None:
        """Show the result for a hospital's cohort."""
        self.show_line(f"  {site:<22} {what}", "yellow" if what.startswith("takes no part") else "")

    def event(self, site: str | None, event: dict[str, Any]) -> None:
        """Show one event of the server (site None) or of a site."""
        if site is not None:
            if event["event"] == "progress":
                self._train(site, event)
            return
        reported = self._line(event)
        if reported:
            self.show_line(reported, _STYLES.get(event["event"], ""))

    def _train(self, site: str, event: dict[str, Any]) -> None:
        alone = event["round"] is None
        what = "alone" if alone else f"round {event['round'] + 1}/{self._job.federation.rounds}"
        if site not in self._bars:
            self._bars[site] = self._progress.add_task(site, total=None, note="")
        loss = "" if event["loss"] is None else f"loss {event['loss']:.3f}"
        self._progress.update(
            self._bars[site],
            description=f"{site} {what}",
            total=event["steps"],
            completed=event["step"],
            note=loss,
        )

    def _line(self, event: dict[str, Any]) -> str:
        kind, site = event["event"], str(event.get("site", ""))
        if kind == "admitted":
            return self._admitted(site, event)
        if kind == "declined":
            return f"  {site:<22} takes no part: {event['reason']}"
        if kind == "dropped":
            return f"  {site:<22} dropped: {event['reason']}"
        if kind == "failed":
            return f"  failed: {event['reason']}"
        if kind in _TOLD:
            return f"  {_TOLD[kind](event)}"
        if kind == "round":
            return self._round(event)
        if kind == "answered" and event["task"] == "round" and not self._job.federation.validates(event["round"]):
            return ""  # a round in which nobody validates: ``_round`` counts it
        if kind == "answered":
            return self._answer(site, event["task"], event["round"], event["metrics"])
        return ""

    def _admitted(self, site: str, event: dict[str, Any]) -> str:
        support, privacy = event.get("support", {}), event.get("privacy", {})
        train, validate = (_or_unsaid(support.get(f"{side}_patients")) for side in ("train", "validation"))
        reported = f"  {site:<22} takes part: {train} patients train, {validate} validate"
        if support.get("left_out"):
            reported += f"; {support['left_out']} have an image without a label, mask or size that the job needs"
        if privacy.get("epsilon") is not None:
            reported += f"; ε {privacy['epsilon']:.2f} at δ {privacy['delta']:.0e} charged to its ledger"
        return reported

    def _round(self, event: dict[str, Any]) -> str:
        """Return a line of each tenth round, where sites do not validate in each."""
        done, rounds = event["round"] + 1, self._job.federation.rounds
        if self._job.federation.validate_every == 1 or (done % 10 and done < rounds):
            return ""
        return f"  {f'round {done}/{rounds}':<22} made from {len(event['sites'])} hospitals"

    def _answer(self, site: str, task: str, number: int, metrics: dict[str, Any]) -> str:
        scores = metrics.get("scores", {})
        value, low, high = (scores.get(f"{self._measure}{end}") for end in ("", "_low", "_high"))
        if task == "alone" and not scores:
            return f"  {site:<22} alone       scores stay at the hospital"
        shown = "not measured" if value is None else f"{value:.3f}"
        if None not in (value, low, high):
            shown += f" ({low:.2f} to {high:.2f})"
        when = f"round {number + 1}/{self._job.federation.rounds}" if task == "round" else task
        reported = f"  {site:<22} {when:<11} {self._measure.upper() if self._measure == 'auc' else 'Dice'} {shown}"
        if task == "round":
            loss, seconds = metrics.get("loss"), metrics.get("train_s")
            reported += "" if loss is None else f"   loss {loss:.3f}"
            reported += "" if seconds is None else f"   {seconds:.1f} s"
        return reported


def _pooled(event: dict[str, Any]) -> str:
    scores, sites = event["pooled"], len(event["sites"])
    auc, low, high = (scores.get(name) for name in ("auc", "auc_low", "auc_high"))
    shown = "not measured" if auc is None else f"AUC {auc:.3f}"
    if low is not None and high is not None:
        shown += f" ({low:.2f} to {high:.2f})"
    return f"{'over all hospitals':<22} final       {shown}   from an encrypted sum over {sites} hospitals"


_TOLD: dict[str, Callable[[dict[str, Any]], str]] = {
    "encrypted": lambda event: f"what leaves a hospital is encrypted under the key {event['key'][:8]}…",
    "clipped": lambda event: f"{event['site']:<22} {event['values']} values out of range were clipped",
    "pooled": _pooled,
    "suspect": lambda event: f"{event['site']:<22} round {event['round'] + 1}: {event['reason']}",
    "unopened": lambda event: f"not opened: {event['reason']}",
    "opened": lambda event: f"{event['site']:<22} opened the final model",
}
"""Kind of event -> function that formats its line."""
_STYLES = dict.fromkeys(("declined", "dropped", "clipped", "suspect", "unopened"), "yellow") | {"failed": "red"}
"""Kind of event -> rich's style of its line; other kinds have none."""


def _or_unsaid(count: int | None) -> str:
    return "an unsaid number of" if count is None else str(count)
