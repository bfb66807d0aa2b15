"""Hold the federation's key, under which a hospital seals the sums of a job whose scheme is not ``masked``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedward.encryption.keys.key import FederationKey
from fedward.encryption.keys.key_file import read_key
from fedward.encryption.roster import context_of
from fedward.encryption.secure_sum import Opened, SecureSum
from fedward.encryption.sum_context import SumContext
from fedward.errors import EncryptionError
from fedward.flare.secagg_context import KEY, SCHEME
from fedward.settings import SitePolicy


class SharedKey:
    """The federation's key, from the file that the policy names.

    Args:
        policy: the hospital's.
        scheme: of the job.
        job: ``job_hash`` of the job.

    Raises:
        EncryptionError: there is no key, it cannot be read, or it is of another scheme.
    """

    def __init__(self, policy: SitePolicy, *, scheme: str, job: str) -> None:
        if policy.federation_key is None:
            raise EncryptionError("this hospital has no federation key", remedy="open a sealed box with one")
        self._path, self._job = policy.federation_key, job
        self._key: FederationKey = read_key(self._path)
        if self._key.scheme != scheme:
            what = f"this hospital's federation key is for {self._key.scheme}, and the job's scheme is another"
            raise EncryptionError(what, value=scheme, remedy=f'give encryption.scheme = "{self._key.scheme}"')
        self.secure_sum = SecureSum(self._key, site=policy.site)

    def require(self) -> None:
        """Refuse a key that is gone, or is not the one that the job began with.

        Raises:
            EncryptionError: it is so.
        """
        if read_key(self._path).key_id != self._key.key_id:
            raise EncryptionError("the federation's key was changed while the job runs", remedy="submit the job again")

    @property
    def facts(self) -> dict[str, Any]:
        """Id and scheme of the key."""
        return {KEY: self._key.key_id, SCHEME: self._key.scheme}

    @property
    def admission(self) -> dict[str, Any]:
        """Entries of this hospital's answer that admits the job."""
        return self.facts

    def open(self, sealed: bytes, topic: SumContext) -> Opened:
        """Open and verify a sum of enough hospitals; errors as ``SecureSum.open``."""
        return self.secure_sum.open(sealed, topic)

    def context(self, roster: Mapping[str, str]) -> str:
        """Return ``roster.context_of`` the run."""
        return context_of(roster, job=self._job)
