"""Hold the keys of a hospital in one masked run: its own, those that it shares with each other one, and the job's."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fedward.encryption.keys.key import SECRET_BYTES, FederationKey
from fedward.encryption.keys.signature import Signer
from fedward.encryption.masks.agreement import KeyPair, SharedSecrets, Statement
from fedward.encryption.masks.graphs.drawing import Drawing, check_drawings
from fedward.encryption.masks.graphs.graph import SEED_BYTES, Graph
from fedward.encryption.masks.graphs.sparse import sparse_bound
from fedward.encryption.masks.graphs.threshold import colluding_of, threshold_of
from fedward.encryption.masks.job_key import job_key, open_job_key, seal_job_key
from fedward.encryption.masks.members import Federation, Member, check_members
from fedward.encryption.masks.run_keys import RunKeys, read_run_keys, write_run_keys
from fedward.encryption.masks.site_masks import SiteMasks
from fedward.encryption.masks.unmask_message import name_of_sum, read_request
from fedward.encryption.roster import context_of
from fedward.encryption.secure_sum import Opened, SecureSum
from fedward.encryption.sum_context import SumContext, is_masked, kind_of
from fedward.errors import EncryptionError, GateError
from fedward.flare.gates.sums.known_here import KnownHere
from fedward.flare.secagg_context import DRAWN, INTRODUCES, JOB_KEYS, KEY, PUBLIC, SCHEME, STATEMENT
from fedward.privacy.ledger.run_record import Record
from fedward.privacy.sum_noise import strangers_of
from fedward.settings import JobSpec, SitePolicy

_LOST = "keys of this run are gone from this hospital"


class MaskedKey:
    """Keys of one masked run; the file, and not this process, holds them.

    Args:
        path: of the file, ``encryption.masks.run_keys``.
        record: record of the hospital.
        job: ``job_hash`` of the job.
        job_id: FLARE's id of the run.
        spec: the job: how many hospitals take part at least, and how many may side with the server.
        policy: of the hospital: its roster, and how many hospitals must be known.
        signer: of this hospital's certificate.
        federation: whose certificates count.

    Raises:
        EncryptionError: the file is damaged, or is gone after this hospital sent its public key.
    """

    def __init__(
        self,
        path: Path,
        *,
        policy: SitePolicy,
        record: Record,
        job: str,
        job_id: str,
        spec: JobSpec,
        signer: Signer,
        federation: Federation,
    ) -> None:
        self._path, self._record, self._job, self._job_id, self._site = path, record, job, job_id, policy.site
        self.colluding = colluding_of(spec)
        """Largest number of hospitals that may side with the server."""
        self._spec, self._least = spec, spec.federation.min_sites
        self._signer, self.federation = signer, federation
        self._known = KnownHere(policy, colluding=strangers_of(spec))
        found = read_run_keys(path)
        if found is None:
            if record.require(job_id).roster is not None:
                raise EncryptionError(_LOST, where=path, remedy="submit the job again")
            found = RunKeys(pair=KeyPair.new())
            write_run_keys(found, path)
        self._keys = found

    def require(self) -> None:
        """Refuse to go on without the file; raises ``EncryptionError``."""
        if not self._path.is_file():
            raise EncryptionError(_LOST, where=self._path, remedy="submit the job again")

    @property
    def admission(self) -> dict[str, Any]:
        """Entries of this hospital's answer that admits the job: its public key, signed, and whom it introduces."""
        nonce = self._record.require(self._job_id).nonce
        introduces, public = self._known.roster, self._keys.pair.public
        run = {"nonce": nonce, "job": self._job, "job_id": self._job_id}
        statement = Statement(site=self._site, public=public, introduces=introduces, **run)
        signature = statement.sign(self._signer)
        return {**self.facts, PUBLIC: statement.public, STATEMENT: signature, INTRODUCES: introduces}

    @property
    def facts(self) -> dict[str, Any]:
        """Scheme, and id of the job's key where it is known."""
        known = {} if self._keys.secret is None else {KEY: job_key(self._keys.secret).key_id}
        return {SCHEME: "masked", **known}

    def context(self, roster: Mapping[str, str]) -> str:
        """Return ``roster.context_of`` the run, with what its hospitals drew for a sparse mask graph."""
        seeds = self._seeds if self._spec.has_sparse_graph else None
        return context_of(roster, job=self._job, publics=self._publics, seeds=seeds)

    def take_members(self, content: object, *, roster: Mapping[str, str]) -> dict[str, Member]:
        """Verify the hospitals of the run, each with its public key, and keep them; later only the same.

        Raises:
            EncryptionError: a hospital is none of this federation, its key is not signed, it is on the roster with
                another key, this hospital's own key is another, or the hospitals are not those of the first task.
            RosterError: too few of them are known here.
            KeyFileError: the keys cannot be written at the moment.
        """
        if len(roster) < self._least:  # fewer hospitals would bear fewer that side with the server
            what = f"fewer hospitals take part than the job's min_sites, {self._least}"
            raise EncryptionError(what, value=len(roster))
        members = check_members(content, roster=roster, job=self._job, job_id=self._job_id, federation=self.federation)
        publics = {site: member.public for site, member in members.items()}
        known = self._known.among(members)
        if self._keys.publics is not None:
            if self._keys.publics != publics:
                raise EncryptionError("task brings other keys of the hospitals than the first one")
            return members
        _ = SharedSecrets(self._keys.pair, site=self._site, publics=publics)
        threshold = threshold_of(self._spec, sites=len(publics))
        _ = sparse_bound(threshold) if self._spec.has_sparse_graph else threshold
        self._store(replace(self._keys, publics=publics, known=tuple(sorted(known))))
        return members

    def draw(self, *, roster: Mapping[str, str]) -> dict[str, Any]:
        """Draw this hospital's part of a sparse mask graph, and return it signed; a repeat gives the same one.

        A complete graph has no parts. The server knows the hospitals of the run before it knows the part.

        Raises:
            KeyFileError: the keys cannot be written at the moment.
        """
        if not self._spec.has_sparse_graph:
            return {}
        seed = self._keys.seed or secrets.token_bytes(SEED_BYTES)
        if self._keys.seed is None:
            self._store(replace(self._keys, seed=seed))
        part = Drawing(site=self._site, context=self._run_context(roster), seed=seed)
        return {DRAWN: {"seed": seed, "signature": part.sign(self._signer)}}

    def take_graph(self, content: object, members: Mapping[str, Member], *, roster: Mapping[str, str]) -> None:
        """Verify what the hospitals drew for a sparse mask graph, and keep it; later only the same.

        Args:
            content: as received.
            members: hospitals of the run, verified.
            roster: hospital -> nonce.

        Raises:
            EncryptionError: the job's graph is complete; a part is not signed by its hospital, or is of another run;
                this hospital's own is another or missing; there are too few; or they are not those of the first task.
            KeyFileError: the keys cannot be written at the moment.
        """
        certificates = {site: member.certificate for site, member in members.items()}
        seeds = check_drawings(content, context=self._run_context(roster), certificates=certificates)
        if self._keys.seed is None or seeds.get(self._site) != self._keys.seed:
            raise EncryptionError("task brings a mask graph without what this hospital drew for it")
        if self._keys.seeds is not None:
            if self._keys.seeds != seeds:
                raise EncryptionError("task brings another mask graph than the first one")
            return
        _ = Graph.of(self._spec, self._publics, job=self._job, seeds=seeds)
        self._store(replace(self._keys, seeds=seeds))

    def make_job_key(self, *, roster: Mapping[str, str]) -> dict[str, Any]:
        """Make a key for the job and return it sealed to each hospital; a second call seals the same key.

        It becomes the job's key when the server sends it on: the first that it sends counts.

        Raises:
            GateError: another hospital made it.
            KeyFileError: the keys cannot be written at the moment.
        """
        if self._keys.maker not in (None, self._site):
            raise GateError("another hospital has made the key of this job")
        context, made = self._run_context(roster), self._keys.made or secrets.token_bytes(SECRET_BYTES)
        if self._keys.made is None:
            self._store(replace(self._keys, made=made))
        sealed = seal_job_key(made, self.shared, maker=self._site, sites=sorted(roster), context=context)
        return {SCHEME: "masked", KEY: job_key(made).key_id, JOB_KEYS: sealed}

    def take_job_key(self, maker: object, sealed: object, *, roster: Mapping[str, str]) -> None:
        """Open and keep the job's key; later only the same.

        Raises:
            EncryptionError: no hospital of the run sealed it for this one, or it is not the first one.
            KeyFileError: the keys cannot be written at the moment.
        """
        if type(maker) is not str or maker not in roster:
            raise EncryptionError("task does not say which hospital made the key of the job")
        if self._keys.secret is not None and self._keys.maker != maker:
            raise EncryptionError("task brings another key of the job than the first one")
        secret = open_job_key(sealed, self.shared, maker=maker, site=self._site, context=self._run_context(roster))
        if self._keys.secret is None:
            self._store(replace(self._keys, maker=maker, secret=secret))
        elif self._keys.secret != secret:
            raise EncryptionError("task brings another key of the job than the first one")

    def help(
        self,
        content: object,
        topic: SumContext,
        *,
        sketched: Callable[[Mapping[str, str]], bytes | None] = lambda nonces: None,
    ) -> bytes:
        """Return this hospital's shares of a sum; the request is recorded before, and no other one of the sum is taken.

        Args:
            content: request, as received.
            topic: the context of the sum.
            sketched: function of the messages in the sum: what this hospital adds for the check of their sketches.

        Raises:
            EncryptionError: the request names hospitals that take no part, or too few.
            RosterError: too few of them are known here.
            GateError: this hospital helped to open another sum of this context, or of another run of the job.
        """
        request = read_request(content, holder=self._site, graph=self.graph.of_sum(topic))
        if self._site in request.nonces:
            self._known.require(frozenset(self._keys.known), request.nonces, group=topic.group >= 0)
        self._record.unmask_sum(
            self._job_id,
            purpose=kind_of(topic),
            round_number=topic.round_number,
            request=request.identity(topic),
            messages=name_of_sum(topic, request.nonces),
            sites=request.nonces,
        )
        return self._masks.help(request, topic, sketched=sketched(request.nonces))

    @cached_property
    def graph(self) -> Graph:
        """Mask graph of the run."""
        seeds = self._seeds if self._spec.has_sparse_graph else None
        return Graph.of(self._spec, self._publics, job=self._job, seeds=seeds)

    @cached_property
    def _masks(self) -> SiteMasks:
        """This hospital's masks."""
        return SiteMasks(self.shared, site=self._site, graph=self.graph)

    @cached_property
    def secure_sum(self) -> SecureSum:
        """Sealing and opening under the job's key."""
        return SecureSum(self.job_key, site=self._site, masks=self._masks)

    @property
    def job_key(self) -> FederationKey:
        """Key of the job.

        Raises:
            GateError: it is not known yet.
        """
        if self._keys.secret is None:
            raise GateError("no task has brought the key of this job")
        return job_key(self._keys.secret)

    def open(self, sealed: bytes, topic: SumContext) -> Opened:
        """Open and verify a sum of enough hospitals; errors as ``SecureSum.open``."""
        fewest = self.graph.of_sum(topic).fewest if is_masked(topic.purpose) else self.graph.quorum
        opened = self.secure_sum.open(sealed, topic, fewest=fewest)
        if is_masked(topic.purpose) and not set(opened.sites) <= set(self.graph.of_sum(topic).keepers):
            raise EncryptionError("sum names a hospital that has no part in it")
        return opened

    @cached_property
    def shared(self) -> SharedSecrets:
        """Secrets with each other hospital of the run."""
        return SharedSecrets(self._keys.pair, site=self._site, publics=self._publics)

    @property
    def _publics(self) -> Mapping[str, bytes]:
        if self._keys.publics is None:
            raise GateError("no task has brought the keys of the hospitals that take part")
        return self._keys.publics

    @property
    def _seeds(self) -> Mapping[str, bytes]:
        if self._keys.seeds is None:
            raise GateError("no task has brought the mask graph of this run")
        return self._keys.seeds

    def _run_context(self, roster: Mapping[str, str]) -> str:
        """Return what the run is known by before its mask graph is drawn."""
        return context_of(roster, job=self._job, publics=self._publics)

    def _store(self, keys: RunKeys) -> None:
        write_run_keys(keys, self._path)
        self._keys = keys
