"""Check which hospitals take part in a masked run, each with its key: what the server forwards, and nobody trusts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from fedward.encryption.keys.signature import check_certificate
from fedward.encryption.keys.site_identity import read_certificate, read_server
from fedward.encryption.masks.agreement import PUBLIC_BYTES, Statement, serves
from fedward.encryption.masks.known_sites import Fingerprints, are_fingerprints, key_fingerprint, known_sites
from fedward.errors import EncryptionError

_FIELDS = frozenset({"certificate", "introduces", "public", "signature"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """Whose certificates count.

    Attributes:
        root: certificate of the federation's authority.
        server: name in the server's certificate.
        revoked: function of a certificate: True if it is known to be revoked.
    """

    root: x509.Certificate
    server: str
    revoked: Callable[[x509.Certificate], bool] = lambda certificate: False


def read_federation(kit: Path) -> Federation:
    """Read a hospital's kit: ``rootCA.pem`` and ``fed_client.json`` in its ``startup``. A kit has no revocation list.

    Raises:
        EncryptionError: a file is absent or not valid.
    """
    startup = kit / "startup"
    root = read_certificate(startup / "rootCA.pem")
    return Federation(root=root, server=read_server(startup / "fed_client.json"))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Member:
    """A hospital of a masked run, verified.

    Attributes:
        public: its public key for the run.
        certificate: of the hospital.
        signature: by the certificate's key, over ``agreement.Statement``.
        introduces: hospitals on its roster, each with the fingerprint of its key.
    """

    public: bytes
    certificate: x509.Certificate
    signature: bytes
    introduces: Mapping[str, str]


def check_member(content: object, *, site: str, nonce: str, job: str, job_id: str, federation: Federation) -> Member:
    """Return a hospital of the run, from a table of any origin.

    Args:
        content: ``certificate`` in DER, ``public``, ``signature`` and ``introduces``.
        site: the hospital.
        nonce: that it drew for the run.
        job: ``job_hash`` of the job.
        job_id: FLARE's id of the run.
        federation: whose certificates count.

    Raises:
        EncryptionError: the certificate is not this hospital's, it did not sign this key for this run, or the key
            cannot serve.
    """
    if type(content) is not dict or set(content) != _FIELDS:
        raise EncryptionError("hospital sent no signed key for the masks", value=site)
    certificate = check_certificate(
        content["certificate"],
        site=site,
        root=federation.root,
        server=federation.server,
        revoked=federation.revoked,
    )
    public, signature = content["public"], content["signature"]
    if type(public) is not bytes or len(public) != PUBLIC_BYTES or type(signature) is not bytes:
        raise EncryptionError("hospital sent no signed key for the masks", value=site)
    introduces = content["introduces"]
    if not are_fingerprints(introduces):
        raise EncryptionError("hospital introduces others in another form than a roster's", value=site)
    said = Statement(site=site, nonce=nonce, public=public, job=job, job_id=job_id, introduces=introduces)
    said.check(signature, certificate)
    if not serves(public):
        raise EncryptionError("hospital's key for the masks cannot serve", value=site)
    return Member(public=public, certificate=certificate, signature=signature, introduces=introduces)


def check_members(
    content: object, *, roster: Mapping[str, str], job: str, job_id: str, federation: Federation
) -> dict[str, Member]:
    """Return every hospital of the run, names sorted, from a table of any origin.

    Args:
        content: hospital -> table, as for ``check_member``.
        roster: hospital -> nonce, verified.
        job: ``job_hash`` of the job.
        job_id: FLARE's id of the run.
        federation: whose certificates count.

    Raises:
        EncryptionError: hospitals are missing or too many, or one is not as ``check_member`` requires.
    """
    if type(content) is not dict or set(content) != set(roster):
        raise EncryptionError("task does not bring the keys of the hospitals that take part")
    return {
        site: check_member(content[site], site=site, nonce=roster[site], job=job, job_id=job_id, federation=federation)
        for site in sorted(roster)
    }


def known_members(roster: Fingerprints, members: Mapping[str, Member], *, site: str) -> frozenset[str]:
    """Return the hospitals of a run that are known here, without this one; errors as ``known_sites``.

    Args:
        roster: of this hospital.
        members: hospitals of the run, verified.
        site: this hospital.
    """
    keys = {name: key_fingerprint(member.certificate) for name, member in members.items()}
    introductions = {name: member.introduces for name, member in members.items()}
    return known_sites(roster, keys, introductions, site=site)
