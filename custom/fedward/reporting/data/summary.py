"""Make ``summary.json``: the few numbers of a report that a script reads. A number that was not measured is null."""

from __future__ import annotations

from typing import Any

from fedward.reporting.data.joining import joining
from fedward.reporting.data.report import TOGETHER, Report, SiteResult

REPORT_FILE = "report.html"


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
    content["joining"] = None if verdict is None else {"paid": verdict.paid, "words": verdict.words}
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
            "training_s": sum(one.train_s or 0.0 for one in rounds) if rounds else None,
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
