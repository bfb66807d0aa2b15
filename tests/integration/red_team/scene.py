"""A federation with everybody in it who could turn against a hospital: people, another hospital, the server."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fedward.demo.federate import await_sites
from fedward.demo.hospitals import FEDERATION_KEY
from fedward.demo.keys import share_key
from fedward.dicom.synthetic.hospital import HOSPITALS
from fedward.flare.admin_session import Console, console
from fedward.flare.job_context import SITE_FILE
from fedward.flare.kits.central import Kits, provision
from fedward.flare.local_federation import LocalFederation, free_port
from fedward.settings import FederationSpec, Hospital, JobSpec, Person, Server, parse
from tests.conftest import tiny_job_content
from tests.integration.conftest import index_all, small_hospitals

ROGUE = "rogue-hospital"
LEAD, MEMBER, OPERATOR = "lead@demo.org", "member@demo.org", "operator@demo.org"
_PEOPLE = {LEAD: "lead", MEMBER: "member", OPERATOR: "project_admin"}
ORDER_S = 60.0


@dataclass(frozen=True)
class Scene:
    """A federation that is up; ``ROGUE`` has a kit, and its process does not run.

    Attributes:
        secrets: by name, bytes of files at one hospital that must reach nobody.
    """

    federation: LocalFederation
    session: Console
    kits: Kits
    spec: FederationSpec
    victim: str
    secrets: dict[str, tuple[Path, bytes]]
    tap: Path

    def server_does(self, code: str) -> object:
        """Have the server's own process run this code, and give what it calls ``answer``: a server that lies."""
        path = self.tap / "orders" / f"{uuid.uuid4()}.py"
        draft = path.with_suffix(".new")
        draft.write_text(code)
        draft.rename(path)
        end = time.monotonic() + ORDER_S
        while not path.with_suffix(".json").exists():
            self.federation.check()
            if time.monotonic() > end:
                raise TimeoutError("server did not do it")
            time.sleep(0.05)
        return json.loads(path.with_suffix(".json").read_text())

    def log_of(self, site: str) -> str:
        """All that a site's parent process wrote."""
        return (self.kits.sites[site] / "console.log").read_text(errors="replace")

    @property
    def log_of_the_server(self) -> str:
        """All that the server's parent process wrote."""
        return (self.kits.server / "console.log").read_text(errors="replace")

    @property
    def of_the_victim(self) -> list[bytes]:
        """Return the frames that the victim's processes sent and received since the federation began."""
        frames = [path.read_bytes() for path in (self.tap / "frames").glob(f"{self.victim}-*")]
        if not frames:
            raise FileNotFoundError(f"no frame of {self.victim} was recorded")
        return frames

    @property
    def of_the_server(self) -> list[bytes]:
        """Return the frames that the server's processes sent and received since the federation began."""
        return [path.read_bytes() for path in (self.tap / "frames").glob(f"{self.kits.server.name}-*")]


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """Start it, its network tapped just inside TLS."""
    data = small_hospitals(folder / "data")
    hospitals = index_all(data, folder / "sites", parse(JobSpec, tiny_job_content(), where="tiny"))
    names = [one.site for one in HOSPITALS]
    spec = FederationSpec(
        name="demo",
        server=Server(host="localhost", port=free_port(), organisation="operator"),
        hospitals=tuple(Hospital(site=site, organisation=site.replace("-", "_")) for site in (*names, ROGUE)),
        people=tuple(Person(email=who, organisation="operator", role=role) for who, role in _PEOPLE.items()),  # type: ignore[arg-type]
    )
    kits = provision(spec, folder / "federation")
    running = replace(kits, sites={site: kits.sites[site] for site in names})
    for hospital in hospitals:
        (kits.sites[hospital.site] / "local" / SITE_FILE).write_bytes(hospital.config.read_bytes())
    share_key(running, {hospital.site: hospital.config for hospital in hospitals})
    victim = hospitals[0]
    files = {
        "federation key": victim.config.with_name(FEDERATION_KEY),
        "TLS key": kits.sites[victim.site] / "startup" / "client.key",
        "label table": data / victim.site / "labels.csv",
        "policy": kits.sites[victim.site] / "local" / SITE_FILE,
    }
    with files["policy"].open("ab") as policy:
        policy.write(b"# known-to-nobody-else-7c1f\n")
    secrets = {name: (path, path.read_bytes()[-24:-1]) for name, path in files.items()}
    tap = folder / "tap"
    for name in ("frames", "trained", "fail", "orders", "handlers"):
        (tap / name).mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "wiretap"), prepend=os.pathsep)
        patch.setenv("FEDWARD_WIRETAP", str(tap))
        with (
            LocalFederation(spec, running, threads=1) as federation,
            console(kits.people[LEAD], timeout_s=60.0) as session,
        ):
            there = spec.model_copy(update={"hospitals": tuple(h for h in spec.hospitals if h.site != ROGUE)})
            await_sites(federation, session, running, there)
            yield Scene(federation, session, kits, spec, victim.site, secrets, tap)


def until_training(stage: Scene, job_id: str) -> None:
    """Wait until a hospital works on a round of a job."""
    log = stage.kits.sites[stage.victim] / job_id / "log.txt"
    while not (log.exists() and "fedward_round" in log.read_text(errors="replace")):
        stage.federation.check()
        if stage.session.status(job_id).startswith("FINISHED"):
            raise RuntimeError(f"job ended before it trained: {log}")
        time.sleep(0.1)
