"""Define ``fedward site approve``: show hospital IT the effects of a job, and its changes since the last one."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fedward.audit.note import local_account
from fedward.commands.audit_notes import note, recorded, site_log
from fedward.commands.output_format import FORMAT, Format
from fedward.errors import FedwardError, JobError, PolicyError, SettingsError
from fedward.settings import JOB_FILE, JobSpec, SitePolicy, read_job, read_sent, read_site

if TYPE_CHECKING:
    from fedward.audit.log import AuditLog
    from fedward.dataset.manifest import Manifest
    from fedward.privacy.budget_plan import SitePlan
    from fedward.privacy.policy.approvals import Approval, Origin
    from fedward.privacy.policy.job_diff import Change
    from fedward.privacy.policy.job_summary import Here


def approve(
    job: Path | None = typer.Argument(
        None, metavar="[JOB]", help="Folder of a job, of an exported job, or of a run that was refused."
    ),
    site_toml: Path = typer.Option(..., "--site-toml", help="The hospital's site.toml."),
    yes: bool = typer.Option(False, "--yes", help="Approve without asking."),
    revoke: str | None = typer.Option(None, metavar="HASH", help="Take the approval of this job back."),
    list_: bool = typer.Option(False, "--list", help="Say which jobs are approved."),
    format: Format = FORMAT,
) -> None:
    """Show what a job will do here, then ask and approve it. It also shows what changed since the last job of its
    name."""
    policy = read_site(site_toml)
    folder = _folder(policy, site_toml)
    if [job is not None, revoke is not None, list_].count(True) != 1:
        raise SettingsError("give one of JOB, --revoke HASH and --list", where="site approve")
    if job is not None:
        _look(_Looked.at(job, policy, site_toml), policy, folder, site_log(site_toml), yes=yes, format=format)
    elif revoke is not None:
        _revoke(policy, folder, revoke, format)
        note(site_log(site_toml), "approval-revoked", hash=revoke)
    else:
        _list(folder, format)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """Job, with all facts that this hospital knows about it."""

    spec: JobSpec
    hash: str
    words: dict[str, str]
    last: Approval | None
    changes: tuple[Change, ...]
    known: bool
    """True if it is approved already, by a usable file."""
    against: tuple[str, ...]
    """Reasons why the policy would refuse it even with an approval."""

    @classmethod
    def at(cls, job: Path, policy: SitePolicy, site_toml: Path) -> _Looked:
        """Examine a job for the hospital of ``site_toml``."""
        from fedward.privacy.policy.approvals import Approval, approvals, last_approved
        from fedward.privacy.policy.job_diff import changes
        from fedward.privacy.policy.job_hash import job_hash
        from fedward.privacy.policy.job_summary import describe

        spec, origin = _read(job, site_toml)
        folder, found = _folder(policy, site_toml), job_hash(spec)
        last = last_approved(folder, spec.job.name)
        here = _here(spec, policy, origin)
        earlier = None if last is None else _here(last.spec, policy, origin)
        return cls(
            spec=spec,
            hash=found,
            words=describe(spec, here),
            last=last,
            changes=() if last is None else tuple(changes(last.spec, spec, here=here, earlier=earlier)),
            known=any(isinstance(one, Approval) and one.hash == found for one in approvals(folder)),
            against=_against(spec, policy),
        )


def _folder(policy: SitePolicy, site_toml: Path) -> Path:
    if policy.approvals is None:
        remedy = 'add the line: approvals = "approvals", above the first [table]'
        raise SettingsError("names no folder of approvals", where=site_toml, remedy=remedy)
    return policy.approvals


def _read(job: Path, site_toml: Path) -> tuple[JobSpec, Origin]:
    """Return the job's settings, and its submitter if its folder is signed."""
    from fedward.privacy.policy.approvals import UNKNOWN

    if job.suffix == ".toml" or (job / "job.toml").is_file():
        return read_job(job), UNKNOWN
    found = sorted(path for path in (job / "config" / JOB_FILE, *job.glob(f"*/config/{JOB_FILE}")) if path.is_file())
    if len(found) != 1:
        what = "no job here" if not found else "several apps, where Fedward's jobs have one"
        remedy = "give a folder with job.toml, an exported job, or a run folder of this site's kit"
        raise JobError(what, where=job, remedy=remedy)
    (path,) = found
    spec = read_sent(path)
    return spec, _origin(spec, path.parent.parent, site_toml)


def _origin(spec: JobSpec, app: Path, site_toml: Path) -> Origin:
    """Return the submitter, verified against the root of the kit whose ``local`` holds site.toml; else unknown."""
    from fedward.flare.submitter import read_origin

    root = site_toml.resolve().parent.parent / "startup" / "rootCA.pem"
    return read_origin(spec, app=app, root=root, meta=app.parent / "meta.json")


def _here(spec: JobSpec, policy: SitePolicy, origin: Origin) -> Here:
    from fedward.commands.site.policy import indexed
    from fedward.privacy.policy.job_summary import Here

    manifest = indexed(policy).get(spec.data.cohort)
    return Here(
        disclosure=policy.disclosure,
        parameters=_parameters(spec),
        plan=None if manifest is None else _plan(spec, policy, manifest),
        origin=origin,
    )


def _parameters(spec: JobSpec) -> int | None:
    """Return the number of values in the exchanged model; None if the network cannot be built."""
    from fedward.training.networks import initial_weights

    try:
        return sum(array.size for array in initial_weights(spec).values())
    except FedwardError:
        return None


def _plan(spec: JobSpec, policy: SitePolicy, manifest: Manifest) -> SitePlan | None:
    from fedward.dataset.selection import select
    from fedward.privacy.budget_plan import plan_site, steps_a_round

    least = policy.cohorts[spec.data.cohort].min_patients
    try:
        patients = len(select(spec, [manifest], site=policy.site, min_patients=least).train_patients)
        in_a_round = steps_a_round(spec, patients=patients)
        return plan_site(spec, site=policy.site, patients=patients, steps_a_round=in_a_round)
    except FedwardError:
        return None


def _against(spec: JobSpec, policy: SitePolicy) -> tuple[str, ...]:
    """Return refusals that an approval does not change: the policy's caps and the ledger's errors."""
    from fedward.commands.site.policy import files_of, indexed
    from fedward.privacy.policy.agreement import agree
    from fedward.privacy.policy.job_cost import weigh_job

    open_door = policy.model_copy(update={"approved_jobs": "any"})
    try:
        agree(spec, open_door)
    except PolicyError as refused:
        return tuple(refused.what.split(" | "))
    ledger, _ = files_of(policy)
    findings, _ = weigh_job(spec, open_door, indexed(policy).get(spec.data.cohort), ledger)
    return tuple(finding.text for finding in findings if finding.level == "error")


def _look(looked: _Looked, policy: SitePolicy, folder: Path, log: AuditLog, *, yes: bool, format: Format) -> None:
    from fedward.privacy.policy.approvals import approve as write
    from fedward.privacy.policy.job_hash import policy_hash

    if format is Format.text:
        _show(looked)
    if looked.known:
        _answer(looked, "approved before", format)
        return
    if not yes and not sys.stdin.isatty():
        raise SettingsError("nobody to ask, not a terminal", where="site approve", remedy="look at it, then give --yes")
    if not yes and not typer.confirm("Approve this job?", err=True):
        _answer(looked, "not approved", format)
        raise typer.Exit(1)
    with recorded(log, "approved", name=looked.spec.job.name, hash=looked.hash, policy=policy_hash(policy)):
        write(folder, looked.spec, policy=policy, by=local_account(), now=datetime.now(UTC))
    _answer(looked, "approved", format)


def _show(looked: _Looked) -> None:
    for topic, text in looked.words.items():
        typer.echo(_wrapped(f"{topic}: {text}"))
    typer.echo(f"hash: {looked.hash}")
    if looked.last is None:
        typer.echo("\nno job of this name was approved here before")
    else:
        typer.echo(f"\nsince {looked.last.hash[:12]}, approved {looked.last.approved_at:%Y-%m-%d} by {looked.last.by}:")
        for change in looked.changes:
            reported = "" if change.verdict == "other" and not change.meaning else f"   [{_verdict(change)}]"
            typer.echo(_wrapped(f"  {change.field}: {change.before} -> {change.after}{reported}"))
        if not looked.changes:
            typer.echo("  nothing changed")
    for reason in looked.against:
        typer.echo("\n" + _wrapped(f"the policy refuses it all the same: {reason}"))


def _wrapped(text: str) -> str:
    width = shutil.get_terminal_size((120, 24)).columns
    return textwrap.fill(text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def _verdict(change: Change) -> str:
    shown = change.verdict.upper() if change.verdict == "less private" else change.verdict
    return ": ".join(part for part in (shown, change.meaning) if part)


def _answer(looked: _Looked, state: str, format: Format) -> None:
    if format is Format.text:
        typer.echo(f"\n{looked.spec.job.name}: {state}")
        return
    last = looked.last
    since = None if last is None else {"hash": last.hash, "approved_at": last.approved_at.isoformat(), "by": last.by}
    answer = {
        "job": looked.spec.job.name,
        "hash": looked.hash,
        "words": looked.words,
        "since": since,
        "changes": [asdict(change) for change in looked.changes],
        "refused_all_the_same": list(looked.against),
        "state": state,
    }
    typer.echo(json.dumps(answer, indent=2))


def _revoke(policy: SitePolicy, folder: Path, found: str, format: Format) -> None:
    from fedward.privacy.policy.approvals import revoke

    record = revoke(folder, found, by=local_account(), now=datetime.now(UTC))
    still = [name for name in ("approved_jobs", "auto_approve") if _may_still(policy, name, found)]
    if format is Format.json:
        typer.echo(json.dumps({"hash": found, "record": str(record), "may_still_run_by": still}))
        return
    typer.echo(f"revoked; the record is {record}")
    for name in still:
        typer.echo(f"it may still run by {name} in site.toml")


def _may_still(policy: SitePolicy, name: str, found: str) -> bool:
    if name == "auto_approve":
        return bool(policy.auto_approve)
    return policy.approved_jobs == "any" or found in policy.approved_jobs


def _list(folder: Path, format: Format) -> None:
    from fedward.privacy.policy.approvals import Approval, approvals

    entries: list[dict[str, Any]] = []
    for one in approvals(folder):
        if isinstance(one, Approval):
            reported = {"hash": one.hash, "job": one.job, "approved_at": one.approved_at.isoformat(), "by": one.by}
            entries.append(reported | {"policy": one.policy, "fault": None})
        else:
            where = Path(str(one.where))
            entries.append({"hash": where.stem, "fault": str(one)})
    if format is Format.json:
        typer.echo(json.dumps(entries, indent=2))
        return
    for entry in entries:
        fault = entry["fault"]
        typer.echo(
            f"cannot be used: {fault}"
            if fault
            else f"{entry['hash']} {entry['job']}, {entry['approved_at'][:10]} by {entry['by']}"
        )
    if not entries:
        typer.echo("no job is approved here")
