"""Describe the protection of a job's updates in words, for people who submit or approve it."""

from __future__ import annotations

from fedward.settings import JobSpec, Scheme


def how_updates_leave(job: JobSpec, *, scheme: Scheme | None = None) -> str:
    """Return one line: if the server can read updates, the precision of their encryption, and who gets the model.

    Args:
        job: the job.
        scheme: scheme of the federation's key, where it is known.
    """
    encryption = job.encryption
    if encryption is None:
        return "updates leave in the clear: the server reads every one, and every model"
    model = (
        "a hospital opens the final model for who submitted the job"
        if encryption.open_final
        else "the final model stays with the hospitals"
    )
    figures = "scores and cohort statistics are sealed too" if encryption.statistics else "no statistics are sealed"
    return f"updates leave encrypted, in {encryption.precision} precision and by {_scheme(scheme)}; {figures}; {model}"


def _scheme(scheme: Scheme | None) -> str:
    return "the scheme of the federation's key" if scheme is None else f"scheme {scheme}"
