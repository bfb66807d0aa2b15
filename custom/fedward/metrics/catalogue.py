"""List every Prometheus metric in one place: name, meaning, kind, labels.

Units are in the names. A value that was withheld for too few cases, or that was not measured, has no sample: it is
neither 0 nor NaN. ``site`` is the identity that FLARE authenticated, never a name that a site gave itself. The label is
``fl_job`` because Prometheus itself uses ``job``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

JOB = ("fl_job", "job_name")
SITE = ("site",)
SEAT = ("site", "fl_job", "job_name")
STAGES = ("validate", "train", "seal", "rest")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: name as scraped; a counter's ends with ``_total``.
        help: description in one line.
        labels: names of its labels.
        kind: Prometheus type; a counter only grows while its job is shown.
    """

    name: str
    help: str
    labels: tuple[str, ...]
    kind: Literal["gauge", "counter"] = "gauge"


def _counter(name: str, help: str) -> Metric:
    return Metric(name, help, SEAT, "counter")


CATALOGUE: tuple[Metric, ...] = (
    Metric("fedward_job_running", "1 while the job runs.", JOB),
    Metric("fedward_job_resuming", "1 while a new process at the server takes the job up again.", JOB),
    Metric("fedward_job_paused", "1 while the server cannot go on, as with a full disk.", JOB),
    Metric("fedward_job_finished", "1 once the job is done.", JOB),
    Metric("fedward_job_aborted", "1 once a person has stopped the job, or it was stopped with the server.", JOB),
    Metric("fedward_job_failed", "1 once the job has failed.", JOB),
    Metric("fedward_job_missing_sites", "Sites that were missing at the end of a job that is done.", JOB),
    Metric("fedward_rounds_asked", "Rounds that the job is to have.", JOB),
    Metric("fedward_rounds_done", "Rounds that counted so far.", JOB),
    Metric("fedward_round_seconds", "Length of the last round.", JOB),
    Metric("fedward_server_stage_seconds", "The server's last round by stage: wait, add.", (*JOB, "stage")),
    Metric("fedward_job_updated_timestamp_seconds", "Time of the job's last event.", JOB),
    Metric("fedward_auc_ratio", "AUC of the latest model on the site's own validation patients.", SEAT),
    Metric("fedward_auc_low_ratio", "Lower end of the AUC's 95 % interval over patients.", SEAT),
    Metric("fedward_auc_high_ratio", "Upper end of the AUC's 95 % interval over patients.", SEAT),
    Metric("fedward_dice_ratio", "Mean Dice of the latest model on the site's own validation patients.", SEAT),
    Metric("fedward_dice_low_ratio", "Lower end of the Dice's 95 % interval over patients.", SEAT),
    Metric("fedward_dice_high_ratio", "Upper end of the Dice's 95 % interval over patients.", SEAT),
    Metric("fedward_hd95_mm", "Mean 95 % Hausdorff distance.", SEAT),
    Metric("fedward_training_loss", "Mean loss of the site's last training.", SEAT),
    Metric("fedward_validation_loss", "Loss of the latest model on the site's own validation patients.", SEAT),
    Metric("fedward_validation_patients", "Patients behind the site's latest values.", SEAT),
    Metric("fedward_validation_positive_patients", "How many of them have the finding in an image.", SEAT),
    Metric("fedward_validation_images", "Images of the site's validation patients.", SEAT),
    Metric("fedward_epsilon_charged", "Epsilon that the hospital's ledger charged for this job.", SEAT),
    Metric("fedward_epsilon_spent", "Epsilon of the worst patient over all the hospital's jobs.", SEAT),
    Metric("fedward_epsilon_cap", "Epsilon that no patient of the hospital may pass.", SEAT),
    Metric("fedward_epsilon_left", "Cap less spent.", SEAT),
    Metric("fedward_stage_seconds", "The site's last round by stage: validate, train, seal, rest.", (*SEAT, "stage")),
    Metric("fedward_encryption_seconds", "Time that the site took to encrypt its last update.", SEAT),
    _counter("fedward_sent_bytes_total", "Payload that the server sent to the site."),
    _counter("fedward_received_bytes_total", "Payload that the server received from the site."),
    _counter("fedward_rounds_accepted_total", "Rounds in which the site's update was taken."),
    _counter("fedward_rounds_dropped_total", "Rounds without the site's update."),
    Metric("fedward_participation_ratio", "Rounds with the site's update, of those that it was asked for.", SEAT),
    Metric("fedward_reported_timestamp_seconds", "Time at which the site last sent values.", SEAT),
    _counter("fedward_suspect_updates_total", "Updates that no training on the site's patients explains."),
    Metric("fedward_site_last_seen_timestamp_seconds", "Time at which the server last heard of the site.", SITE),
    Metric("fedward_site_connected", "1 while the site is connected, 0 once the server has given it up.", SITE),
    Metric("fedward_certificate_left_days", "Days until the site's certificate ends; below 0 after it.", SITE),
    Metric("fedward_store_bytes", "Size of the metrics store on disk.", ()),
)
NAMES = tuple(metric.name for metric in CATALOGUE)
