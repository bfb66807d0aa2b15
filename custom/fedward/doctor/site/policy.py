"""Check the hospital's policy: that it makes sense, that it protects patients, and that its ledger is whole."""

from __future__ import annotations

from collections.abc import Iterator

from fedward.doctor.context import Case
from fedward.doctor.findings import Finding, Voice
from fedward.errors import FedwardError
from fedward.privacy.policy.linter import CohortFacts
from fedward.privacy.policy.review import PolicyFinding, review
from fedward.settings import CohortPrivacy, SitePolicy

CUSTOMARY_COUNT = 5
"""Smallest count that hospitals commonly disclose."""
_LAX = ("approved_jobs", "disclosure.min_count", ".dp", ".epsilon_cap", ".encryption")
"""Settings on which ``lax_policy`` makes the remarks."""


def policy(case: Case) -> Iterator[Finding]:
    """Report what ``fedward site policy check`` reports, except settings that are merely lax."""
    say = Voice("policy")
    remarks = [remark for remark in review(case.policy, cohorts=_facts(case)) if not _is_lax(remark, case)]
    for remark in remarks:
        what, _, remedy = remark.text.partition("; ")
        remedy = remedy or f"correct {remark.where} in site.toml"
        tell = say.failed if remark.level == "error" else say.warned
        yield tell(what, where=remark.where, remedy=remedy)
    if not remarks:
        yield say.passed("makes sense")


def lax_policy(case: Case) -> Iterator[Finding]:
    """Report protection that the policy leaves out: warn if one part is missing, fail if none is left."""
    say = Voice("lax-policy")
    found = [*_jobs(say, case.policy), *_counts(say, case.policy.disclosure.min_count)]
    for name, cohort in case.policy.cohorts.items():
        found += _cohort(say, f"cohorts.{name}.privacy", cohort.privacy)
    yield from found or [say.passed("jobs are admitted, updates bounded and encrypted, small counts kept")]


def ledger(case: Case) -> Iterator[Finding]:
    """Check that the privacy ledger is there and that every entry follows the one before it."""
    from fedward.indexing.site_key import load_key
    from fedward.privacy.ledger.ledger import Ledger

    say, site = Voice("ledger"), case.policy
    if not site.ledger.exists():
        remedy = f"run `fedward site ledger {case.site_toml} --create`, once; if there was one, restore it from backup"
        yield say.failed("no privacy ledger, so no job runs", where=site.ledger, remedy=remedy)
        return
    try:
        entries = Ledger.open(site.ledger, site=site.site, key=load_key(site.key).secret).entries()
    except FedwardError as error:
        yield say.refused(error, remedy="restore the ledger from your backup and tell the privacy officer")
        return
    yield say.passed("every entry follows the one before it", where=site.ledger, value=f"{len(entries)} entries")


def record(case: Case) -> Iterator[Finding]:
    """Check that the record of runs, in the ledger's file, can be read; report how many runs have not ended."""
    from fedward.indexing.site_key import load_key
    from fedward.privacy.ledger.run_record import Record

    say, site = Voice("record"), case.policy
    try:
        runs = Record.open(site.ledger, site=site.site, key=load_key(site.key).secret).runs()
    except FedwardError as error:
        yield say.refused(error, remedy="restore the ledger from your backup and tell the privacy officer")
        return
    running = sum(not run.ended for run in runs)
    value = f"{len(runs)} runs, {running} of them running, or killed and not settled"
    yield say.passed("what was opened, confirmed and sent in each run is known", where=site.ledger, value=value)


def _facts(case: Case) -> dict[str, CohortFacts]:
    return {
        name: CohortFacts(
            patients=manifest.patients("train"), images=sum(row.split == "train" for row in manifest.rows)
        )
        for name, manifest in case.manifests.items()
    }


def _is_lax(remark: PolicyFinding, case: Case) -> bool:
    """True for a remark that other checks make: ``lax_policy`` on lax settings, ``index`` on absent indexes."""
    if remark.level == "error":
        return False
    unindexed = remark.where in {f"cohorts.{name}" for name in case.policy.cohorts if name not in case.manifests}
    capped = remark.where.endswith(".epsilon_cap") and not remark.text.startswith("no cap")
    listed = remark.where == "approved_jobs" and case.policy.approved_jobs != "any"
    return unindexed or (remark.where.endswith(_LAX) and not capped and not listed)


def _jobs(say: Voice, site: SitePolicy) -> Iterator[Finding]:
    if site.approved_jobs == "any":
        remedy = (
            "say approved_jobs = [] and name who may submit under [[auto_approve]], or list hashes of "
            "`fedward job check`"
        )
        yield say.warned("any job of anybody may run here", where="approved_jobs", value="any", remedy=remedy)


def _counts(say: Voice, min_count: int) -> Iterator[Finding]:
    remedy = f"say min_count = {CUSTOMARY_COUNT} or more"
    if min_count == 1:
        yield say.failed(
            "no count is suppressed: one may point at a patient", where="disclosure.min_count", remedy=remedy
        )
    elif min_count < CUSTOMARY_COUNT:
        what = f"counts from {min_count} on leave; {CUSTOMARY_COUNT} is customary"
        yield say.warned(what, where="disclosure.min_count", value=min_count, remedy=remedy)


def _cohort(say: Voice, where: str, privacy: CohortPrivacy) -> Iterator[Finding]:
    open_, bare = privacy.encryption == "not-required", privacy.dp == "not-required"
    encrypt, bound = 'say encryption = "required"', 'say dp = "required", with epsilon_cap and delta'
    if open_ and bare:
        what = "nothing protects an update: neither differential privacy nor encryption is required"
        yield say.failed(what, where=where, remedy=f"{encrypt} or {bound}")
    elif open_:
        what = "a job may send updates that the server reads"
        yield say.warned(what, where=f"{where}.encryption", remedy=encrypt)
    elif bare:
        what = "a job may train without differential privacy"
        yield say.warned(what, where=f"{where}.dp", remedy=f"{bound}, or keep it where the privacy officer agreed")
    if privacy.epsilon_cap is None:
        what = "no cap: over all jobs, any ε may be spent"
        yield say.warned(what, where=f"{where}.epsilon_cap", remedy="give epsilon_cap and delta")
