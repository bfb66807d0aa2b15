"""A segmentation's pictures are written at the hospital, and nothing of them is in what it answers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from nvflare.apis.signal import Signal
from nvflare.apis.utils.decomposers import flare_decomposers
from nvflare.fuel.utils import fobs

from fedward.flare.protocol import Task, question
from fedward.flare.site import site_job
from fedward.flare.site.own_files import OwnFiles
from fedward.settings import JobSpec, parse
from fedward.settings.privacy import Disclosure
from fedward.validation.outlines import Outlined
from tests.conftest import tiny_job_content

GREY = np.frombuffer(b"GREY-VALUES-OF-A-PATIENT" * 16, np.uint8).reshape(16, 24)


def segmentation() -> JobSpec:
    content = tiny_job_content()
    content["job"]["task"] = "segmentation"
    content["data"] = {"cohort": "chest", "size": [24, 24], "structures": ["lung"]}
    content["model"] = {"network": "UNet", "args": {"channels": [8, 16], "strides": [2]}}
    content["training"]["loss"] = {"name": "DiceCELoss"}
    return parse(JobSpec, content, where="test")


def test_pictures_stay_in_the_run_folder(tmp_path: Path) -> None:
    found = Outlined(rank="worst", dice=0.123456, image=GREY, truth=GREY % 2, predicted=GREY % 3)
    scores = {"dice": 0.8, "images": 40, "patients": 30, "dice_patients": 30, "loss": 0.2}
    trainer = SimpleNamespace(
        validate=lambda weights: SimpleNamespace(plain=lambda: scores),
        details=lambda wanted: {},
        outlined=lambda weights: (found,),
        score_histogram=None,
    )
    site = site_job.SiteJob.__new__(site_job.SiteJob)
    site._own, site._job = OwnFiles(tmp_path, kept=tmp_path / "kept"), segmentation()
    site._prepared = site_job.Prepared(trainer=trainer, manifest=None, patients=frozenset(), charge={})
    disclosure = Disclosure(
        metrics=("scores", "dice", "images", "patients", "subgroups", "profile"), decimals=3, min_count=5
    )
    site._policy = SimpleNamespace(disclosure=disclosure)
    site._protection = SimpleNamespace(is_private=False, spent=lambda patients: {"mechanism": "none"})
    site._tasks = {Task.FINAL: site._final}
    weights = {"layer": np.zeros(3, np.float32)}
    answer = site.answer(Task.FINAL, question(weights, round_number=-1), abort=Signal())
    picture = (tmp_path / "examples" / "worst.png").read_bytes()
    flare_decomposers.register()
    sent = fobs.dumps(answer)
    assert b"dice" in sent and picture[:8] == b"\x89PNG\r\n\x1a\n"
    for secret in (picture[8:40], picture[-60:-12], GREY.tobytes()[:48], b"0.1234", b"worst", b"PNG"):
        assert secret not in sent
