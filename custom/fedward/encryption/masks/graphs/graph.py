"""Decide which hospitals mask with each other, and which of them hold each other's shares.

In the complete graph each pair of hospitals has a mask, and each hospital holds shares of all. In a sparse one
(``graphs.sparse``) every hospital draws some others. ``neighbours`` and ``holders`` are the only things that the masks
know of a graph.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from fedward.encryption.masks.graphs.groups import Grouping
from fedward.encryption.masks.graphs.sparse import sparse_bound
from fedward.encryption.masks.graphs.threshold import Threshold, colluding_of, lying_of, smallest_group, threshold_of
from fedward.encryption.sum_context import SumContext
from fedward.errors import EncryptionError
from fedward.settings import MIN_CONTRIBUTORS, JobSpec

SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class Graph:
    """Mask graph of one run.

    Attributes:
        sites: hospitals of the run, names sorted.
        quorum: number of hospitals that must help to open a sum.
        needed: number of a hospital's holders that give its secrets back.
        fewest: smallest number of hospitals in a sum.
        partners: hospital -> hospitals with which it has masks, sorted.
        keepers: hospital -> hospitals that hold shares of its secrets, sorted.
        grouping: how hospitals are divided into groups; None: they are not.
        smallest: smallest number of hospitals in a group's sum.
        lying: largest number of hospitals that may lie: more that say the same are right.
        of_models: smallest number of hospitals in a sum of models, where their noise needs more than ``fewest``.
    """

    sites: tuple[str, ...]
    quorum: int
    needed: int
    fewest: int
    partners: Mapping[str, tuple[str, ...]]
    keepers: Mapping[str, tuple[str, ...]]
    grouping: Grouping | None = None
    smallest: int = MIN_CONTRIBUTORS
    lying: int = 1
    of_models: int = 0

    @classmethod
    def complete(cls, sites: Iterable[str], *, colluding: int) -> Graph:
        """Return the graph in which each pair of hospitals has a mask.

        Args:
            sites: hospitals of the run.
            colluding: largest number of them that may side with the server.

        Raises:
            EncryptionError: as ``Threshold``.
        """
        names = tuple(sorted(sites))
        bound = Threshold(sites=len(names), colluding=colluding)
        partners = {site: tuple(other for other in names if other != site) for site in names}
        keepers = dict.fromkeys(names, names)
        return cls(names, bound.needed, bound.needed, bound.fewest, partners, keepers, lying=colluding)

    @classmethod
    def sparse(cls, sites: Iterable[str], *, threshold: Threshold, seeds: Mapping[str, bytes]) -> Graph:
        """Return the graph that follows from the hospitals' seeds; a hospital without a seed can be in no sum.

        Args:
            sites: hospitals of the run.
            threshold: of the run.
            seeds: hospital -> ``SEED_BYTES`` uniform bytes, drawn after it knew who takes part.

        Raises:
            EncryptionError: as ``sparse_bound``; or too few hospitals have a seed.
        """
        names, bound = tuple(sorted(sites)), sparse_bound(threshold)
        if len(seeds) < threshold.fewest or not set(seeds) <= set(names):
            raise EncryptionError("too few hospitals have drawn their part of the mask graph", value=len(seeds))
        drawn = {site: drawn_by(site, names, seed=seed, count=bound.picks) for site, seed in seeds.items()}
        partners = {site: set(others) for site, others in drawn.items()}
        for site, others in drawn.items():
            for other in others & set(drawn):
                partners[other].add(site)
        return cls(
            names,
            threshold.needed,
            bound.needed,
            threshold.fewest,
            {site: tuple(sorted(others)) for site, others in partners.items()},
            {site: tuple(sorted(others | {site})) for site, others in drawn.items()},
            lying=threshold.colluding,
        )

    @classmethod
    def of(cls, spec: JobSpec, sites: Iterable[str], *, job: str, seeds: Mapping[str, bytes] | None) -> Graph:
        """Return the graph that a job asks for.

        Args:
            spec: the job.
            sites: hospitals of the run.
            job: ``job_hash`` of the job.
            seeds: of the hospitals, for a sparse graph.

        Raises:
            EncryptionError: as ``complete`` and ``sparse``; or the graph has seeds and should not, or the other way.
        """
        names = tuple(sites)
        if spec.has_sparse_graph is (seeds is None):
            raise EncryptionError("mask graph of this run is not the one that the job asks for")
        bound = threshold_of(spec, sites=len(names))
        if seeds is not None:
            return cls.sparse(names, threshold=bound, seeds=seeds)
        whole = replace(cls.complete(names, colluding=colluding_of(spec)), of_models=bound.fewest)
        grouping = Grouping.of(spec, job=job)
        return replace(whole, grouping=grouping, smallest=smallest_group(spec), lying=lying_of(spec))

    def of_sum(self, topic: SumContext) -> Graph:
        """Return the graph of one sum: of a group's, the hospitals in it mask with each other, and all hold shares.

        Raises:
            EncryptionError: the run has no such group, or its models' sums are all of groups.
        """
        if self.grouping is None:
            if topic.group >= 0:
                raise EncryptionError("hospitals of this run have no groups", value=topic.group)
            more = topic.purpose == "model" and self.of_models > self.fewest
            return replace(self, fewest=self.of_models) if more else self
        if topic.purpose != "model":
            return self
        groups = self.grouping.groups(self.sites, round_number=topic.round_number)
        if not 0 <= topic.group < len(groups):
            raise EncryptionError("sum of models is of no group of this run", value=topic.group)
        members = groups[topic.group]
        partners = {site: tuple(other for other in members if other != site) for site in members}
        return replace(self, fewest=self.smallest, partners=partners, keepers=dict.fromkeys(members, self.sites))

    def neighbours(self, site: str) -> tuple[str, ...]:
        """Return the hospitals with which a hospital has masks, sorted.

        Raises:
            EncryptionError: it can be in no sum.
        """
        return self._of(self.partners, site)

    def holders(self, site: str) -> tuple[str, ...]:
        """Return the hospitals that hold shares of a hospital's secrets, sorted; it is one of them.

        Raises:
            EncryptionError: it can be in no sum.
        """
        return self._of(self.keepers, site)

    def point(self, holder: str) -> int:
        """Return the point of a holder's shares: from 1, the same for every hospital's secrets."""
        return self.sites.index(holder) + 1

    def _of(self, table: Mapping[str, tuple[str, ...]], site: str) -> tuple[str, ...]:
        found = table.get(site)
        if found is None:
            raise EncryptionError("hospital has no part in the mask graph of this run", value=site)
        return found


def drawn_by(site: str, sites: Iterable[str], *, seed: bytes, count: int) -> frozenset[str]:
    """Return the hospitals that a seed draws: those of the ``count`` smallest SHA-256 of seed and name."""
    order = sorted(
        (hashlib.sha256(b"fedward/neighbour/1" + seed + other.encode("ascii")).digest(), other)
        for other in sites
        if other != site
    )
    return frozenset(other for _, other in order[:count])
