"""List the acts that an audit log records, and the facts that an entry may hold about one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Action:
    """One kind of act.

    Attributes:
        meaning: the act in one sentence.
        must: true if the act lets something leave a hospital, or admits what will; it is refused where it cannot be
            recorded. Any other act goes on, and its process's log or screen says that it was not recorded.
    """

    meaning: str
    must: bool = False


TORN, KEYED, EXPIRED, UNDONE, RESTARTED = "torn", "keyed", "expired", "undone", "log-restarted"
"""Acts that the log itself records."""

ACTIONS: Mapping[str, Action] = {
    "process-started": Action("The parent process of a server or of a site started."),
    "process-stopped": Action("The parent process of a server or of a site stopped in order."),
    "signed-in": Action("A site signed in at the server."),
    "signed-out": Action("A site signed out at the server, or the server signed it out."),
    "connection-refused": Action("The server refused or cut a connection whose certificate is revoked."),
    "job-submitted": Action("The server accepted a job that a person signed and submitted."),
    "job-rejected": Action("The server refused a job that was submitted."),
    "job-deployed": Action("A server's or a site's parent process accepted the files of a job, signed by a person."),
    "job-launched": Action("A server's or a site's parent process accepted the start of a job that was deployed."),
    "job-refused": Action("A server's or a site's parent process refused to deploy or to start a job."),
    "job-started": Action("The server's job process began a job."),
    "sites-admitted": Action("The server recorded the sites that take part in a job."),
    "site-declined": Action("A site takes no part in a job."),
    "round-complete": Action("The server completed a round with the updates of these sites."),
    "job-resumed": Action("A job goes on from its last whole round, in a new process at the server."),
    "job-paused": Action("The server paused a job that it cannot go on with for the moment."),
    "job-unpaused": Action("The server went on with a job that it had paused."),
    "site-returned": Action("A site whose process was gone answers again."),
    "job-finished": Action("A job finished."),
    "job-aborted": Action("A person aborted a job, or the server was stopped."),
    "job-failed": Action("A job failed."),
    "admitted": Action(
        "A hospital admitted a job, and charged its privacy ledger where the job is private.", must=True
    ),
    "continued": Action("A new process of a hospital went on with a job that the hospital had admitted.", must=True),
    "task-refused": Action("A hospital's job process refused a task of a job."),
    "gate-refused": Action("A gate of a hospital refused a message, and the rest of the job."),
    "update-left": Action("A hospital's gate let a round's update out.", must=True),
    "model-opened": Action("A hospital's gate let the final model of an encrypted job out, opened.", must=True),
    "run-ended": Action("A hospital's process of a job ended; steps that never began are given back."),
    "approved": Action("A person at a hospital approved a job.", must=True),
    "approval-revoked": Action("A person at a hospital took a job's approval back."),
    "key-created": Action("A hospital made the federation's first key."),
    "key-sealed": Action("A hospital sealed the federation's key to other hospitals.", must=True),
    "key-opened": Action("A hospital took the federation's key from another hospital's box."),
    "key-rotated": Action("A hospital made the next generation of the federation's key."),
    "roster-added": Action("A person at a hospital put another hospital on the roster of those it knows."),
    "roster-removed": Action("A person at a hospital took another hospital off the roster."),
    "ledger-created": Action("A hospital made its privacy ledger."),
    "charge-closed": Action("A hospital's service closed the charge of a job whose process was killed."),
    "ledger-settled": Action("A person closed a job in the privacy ledger whose process was gone."),
    "cohort-indexed": Action("A hospital indexed a cohort."),
    "cohort-refused": Action("The index of a hospital refused a cohort."),
    "kit-joined": Action("A participant made its kit, or renewed it, from a file that the operator signed."),
    "kits-provisioned": Action("The operator made kits."),
    "invited": Action("The operator wrote an invitation."),
    "request-approved": Action("The operator signed an invited participant's request."),
    "certificate-renewed": Action("The operator issued a new certificate before the old one ended."),
    "certificates-revoked": Action("The operator put certificates on the revocation list."),
    TORN: Action("The last line was torn, as a kill or a power cut leaves it; it was kept aside."),
    KEYED: Action("The entries after this one are sealed with the key named here."),
    EXPIRED: Action("Rotated files of the log were removed, as its retention says."),
    UNDONE: Action("The act of an earlier entry failed after it was recorded."),
    RESTARTED: Action("A person began a new log where the one before is gone or was moved away."),
}

ABOUT: Mapping[str, str] = {
    "job": "FLARE's id of the job",
    "name": "name of the job, or of the participant concerned",
    "hash": "hash of the job's settings, or of the last entry that was removed or anchored",
    "site": "the site concerned",
    "sites": "the sites concerned",
    "round": "number of the round, from 0",
    "task": "name of the task",
    "rounds": "number of rounds",
    "reason": "why, in one line",
    "missing": "sites whose last answer did not count, each with the reason",
    "by": "who aborted or resumed it, as the server knows them",
    "attempt": "number of the attempt",
    "way": "rule of the policy that admitted the job, or how a kit was made",
    "cohort": "the cohort's name in site.toml",
    "policy": "hash of site.toml's policy as it was then",
    "protection": "protection of the update: mechanism, and encryption where there is one",
    "ledger": "number of the entry in the privacy ledger's file",
    "role": "role in the certificate",
    "organisation": "organisation in the certificate",
    "version": "version of Fedward",
    "process": "number of the process",
    "key": "id of the federation's key; in `keyed` whose key it is",
    "generation": "generation of the federation's key",
    "fingerprint": "fingerprint of a box, a request, an authority or a hospital's key",
    "serials": "serial numbers of certificates",
    "images": "number of images",
    "patients": "number of patients",
    "quarantined": "number of files set aside",
    "split": "number of the split; it grows when patients change sides",
    "steps": "number of steps",
    "file": "name of a file beside the log",
    "bytes": "number of bytes",
    "first": "number of the first entry concerned",
    "last": "number of the last entry concerned",
    "entry": "number of the entry concerned",
}
"""Facts that an entry may hold: texts, whole numbers or lists of texts. None of them can name a patient."""
