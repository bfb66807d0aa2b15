"""Begin the rounds and sums of one job at the server, with what they share: key, roster, and the server's own state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from fedward.aggregation.step import LAST, ServerStep
from fedward.encryption.distances.comparing import shares_needed
from fedward.encryption.masks.graphs.graph import Graph
from fedward.encryption.masks.graphs.threshold import Threshold, colluding_of, malicious_of, threshold_of
from fedward.encryption.roster import context_of
from fedward.encryption.schemes import bits_of
from fedward.encryption.secure_sum import Aggregator
from fedward.encryption.sum_context import SumContext
from fedward.encryption.sums import identity_of
from fedward.errors import EncryptionError, FederationError
from fedward.flare.protocol import CONFIRM, MaskedRun, MaskedSum, Model, Reply
from fedward.flare.refusal import one_line
from fedward.flare.secagg_context import INITIAL, NONCE, PUBLIC, SumContexts
from fedward.flare.server.agreement import common_key, key_of, masked_run, with_drawn, with_job_key
from fedward.flare.server.averaging.choosing import Choosing
from fedward.flare.server.averaging.compared_round import ComparedRound
from fedward.flare.server.averaging.gradient_round import GradientRound
from fedward.flare.server.averaging.grouped_round import GroupedRound
from fedward.flare.server.averaging.members import Members
from fedward.flare.server.averaging.norms import UsualNorms
from fedward.flare.server.averaging.round import PlainRound, Round, SecureRound
from fedward.flare.server.averaging.signed_sum import SignedSum
from fedward.flare.server.tally import Tally
from fedward.privacy.ledger.runs import FinalModel
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import JobSpec, Scheme
from fedward.weights import Layout, Weights, layout_hash, layout_of


class JobRounds:
    """Rounds, sums and key of one job at the server.

    Args:
        job: the job.
        job_id: FLARE's id of the run.
        initial: the model that follows from the job's seed.
        members: hospitals whose signatures count, in an encrypted job.
    """

    def __init__(self, job: JobSpec, *, job_id: str, initial: Weights, members: Members | None = None) -> None:
        self._members = members
        self._job, self._job_id, self._step, self._norms = job, job_id, ServerStep(job), UsualNorms(job)
        self.initial_weights, self.layout = initial, layout_of(initial)
        self.key: tuple[Scheme, str] | None = None
        self.roster: dict[str, str] | None = None
        """Roster of an encrypted job: the nonce that each participating hospital drew; it is sent to all of them."""
        self.masked: MaskedRun | None = None
        """Hospitals and key of a masked job; they are sent to each hospital that does not have them yet."""
        self.initial = Model(after=0, weights=None if job.encryption else initial)

    @property
    def step(self) -> dict[str, Weights]:
        """State of the server's step for another process, without what only a job in the clear and unprotected uses."""
        last = self._job.encryption is None and self._job.privacy.mechanism == "none"
        kept = {name: arrays for name, arrays in self._step.state.items() if last or name != LAST}
        return kept | self._norms.state

    def restore(
        self,
        *,
        key: tuple[Scheme, str] | None,
        roster: Mapping[str, str] | None,
        masked: MaskedRun | None,
        step: Mapping[str, Weights],
    ) -> None:
        """Continue with what another process of the job agreed on with the sites, and with the state of its step.

        Raises:
            FederationError: an encrypted job without a key or roster, or the other way round.
            JobError: the state is that of another aggregation.
        """
        if any((given is None) != (self._job.encryption is None) for given in (key, roster)):
            raise FederationError("checkpoint's key and roster are not those of the job", where=self._job.job.name)
        if (masked is None) is self._job.is_masked:
            raise FederationError("checkpoint's keys are not those of the job", where=self._job.job.name)
        self.key, self.roster, self.masked = key, None if roster is None else dict(roster), masked
        self._step.restore(self._norms.restore(step))

    def strangers(self, replies: Mapping[str, Reply]) -> dict[str, str]:
        """Return the sites that are not those of the roster, although they admit the job again, with the reason."""
        if self._job.encryption is None or self.roster is None:
            return {}
        found = {}
        for site, reply in replies.items():
            public, nonce = ((reply.sealed or {}).get(name) for name in (PUBLIC, NONCE))
            if self.masked is not None and (type(public) is not bytes or public != self._public(site)):
                found[site] = "came back without its keys of this run; its messages can be in no sum of it"
            elif self.masked is None and key_of(reply) != self.key:
                found[site] = "came back without the federation key of the job's first rounds"
            elif type(nonce) is not str or nonce != self.roster.get(site):
                found[site] = "came back without its record of this run; its messages can be in no sum of it"
        return found

    def restored(self, pending: Sequence[MaskedSum], model: Model) -> Round:
        """Return the round from ``model`` that another process closed, with its masks still on."""
        taken = self.round(model)
        for masked in pending:
            taken.restore(masked)
        taken.stop()
        if isinstance(taken, ComparedRound):
            taken.seed = pending[0].seed
            taken.need(pending[0].sketches)
        return taken

    def round(self, model: Model) -> Round:
        """Return an empty round that starts from ``model``."""
        if self._job.encryption is None:
            return PlainRound(self._job, model, self._step, self._norms, layout=self.layout)
        graph, after = self._graph, model.after
        if self._job.noises_sum:
            return GradientRound(lambda state: self._adder(self.topics.model(after, base=state)), after=after)
        if graph is not None and graph.grouping is not None:
            groups = graph.grouping.groups(graph.sites, round_number=after)
            topics = [self._model_topic(model, group=group) for group in range(len(groups))]
            adders = [self._adder(topic) for topic in topics]
            return GroupedRound(adders, groups, after=after, values=topics[0].length)
        topic = self._model_topic(model)
        if self._job.federation.aggregation != "byzsecagg":
            return SecureRound(self._adder(topic), after=after, values=topic.length)
        fewest = shares_needed(colluding=colluding_of(self._job), malicious=malicious_of(self._job))
        return ComparedRound(self._adder(topic), after=after, values=topic.length, fewest_sketches=fewest)

    def choosing(self, taken: Round, model: Model) -> Choosing | None:
        """Return the comparison of a stopped round's models; None where the job compares none."""
        graph = self._graph
        if not isinstance(taken, ComparedRound) or graph is None:
            return None
        return Choosing(
            taken,
            self._model_topic(model),
            graph=graph,
            members=self._known,
            colluding=colluding_of(self._job),
            malicious=malicious_of(self._job),
        )

    def agree_on_key(self, replies: dict[str, Reply]) -> dict[str, str]:
        """Set the key that more than half of the sites have, and their nonces; return the others, with the reason.

        Args:
            replies: the answers of the sites that admit the job; if there is none, no key is set.

        Raises:
            FederationError: no key is common to more than half of them.
        """
        if not replies:
            return {}
        if self._job.is_masked:
            self.roster, self.masked, refused = masked_run(
                replies, members=self._known, job=job_hash(self._job), job_id=self._job_id
            )
            return refused
        self.key, self.roster, refused = common_key(replies, unsigned=self._unsigned)
        return refused

    @property
    def threshold(self) -> Threshold | None:
        """Bound on collusion in a masked run whose hospitals are known; None in any other."""
        if self._job.encryption is None or self.masked is None:
            return None
        return threshold_of(self._job, sites=len(self.masked.members))

    def take_job_key(self, reply: Reply, *, site: str) -> None:
        """Set the key of a masked job, which a site made and sealed to each other one.

        Raises:
            EncryptionError: the answer brings no such key for every site.
        """
        self.key, self.masked = with_job_key(self._run, reply, site=site)

    def take_drawn(self, replies: Mapping[str, Reply]) -> dict[str, str]:
        """Set the sparse mask graph from what the sites drew; return the sites without a part in it, with the reason.

        Raises:
            EncryptionError: too few sites have drawn.
        """
        if not self._job.has_sparse_graph:
            return {}
        self.masked, refused = with_drawn(self._run, replies, context=self._run_context(None), members=self._known)
        _ = self._graph
        return refused

    @property
    def _run(self) -> MaskedRun:
        if self.masked is None:
            raise FederationError("job is not masked")
        return self.masked

    def _public(self, site: str) -> bytes | None:
        member = {} if self.masked is None else self.masked.members.get(site, {})
        return member.get("public")

    @property
    def _context(self) -> str:
        return self._run_context(None if self.masked is None else self.masked.seeds)

    def _run_context(self, seeds: Mapping[str, bytes] | None) -> str:
        publics = None
        if self.masked is not None:
            publics = {site: member["public"] for site, member in self.masked.members.items()}
        return context_of(self.roster or {}, job=job_hash(self._job), publics=publics, seeds=seeds)

    @property
    def _graph(self) -> Graph | None:
        if self._job.encryption is None or self.masked is None:
            return None
        return Graph.of(self._job, self.masked.members, job=job_hash(self._job), seeds=self.masked.seeds)

    @property
    def _known(self) -> Members:
        if self._members is None:
            raise FederationError(
                "certificates of the hospitals cannot be checked here", remedy="give the server's kit"
            )
        return self._members

    def _unsigned(self, site: str, reply: Reply) -> str | None:
        """Return why a site's signatures could not be checked; None if they can."""
        try:
            self._known.certificate(reply, site=site)
        except EncryptionError as error:
            return one_line(str(error))
        return None

    def tally(self, purpose: str, *, final: Model | None = None) -> Tally | None:
        """Return an empty sum of the final model's score histograms or of cohort statistics; None if there is none."""
        if self._job.encryption is None:
            return None
        reported = INITIAL if final is None or final.sealed is None else identity_of(final.sealed)
        named = None if final is None else FinalModel(final.after, reported)
        topic = self.topics.counts(purpose, final=named)
        return None if topic is None else Tally(self._adder(topic), purpose)

    def confirmation(self, purpose: str, sealed: bytes) -> Tally:
        """Return an empty sum of the hospitals' confirmations that they opened a sum."""
        return Tally(self._adder(self.topics.confirmation(identity_of(sealed))), CONFIRM + purpose)

    @property
    def facts(self) -> dict[str, Any] | None:
        """Scheme, precision and key id of the job, for its events; None: it is not encrypted."""
        if self._job.encryption is None or self.key is None:
            return None
        scheme, key_id = self.key
        found: dict[str, Any] = {"scheme": scheme, "precision": self._job.encryption.precision, "key": key_id}
        bound = self.threshold
        if bound is not None:
            found |= {"hospitals": bound.sites, "max_colluding": bound.colluding, "needed": bound.needed}
            found |= {"graph": self._job.encryption.graph, "may_be_lost": bound.may_be_lost, "maker": self._run.maker}
        return found

    @property
    def topics(self) -> SumContexts:
        """Contexts of the run's sums."""
        if self.key is None or self.roster is None or self._job.encryption is None:
            raise FederationError("sites have agreed on no key")
        return SumContexts(
            job=self._job,
            job_id=self._job_id,
            context=self._context,
            layout=self.layout,
            architecture=layout_hash(self.layout, network=self._job.model.network, args=self._job.model.args),
            bits=bits_of(self.key[0], self._job.encryption.precision),
            trained=self._trained,
        )

    @cached_property
    def _trained(self) -> Layout:
        """Layout of the trained tensors, in a job with noise for the sum; else empty."""
        if not self._job.noises_sum:
            return {}
        from fedward.training.networks import trained_keys

        return {name: self.layout[name] for name in trained_keys(self._job)}

    def _model_topic(self, model: Model, *, group: int = -1) -> SumContext:
        base = INITIAL if model.sealed is None else identity_of(model.sealed)
        return self.topics.model(model.after, base=base, group=group)

    def _adder(self, topic: SumContext) -> SignedSum:
        if self.key is None:
            raise FederationError("sites have agreed on no key")
        if self._members is not None:
            self._members.renew()
        scheme, key_id = self.key
        return SignedSum(Aggregator(topic, scheme=scheme, key_id=key_id, graph=self._graph), topic, self._members)
