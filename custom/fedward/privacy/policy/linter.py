"""Report settings of a job's privacy and encryption that make no sense, in plain words and all at once.

The checks read only settings, and the number of patients and images where it is known. A job with a fault gives no
guarantee, or claims one that it does not keep, so it neither passes ``fedward job check`` nor runs at a site.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fedward.encryption.masks.graphs.sparse import sparse_bound
from fedward.encryption.masks.graphs.threshold import (
    ROBUST,
    colluding_of,
    group_count,
    least_to_compare,
    malicious_of,
    smallest_group,
    threshold_of,
)
from fedward.errors import EncryptionError, JobError
from fedward.privacy.policy.sum_faults import sum_faults
from fedward.settings import MIN_CONTRIBUTORS, JobEncryption, JobSpec

LARGEST_SUM = 256
"""Largest number of hospitals in a sum, ``encryption.max_sites`` at its most."""
MAX_LOST = JobEncryption.model_fields["max_lost"].default


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortFacts:
    """A site's training patients and their training images."""

    patients: int
    images: int


def faults(job: JobSpec, *, cohort: CohortFacts | None = None) -> list[str]:
    """Return the faults of the job's privacy, one line each: setting, value, reason, remedy; empty when there is none.

    Args:
        job: the job; only its settings are read.
        cohort: facts of the cohort; where given, δ and the sampling rate are checked against them.
    """
    rules: tuple[Callable[[JobSpec, CohortFacts | None], Iterator[str]], ...] = (
        _update_noise,
        _batch_norm,
        _selection,
        _delta,
        _sampling_rate,
        _aggregation,
        _fewer_steps,
        _sites_of_a_sum,
    )
    return [*(fault for rule in rules for fault in rule(job, cohort)), *sum_faults(job)]


def remarks(job: JobSpec) -> list[str]:
    """Return remarks on settings that protect less than a reader may expect; remarks are no faults."""
    private, by_patients = job.privacy.mechanism != "none", job.federation.weighting == "patients"
    found = [
        f"privacy.update.filters: {name} is not differential privacy; it counts for nothing in ε"
        for name in (job.privacy.update.filters if job.privacy.update is not None else ())
    ]
    if job.encryption is None:
        if private and by_patients:
            found.append(
                "federation.weighting: 'patients' sends each site's exact number of training patients, which ε does "
                "not cover; 'equal' sends none"
            )
        return [*found, "encryption: none, so every update leaves in the clear for the server to read"]
    if private and by_patients:
        found.append(
            "federation.weighting: 'patients' tells hospitals the exact number of training patients of all sites "
            "together, which ε does not cover; 'equal' tells none"
        )
    asked = job.privacy.dp_sgd
    if asked is not None and asked.max_colluding is not None and asked.max_colluding < (borne := colluding_of(job)):
        found.append(
            f"privacy.dp_sgd.max_colluding: the noise bears {asked.max_colluding} hospitals on the server's side, and "
            f"the masks {borne}: ε is larger against a number between"
        )
    if job.encryption.open_final and not private:
        found.append(
            "encryption.open_final: the final model leaves in the clear: it was trained without differential privacy "
            "and may remember patients"
        )
    if job.model.batch_norm == "average":
        found.append(
            f"model.batch_norm: 'average' also sums BatchNorm's variances, and one above encryption.clipping_range, "
            f"{job.encryption.clipping_range:g}, is clipped to it; 'local' keeps them at the sites"
        )
    return found


def _update_noise(job: JobSpec, _: CohortFacts | None) -> Iterator[str]:
    update, mechanism = job.privacy.update, job.privacy.mechanism
    if update is None:
        return
    where, noise = "privacy.update.noise_multiplier", update.noise_multiplier
    if mechanism == "update-noise" and noise == 0.0:
        alone = " and ".join(update.filters) or "a clip"
        verb = "are" if len(update.filters) > 1 else "is"
        what = f"mechanism update-noise without noise: {alone} {verb} not differential privacy"
        yield _fault(what, where=where, value=noise, remedy="give noise, or say mechanism 'none'")
    if mechanism != "update-noise" and noise > 0.0:
        what = f"noise on the update under mechanism {mechanism!r} is neither added nor counted"
        yield _fault(what, where=where, value=noise, remedy="say mechanism 'update-noise', or leave the noise out")


def _batch_norm(job: JobSpec, _: CohortFacts | None) -> Iterator[str]:
    if job.privacy.dp_sgd is None or job.model.batch_norm == "refuse":
        return
    yield _fault(
        "BatchNorm under dp-sgd mixes the patients of a batch, and its statistics are noised by nobody",
        where="model.batch_norm",
        value=job.model.batch_norm,
        remedy="give 'refuse': layers become GroupNorm; InstanceNorm may be chosen in model.args",
    )


def _selection(job: JobSpec, _: CohortFacts | None) -> Iterator[str]:
    if job.privacy.mechanism == "none" or job.federation.select == "last":
        return
    yield _fault(
        "the choice of the best round reads validation patients whom ε does not cover",
        where="federation.select",
        value=job.federation.select,
        remedy="give 'last'",
    )


def _delta(job: JobSpec, cohort: CohortFacts | None) -> Iterator[str]:
    if job.privacy.mechanism == "none":
        return
    delta, table = job.privacy.delta, "dp_sgd" if job.privacy.dp_sgd is not None else "update"
    where = f"privacy.{table}.delta"
    if delta is None:
        yield _fault("noise without δ has no ε", where=where, remedy="give at most 1/(10 · training patients)")
        return
    dp_sgd = job.privacy.dp_sgd
    union = 0 if dp_sgd is None or dp_sgd.sampling_rate is None else dp_sgd.patients_per_step / dp_sgd.sampling_rate
    patients = max(round(union), 0 if cohort is None else cohort.patients)
    if patients and delta * 10 * patients > 1.0:
        what = f"δ above 1/(10 · {patients} training patients) may give a whole patient away"
        yield _fault(what, where=where, value=delta, remedy=f"give at most {_below(1 / (10 * patients))}")


def _sampling_rate(job: JobSpec, cohort: CohortFacts | None) -> Iterator[str]:
    dp_sgd = job.privacy.dp_sgd
    if dp_sgd is None or cohort is None or dp_sgd.noise == "sum" or dp_sgd.patients_per_step <= cohort.patients:
        return
    what = f"more patients expected in a step than the {cohort.patients} that there are to train on"
    remedy = "give fewer; the fewer, the more is hidden by who was drawn"
    yield _fault(what, where="privacy.dp_sgd.patients_per_step", value=dp_sgd.patients_per_step, remedy=remedy)


def _aggregation(job: JobSpec, _: CohortFacts | None) -> Iterator[str]:
    aggregation, where = job.federation.aggregation, "federation.aggregation"
    if aggregation in ROBUST:
        yield from _robust(job, where)
        return
    if (most := job.federation.max_malicious) is not None:
        what = f"aggregation {aggregation} bears no false hospital"
        remedy = "leave it out, or give aggregation 'byzsecagg' or 'grouped-median'"
        yield _fault(what, where="federation.max_malicious", value=most, remedy=remedy)
    if job.encryption is None or aggregation == "mean":
        return
    needs = {
        "median": "with a median the server would have to compare values that it cannot read",
        "fedadam": "with fedadam the server would have to square a mean that it cannot read",
    }
    robust = ", or 'byzsecagg' or 'grouped-median', which bear false hospitals," if job.is_masked else ""
    remedy = f"give 'mean'{robust} or leave the [encryption] table out and let the server read every update"
    yield _fault(needs[aggregation], where=where, value=aggregation, remedy=remedy)


def _robust(job: JobSpec, where: str) -> Iterator[str]:
    """Faults of a masked job that bears false updates: its models are compared, or summed by groups."""
    asked = job.federation
    if not job.is_masked or job.has_sparse_graph:
        what = "this aggregation is of masked sums, over the complete graph"
        remedy = "give encryption.scheme 'masked' and graph 'complete', or another aggregation"
        yield _fault(what, where=where, value=asked.aggregation, remedy=remedy)
        return
    if asked.aggregation == "byzsecagg" and asked.weighting != "equal":
        what = "models times another weight each cannot be compared"
        yield _fault(what, where="federation.weighting", value=asked.weighting, remedy="give 'equal'")
    if asked.aggregation == "byzsecagg" and asked.must_include:
        what = "of the models the farthest are left out of every round, so none can be required"
        named = ", ".join(asked.must_include)
        yield _fault(what, where="federation.must_include", value=named, remedy="leave it out")
    if asked.min_sites < _least(job):
        what = (
            f"{asked.aggregation} with max_malicious {malicious_of(job)} and max_colluding {colluding_of(job)} needs "
            f"{_least(job)} hospitals"
        )
        yield _fault(what, where="federation.min_sites", value=asked.min_sites, remedy=_enough(job))


def _least(job: JobSpec) -> int:
    """Return the smallest number of hospitals with which a job that bears false updates can run."""
    grouped = job.federation.aggregation == "grouped-median"
    return group_count(job) * smallest_group(job) if grouped else least_to_compare(job)


def _enough(job: JobSpec) -> str:
    """Return the remedy of too few hospitals: a number that is enough, with the bounds that then follow from it."""
    for sites in range(job.federation.min_sites + 1, LARGEST_SUM + 1):
        if _least(_of_sites(job, sites)) <= sites:
            return f"give {sites} or more, or a smaller max_malicious or encryption.max_colluding"
    return "give a smaller max_malicious or encryption.max_colluding"


def _fewer_steps(job: JobSpec, _: CohortFacts | None) -> Iterator[str]:
    if job.federation.stragglers != "fewer_steps":
        return
    where, asked, remedy = "federation.stragglers", job.federation.stragglers, "give 'cut' or 'wait'"
    if job.encryption is not None:
        what = "an encrypted job cannot weigh updates by their steps: the server adds sums that it cannot read"
        yield _fault(what, where=where, value=asked, remedy=remedy)
    if job.training.local_steps is None:
        what = "without training.local_steps a hospital could claim any number of steps, which scales all updates"
        yield _fault(what, where=where, value=asked, remedy=remedy + ", or give training.local_steps")
    if job.federation.aggregation == "median":
        yield _fault("a median has no weights for updates of fewer steps", where=where, value=asked, remedy=remedy)
    if job.model.batch_norm == "average":
        what = "BatchNorm's variances are no sums of gradients, and one scaled by steps may fall below 0"
        yield _fault(what, where=where, value=asked, remedy=remedy + ", or model.batch_norm 'local'")


def _sites_of_a_sum(job: JobSpec, _: CohortFacts | None) -> Iterator[str]:
    if job.encryption is None:
        return
    where, fewest, most = "federation.min_sites", job.federation.min_sites, job.encryption.max_sites
    if fewest < MIN_CONTRIBUTORS:
        what = f"a sum of fewer than {MIN_CONTRIBUTORS} sites tells one hospital about another's update"
        yield _fault(what, where=where, value=fewest, remedy=f"give {MIN_CONTRIBUTORS} or more")
    if fewest > most:
        what = f"a round would need more sites than a sum has room for, which is encryption.max_sites, {most}"
        yield _fault(what, where=where, value=fewest, remedy="give fewer, or a larger encryption.max_sites")
    if (least := (colluding_of(job) if job.is_masked else 1) + 2) > fewest and fewest >= MIN_CONTRIBUTORS:
        what = f"with encryption.max_colluding {job.encryption.max_colluding} a sum needs {least} hospitals"
        yield _fault(what, where=where, value=fewest, remedy=f"give {least} or more, or a smaller max_colluding")
    if job.has_sparse_graph and least <= fewest:
        yield from _sparse(job)
    if not job.has_sparse_graph and job.encryption.max_lost != MAX_LOST:
        what, remedy = "is for graph ccesa alone", "leave it out, or give graph 'ccesa'"
        yield _fault(what, where="encryption.max_lost", value=job.encryption.max_lost, remedy=remedy)
    if len(job.federation.must_include) > most:
        what = f"more hospitals than a sum has room for, which is encryption.max_sites, {most}"
        remedy, named = "name fewer, or give a larger encryption.max_sites", ", ".join(job.federation.must_include)
        yield _fault(what, where="federation.must_include", value=named, remedy=remedy)


def _sparse(job: JobSpec) -> Iterator[str]:
    """Fault of a sparse graph that does not serve every number of hospitals that may take part."""
    encryption, fewest = job.encryption or JobEncryption(), job.federation.min_sites
    most = max(fewest, encryption.max_sites)
    failed = next((error for n in range(fewest, most + 1) if (error := _no_sparse(job, n)) is not None), None)
    if failed is None:
        return
    enough = next((n for n in range(fewest + 1, LARGEST_SUM - 4) if all(_fits(job, n, n + k) for k in range(5))), None)
    ways = ["give encryption.graph 'complete'"] + ([] if enough is None else [f"min_sites {enough} or more"])
    ways += ["a smaller max_colluding", *(["a smaller max_lost"] if encryption.max_lost else [])]
    yield _fault(failed.what, where="encryption.graph", value="ccesa", remedy=", or ".join(ways))


def _no_sparse(job: JobSpec, sites: int) -> EncryptionError | None:
    try:
        sparse_bound(threshold_of(job, sites=sites))
    except EncryptionError as error:
        return error
    return None


def _fits(job: JobSpec, fewest: int, sites: int) -> bool:
    """True if there is a sparse graph of so many hospitals in this job, if it asked for so many at least."""
    return _no_sparse(_of_sites(job, fewest), sites) is None


def _of_sites(job: JobSpec, fewest: int) -> JobSpec:
    """Return the job with another ``min_sites``."""
    return job.model_copy(update={"federation": job.federation.model_copy(update={"min_sites": fewest})})


def _below(value: float) -> str:
    """Format a value with three digits, rounded down."""
    rounded = float(f"{value:.2e}")
    return f"{rounded if rounded <= value else float(f'{value * 0.995:.2e}'):g}"


def _fault(what: str, *, where: str, remedy: str, value: object | None = None) -> str:
    return str(JobError(what, where=where, value=value, remedy=remedy))
