"""Compute the bytes of a round at one hospital and at the server, for ``fedward job plan``."""

from __future__ import annotations

from dataclasses import dataclass

from fedward.errors import JobError
from fedward.settings import JobSpec

PROOF_BYTES = 1_600
"""Certificate and signature with each answer of an encrypted job, about."""
HELP_BYTES = 360
"""Bytes of an answer that helps to open a masked sum, for each hospital of the run, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundBytes:
    """Bytes of one round.

    Attributes:
        up, down: from and to one hospital.
        held: of all hospitals' messages that the server has in memory at one time, without the sum.
    """

    up: int
    down: int
    held: int

    def words(self, sites: int) -> str:
        """Return one line about a round of so many hospitals."""
        sent, received, held = (
            f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"
            for size in (self.up, self.down, self.held)
        )
        return f"a round with {sites} hospitals: each sends {sent} and receives {received}; the server holds {held}"


def round_bytes(job: JobSpec, *, sites: int) -> RoundBytes:
    """Return the bytes of a round in which so many hospitals take part.

    Of a model in the clear: its shared arrays. Of an encrypted one: the largest message, with the shares of its masks,
    the answers that open its sum, and where models are compared those of the sketches.

    Raises:
        JobError: models are to be compared, and these are too few hospitals.
        EncryptionError: no sparse graph is possible among so few.
    """
    from fedward.encryption.masks.graphs.sparse import degrees
    from fedward.encryption.masks.graphs.threshold import group_count, threshold_of
    from fedward.encryption.masks.upload import extra_bytes
    from fedward.encryption.schemes import bits_of, largest_bytes
    from fedward.training.networks import initial_weights, trained_keys

    weights = initial_weights(job)
    if job.noises_sum:  # no model travels, and nothing of a parameter that stays as it starts
        weights = {name: weights[name] for name in trained_keys(job)}
    if job.encryption is None:
        size = sum(array.nbytes for array in weights.values())
        return RoundBytes(up=size, down=size, held=sites * size)
    scheme, numbers = job.encryption.scheme, sum(array.size for array in weights.values())
    size = largest_bytes(scheme, bits=bits_of(scheme, job.encryption.precision), length=numbers)
    if not job.is_masked:
        return RoundBytes(up=size + PROOF_BYTES, down=size, held=size)
    neighbours, holders = sites - 1, sites
    if job.has_sparse_graph:
        neighbours, holders = degrees(threshold_of(job, sites=sites))
    shares = extra_bytes(neighbours=neighbours, holders=holders)
    if job.federation.aggregation == "grouped-median":
        groups = group_count(job)
        up = size + shares + groups * HELP_BYTES * sites + 2 * PROOF_BYTES
        down = groups * size + sites * shares // max(1, holders)
        return RoundBytes(up=up, down=down, held=sites * shares + size)
    sent = size + shares + HELP_BYTES * sites + 2 * PROOF_BYTES
    if job.federation.aggregation != "byzsecagg":
        return RoundBytes(up=sent, down=size + shares, held=size + sites * shares)
    up, down = _compared(job, sites=sites)
    return RoundBytes(up=sent + up, down=size + shares + down, held=sites * (size + shares + up))


def _compared(job: JobSpec, *, sites: int) -> tuple[int, int]:
    """Return the bytes from and to one hospital that compare models."""
    from fedward.encryption.distances.field import NUMBER_BYTES
    from fedward.encryption.distances.packages import message_size, sealed_size
    from fedward.encryption.distances.sketched_sum import SEALED_BYTES
    from fedward.encryption.masks.graphs.threshold import least_to_compare

    least = least_to_compare(job)
    if sites < least:
        what = f"models of fewer than {least} hospitals cannot be compared"
        raise JobError(what, where="federation.min_sites", value=sites, remedy=f"invite {least} or more")
    pairs = sites * (sites - 1) // 2
    values = 2 * NUMBER_BYTES * (2 * pairs + 2 * sites)  # in hexadecimal digits; a lock has them in such digits again
    up = message_size(sites=sites, holders=sites) + values + 4 * SEALED_BYTES + 3 * PROOF_BYTES
    return up, sites * (sealed_size(sites) + SEALED_BYTES + 4 * NUMBER_BYTES * sites + PROOF_BYTES)
