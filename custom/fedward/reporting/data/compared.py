"""Describe the comparisons of a report: which model, on which patients, from which seed."""

from __future__ import annotations

from collections.abc import Sequence

from fedward.reporting.data.event_lookup import Event, last_of
from fedward.settings import JobSpec


def compared(job: JobSpec, events: Sequence[Event]) -> tuple[str, ...]:
    """Return plain sentences that explain every number in the events of a job."""
    own = "each site’s own validation patients, who were held back from all training"
    lines = [f"Federated: {_final(job, events)}, on {own}."]
    if job.federation.local_baseline:
        lines.append(
            "Trained alone: one model a site, from the same initial weights and with as many passes over that site’s "
            "own images, on the same validation patients."
        )
    if last_of(events, "pooled") is not None:
        lines.append(
            "Over all hospitals: the federated model, on all sites’ validation images as one set, from counts of "
            "scores that were added up encrypted."
        )
    if job.job.task == "classification":
        lines.append(
            "Sensitivity and specificity: at an operating point chosen on other patients of the same site, aiming at "
            "95 % specificity."
        )
    lines.append("Intervals: 95 %, drawing patients again, never single images.")
    lines.append("One site against the others: its value beside the mean and spread of the other sites.")
    lines.append(
        f"Seed {job.job.seed} for initial weights, batch order and augmentation; which patients validate is fixed by "
        "each hospital’s own key and is the same in every job."
    )
    return tuple(lines)


def _final(job: JobSpec, events: Sequence[Event]) -> str:
    chosen = last_of(events, "selected")
    if chosen is None:
        return "the model of the last round"
    return f"the model of round {chosen['round']}, chosen by the sites’ mean validation score"
