"""Share sketches of this hospital's models, and compute on the others', so that the server can leave false ones out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.distances.dealing import Dealt, deal
from fedward.encryption.distances.holding import held
from fedward.encryption.distances.packages import open_dealt, pack_dealt
from fedward.encryption.distances.requests import (
    DISTANCES,
    SKETCH,
    DistancesRequest,
    read_distances_request,
    read_sketch_request,
)
from fedward.encryption.distances.sketch import sketch
from fedward.encryption.distances.sketched_sum import read_sketched_sum, require_sketched, seal_share
from fedward.encryption.masks.graphs.threshold import malicious_of
from fedward.encryption.masks.locks import lock
from fedward.encryption.masks.unmask_message import name_of_sum, pack_locked
from fedward.encryption.message import unpack
from fedward.encryption.sum_context import SumContext
from fedward.errors import RepeatError
from fedward.flare.gates.sums.masked_key import MaskedKey
from fedward.privacy.ledger.run_record import Record
from fedward.settings import JobSpec


@dataclass(slots=True)
class _Round:
    """What this process holds of one round: its own model, by the nonce of its message, and shares of the others'."""

    number: int
    nonce: str = ""
    codes: NDArray[np.int64] | None = None
    dealt: Mapping[str, Dealt] = field(default_factory=dict)


class Comparison:
    """Comparison of one job's models at one hospital.

    Models and shares are in this process only; a restarted one refuses to compare them, and takes part in the next
    round.

    Args:
        job: a job whose aggregation is ``byzsecagg``.
        keys: of the run.
        site: this hospital.
        record: record of the hospital; it has one request of each kind in a round.
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

    def sketch(self, content: object, topic: SumContext) -> bytes:
        """Return the shares of the sketch of this hospital's model; the request is recorded before.

        Raises:
            EncryptionError: the request names hospitals that take no part, or too few.
            GateError: this hospital shared another sketch of this round.
            RepeatError: the request is about another model than the one that this process has sent.
        """
        request, own = read_sketch_request(content, graph=self._keys.graph), self._round
        if own.codes is None or own.number != topic.round_number or request.nonces.get(self._site) != own.nonce:
            raise RepeatError("models to compare are without the one that this process has sent")
        name = request.name(topic)
        self._record.compare(self._job_id, step=SKETCH, round_number=topic.round_number, request=name)
        numbers = sketch(own.codes, seed=request.seed)
        others = [site for site in request.nonces if site != self._site]
        dealt = deal(numbers, others=others, points=self._points, colluding=self._keys.colluding)
        return pack_dealt(dealt, self._keys.shared, site=self._site, name=name)

    def distances(self, content: object, topic: SumContext) -> bytes:
        """Return this hospital's shares of the distances, in a lock; the request is recorded before.

        Raises:
            EncryptionError: the request names hospitals that sent no model, or too few.
            GateError: this hospital compared other models of this round.
        """
        request = read_distances_request(content, graph=self._keys.graph)
        name = request.name(topic)
        self._record.compare(self._job_id, step=DISTANCES, round_number=topic.round_number, request=name)
        dealt = self._opened(request, topic)
        if self._round.number != topic.round_number:
            self._round = _Round(topic.round_number)
        self._round.dealt = dealt
        damaged = sorted(set(request.packages) - set(dealt))
        answer = held(dealt, name=name, damaged=damaged).pack()
        locked = lock(answer, self._keys.shared, site=self._site, graph=self._keys.graph, name=name)
        return pack_locked(locked, name)

    def share_of_sum(self, topic: SumContext, nonces: Mapping[str, str]) -> bytes | None:
        """Return this hospital's shares of the sketches in a sum, added, under the job's key; None: it has them not."""
        if self._round.number != topic.round_number or not set(nonces) <= set(self._round.dealt):
            return None
        shares = [self._round.dealt[site].sketch for site in sorted(nonces)]
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

    def _opened(self, request: DistancesRequest, topic: SumContext) -> dict[str, Dealt]:
        name, sites = request.sketch.name(topic), sorted(request.sketch.nonces)
        found = {
            dealer: open_dealt(package, self._keys.shared, dealer=dealer, site=self._site, name=name, sites=sites)
            for dealer, package in request.packages.items()
        }
        return {dealer: dealt for dealer, dealt in found.items() if dealt is not None}

    @property
    def _points(self) -> dict[str, int]:
        graph = self._keys.graph
        return {site: graph.point(site) for site in graph.sites}
