"""A hospital's executor side with a small cohort of its own, a ledger and a job folder; FLARE is not there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from fedward.dataset.manifest import Manifest
from fedward.flare.protocol import Task, question
from fedward.flare.site import site_job
from fedward.flare.site.site_job import SiteJob
from tests.support.flare.hospital import Hospital
from tests.unit.conftest import MakeCohort

PER_STEP = {"dp_sgd": {"noise_multiplier": 1.5, "delta": 1e-5, "clip_norm_l2": 1.0, "patients_per_step": 8.0}}


@dataclass
class HospitalSite:
    """A hospital with a cohort; ``start`` makes the job's side as a process of its own would.

    Attributes:
        hospital: folder, policy, ledger and gates.
        cohort: index that the next process reads.
    """

    hospital: Hospital
    cohort: Manifest

    def start(self) -> SiteJob:
        self.hospital.restart()
        return SiteJob(self.hospital.context(Task.ADMIT))

    def ask(self, job: SiteJob, task: Task, *, number: int = -1, model: Any = None) -> Shareable:
        """Pass a task to the job's side as its ingress gate would."""
        carried = self.hospital.model if model is None and task is not Task.ADMIT else model
        return job.answer(task, question(carried, round_number=number), abort=Signal())

    @property
    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.hospital.record.entries()]


MakeSite = Callable[..., HospitalSite]


@pytest.fixture
def make_site(tmp_path: Path, make_cohort: MakeCohort, monkeypatch: pytest.MonkeyPatch) -> MakeSite:
    """``make_site("dp-sgd", cohort=make_cohort(40))``: a hospital that nothing was charged to yet."""
    monkeypatch.setattr(site_job, "require_gates", lambda context: None)
    monkeypatch.setattr(site_job.guard, "require_installed", lambda: None)

    def make(privacy: str = "none", *, cohort: Manifest | None = None, **how: Any) -> HospitalSite:
        hospital = Hospital(tmp_path / f"h{len(list(tmp_path.iterdir()))}", privacy, charged=False, **how)
        made = HospitalSite(hospital, make_cohort(40) if cohort is None else cohort)
        monkeypatch.setattr("fedward.dataset.manifest.read_manifest", lambda index: made.cohort)
        return made

    return make
