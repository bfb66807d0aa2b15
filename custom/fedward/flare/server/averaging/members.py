"""Check at the server who sealed a message, before it is added, and keep the proofs in the run folder.

``signatures.jsonl`` has one line for each message that was added: site, purpose, round, SHA-256 of the message,
signature, and the certificate in DER (in base64). With the authority's certificate anybody can check a line again
(``encryption.keys.signature``). The file is bounded: when it is full it becomes ``signatures.jsonl.1``, and the one
before goes.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from fedward.encryption.keys.signature import Signed, check_certificate, check_signature
from fedward.encryption.keys.site_identity import read_certificate
from fedward.encryption.masks.members import Federation, check_member
from fedward.encryption.sum_context import SumContext
from fedward.errors import FederationError
from fedward.flare.protocol import Reply
from fedward.flare.secagg_context import CERTIFICATE, INTRODUCES, PUBLIC, SIGNATURE, STATEMENT
from fedward.metrics.events import append_whole
from fedward.provisioning.crl import CRL_FILE, Revocations, crl_content, parse_crl

SIGNATURES_FILE = "signatures.jsonl"
LARGEST_FILE = 32 * 2**20
"""Bytes, of each of the two files: some 17,000 messages."""


class Members:
    """The federation's hospitals, as their certificates name them.

    Args:
        root: certificate of the federation's authority.
        server: name in the server's certificate.
        crl: file of the revocation list; without one, no certificate is known to be revoked.
        proofs: files for the proofs, all with the same lines.
    """

    def __init__(self, root: x509.Certificate, *, server: str, crl: Path, proofs: Sequence[Path] = ()) -> None:
        self._root, self._server, self._crl, self._proofs = root, server, crl, tuple(proofs)
        self._revocations: Revocations | None = None
        self._waiting: dict[Path, bytes] = dict.fromkeys(self._proofs, b"")

    @classmethod
    def of(cls, kit: Path, *, run_folder: Path, checkpoints: Path) -> Members:
        """Read the server's kit, and copy the proofs of the job's earlier processes to a new run folder.

        Raises:
            EncryptionError: a certificate cannot be read.
            FederationError: the server's certificate names nobody, or its revocation list is not valid.
        """
        own, root = read_certificate(kit / "startup" / "server.crt"), read_certificate(kit / "startup" / "rootCA.pem")
        names = own.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if len(names) != 1:
            raise FederationError("server's certificate names nobody", where=kit, remedy="renew it")
        proofs = [folder / SIGNATURES_FILE for folder in (checkpoints, run_folder)]
        made = cls(root, server=str(names[0].value), crl=kit / "local" / CRL_FILE, proofs=proofs)
        made.renew()
        with suppress(OSError):
            for kept, copy in zip(*([path, _older(path)] for path in proofs), strict=True):
                if kept.exists():
                    shutil.copyfile(kept, copy)
        return made

    def renew(self) -> None:
        """Read the revocation list again; an older one than the last does not take effect.

        Raises:
            FederationError: the list is not valid, and there was no valid one before.
        """
        if not self._crl.exists():
            return
        try:
            found = parse_crl(crl_content(self._crl), root=self._root, where=self._crl)
        except FederationError:
            if self._revocations is None:
                raise
            return  # the server's door says so in its log, and admits nobody new until it is valid
        if self._revocations is None or found.number >= self._revocations.number:
            self._revocations = found

    def certificate(self, reply: Reply, *, site: str) -> x509.Certificate:
        """Return the certificate that a site's answer brings.

        Raises:
            EncryptionError: it is not the certificate of this hospital, valid today and not revoked.
        """
        known = self._federation
        return check_certificate(
            (reply.sealed or {}).get(CERTIFICATE),
            site=site,
            root=known.root,
            server=known.server,
            revoked=known.revoked,
        )

    def public_key(self, reply: Reply, *, site: str, nonce: str, job: str, job_id: str) -> dict[str, Any]:
        """Return what a masked job's hospitals are sent of a site: ``certificate``, ``public`` key,
        ``signature`` and whom it ``introduces``.

        Raises:
            EncryptionError: the site did not sign this key for this run.
        """
        sealed = reply.sealed or {}
        names = {"certificate": CERTIFICATE, "public": PUBLIC, "signature": STATEMENT, "introduces": INTRODUCES}
        content = {name: sealed.get(entry) for name, entry in names.items()}
        found = check_member(content, site=site, nonce=nonce, job=job, job_id=job_id, federation=self._federation)
        certificate = found.certificate.public_bytes(Encoding.DER)
        plain = {"certificate": certificate, "public": found.public, "signature": found.signature}
        return {**plain, "introduces": dict(found.introduces)}

    @property
    def _federation(self) -> Federation:
        return Federation(
            root=self._root,
            server=self._server,
            revoked=lambda one: self._revocations is not None and self._revocations.revokes(one),
        )

    def check(self, reply: Reply, purpose: str, message: bytes, topic: SumContext, *, site: str) -> Signed:
        """Return the proof that this hospital sealed this message for this sum.

        Raises:
            EncryptionError: certificate or signature is missing or wrong.
        """
        certificate = self.certificate(reply, site=site)
        signature = (reply.sealed or {}).get(SIGNATURE + purpose)
        return check_signature(message, signature, certificate, topic=topic, site=site)

    def keep(self, proof: Signed) -> None:
        """Write a proof to the files, whole; what the disk does not accept waits for the next one."""
        line = (json.dumps(_plain(proof), sort_keys=True) + "\n").encode("ascii")
        for path in self._proofs:
            self._waiting[path] = (self._waiting[path] + line)[-LARGEST_FILE:]
            with suppress(OSError):
                if path.exists() and path.stat().st_size + len(line) > LARGEST_FILE:
                    path.replace(_older(path))
                append_whole(path, self._waiting[path])
                self._waiting[path] = b""


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _plain(proof: Signed) -> Mapping[str, Any]:
    encoded = {name: base64.b64encode(getattr(proof, name)).decode("ascii") for name in ("signature", "certificate")}
    return {"site": proof.site, "topic": proof.topic.plain(), "sha256": proof.sha256, **encoded}
