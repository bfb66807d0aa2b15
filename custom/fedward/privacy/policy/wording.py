"""Describe the protection of a job's updates in words, for people who submit or approve it."""

from __future__ import annotations

from fedward.settings import JobEncryption, JobSpec


def how_updates_leave(job: JobSpec) -> str:
    """Return one line: who can read updates, the precision of their encryption, and who gets the model."""
    encryption = job.encryption
    if encryption is None:
        return "updates leave in the clear: the server reads every one, and every model"
    model = (
        "a hospital opens the final model for who submitted the job"
        if encryption.open_final
        else "the final model stays with the hospitals"
    )
    figures = "scores and cohort statistics are sealed too" if encryption.statistics else "no statistics are sealed"
    return f"updates leave {_protection(encryption)}, in {encryption.precision} precision; {figures}; {model}"


def _protection(encryption: JobEncryption) -> str:
    if encryption.scheme != "masked":
        return f"encrypted by scheme {encryption.scheme}: a hospital that sides with the server reads every one"
    most = encryption.max_colluding
    some = "a third of the hospitals" if most is None else f"{most} hospital{'' if most == 1 else 's'}"
    return f"masked: the server and up to {some} together learn only the sum of the others'"
