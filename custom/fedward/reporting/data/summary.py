"""Make ``summary.json``: the few numbers of a report that a script reads. A number that was not measured is null."""

from __future__ import annotations

from typing import Any

from fedward.reporting.data.report import TOGETHER, Report, SiteResult
from fedward.reporting.data.worth import joining, verdicts

REPORT_FILE = "report.html"

MEANINGS = {
    "task": "`classification` or `segmentation`",
    "rounds": "rounds that counted",
    "wall_s": "seconds from the first event to the last",
    "encryption": "how updates left the hospitals, in words",
    "federated_{measure}_mean": "the final model: mean over the sites' scores",
    "federated_{measure}_min": "the final model: the lowest site's score",
    "pooled_{measure}": "the final model, over all hospitals' held-out patients",
    "pooled_{measure}_low": "lower end of its interval",
    "pooled_{measure}_high": "upper end of its interval",
    "centralised_{measure}": "only in a demo: trained without noise on all sites' images in one place, likewise",
    "pooled_private_{measure}": "only in a demo: the centralised model, trained at the job's ε",
    "local_only_{measure}_mean_everywhere": "trained at one site alone without noise: mean of each at every site",
    "joining": "`paid`: true if each site is better than alone at the same ε; `words`: how; null: not compared",
    "worth": "verdicts on the model, the bad ones first: `kind`, `good`, `words`",
    "report": "file name of the report beside it",
    "overhead_s": "seconds in which no site trained or validated",
    "time.training_s": "seconds of the slowest site's training, of all rounds; null where sites keep it (private jobs)",
    "time.alone_s": "seconds of training alone, for the comparison",
    "time.rounds": "for each round `wall_s`, `slowest_site`, and that site's `train_s` and `validate_s`",
    "state": "how the run ended: `finished`, `aborted` or `failed`",
    "success": "true if the run reached its end",
    "end": "the same sentence as in the terminal and the report",
    "missing": "site that was missing at the end -> reason",
    "resumed": "number of times that the run was resumed",
    "steps": "site -> private steps that its ledger `charged`, and those that `counted`; null without ε",
    "sites.NAME.{measure}": "the final model at this site's held-out patients",
    "sites.NAME.{measure}_low": "lower end of its interval",
    "sites.NAME.{measure}_high": "upper end of its interval",
    "sites.NAME.n": "held-out patients",
    "sites.NAME.images": "their images",
    "sites.NAME.positives": "those with the finding",
    "sites.NAME.local_only_{measure}": "a model trained at this site alone, without noise, at the same patients",
    "sites.NAME.private_alone_{measure}": "only in a demo: a model trained at this site alone at the job's ε",
    "sites.NAME.pooled_private_{measure}": "only in a demo: the centralised model, trained at the job's ε",
    "sites.NAME.epsilon": "what the job cost each of this site's patients, ε",
    "sites.NAME.delta": "its δ",
}
"""Field of ``summary.json`` -> what it means; ``{measure}`` is ``auc`` or ``dice``."""


def summary(report: Report) -> dict[str, Any]:
    """Return the fields that ``make demo`` documents, JSON-ready.

    A segmentation has null in every ``auc`` field and its values in the same fields named ``dice``.
    """
    measure = report.measure
    content: dict[str, Any] = {
        "task": report.job.task,
        "rounds": report.rounds_done,
        "wall_s": report.time.wall_s,
        "encryption": report.encryption,
        "sites": {site.site: _site(site, measure) for site in sorted(report.sites, key=lambda site: site.site)},
    }
    worst = report.worst
    totals = {
        f"federated_{measure}_mean": report.mean,
        f"federated_{measure}_min": None if worst is None else worst.federated.value,
        f"pooled_{measure}": report.pooled.value,
        f"pooled_{measure}_low": report.pooled.low,
        f"pooled_{measure}_high": report.pooled.high,
        f"centralised_{measure}": report.centralised_pooled.value,
        f"pooled_private_{measure}": report.pooled_private.value,
        f"local_only_{measure}_mean_everywhere": _mean_everywhere(report),
    }
    empty = dict.fromkeys(("federated_auc_mean", "federated_auc_min", "pooled_auc", "centralised_auc"))
    verdict = joining(report)
    content["joining"] = None if verdict is None else {"paid": verdict.good, "words": verdict.words}
    content["worth"] = [{"kind": one.kind, "good": one.good, "words": one.words} for one in verdicts(report)]
    return {**content, **empty, **totals, "report": REPORT_FILE, **_time(report), **_end(report)}


def _site(site: SiteResult, measure: str) -> dict[str, Any]:
    score = site.federated
    empty = dict.fromkeys(("auc", "auc_low", "auc_high", "n", "images", "positives", "epsilon", "local_only_auc"))
    return {
        **empty,
        measure: score.value,
        f"{measure}_low": score.low,
        f"{measure}_high": score.high,
        "n": score.n,
        "images": score.images,
        "positives": score.positives,
        f"local_only_{measure}": site.local_only.value,
        f"private_alone_{measure}": site.private_alone.value,
        f"pooled_private_{measure}": site.pooled_private.value,
        "epsilon": None if site.privacy is None else site.privacy.epsilon,
        "delta": None if site.privacy is None else site.privacy.delta,
    }


def _mean_everywhere(report: Report) -> float | None:
    """Return the mean over each site's own model at each site; None if not measured."""
    values = [at[place] for at in report.matrix.values() for place in at if place != TOGETHER]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _end(report: Report) -> dict[str, Any]:
    return {
        "state": report.coverage.state,
        "success": report.coverage.success,
        "end": report.coverage.verdict,
        "missing": {one.site: one.reason for one in report.coverage.missing},
        "resumed": sum(one.kind == "resumed" for one in report.interruptions),
        "steps": {
            site.site: {"charged": site.privacy.steps, "counted": site.privacy.steps_counted}
            for site in sorted(report.sites, key=lambda site: site.site)
            if site.privacy is not None
        },
    }


def _time(report: Report) -> dict[str, Any]:
    rounds = report.time.rounds
    return {
        "overhead_s": report.time.overhead_s,
        "time": {
            "training_s": sum(known) if (known := [one.train_s for one in rounds if one.train_s is not None]) else None,
            "alone_s": report.time.alone_s,
            "rounds": [
                {
                    "wall_s": one.wall_s,
                    "slowest_site": one.slowest_site,
                    "train_s": one.train_s,
                    "validate_s": one.validate_s,
                }
                for one in rounds
            ],
        },
    }
