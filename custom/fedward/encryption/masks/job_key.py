"""Send the key of one job from the hospital that makes it to every other one, sealed to each.

The key seals sums as a federation key does (``fedward.encryption.secure_sum``), in this job alone. It is encrypted with
AES-256-GCM (NIST SP 800-38D) under a secret of the two hospitals that serves for nothing else, so that the server can
neither read nor replace it. A hospital that makes a bad key makes sums that do not verify; one that gives its key to
the server gives away the sums, and no hospital's numbers.
"""

from __future__ import annotations

from collections.abc import Iterable

from fedward.encryption.keys.key import SECRET_BYTES, FederationKey
from fedward.encryption.masks.agreement import SharedSecrets
from fedward.encryption.masks.locks import IV_BYTES, TAG_BYTES, decrypt_fresh, encrypt_fresh
from fedward.errors import EncryptionError, RosterError

SEALED_BYTES = IV_BYTES + SECRET_BYTES + TAG_BYTES


def job_key(secret: bytes) -> FederationKey:
    """Return the key of a masked job, from ``SECRET_BYTES`` bytes."""
    return FederationKey(scheme="masked", generation=1, secret=secret)


def seal_job_key(
    secret: bytes, secrets: SharedSecrets, *, maker: str, sites: Iterable[str], context: str
) -> dict[str, bytes]:
    """Return the sealed key for each hospital of the run, ``SEALED_BYTES`` bytes.

    Args:
        secret: of the job's key.
        secrets: of the hospital that makes it.
        maker: this hospital.
        sites: hospitals of the run.
        context: ``roster.context_of`` the run.
    """
    found = {}
    for site in sorted(sites):
        use = _use(maker, site, context)
        found[site] = encrypt_fresh(secret, secrets.derive(site, use), use)
    return found


def open_job_key(sealed: object, secrets: SharedSecrets, *, maker: str, site: str, context: str) -> bytes:
    """Return the secret of the job's key.

    Args:
        sealed: as received.
        secrets: of this hospital.
        maker: the hospital that made it.
        site: this hospital.
        context: ``roster.context_of`` the run.

    Raises:
        EncryptionError: it has another form.
        RosterError: it was not sealed by ``maker`` for this hospital and run; another key may come.
    """
    if type(sealed) is not bytes or len(sealed) != SEALED_BYTES:
        raise EncryptionError("task brings no key of the job")
    use = _use(maker, site, context)
    secret = decrypt_fresh(sealed, secrets.derive(maker, use), use)
    if secret is None:
        raise RosterError("key of the job does not open here: its maker sealed it to other keys", value=maker)
    return secret


def _use(maker: str, site: str, context: str) -> bytes:
    return "\n".join(("job key", maker, site, context)).encode("ascii")
