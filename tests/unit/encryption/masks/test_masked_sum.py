"""Masked sums: exact, opened by enough hospitals, and refused in every other case."""

from __future__ import annotations

import numpy as np
import pytest

from fedward.encryption.keys.key import FederationKey
from fedward.encryption.masks.agreement import KeyPair, SharedSecrets
from fedward.encryption.masks.graphs.graph import Graph
from fedward.encryption.masks.graphs.threshold import Threshold
from fedward.encryption.masks.site_masks import SiteMasks
from fedward.encryption.secure_sum import Aggregator, SecureSum
from fedward.encryption.sum_context import SumContext
from fedward.errors import EncryptionError


class Run:
    def __init__(self, count: int, colluding: int = 1, bits: int = 32, length: int = 1000) -> None:
        self.sites = [f"site-{n:03}" for n in range(count)]
        self.threshold = Threshold(sites=count, colluding=colluding)
        self.graph = Graph.complete(self.sites, colluding=colluding)
        pairs = {site: KeyPair.new() for site in self.sites}
        publics = {site: pair.public for site, pair in pairs.items()}
        self.key = FederationKey(scheme="masked", generation=1, secret=bytes(32))
        self.topic = SumContext(
            job_id="j", purpose="model", round_number=0, layout="0" * 64, context="1" * 64, length=length, bits=bits
        )
        self.masks = {
            site: SiteMasks(SharedSecrets(pairs[site], site=site, publics=publics), site=site, graph=self.graph)
            for site in self.sites
        }
        self.sums = {site: SecureSum(self.key, site=site, masks=self.masks[site]) for site in self.sites}
        rng = np.random.default_rng(1)
        limit = (2 ** (bits - 1) - 1) // count
        self.codes = {site: rng.integers(-limit, limit, length) for site in self.sites}

    def aggregator(self) -> Aggregator:
        return Aggregator(self.topic, scheme="masked", key_id=self.key.key_id, graph=self.graph)

    def upload(self, sites: list[str]) -> Aggregator:
        adder = self.aggregator()
        for site in sites:
            adder.add(self.sums[site].seal(self.codes[site], self.topic), site=site)
        return adder

    def help(self, adder: Aggregator, sites: list[str]) -> None:
        assert adder.unmasking is not None
        for site in sites:
            adder.unmasking.answer(self.masks[site].help(adder.unmasking.request(site), self.topic), holder=site)


@pytest.mark.parametrize("bits", [32, 48])
@pytest.mark.parametrize(
    "count, colluding, lost, silent",
    [(3, 1, 0, 0), (4, 1, 1, 0), (4, 1, 0, 1), (5, 2, 1, 0), (7, 2, 1, 1), (10, 3, 3, 0)],
)
def test_the_sum_is_exact(bits, count, colluding, lost, silent):
    run = Run(count, colluding, bits)
    there = run.sites[lost:]
    adder = run.upload(there)
    run.help(adder, run.sites[lost : count - silent])
    opened = run.sums[run.sites[0]].open(adder.sum(), run.topic)
    assert opened.sites == tuple(there)
    assert (opened.codes == sum(run.codes[site] for site in there)).all()


def test_too_few():
    run = Run(5, 2)
    adder = run.upload(run.sites)
    run.help(adder, run.sites[:3])
    with pytest.raises(EncryptionError, match="0 of the 4 hospitals that must help"):
        adder.sum()
