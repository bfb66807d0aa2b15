"""Define the results of a search for settings, and write them as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedward.files import write_atomic

SCHEMA = 1
JSON_FILE, CSV_FILE = "search.json", "search.csv"
SAME_PATIENTS = (
    "The score of the best of {count} settings is optimistic: part of its lead is luck. Judge the chosen job with "
    "another seed, or on patients that took no part in the search."
)
ONE = "One setting was tried; nothing was chosen."
LEAK = (
    "Chosen on these patients' images, the settings tell something of them, also where the job that uses them later "
    "has an ε: the choice is not counted in it (Papernot & Steinke 2022). For a private job search on synthetic or "
    "public images."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteScore:
    """Score of one trial at one site, in the job's measure; None where there is none."""

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run of the job with one choice of settings.

    Attributes:
        settings: setting -> value.
        rounds, seed: rounds and seed of the run.
        sites: site -> its score.
        failed: reason why it has no score; "" if it has.
    """

    settings: Mapping[str, Any]
    rounds: int
    seed: int
    sites: Mapping[str, SiteScore]
    failed: str = ""

    @property
    def mean(self) -> float | None:
        """Mean over the sites' values, each site counted once; None if a site has none."""
        values = [site.value for site in self.sites.values()]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if values and len(known) == len(values) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """One choice of settings with all its runs of most rounds.

    Attributes:
        settings: setting -> value.
        rounds: rounds of its longest runs.
        score: mean over seeds and sites; None if a run failed or a site has no value.
        worst: lowest value of a site; None likewise.
        failed: reason of a failed run; "" if there is none.
    """

    settings: Mapping[str, Any]
    rounds: int
    score: float | None
    worst: float | None
    failed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Results of a search.

    Attributes:
        job, hash: name and hash of the job as given.
        measure: "auc" or "dice", of the sites' validation patients.
        settings: setting -> values that were asked for.
        halving: True for successive halving, False for a grid.
        candidates: number of choices.
        planned: number of runs that were asked for.
        trials: finished runs, in order.
        aside: site -> reason why it takes no part.
        on_patients: True if the images were given, and are not said to be public.
    """

    job: str
    hash: str
    measure: str
    settings: Mapping[str, tuple[Any, ...]]
    halving: bool
    candidates: int
    planned: int
    trials: tuple[Trial, ...]
    aside: Mapping[str, str]
    on_patients: bool

    @property
    def complete(self) -> bool:
        """True if every run was made."""
        return len(self.trials) == self.planned

    @property
    def ranking(self) -> tuple[Ranked, ...]:
        """Choices, the best first; of a halving, those first that got more rounds."""
        runs: dict[str, list[Trial]] = {}
        for trial in self.trials:
            runs.setdefault(_key(trial.settings), []).append(trial)
        found = [_ranked(each) for each in runs.values()]
        return tuple(sorted(found, key=self._place))

    def _place(self, one: Ranked) -> tuple[float, bool, float]:
        return (-one.rounds if self.halving else 0, one.score is None, -(one.score or 0.0))

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that a reader of the best score must know."""
        ranked = [one for one in self.ranking if one.score is not None]
        count = len(ranked)
        made = f"{count} of {self.candidates} settings have a score, in {len(self.trials)} runs."
        note = SAME_PATIENTS.format(count=count) if count > 1 else ONE
        return (made, note, *([LEAK] if self.on_patients else []))


def plain_search(search: Search) -> dict[str, Any]:
    """Return a search as JSON-ready data."""
    content = {"schema": SCHEMA, "complete": search.complete, "notes": search.notes, **asdict(search)}
    content["ranking"] = [asdict(one) for one in search.ranking]
    return content


def write_search(folder: Path, search: Search) -> Path:
    """Write ``search.json``, and ``search.csv`` with a row for each run and site; return the path of the second.

    Raises:
        OSError: the disk does not accept them.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    names = list(search.settings)
    writer.writerow([*names, "rounds", "seed", "site", "measure", "value", "low", "high", "n", "failed"])
    for trial in search.trials:
        own = [*(_word(trial.settings[name]) for name in names), trial.rounds, trial.seed]
        for site, score in trial.sites.items():
            found = ("" if one is None else one for one in (score.value, score.low, score.high, score.n))
            writer.writerow([*own, site, search.measure, *found, ""])
        if trial.failed:
            writer.writerow([*own, "", search.measure, "", "", "", "", trial.failed])
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / JSON_FILE, json.dumps(plain_search(search), indent=2, ensure_ascii=False) + "\n")
    write_atomic(folder / CSV_FILE, text.getvalue())
    return folder / CSV_FILE


def worded(settings: Mapping[str, Any]) -> str:
    """Return a choice of settings as ``--set`` has it."""
    return ", ".join(f"{key}={_word(value)}" for key, value in settings.items())


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _ranked(runs: list[Trial]) -> Ranked:
    most = max(run.rounds for run in runs)
    last = [run for run in runs if run.rounds == most]
    means = [run.mean for run in last]
    known = [mean for mean in means if mean is not None]
    whole = bool(means) and len(known) == len(means)
    values = [site.value for run in last for site in run.sites.values() if site.value is not None]
    return Ranked(
        settings=last[0].settings,
        rounds=most,
        score=sum(known) / len(known) if whole else None,
        worst=min(values) if whole and values else None,
        failed=next((run.failed for run in last if run.failed), ""),
    )
