"""Report settings that do not go with noise for the sum: each round is one step, which every hospital makes alike."""

from __future__ import annotations

from collections.abc import Iterator

from fedward.errors import JobError
from fedward.privacy.sum_noise import shares_of
from fedward.settings import JobSpec


def sum_faults(job: JobSpec) -> Iterator[str]:
    """Yield the faults of a job with noise for the sum, one line each; of any other job, settings for a sum alone."""
    if not job.noises_sum:
        if job.model.freeze:
            what, remedy = "only noise for the sum leaves tensors out of what is sent", "leave it out"
            yield _fault(what, where="model.freeze", value=list(job.model.freeze), remedy=remedy)
        return
    if not job.is_masked:
        scheme = "none" if job.encryption is None else job.encryption.scheme
        what = (
            "with noise for the sum, whoever reads one hospital's part reads it with little noise: only masks hide it"
        )
        yield _fault(what, where="encryption.scheme", value=scheme, remedy="give scheme 'masked', or noise 'site'")
        return
    for where, (value, due, why) in _settings(job).items():
        if value != due:
            shown = "leave it out" if due is None else f"give {due!r}"
            yield _fault(why, where=where, value=value, remedy=f"{shown}, or privacy.dp_sgd.noise 'site'")
    try:
        _ = shares_of(job, sites=job.federation.min_sites)
    except JobError as error:
        yield str(error)


def _settings(job: JobSpec) -> dict[str, tuple[object, object, str]]:
    """Return setting -> its value, the one that is due (None: the setting is left out), and the reason."""
    training, dp_sgd, update = job.training, job.privacy.dp_sgd, job.privacy.update
    one_step = "with noise for the sum a round is one step over all hospitals' patients"
    return {
        "training.local_steps": (training.local_steps, 1, one_step),
        "federation.aggregation": (job.federation.aggregation, "mean", "gradients are summed, and not compared"),
        "federation.weighting": (job.federation.weighting, "equal", "gradients are summed without weights"),
        "training.fedprox_mu": (
            training.fedprox_mu or None,
            None,
            "no site leaves the common model, to be pulled back",
        ),
        "training.keep_optimizer": (
            training.keep_optimizer or None,
            None,
            "every hospital makes the same steps, and always keeps the optimizer's state",
        ),
        "privacy.dp_sgd.ema_decay": (
            None if dp_sgd is None else dp_sgd.ema_decay,
            None,
            f"{one_step}: nothing to average",
        ),
        "privacy.update": (
            None if update is None else "a table",
            None,
            "each patient's gradient is clipped, and no update of a hospital leaves",
        ),
    }


def _fault(what: str, *, where: str, value: object, remedy: str) -> str:
    return str(JobError(what, where=where, value=value, remedy=remedy))
