"""Share sketches of this hospital's models, and compute on the others', so that the server can leave false ones out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.distances.checking import about, checked, checks_of, judged, read_checks
from fedward.encryption.distances.comparing import answers_needed, distance_shares
from fedward.encryption.distances.dealing import Dealt, deal
from fedward.encryption.distances.packages import name_of_dealing, open_dealt, pack_dealt
from fedward.encryption.distances.requests import (
    CHECK,
    DISTANCES,
    SKETCH,
    CheckRequest,
    DistancesRequest,
    read_check_request,
    read_distances_request,
    read_sketch_request,
)
from fedward.encryption.distances.sketch import sketch
from fedward.encryption.distances.sketched_sum import read_sketched_sum, require_sketched, seal_share
from fedward.encryption.keys.signature import check_certificate, check_signature
from fedward.encryption.masks.graphs.threshold import malicious_of
from fedward.encryption.masks.locks import lock
from fedward.encryption.masks.unmask_message import name_of_sum, pack_locked
from fedward.encryption.message import unpack
from fedward.encryption.sum_context import SumContext
from fedward.errors import EncryptionError, RepeatError
from fedward.flare.gates.sums.masked_key import MaskedKey
from fedward.privacy.ledger.run_record import Record
from fedward.settings import JobSpec


@dataclass(slots=True)
class _Round:
    """Own model of a round at this process, by the nonce of its message, and shares of the others' sketches."""

    number: int
    nonce: str = ""
    codes: NDArray[np.int64] | None = None
    packages: str = ""
    """Name of the packages from which the shares are."""
    nonces: Mapping[str, str] = field(default_factory=dict)
    dealt: Mapping[str, Dealt] = field(default_factory=dict)
    good: frozenset[str] = frozenset()
    """Dealers whose shares are on their polynomials."""


class Comparison:
    """Comparison of one job's models at one hospital.

    Models and shares are in this process only; a restarted one refuses to compare them, and takes part in the next
    round.

    Args:
        job: a job whose aggregation is ``byzsecagg``.
        keys: of the run.
        site: this hospital.
        record: record of the hospital; it has one request of each kind for one upload.
        job_id: FLARE's id of the run.
    """

    def __init__(self, job: JobSpec, keys: MaskedKey, *, site: str, record: Record, job_id: str) -> None:
        self._keys, self._site, self._record, self._job_id = keys, site, record, job_id
        self._malicious = malicious_of(job)
        self._round = _Round(-1)

    def keep(self, codes: NDArray[np.int64], message: bytes, *, round_number: int) -> None:
        """Keep a model that is about to leave sealed in ``message``, until the next round."""
        nonce = unpack(message).parts[0].nonce.hex()
        self._round = _Round(round_number, nonce=nonce, codes=codes)

    def answer(self, purpose: str, content: object, topic: SumContext) -> bytes:
        """Return the answer to a request; it is recorded before.

        Raises:
            EncryptionError: the request is none, names hospitals that take no part, or what it brings is not theirs.
            GateError: models of this round were compared in another run of the job.
            RepeatError: this hospital compared other models of this round, or is without what the request is about.
        """
        answers = {SKETCH: self._sketch, CHECK: self._check, DISTANCES: self._distances}
        return answers[purpose](content, topic)

    def _sketch(self, content: object, topic: SumContext) -> bytes:
        """Return the shares of the sketch of this hospital's model."""
        request, own = read_sketch_request(content, graph=self._keys.graph), self._round
        if own.codes is None or own.number != topic.round_number:
            raise RepeatError("models to compare are without the one that this process has sent")
        name = request.name(topic)
        self._recorded(SKETCH, name, request.nonces, topic)
        numbers = sketch(own.codes, seed=request.seed)
        others = [site for site in request.nonces if site != self._site]
        dealt = deal(numbers, others=others, points=self._points, colluding=self._keys.colluding)
        return pack_dealt(dealt, self._keys.shared, site=self._site, name=name)

    def _check(self, content: object, topic: SumContext) -> bytes:
        """Return the values by which this hospital's shares are checked."""
        request = read_check_request(content, holder=self._site, graph=self._keys.graph)
        name = request.name(topic)
        self._recorded(CHECK, name, request.sketch.nonces, topic)
        sketched = request.sketch.name(topic)
        dealings = {one: name_of_dealing(each, dealer=one, name=sketched) for one, each in request.hashes.items()}
        dealt = self._opened(request, dealings, name=sketched)
        if self._round.number != topic.round_number:
            self._round = _Round(topic.round_number)
        self._round.packages, self._round.dealt, self._round.good = name, dealt, frozenset()
        self._round.nonces = request.sketch.nonces
        damaged = sorted(set(request.packages) - set(dealt))
        return about(name) + checks_of(dealt, dealings=dealings, damaged=damaged).pack()

    def _distances(self, content: object, topic: SumContext) -> bytes:
        """Return this hospital's shares of the distances, in a lock."""
        request = read_distances_request(content, graph=self._keys.graph)
        packages, own = packages_of(request, topic), self._round
        if own.number != topic.round_number or own.packages != packages:
            raise RepeatError("shares to compute with are not those that this process has checked")
        good = self._judged(request, topic, packages)
        name = request.name(topic)
        self._recorded(DISTANCES, name, request.sketch.nonces, topic)
        own.good = good
        shares = distance_shares(
            {dealer: own.dealt[dealer] for dealer in good}, omitted=sorted(set(request.hashes) - good)
        )
        locked = lock(shares.pack(), self._keys.shared, site=self._site, graph=self._keys.graph, name=name)
        return pack_locked(locked, name)

    def share_of_sum(self, topic: SumContext, nonces: Mapping[str, str]) -> bytes | None:
        """Return this hospital's shares of the sketches in a sum, added, under the job's key.

        None: it has them not, or one is not on its dealer's polynomial, or the sum is of another message than was
        compared.
        """
        own = self._round
        compared = own.number == topic.round_number and set(nonces) <= own.good
        if not compared or any(own.nonces[site] != nonce for site, nonce in nonces.items()):
            return None
        shares = [own.dealt[site].sketch for site in sorted(nonces)]
        return seal_share(shares, self._keys.job_key, site=self._site, name=name_of_sum(topic, nonces))

    def require(self, codes: NDArray[np.int64], proof: object, *, topic: SumContext, nonces: Mapping[str, str]) -> None:
        """Refuse a sum that is not of the models whose sketches were compared; errors as ``require_sketched``."""
        require_sketched(
            codes,
            read_sketched_sum(proof),
            self._keys.job_key,
            name=name_of_sum(topic, nonces),
            points=self._points,
            colluding=self._keys.colluding,
            malicious=self._malicious,
        )

    def _recorded(self, step: str, name: str, nonces: Mapping[str, str], topic: SumContext) -> None:
        """Record a request: the only one of its step for one upload of this hospital, or for none."""
        upload, number, own = nonces.get(self._site, ""), topic.round_number, self._round
        if own.number == number and own.nonce and upload != own.nonce:
            raise RepeatError("models to compare are without the one that this process has sent")
        self._record.compare(self._job_id, step=step, round_number=number, upload=upload, request=name)

    def _opened(self, request: CheckRequest, dealings: Mapping[str, str], *, name: str) -> dict[str, Dealt]:
        sites = sorted(request.sketch.nonces)
        found = {
            dealer: open_dealt(
                package,
                self._keys.shared,
                dealer=dealer,
                site=self._site,
                name=name,
                sites=sites,
                dealing=dealings[dealer],
            )
            for dealer, package in request.packages.items()
        }
        return {dealer: dealt for dealer, dealt in found.items() if dealt is not None}

    def _judged(self, request: DistancesRequest, topic: SumContext, packages: str) -> frozenset[str]:
        """Return the dealers with whose shares this hospital computes, by the values that every hospital signed."""
        dealers, federation = sorted(request.hashes), self._keys.federation
        needed = answers_needed(colluding=self._keys.colluding, malicious=self._malicious)
        if len(request.checks) < needed:
            raise EncryptionError(f"shares were checked by fewer than {needed} hospitals", value=len(request.checks))
        checks = {}
        for holder, one in request.checks.items():
            certificate = check_certificate(
                one["certificate"],
                site=holder,
                root=federation.root,
                server=federation.server,
                revoked=federation.revoked,
            )
            check_signature(one["answer"], one["signature"], certificate, topic=topic, site=holder)
            checks[holder] = read_checks(checked(one["answer"], name=packages), dealers=dealers)
        found = judged(
            checks,
            dealers=dealers,
            points=self._points,
            colluding=self._keys.colluding,
            malicious=self._malicious,
        )
        if self._site not in checks:
            return frozenset()
        held = set(self._round.dealt)
        return frozenset(
            dealer for dealer, one in found.items() if one.why is None and self._site not in one.off and dealer in held
        )

    @property
    def _points(self) -> dict[str, int]:
        graph = self._keys.graph
        return {site: graph.point(site) for site in graph.sites}


def packages_of(request: DistancesRequest, topic: SumContext) -> str:
    """Return the name of the packages that a request to compute rests on."""
    return CheckRequest(sketch=request.sketch, hashes=request.hashes, packages={}).name(topic)
