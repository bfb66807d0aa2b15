"""Verify a job's submitter at a hospital, by the job's signature and without trust in the server.

FLARE's console signs a job with the submitter's key before it sends it (``.__nvfl_sig.json`` in each folder, beside the
submitter's certificate), and the app that reaches a site still carries signature and certificate. So a site need not
trust the server's ``meta.json``: it verifies every file of the app against the federation's root certificate in its own
kit, and takes name and organisation from the submitter's certificate. The study is in ``study.json``, which is signed
with the other files and names the job's hash; it counts only if the server runs the job in the same study.

Before a job is deployed or started, the server and each site check that one person, whose role may submit, signed every
file (``fedward.flare.job_checks.form``). The checks for a policy's ``[[auto_approve]]`` are additional.

The server's operator can still send a job again that the same person once sent for the same study, omit the study's
file, so that the job is in no study, or withhold jobs. The operator cannot change a job, or send a job under another
person's name. The server holds the list of a study's members; so where a site admits by study alone, it trusts the
server for the membership. A site has no revocation list of people: remove the ``[[auto_approve]]`` entry of a person
who has left.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, cast

from cryptography.x509 import load_pem_x509_certificates
from cryptography.x509.oid import NameOID
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import DEFAULT_STUDY, JobMetaKey
from nvflare.apis.workspace import Workspace
from nvflare.lighter.utils import verify_folder_signature_and_get_signers

from fedward.errors import JobError, SettingsError
from fedward.privacy.policy.approvals import UNKNOWN, Origin
from fedward.privacy.policy.canonical_job import CERTIFICATE, SIGNATURE, STUDY_FILE
from fedward.privacy.policy.job_archive import Contents, read_folder
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import JobSpec, SitePolicy

SUBMITTERS = ("project_admin", "lead")
"""Roles that may submit a job. The certificates of the server and the sites have none of these roles: a job that is
signed with the server's key has no submitter."""
ROOT = "rootCA.pem"
_SUBMIT = "submit it from FLARE's console, `nvflare job submit` or `fedward job submit`, which sign it"


def origin_of(job: JobSpec, policy: SitePolicy, context: FLContext) -> Origin:
    """Return the job's verified origin; ``UNKNOWN`` if any check fails, or if the policy never uses the origin."""
    if not policy.auto_approve:
        return UNKNOWN
    workspace, job_id = cast(Workspace, context.get_engine().get_workspace()), context.get_job_id()
    app, root = Path(workspace.get_app_dir(job_id)), Path(workspace.get_startup_kit_dir()) / ROOT
    return read_origin(job, app=app, root=root, meta=Path(workspace.get_job_meta_path(job_id)))


def read_origin(job: JobSpec, *, app: Path, root: Path, meta: Path) -> Origin:
    """Return the job's verified origin from the files; ``UNKNOWN`` if any check fails.

    Args:
        job: the settings in ``app``.
        app: folder of the job's app in a run folder.
        root: certificate of the federation's authority, from the site's own kit.
        meta: the server's ``meta.json`` of the run.
    """
    try:
        signer = require_signer(read_folder(app), root)
    except JobError:
        return UNKNOWN
    name, organisation = signer.name, signer.organisation
    try:
        signed, reported = _signed_study(app / "config" / STUDY_FILE, job), _reported_study(meta)
    except (OSError, ValueError, TypeError, LookupError, RecursionError, SettingsError):
        return UNKNOWN
    if signed is None:
        return Origin(submitter=name, organisation=organisation)
    if signed != reported:
        return UNKNOWN
    return Origin(submitter=name, organisation=organisation, study=signed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Person who signed a job, from the certificate; ``organisation`` is None where the certificate has none."""

    name: str
    organisation: str | None
    role: str


def require_signer(folder: Contents, root: Path) -> Signer:
    """Return the one person who signed every file and folder of a job, and whose role may submit jobs.

    FLARE verifies the signatures. This function also refuses cases that FLARE accepts: folders with different
    certificates, more than one certificate, signatures of other names than the files, and a role that may not
    submit (the certificates of the server and the sites have no role that may).

    Args:
        folder: folder of an app, or of a whole job.
        root: certificate of the federation's authority, from the participant's own kit.

    Raises:
        JobError: the job is not signed, not by one such person, or not completely.
    """
    certificates = {folder.files.get(_in(place, CERTIFICATE)) for place in ("", *folder.folders)}
    certificate = certificates.pop()
    if certificates or certificate is None:
        raise JobError("job is not signed by one person", remedy=_SUBMIT)
    person = _person(certificate)
    for place in ("", *folder.folders):
        if _signed_names(folder, place) != _names(folder, place):
            raise JobError("job is not signed wholly", remedy=_SUBMIT)
    with tempfile.TemporaryDirectory(prefix="fedward-job-") as scratch:
        _lay_out(folder, Path(scratch))
        verified, signers = verify_folder_signature_and_get_signers(scratch, str(root))
    if verified is not True or signers != [(person.name, person.organisation or "", person.role)]:
        raise _unverified(certificate, now=_now())
    if person.role not in SUBMITTERS:
        raise JobError("job is signed by one who may not submit jobs", remedy="let a lead or the operator submit it")
    return person


def signer_name(folder: Contents) -> str | None:
    """Return the name of the person who signed a job that ``require_signer`` accepted; None without a certificate."""
    try:
        return _person(folder.files.get(CERTIFICATE, b"")).name
    except JobError:
        return None


def _unverified(certificate: bytes, *, now: datetime) -> JobError:
    """Return why FLARE did not verify a signature; it takes none by a certificate that is not valid today."""
    (found,) = load_pem_x509_certificates(certificate)
    if now < found.not_valid_before_utc:
        what = "submitter's certificate is not valid yet by the clock of this machine"
        return JobError(what, remedy="set that machine's clock (timedatectl set-ntp true)")
    if now > found.not_valid_after_utc:
        remedy = "the submitter has it renewed and submits the job again; if it is not expired, that clock is ahead"
        return JobError("submitter's certificate has expired by the clock of this machine", remedy=remedy)
    return JobError("job's signature does not hold", remedy=_SUBMIT)


def _now() -> datetime:
    return datetime.now(UTC)


def _person(certificate: bytes) -> Signer:
    try:
        (found,) = load_pem_x509_certificates(certificate)
        (name,) = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        (role,) = found.subject.get_attributes_for_oid(NameOID.UNSTRUCTURED_NAME)
        organisation = found.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    except ValueError:
        raise JobError("job is not signed by one who may submit jobs", remedy=_SUBMIT) from None
    if not name.value or len(organisation) > 1:
        raise JobError("job is not signed by one who may submit jobs", remedy=_SUBMIT)
    of = str(organisation[0].value) if organisation else None
    return Signer(name=str(name.value), organisation=of or None, role=str(role.value))


def _signed_names(folder: Contents, place: str) -> set[str]:
    try:
        content = json.loads(folder.files[_in(place, SIGNATURE)])
    except (LookupError, ValueError, RecursionError):
        raise JobError("job is not signed wholly", remedy=_SUBMIT) from None
    return set(content) if isinstance(content, dict) else set()


def _names(folder: Contents, place: str) -> set[str]:
    """Return the files and folders in a folder that must be signed."""
    paths = [PurePosixPath(name) for name in (*folder.files, *folder.folders)]
    here = {path.name for path in paths if path.parent == PurePosixPath(place)}
    return here - {SIGNATURE, CERTIFICATE}


def _in(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name


def _lay_out(folder: Contents, out: Path) -> None:
    for name in sorted(folder.folders):
        (out / name).mkdir(parents=True, exist_ok=True)
    for name, content in folder.files.items():
        (out / name).write_bytes(content)


def _signed_study(path: Path, job: JobSpec) -> str | None:
    """Return the study for which the submitter signed exactly this job; None if no study is named."""
    if not path.exists():
        return None
    content = _json(path)
    if set(content) != {"study", "job"} or content["job"] != job_hash(job):
        raise SettingsError("is for another job", where=path)
    return _study(content["study"], path)


def _reported_study(path: Path) -> str:
    """Return the study in which the server runs the job, according to the server."""
    return _study(_json(path).get(JobMetaKey.STUDY.value, DEFAULT_STUDY), path)


def _study(value: object, path: Path) -> str:
    if type(value) is not str or not value:
        raise SettingsError("names no study", where=path)
    return value


def _json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if type(content) is not dict:
        raise SettingsError("is not a table", where=path)
    return content
