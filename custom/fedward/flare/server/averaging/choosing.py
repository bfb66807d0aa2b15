"""Have hospitals compare the masked models of a round, and choose those that are near each other."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from fedward.aggregation.contradictions import surely_false
from fedward.aggregation.krum import multi_krum
from fedward.encryption.distances.checking import Checks, Verdict, checked, judged, read_checks
from fedward.encryption.distances.comparing import (
    DistanceShares,
    answers_needed,
    decode_distances,
    read_distance_shares,
    shares_needed,
)
from fedward.encryption.distances.packages import hash_of, split_message
from fedward.encryption.distances.requests import (
    CHECK,
    DISTANCES,
    SKETCH,
    CheckRequest,
    DistancesRequest,
    SketchRequest,
)
from fedward.encryption.distances.sketch import SEED_BYTES
from fedward.encryption.masks.graphs.graph import Graph
from fedward.encryption.masks.locks import Locked, unlock
from fedward.encryption.masks.unmask_message import read_locked
from fedward.encryption.sum_context import SumContext
from fedward.errors import EncryptionError, JobError
from fedward.flare.protocol import Reply, Task, Unmask
from fedward.flare.secagg_context import SHARES
from fedward.flare.server.asking.broadcast import Quorum
from fedward.flare.server.averaging.compared_round import ComparedRound
from fedward.flare.server.averaging.members import Members
from fedward.flare.server.masked_sums import AskFor
from fedward.metrics.events import EventLog

LATE = "its model could not be compared: it sent no shares of its sketch in time"
FALSE = "it contradicts others when the shares of the models' sketches are checked, and is surely false"


class Choosing:
    """Comparison of one round's models at the server.

    Args:
        taken: the round, stopped.
        topic: context of the sum.
        graph: mask graph of the run.
        members: hospitals whose signatures count.
        colluding: degree of the polynomials that share a sketch.
        malicious: largest number of hospitals that send, deal or answer falsely.
    """

    def __init__(
        self,
        taken: ComparedRound,
        topic: SumContext,
        *,
        graph: Graph,
        members: Members,
        colluding: int,
        malicious: int,
    ) -> None:
        self._taken, self._topic, self._graph, self._members = taken, topic, graph, members
        self._bound = {"colluding": colluding, "malicious": malicious}
        self._malicious = malicious
        self._points = {site: graph.point(site) for site in graph.sites}
        self._least = max(2 * malicious + 3, graph.fewest + malicious)
        self._request = SketchRequest(nonces=taken.nonces, seed=secrets.token_bytes(SEED_BYTES), base=topic.base)
        self._dealt: dict[str, dict[str, bytes]] = {}
        self._checks: dict[str, Checks] = {}
        self._signed: dict[str, dict[str, bytes]] = {}
        self._locked: dict[str, Locked] = {}
        self._lock = threading.Lock()

    def run(self, sites: Sequence[str], *, ask: AskFor, events: EventLog) -> str | None:
        """Ask the sites, and choose; return why the round does not count, or None.

        Args:
            sites: sites of the job, any of which may help.
            ask: function that sends a task.
            events: log of sites that dealt or answered falsely.
        """
        number, uploaded = self._topic.round_number, list(self._request.nonces)
        needed = answers_needed(**self._bound)
        if len(uploaded) < self._least:
            return f"{len(uploaded)} sites sent their models, and {self._least} are needed to compare them"
        plain = self._request.plain()
        tasks = {site: Unmask(requests={SKETCH: plain}) for site in uploaded}
        ask(Task.UNMASK, tasks, uploaded, enough=self._has_dealt, number=number, take=self._take_dealt)
        if len(self._dealt) < self._least:
            return f"{len(self._dealt)} sites shared their models' sketches, and {self._least} are needed"
        tasks = {site: Unmask(requests={CHECK: self.checking(site).plain()}) for site in sites}
        ask(Task.UNMASK, tasks, list(sites), enough=self._has_checked, number=number, take=self._take_checks)
        if len(self._checks) < needed:
            return f"{len(self._checks)} of the {needed} sites that must check the shares did"
        verdicts = judged(self._checks, dealers=sorted(self._dealt), points=self._points, **self._bound)
        false, sure = self._false(verdicts)
        self._tell({**false, **dict.fromkeys(sure or (), FALSE)}, events)
        plain = self.computing().plain()
        tasks = {site: Unmask(requests={DISTANCES: plain}) for site in self._checks}
        ask(Task.UNMASK, tasks, list(tasks), enough=Quorum(self._has_answers), number=number, take=self._take_answer)
        answers = self._answers()
        if len(answers) < needed:
            return f"{len(answers)} of the {needed} sites that must help to compare models did"
        if sure is None or len(false) + len(sure) > self._malicious:
            return "models of the round cannot be compared: more sites than max_malicious deal or answer falsely"
        return self._choose(verdicts, answers, false=false, sure=sure)

    def checking(self, site: str) -> CheckRequest:
        """Return the request to one hospital to check what was dealt."""
        packages = {dealer: own[site] for dealer, own in self._dealt.items()}
        return CheckRequest(sketch=self._request, hashes=self._hashes, packages=packages)

    def computing(self) -> DistancesRequest:
        """Return the request to compute distances, the same for every hospital."""
        return DistancesRequest(sketch=self._request, hashes=self._hashes, checks=dict(sorted(self._signed.items())))

    def _choose(
        self,
        verdicts: Mapping[str, Verdict],
        answers: Mapping[str, DistanceShares],
        *,
        false: Mapping[str, str],
        sure: frozenset[str],
    ) -> str | None:
        """Choose the models: without those of sites that are surely false, and the farthest of the others.

        As many of the farthest are left out as may still be false. Which of two sites that contradict each other is
        false is not known, so a site is left out for that only if it is surely false: else two that lie could have an
        honest model left out, and the farthest one summed.
        """
        left_out = {site: LATE for site in self._request.nonces if site not in self._dealt}
        left_out |= {site: FALSE for site in sure if site in self._dealt} | dict(false)
        usable = sorted(set(self._dealt) - set(left_out))
        found = decode_distances(answers, sites=usable, points=self._points, **self._bound)
        try:
            chosen = multi_krum(found, usable, malicious=self._malicious - len(false) - len(sure))
        except JobError as error:
            return str(error)
        able = [holder for holder in self._checks if not any(holder in verdicts[site].off for site in chosen)]
        if len(able) < (needed := shares_needed(**self._bound)):
            return f"{len(able)} of the {needed} sites that must prove the sum have good shares of its models' sketches"
        wanted = min(len(able), needed + self._malicious)
        self._taken.choose(chosen, seed=self._request.seed, sketches_needed=wanted, left_out=left_out)
        return None

    def _false(self, verdicts: Mapping[str, Verdict]) -> tuple[dict[str, str], frozenset[str] | None]:
        """Return the dealers whose dealing is false as a whole, with the reason, and the other sites that surely lie.

        These are false if no more than ``malicious`` sites are; None: more are.
        """
        false = {site: one.why for site, one in verdicts.items() if one.why is not None}
        pairs = [(holder, dealer) for dealer, one in verdicts.items() for holder in one.off]
        rest = [pair for pair in pairs if not false.keys() & set(pair)]
        return false, surely_false(rest, most=self._malicious - len(false))

    def _tell(self, said: Mapping[str, str], events: EventLog) -> None:
        """Record who dealt falsely, and who contradicts so many others that it is surely false."""
        for site, reason in sorted(said.items()):
            events.append("suspect", site=site, round=self._topic.round_number, reason=reason)

    def _content(self, reply: Reply, purpose: str, *, site: str) -> tuple[bytes, dict[str, bytes]]:
        """Return a part of a site's answer, and its signature, which is right; errors as ``Members.check``."""
        content = (reply.sealed or {}).get(SHARES + purpose)
        if type(content) is not bytes:
            raise JobError("answer brings no shares")
        proof = self._members.check(reply, SHARES + purpose, content, self._topic, site=site)
        self._members.keep(proof)
        return content, {"signature": proof.signature, "certificate": proof.certificate}

    def _take_dealt(self, site: str, reply: Reply) -> None:
        content, _ = self._content(reply, SKETCH, site=site)
        packages = split_message(content, holders=self._graph.sites, sites=len(self._request.nonces))
        with self._lock:
            self._dealt[site] = packages

    def _has_dealt(self, _: object = None) -> bool:
        with self._lock:
            return len(self._dealt) >= self._least

    @property
    def _hashes(self) -> dict[str, tuple[str, ...]]:
        return {dealer: tuple(map(hash_of, own.values())) for dealer, own in sorted(self._dealt.items())}

    def _take_checks(self, site: str, reply: Reply) -> None:
        content, proof = self._content(reply, CHECK, site=site)
        name = CheckRequest(sketch=self._request, hashes=self._hashes, packages={}).name(self._topic)
        found = read_checks(checked(content, name=name), dealers=sorted(self._dealt))
        with self._lock:
            self._checks[site], self._signed[site] = found, {"answer": content, **proof}

    def _has_checked(self, _: object = None) -> bool:
        needed = answers_needed(**self._bound)
        with self._lock:
            return len(self._checks) >= max(needed, self._graph.quorum)

    def _take_answer(self, site: str, reply: Reply) -> None:
        content, _ = self._content(reply, DISTANCES, site=site)
        found = read_locked(content, name=self.computing().name(self._topic), graph=self._graph)
        with self._lock:
            self._locked[site] = found

    def _has_answers(self, _: object = None) -> bool:
        with self._lock:
            given = dict(self._locked)
        if len(given) < max(answers_needed(**self._bound), self._graph.quorum):
            return False
        return len(self._opened(given)) >= answers_needed(**self._bound)

    def _answers(self) -> dict[str, DistanceShares]:
        return self._opened(self._locked)

    def _opened(self, given: Mapping[str, Locked]) -> dict[str, DistanceShares]:
        """Return the answers that the sites' tokens open; one that opens to nothing usable does not count."""
        found: dict[str, Any] = {}
        name, dealers = self.computing().name(self._topic), sorted(self._dealt)
        for holder, one in given.items():
            tokens = {other: another.tokens[holder] for other, another in given.items()}
            content = unlock(one, tokens, graph=self._graph, name=name)
            if content is None:
                continue
            try:
                found[holder] = read_distance_shares(content, dealers=dealers)
            except EncryptionError:
                continue
        return found
