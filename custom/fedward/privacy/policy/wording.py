"""Describe the protection of a job's updates in words, for people who submit or approve it."""

from __future__ import annotations

from fedward.encryption.masks.graphs.threshold import Threshold, colluding_of, group_count, malicious_of, smallest_group
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


def how_it_starts(job: JobSpec) -> str:
    """Return in a phrase which weights the job starts from, and after which job."""
    model = job.model
    if model.start is None:
        return f"drawn from seed {job.job.seed}"
    which = "starts from public weights that the job carries"
    if job.parent is not None:
        before, file = job.parent, job.parent.model_sha256
        which = f"goes on after {before.rounds} rounds from the final model {file} of job {before.job_hash}"
    some = f", of which it takes {', '.join(model.start_layers)}; the rest is drawn from seed {job.job.seed}"
    return f"{which}, SHA-256 {model.start_sha256}{some if model.start_layers else ''}"


def guarantee(job: JobSpec, bound: Threshold) -> str:
    """Return in words what the server and hospitals on its side learn in a masked run, and how many may be lost."""
    most, must = bound.colluding, bound.fewest
    whole = f"the sum of the others, of {must - most} or more"
    if job.federation.aggregation == "grouped-median":
        whole, must = _of_groups(job), bound.needed
        lost = f"{must} hospitals must help, and {smallest_group(job)} of each group send"
    else:
        both = "send and help" if bound.fewest == bound.needed else f"send and {bound.needed} help"
        lost = f"{must} hospitals must {both}, so {bound.may_be_lost} may be lost in a round"
    told = f"the server and up to {most} of {bound.sites} hospitals together learn only {whole}"
    return f"{told}{_compared(job, most)}; {lost}"


def _protection(job: JobSpec, encryption: JobEncryption) -> str:
    if encryption.scheme != "masked":
        return f"encrypted by scheme {encryption.scheme}: a hospital that sides with the server reads every one"
    most = colluding_of(job)
    some = "1 hospital" if most == 1 else f"{most} hospitals"
    whole = _of_groups(job) if job.federation.aggregation == "grouped-median" else "the sum of the others'"
    return f"masked: the server and up to {some} together learn only {whole}{_compared(job, most)}"


def _of_groups(job: JobSpec) -> str:
    least = smallest_group(job) - colluding_of(job)
    return f"sums of {least} or more of the others' in each of {group_count(job)} groups"


def _compared(job: JobSpec, most: int) -> str:
    """Return what hospitals that compare their models let the server learn besides; empty: they do not."""
    if job.federation.aggregation != "byzsecagg":
        return ""
    count = malicious_of(job)
    far = "the farthest is" if count == 1 else f"the {count} farthest are"
    more = "one more number" if most == 1 else f"{most} more numbers"
    return f", how far models are from each other, and {more} of each model, such as its length; {far} left out"
