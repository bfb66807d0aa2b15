"""A small federation of real processes, made once for the tests of this folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fedward.demo.federate import await_sites, federation_of
from fedward.demo.hospitals import DemoHospital, find_sources, write_site
from fedward.demo.keys import share_key
from fedward.dicom.synthetic.hospital import HOSPITALS, SyntheticHospital, write_cohort
from fedward.flare.admin_session import Console, console
from fedward.flare.job_context import SITE_FILE
from fedward.flare.kits.central import Kits, provision
from fedward.flare.local_federation import LocalFederation, free_port
from fedward.indexing.index import index_cohort
from fedward.settings import FederationSpec, JobSpec, parse, read_site
from tests.conftest import tiny_job_content

PLANTED = ("json", "torch", "sitecustomize", "usercustomize", "fedward", "nvflare")
"""Modules that lie in each kit's folder of ``lying``, under names that its processes import."""


@dataclass(frozen=True)
class Running:
    """A federation that is up, and its hospitals."""

    federation: LocalFederation
    session: Console
    kits: Kits
    spec: FederationSpec
    hospitals: dict[str, DemoHospital]


def small_hospitals(
    out: Path, *, images: int = 24, label: str = "lesion", like: Sequence[SyntheticHospital] = HOSPITALS
) -> Path:
    """Synthetic hospitals as DICOM, three unless said otherwise, each with a few images."""
    write_cohort(out, label=label, masks=False, hospitals=[replace(one, images=images, faults=()) for one in like])
    return out


def index_all(data: Path, out: Path, job: JobSpec) -> list[DemoHospital]:
    hospitals = []
    for source in find_sources(data):
        config = write_site(source, out / source.site, job, seed=0, min_count=1)
        manifest = index_cohort(read_site(config), job.data.cohort, workers=0)  # no fork: sessions have threads here
        hospitals.append(DemoHospital(site=source.site, config=config, manifest=manifest))
    return hospitals


@pytest.fixture(scope="session")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> list[DemoHospital]:
    folder = tmp_path_factory.mktemp("hospitals")
    job = parse(JobSpec, tiny_job_content(), where="tiny")
    return index_all(small_hospitals(folder / "data"), folder / "sites", job)


def send(running: Running, folder: Path) -> str:
    """Submit a job's folder as it is, through FLARE's own API; returns its id.

    Raises:
        InvalidJobDefinition: the server refuses it.
    """
    return str(running.session._session.submit_job(str(folder.resolve())))


@contextmanager
def started(
    hospitals: Sequence[DemoHospital], folder: Path, *, prepare: Callable[[Kits], object] = lambda kits: None
) -> Iterator[Running]:
    """A federation of these hospitals that share a key, up until the end of the ``with``; ``prepare`` changes kits."""
    spec = federation_of([hospital.site for hospital in hospitals], port=free_port())
    kits = provision(spec, folder)
    for hospital in hospitals:
        (kits.sites[hospital.site] / "local" / SITE_FILE).write_bytes(hospital.config.read_bytes())
    share_key(kits, {hospital.site: hospital.config for hospital in hospitals})
    prepare(kits)
    with LocalFederation(spec, kits, threads=1) as federation, console(next(iter(kits.people.values()))) as session:
        await_sites(federation, session, kits, spec)
        yield Running(federation, session, kits, spec, {hospital.site: hospital for hospital in hospitals})


@pytest.fixture(scope="session")
def running(hospitals: list[DemoHospital], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(hospitals, tmp_path_factory.mktemp("federation")) as up:
        yield up


def _prepare(kits: Kits) -> None:
    """The server lets every job through; modules lie in every kit's folder."""
    for kit in (kits.server, *kits.sites.values()):
        path = kit / "local" / "resources.json"
        content = json.loads(path.read_text())
        if kit == kits.server:
            (door,) = (one for one in content["components"] if one["id"] == "server_door")
            door["path"] = "lying.LaxDoor"
        path.write_text(json.dumps(content))
        for name in PLANTED:
            (kit / f"{name}.py").write_text(f"open({str(kit / 'imported')!r}, 'a').write({name!r} + '\\n')\n")


@pytest.fixture(scope="session")
def lying(hospitals: list[DemoHospital], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A federation whose server deploys whatever is submitted."""
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(Path(__file__).parent / "lying"), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        with started(hospitals, tmp_path_factory.mktemp("lying"), prepare=_prepare) as up:
            yield up
