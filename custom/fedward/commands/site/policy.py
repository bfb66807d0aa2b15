"""Define ``fedward site policy …``: for privacy officers and hospital IT, before and after a job arrives."""

from __future__ import annotations

import json
import math
import stat
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fedward.commands.output_format import FORMAT, Format
from fedward.commands.site.options import SITE_TOML
from fedward.dataset.manifest import ROWS, Manifest, read_manifest
from fedward.errors import FedwardError
from fedward.indexing.site_key import load_key
from fedward.privacy.policy.job_cost import Cost, cost_line, weigh_job
from fedward.privacy.policy.linter import CohortFacts
from fedward.privacy.policy.review import PolicyFinding, review
from fedward.privacy.policy.wording import how_updates_leave
from fedward.settings import JobSpec, SitePolicy, read_job, read_site

if TYPE_CHECKING:
    from fedward.encryption.keys.key import FederationKey
    from fedward.privacy.ledger.ledger import Ledger

app = typer.Typer(help="Check a hospital's policy: for privacy officers.", no_args_is_help=True)


@app.callback()
def policy() -> None:
    """Check a hospital's policy."""


@app.command()
def check(
    site_toml: Path = SITE_TOML,
    job: Path | None = typer.Option(None, help="A job's folder: say whether it may run here, and what it would cost."),
    format: Format = FORMAT,
) -> None:
    """List faults of a policy, and test a job against it. Exit code 1 for an error, 0 for warnings alone."""
    site = read_site(site_toml)
    manifests = indexed(site)
    facts = {name: _facts(manifest) for name, manifest in manifests.items()}
    ledger, found = files_of(site)
    key, of_key = federation_key(site)
    found = [*review(site, cohorts=facts, known=_known(site)), *found, *of_key, *_approval_files(site)]
    cost, leave = None, None
    if job is not None:
        spec = read_job(job)
        leave = how_updates_leave(spec)
        found += _scheme(spec, key)
        of_job, cost = weigh_job(spec, site, manifests.get(spec.data.cohort), ledger)
        found += of_job
    _answer(found, cost, leave, format)
    if any(finding.level == "error" for finding in found):
        raise typer.Exit(1)


def indexed(site: SitePolicy) -> dict[str, Manifest]:
    """Return the indexed cohorts; ``review`` names the others."""
    found = {}
    for name, cohort in site.cohorts.items():
        if (cohort.index / ROWS).exists():  # a refused cohort leaves its quarantine list, and no manifest
            found[name] = read_manifest(cohort.index)
    return found


def _known(site: SitePolicy) -> int | None:
    from fedward.encryption.masks.known_sites import read_roster

    return None if site.roster is None else len(read_roster(site.roster))


def _facts(manifest: Manifest) -> CohortFacts:
    train = [row for row in manifest.rows if row.split == "train"]
    return CohortFacts(patients=len({row.patient for row in train}), images=len(train))


def files_of(site: SitePolicy) -> tuple[Ledger | None, list[PolicyFinding]]:
    """Return the ledger if it can be opened, and the faults of ledger and key. Neither is created."""
    from fedward.privacy.ledger.ledger import Ledger

    found = [*_key(site), *_ledger_file(site)]
    if any(finding.where == "key" for finding in found) or not site.ledger.exists():
        return None, found
    try:
        return Ledger.open(site.ledger, site=site.site, key=load_key(site.key).secret), found
    except FedwardError as error:
        return None, [*found, PolicyFinding(level="error", where="ledger", text=str(error))]


def _key(site: SitePolicy) -> list[PolicyFinding]:
    if not site.key.exists():
        if site.ledger.exists():
            text = f"{site.ledger} is sealed with a key that is not at {site.key}; restore the key"
            return [PolicyFinding(level="error", where="key", text=text)]
        text = f"{site.key} is not there yet; the first `fedward site index SITE_TOML` makes it"
        return [PolicyFinding(level="warning", where="key", text=text)]
    try:
        load_key(site.key)
    except FedwardError as error:
        return [PolicyFinding(level="error", where="key", text=str(error))]
    return []


def federation_key(site: SitePolicy) -> tuple[FederationKey | None, list[PolicyFinding]]:
    """Return the federation's key if the policy names a readable one; ``review`` reports a policy that names none."""
    from fedward.encryption.keys.key_file import read_key

    if site.federation_key is None:
        return None, []
    try:
        return read_key(site.federation_key), []
    except FedwardError as error:
        return None, [PolicyFinding(level="error", where="federation_key", text=str(error))]


def _approval_files(site: SitePolicy) -> list[PolicyFinding]:
    """Return a finding for each unusable approval; the jobs of such approvals are refused."""
    from fedward.privacy.policy.approvals import Approval, approvals

    if site.approvals is None:
        return []
    faulty = [one for one in approvals(site.approvals) if not isinstance(one, Approval)]
    return [PolicyFinding(level="error", where="approvals", text=str(error)) for error in faulty]


def _scheme(job: JobSpec, key: FederationKey | None) -> list[PolicyFinding]:
    """Check that the hospital's key is for the job's scheme; only a hospital can check this."""
    if job.encryption is None or key is None or job.encryption.scheme in ("masked", key.scheme):
        return []
    text = f"{job.encryption.scheme}, and this hospital's federation key is for {key.scheme}"
    return [PolicyFinding(level="error", where="job encryption.scheme", text=text)]


def _ledger_file(site: SitePolicy) -> list[PolicyFinding]:
    if not site.ledger.exists():
        text = f"{site.ledger} is missing, so no job can run; run `fedward site ledger SITE_TOML --create` once"
        return [PolicyFinding(level="error", where="ledger", text=text)]
    mode = stat.S_IMODE(site.ledger.stat().st_mode)
    if mode & 0o077:
        text = f"others may read or write {site.ledger}, mode {mode:04o}; chmod 600 it"
        return [PolicyFinding(level="warning", where="ledger", text=text)]
    return []


def _answer(found: list[PolicyFinding], cost: Cost | None, leave: str | None, format: Format) -> None:
    if format is Format.json:
        numbers = None if cost is None else {k: _finite(v) for k, v in asdict(cost).items()}
        answer = {"findings": [asdict(finding) for finding in found], "cost": numbers, "encryption": leave}
        typer.echo(json.dumps(answer, indent=2, allow_nan=False))
        return
    for finding in sorted(found, key=lambda finding: finding.level):
        typer.echo(f"{finding.level}: {finding.where}: {finding.text}", err=finding.level == "error")
    if leave is not None:
        typer.echo(f"job's {leave}")
    if cost is not None:
        typer.echo(
            f"job would train on {cost.patients} patients with noise multiplier {cost.noise_multiplier:.3g} and cost "
            f"ε {cost.epsilon:.2f}, at most {cost.ceiling:.2f} with rounds repeated after restarts; with it, "
            f"{cost_line(cost)}"
        )
    if not found:
        typer.echo("nothing wrong")


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
