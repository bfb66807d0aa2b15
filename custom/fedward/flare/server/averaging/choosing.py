"""Have hospitals compare the masked models of a round, and choose those that are near each other."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Mapping, Sequence
from math import inf

from fedward.aggregation.krum import multi_krum
from fedward.encryption.distances.decoding import Decoding, answers_needed, decode_distances
from fedward.encryption.distances.holding import Held, read_held
from fedward.encryption.distances.packages import split_message
from fedward.encryption.distances.requests import DISTANCES, SKETCH, DistancesRequest, SketchRequest
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
        self._colluding, self._malicious = colluding, malicious
        self._request = SketchRequest(nonces=taken.nonces, seed=secrets.token_bytes(SEED_BYTES), base=topic.base)
        self._dealt: dict[str, dict[str, bytes]] = {}
        self._hashes: dict[str, str] = {}
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
        least = max(2 * self._malicious + 3, self._graph.fewest + self._malicious)
        if len(uploaded) < least:
            return f"{len(uploaded)} sites sent their models, and {least} are needed to compare them"
        plain = self._request.plain()
        tasks = {site: Unmask(requests={SKETCH: plain}) for site in uploaded}
        ask(Task.UNMASK, tasks, uploaded, enough=lambda _: self._has_dealt(least), number=number, take=self._take_dealt)
        if len(self._dealt) < least:
            return f"{len(self._dealt)} sites shared their models' sketches, and {least} are needed to compare them"
        helpers = {site: Unmask(requests={DISTANCES: self._distances(site).plain()}) for site in sites}
        enough = Quorum(lambda _: self._has_answers())
        ask(Task.UNMASK, helpers, list(sites), enough=enough, number=number, take=self._take_answer)
        answers = self._answers()
        needed = answers_needed(colluding=self._colluding, malicious=self._malicious)
        if len(answers) < needed:
            return f"{len(answers)} of the {needed} sites that must help to compare models did"
        found = decode_distances(
            answers,
            sites=sorted(self._dealt),
            points={site: self._graph.point(site) for site in self._graph.sites},
            colluding=self._colluding,
            malicious=self._malicious,
        )
        self._tell(found, events)
        return self._choose(found)

    def _choose(self, found: Decoding) -> str | None:
        usable = sorted(set(self._dealt) - set(found.dealers))
        left_out = {site: LATE for site in self._request.nonces if site not in self._dealt} | dict(found.dealers)
        # dealers of false shares are malicious already, and the others the fewer
        malicious = max(0, self._malicious - len(found.dealers))
        try:
            chosen = multi_krum(found.distances, usable, malicious=malicious)
        except JobError as error:
            return str(error)
        if any(found.distances[one, other] == inf for one in chosen for other in chosen if one < other):
            return "models of the round cannot be compared: more sites than max_malicious answer falsely"
        self._taken.choose(chosen, seed=self._request.seed, left_out=left_out)
        return None

    def _tell(self, found: Decoding, events: EventLog) -> None:
        false = dict.fromkeys(found.holders, "gave false shares of the distances between models")
        for site, reason in sorted({**false, **found.dealers}.items()):
            events.append("suspect", site=site, round=self._topic.round_number, reason=reason)

    def _content(self, reply: Reply, purpose: str, *, site: str) -> bytes:
        """Return a part of a site's answer, whose signature is right; errors as ``Members.check``."""
        content = (reply.sealed or {}).get(SHARES + purpose)
        if type(content) is not bytes:
            raise JobError("answer brings no shares")
        self._members.keep(self._members.check(reply, SHARES + purpose, content, self._topic, site=site))
        return content

    def _take_dealt(self, site: str, reply: Reply) -> None:
        content = self._content(reply, SKETCH, site=site)
        packages = split_message(content, holders=self._graph.sites, sites=len(self._request.nonces))
        with self._lock:
            self._dealt[site], self._hashes[site] = packages, hashlib.sha256(content).hexdigest()

    def _has_dealt(self, least: int) -> bool:
        with self._lock:
            return len(self._dealt) >= least

    def _distances(self, site: str) -> DistancesRequest:
        packages = {dealer: own[site] for dealer, own in self._dealt.items()}
        return DistancesRequest(sketch=self._request, hashes=dict(self._hashes), packages=packages)

    @property
    def _name(self) -> str:
        return DistancesRequest(sketch=self._request, hashes=dict(sorted(self._hashes.items())), packages={}).name(
            self._topic
        )

    def _take_answer(self, site: str, reply: Reply) -> None:
        content = self._content(reply, DISTANCES, site=site)
        found = read_locked(content, name=self._name, graph=self._graph)
        with self._lock:
            self._locked[site] = found

    def _has_answers(self) -> bool:
        needed = answers_needed(colluding=self._colluding, malicious=self._malicious)
        with self._lock:
            return len(self._locked) >= max(needed, self._graph.quorum)

    def _answers(self) -> Mapping[str, Held]:
        """Return the answers that the sites' tokens open; one that opens to nothing usable does not count."""
        found = {}
        for holder, one in self._locked.items():
            tokens = {other: another.tokens[holder] for other, another in self._locked.items()}
            content = unlock(one, tokens, graph=self._graph, name=self._name)
            if content is None:
                continue
            try:
                found[holder] = read_held(content, sites=sorted(self._dealt))
            except EncryptionError:
                continue
        return found
