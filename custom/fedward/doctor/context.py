"""Read the examined site's kit, policy and server: each once, and only when a check needs it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fedward.errors import FederationError, FedwardError
from fedward.provisioning.network.connectivity import Endpoint
from fedward.provisioning.stamp import Stamp, package_hash, read_stamp
from fedward.settings import SitePolicy, read_site

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from fedward.dataset.manifest import Manifest
    from fedward.provisioning.network.health import Hello

GIB = 2**30
CLIENT_FILE = "fed_client.json"


class Visit(Protocol):
    """Subject of the doctor: a site (``Case``) or a server (``doctor.server_context.ServerCase``)."""

    @property
    def kit(self) -> Path:
        """Folder of the kit with which it is examined."""

    @property
    def now(self) -> Callable[[], float]:
        """Our clock, in Unix seconds."""

    @property
    def offline(self) -> bool:
        """True to leave out the checks that need the server."""

    @property
    def title(self) -> str:
        """Subject of the report."""

    @property
    def site(self) -> str | None:
        """Id of the site; None if it cannot be read, and for a server."""

    @property
    def server_address(self) -> str | None:
        """Address of the server, ``host:port``; None if it cannot be read."""

    @property
    def private_folders(self) -> tuple[Path, ...]:
        """Folders below which no path is disclosed."""


class Ask(Protocol):
    """Function that asks the server: ``fedward.provisioning.network.health.hello``."""

    def __call__(self, kit: Path, *, timeout_s: float, payload_bytes: int = 0) -> Hello: ...


def _ask(kit: Path, *, timeout_s: float, payload_bytes: int = 0) -> Hello:
    from fedward.provisioning.network.health import hello

    return hello(kit, timeout_s=timeout_s, payload_bytes=payload_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits at which a check warns or fails; the defaults are for a clinic with one machine.

    Attributes:
        answer_s: seconds that a name server, a port or a handshake may take.
        sign_in_s: seconds for a person's sign-in.
        hello_s: seconds for the server's answer; ``payload_s`` for one that carries ``payload_bytes`` both ways.
        skew_warn_s, skew_fail_s: difference between our clock and the server's, beyond the transmission time.
        kit_fail_bytes, kit_warn_bytes: free space for the kit, with its logs and the models of jobs that run.
        index_fail_bytes: free space for a cohort's index, in addition to the index's present size.
        memory_fail_bytes, memory_warn_bytes: free memory for a job.
        send_warn_s: seconds to send a model.
        index_warn_days: age of an index.
        new_fail_fraction: files that are not indexed yet, as a fraction of those that are.
    """

    answer_s: float = 5.0
    sign_in_s: float = 15.0
    hello_s: float = 6.0
    payload_s: float = 10.0
    payload_bytes: int = 2**20
    skew_warn_s: float = 60.0
    skew_fail_s: float = 300.0
    kit_fail_bytes: float = 1.0 * GIB
    kit_warn_bytes: float = 5.0 * GIB
    index_fail_bytes: float = 0.1 * GIB
    memory_fail_bytes: float = 1.0 * GIB
    memory_warn_bytes: float = 4.0 * GIB
    send_warn_s: float = 120.0
    index_warn_days: float = 90.0
    new_fail_fraction: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Case:
    """Examination of one site.

    Attributes:
        kit: folder of the site's FLARE kit.
        site_toml: the policy that is examined.
        offline: true to leave out the checks that need the server.
        model_mb: size of the model, in MB of 10**6 bytes, for which sending times are reported.
        now: our clock, in Unix seconds.
        environment: variables of the process that gRPC and FLARE read.
        ask: asks the server.
    """

    kit: Path
    site_toml: Path
    offline: bool = False
    model_mb: float = 28.0
    limits: Limits = Limits()
    now: Callable[[], float] = time.time
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    ask: Ask = _ask

    @property
    def title(self) -> str:
        return self.site or "site"

    @property
    def site(self) -> str | None:
        try:
            return self.policy.site
        except FedwardError:
            return None

    @property
    def server_address(self) -> str | None:
        try:
            return self.server.address
        except FedwardError:
            return None

    @property
    def private_folders(self) -> tuple[Path, ...]:
        """Folders of each cohort's images and masks: a folder below may have a patient's name."""
        try:
            cohorts = self.policy.cohorts.values()
        except FedwardError:  # without a policy no check knows a cohort's folder
            return ()
        return tuple(path for cohort in cohorts for path in (cohort.images, cohort.masks) if path is not None)

    @property
    def startup(self) -> Path:
        return self.kit / "startup"

    @property
    def local(self) -> Path:
        return self.kit / "local"

    @cached_property
    def policy(self) -> SitePolicy:
        return read_site(self.site_toml)

    @cached_property
    def client(self) -> dict[str, Any]:
        """Content of the kit's ``fed_client.json``."""
        return read_client(self.kit)

    @cached_property
    def server(self) -> Endpoint:
        return Endpoint.of(self.kit)

    @cached_property
    def expected(self) -> Mapping[str, bytes]:
        """Files of the kit as they would be written today, by path below the kit."""
        from fedward.flare.kits.expected import closed_kit

        names = self.client["servers"][0]["name"], self.client["client"]["fqsn"], self._organisation()
        return closed_kit(*names, host=self.server.host, port=self.server.port)

    def _organisation(self) -> str:
        """Return the certificate's organisation, which kit scripts name. Other checks report a faulty certificate."""
        from cryptography.x509.oid import NameOID

        try:
            names = self.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        except FedwardError:
            return "hospital"
        return str(names[0].value) if names else "hospital"

    @cached_property
    def certificate(self) -> Certificate:
        from fedward.encryption.keys.site_identity import read_certificate

        return read_certificate(self.startup / "client.crt")

    @cached_property
    def root(self) -> Certificate:
        from fedward.encryption.keys.site_identity import read_certificate

        return read_certificate(self.startup / "rootCA.pem")

    @cached_property
    def stamp(self) -> Stamp:
        return read_stamp(self.kit)

    @cached_property
    def wheel(self) -> str:
        """Hash of the package that runs."""
        return package_hash()

    @cached_property
    def hello(self) -> Hello:
        """Answer of the server, without a payload."""
        return self.ask(self.kit, timeout_s=self.limits.hello_s)

    @cached_property
    def manifests(self) -> dict[str, Manifest]:
        """Manifests that were read, by cohort; filled by the check that reads them."""
        return {}


def read_client(kit: Path) -> dict[str, Any]:
    """Read a site kit's ``startup/fed_client.json``.

    Raises:
        FederationError: the folder is not a site's kit.
    """
    Endpoint.of(kit)
    path = kit / "startup" / CLIENT_FILE
    content = json.loads(path.read_bytes())
    if not isinstance(content["client"].get("fqsn"), str) or not isinstance(content["servers"][0].get("name"), str):
        remedy = "give the folder of a site's kit, the one with startup/fed_client.json"
        raise FederationError("does not name site and federation", where=path, remedy=remedy)
    return dict(content)
