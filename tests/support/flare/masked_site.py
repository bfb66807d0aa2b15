"""One hospital of a masked job in a simulation: its keys, its masks and what it helped for, without a record."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from fedward.encryption.masks.agreement import KeyPair, SharedSecrets, Statement
from fedward.encryption.masks.graphs.graph import Graph
from fedward.encryption.masks.job_key import job_key, open_job_key, seal_job_key
from fedward.encryption.masks.site_masks import SiteMasks
from fedward.encryption.masks.unmask_message import read_request
from fedward.encryption.roster import context_of
from fedward.encryption.secure_sum import SecureSum
from fedward.encryption.sum_context import SumContext
from fedward.flare.protocol import JOB_KEY, MEMBERS
from fedward.flare.secagg_context import INTRODUCES, JOB_KEYS, KEY, NONCE, PUBLIC, SCHEME, SHARES, SIGNATURE, STATEMENT
from tests.support.flare.signed import signer


class MaskedSite:
    """Hospital's side of the protocol, as its gates do it.

    Args:
        site: the hospital.
        nonce: that it drew for the run.
        job: ``job_hash`` of the job.
        job_id: FLARE's id of the run.
        colluding: largest number of hospitals that may side with the server.
    """

    def __init__(self, site: str, *, nonce: str, job: str, job_id: str, colluding: int = 1) -> None:
        self.site, self.nonce, self.job, self.job_id, self.colluding = site, nonce, job, job_id, colluding
        self.pair = KeyPair.new()
        self.publics: dict[str, bytes] = {}
        self.roster: dict[str, str] = {}
        self.secret: bytes | None = None
        self.helped: dict[bytes, str] = {}
        """Context of a sum -> identity of the request for which this hospital helped."""
        self.refused: list[str] = []

    def admission(self) -> dict[str, Any]:
        said = Statement(site=self.site, nonce=self.nonce, public=self.pair.public, job=self.job, job_id=self.job_id)
        return {
            SCHEME: "masked",
            NONCE: self.nonce,
            PUBLIC: said.public,
            STATEMENT: said.sign(signer(self.site)),
            INTRODUCES: {},
        }

    def take(self, headers: Mapping[str, Any], roster: Mapping[str, str]) -> None:
        """Take the hospitals and the job's key from a task's headers."""
        self.roster = dict(roster)
        if MEMBERS in headers:
            found = {site: member["public"] for site, member in headers[MEMBERS].items()}
            assert self.publics in ({}, found)
            self.publics = found
        if JOB_KEY in headers:
            brought = headers[JOB_KEY]
            secret = open_job_key(
                brought["sealed"], self.shared, maker=brought["maker"], site=self.site, context=self.context
            )
            assert self.secret in (None, secret)
            self.secret = secret

    def make_job_key(self) -> dict[str, Any]:
        self.secret = self.secret or secrets.token_bytes(32)
        sealed = seal_job_key(self.secret, self.shared, maker=self.site, sites=self.roster, context=self.context)
        return {**self.facts, JOB_KEYS: sealed}

    @property
    def facts(self) -> dict[str, Any]:
        assert self.secret is not None
        return {SCHEME: "masked", KEY: job_key(self.secret).key_id}

    @property
    def context(self) -> str:
        return context_of(self.roster, job=self.job, publics=self.publics)

    @property
    def shared(self) -> SharedSecrets:
        return SharedSecrets(self.pair, site=self.site, publics=self.publics)

    @property
    def graph(self) -> Graph:
        return Graph.complete(self.publics, colluding=self.colluding)

    @property
    def masks(self) -> SiteMasks:
        return SiteMasks(self.shared, site=self.site, graph=self.graph)

    @property
    def sums(self) -> SecureSum:
        assert self.secret is not None
        return SecureSum(job_key(self.secret), site=self.site, masks=self.masks)

    def help(self, purpose: str, content: Any, topic: SumContext) -> dict[str, bytes]:
        """Give shares of a sum, unless it is another one than that which it helped for."""
        request = read_request(content, holder=self.site, graph=self.graph)
        if self.helped.setdefault(topic.canonical(), request.identity(topic)) != request.identity(topic):
            self.refused.append(purpose)
            return {}
        answer = self.masks.help(request, topic)
        return {
            SHARES + purpose: answer,
            SIGNATURE + SHARES + purpose: signer(self.site).sign(answer, topic, site=self.site),
        }
