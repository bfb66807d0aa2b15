"""Describe the protection of a job's updates in words, for people who submit or approve it."""

from __future__ import annotations

from fedward.encryption.masks.graphs.threshold import colluding_of, group_count, malicious_of, smallest_group
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
    return f"updates leave {_protection(job, encryption)}, in {encryption.precision} precision; {figures}; {model}"


def _protection(job: JobSpec, encryption: JobEncryption) -> str:
    if encryption.scheme != "masked":
        return f"encrypted by scheme {encryption.scheme}: a hospital that sides with the server reads every one"
    most = colluding_of(job)
    some = "1 hospital" if most == 1 else f"{most} hospitals"
    whole = "the sum of the others'"
    if job.federation.aggregation == "grouped-median":
        whole = f"sums of {smallest_group(job) - most} or more of the others' in each of {group_count(job)} groups"
    if job.federation.aggregation == "byzsecagg":
        count = malicious_of(job)
        far = "farthest is" if count == 1 else f"{count} farthest are"
        whole += f", and how far models are from each other, of which the {far} left out"
    return f"masked: the server and up to {some} together learn only {whole}"
