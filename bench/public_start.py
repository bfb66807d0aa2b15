"""Make a public start for a job on radiographs, without one label: opacities drawn into the lungs of public images.

    PYTHONPATH=custom python bench/public_start.py --data PUBLIC --out FILE.npz [--job jobs/cxr_private] [--steps 600]

PUBLIC holds one folder for each source with ``dicom/`` and the lungs' outlines in ``seg/``, as ``fedward demo --data``
takes it. No image of a hospital of the job may be there. The job's network learns to tell an image with drawn opacities
from one without, so its first layers learn what radiographs and faint spots look like; the file is then a start
(docs/noise-for-the-sum.md). It prints the lines for ``job.toml``. ``bench/joining.py ways --start`` measures it.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch.nn import functional

from fedward.dataset.images import Images
from fedward.dataset.selection import select
from fedward.demo.prepare import gather
from fedward.settings import JobSpec, parse, plain, read_job
from fedward.training.networks import build_network, predict, shared_keys
from fedward.weights import save_weights

ROOT = Path(__file__).resolve().parents[1]
BATCH, RATE = 64, 5e-3
UPPER = 0.6
"""Share of the opacities that prefer the upper lungs, as those of tuberculosis do."""
Pixels = NDArray[np.float32]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, required=True)
    ask.add_argument("--out", type=Path, required=True)
    ask.add_argument("--job", type=Path, default=ROOT / "jobs" / "cxr_private")
    ask.add_argument("--structure", default="Lung", help="segment of the outlines")
    ask.add_argument("--only", nargs="*", help="sources in PUBLIC to take; without it all")
    ask.add_argument("--steps", type=int, default=600)
    ask.add_argument("--seed", type=int, default=1)
    asked = ask.parse_args()
    job = read_job(asked.job)
    if job.outputs != 1 or len(job.data.size) != 2:
        ask.error("the job must have one yes-or-no label and images of two dimensions")
    images, lungs = prepared(job, asked)
    print(f"{len(images)} public images", flush=True)
    weights = trained(job, images, lungs, steps=asked.steps, seed=asked.seed)
    save_weights(weights, asked.out)
    print(f'start = "{asked.out.name}"')
    print(f'start_sha256 = "{hashlib.sha256(asked.out.read_bytes()).hexdigest()}"')


def prepared(job: JobSpec, asked: argparse.Namespace) -> tuple[Pixels, Pixels]:
    """Prepare all images as the job does, with their outlines: float32 (N, H, W) each."""
    content: dict[str, Any] = plain(job)
    content["job"]["task"] = "segmentation"
    content["data"] |= {"labels": [], "structures": [asked.structure]}
    content["transforms"]["augment"] = []
    outlined = parse(JobSpec, content, where="public start")
    images, lungs = [], []
    with tempfile.TemporaryDirectory(prefix="fedward-start-") as folder:
        cohorts = gather(outlined, asked.data, Path(folder), named={}, workers=1).cohorts
        for site, manifest in cohorts.items():
            if asked.only and site not in asked.only:
                continue
            chosen = select(outlined, [manifest], site=site)
            found = Images(outlined, (*chosen.train, *chosen.validation), training=False, site=site)
            for (item,) in found.batches(np.arange(len(found))[:, np.newaxis]):
                images.append(np.asarray(item["image"], np.float32)[0])
                lungs.append(np.asarray(item["mask"], np.float32)[0])
    return np.stack(images), np.stack(lungs)


def with_opacities(image: Pixels, lung: Pixels, rng: np.random.Generator) -> Pixels:
    """Add one to five blurred, textured spots, whose middles are in the lungs."""
    found, (rows, columns) = image.astype(np.float64), np.nonzero(lung > 0.5)
    at = np.indices(image.shape, dtype=np.float64)
    scale = image.shape[0] / 64
    for _ in range(rng.integers(1, 6)):
        share = np.exp(-(rows - rows.min()) / (20.0 * scale)) if rng.random() < UPPER else np.ones(len(rows))
        middle = rng.choice(len(rows), p=share / share.sum())
        radius, stretch = rng.uniform(1.0, 6.0) * scale, rng.uniform(0.6, 1.6)
        square = ((at[0] - rows[middle]) * stretch) ** 2 + ((at[1] - columns[middle]) / stretch) ** 2
        grain = gaussian_filter(rng.normal(size=image.shape), rng.uniform(0.5, 1.5) * scale)
        spot = np.exp(-square / (2.0 * radius**2)) * (1.0 + 2.0 * rng.uniform() * grain)
        found += image.std() * rng.uniform(0.4, 1.6) * spot
    return found.astype(np.float32)


def trained(job: JobSpec, images: Pixels, lungs: Pixels, *, steps: int, seed: int) -> dict[str, Any]:
    usable = [number for number, lung in enumerate(lungs) if (lung > 0.5).any()]
    rng = np.random.default_rng(seed)
    network = build_network(job.model_copy(update={"model": job.model.model_copy(update=_DRAWN)})).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-4)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * 0.5 * (1.0 + math.cos(math.pi * step / steps))
        chosen, truth = rng.choice(usable, BATCH), rng.random(BATCH) < 0.5
        drawn = [
            with_opacities(images[number], lungs[number], rng) if ill else images[number]
            for number, ill in zip(chosen, truth, strict=True)
        ]
        batch = torch.from_numpy(np.stack(drawn))[:, None]
        batch = (batch - batch.mean((2, 3), keepdim=True)) / (batch.std((2, 3), keepdim=True) + 1e-6)
        loss = functional.binary_cross_entropy_with_logits(
            predict(network, moved(batch, rng)), torch.from_numpy(truth.astype(np.float32))[:, None]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {float(loss.detach()):.3f}", flush=True)
    state = network.state_dict()
    return {name: state[name].numpy().copy() for name in shared_keys(network, job)}


def moved(batch: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Mirror, turn, scale and shift each image at random, and change its contrast a little."""
    many = len(batch)
    angle, scale = rng.uniform(-0.1, 0.1, many), 1.0 + rng.uniform(-0.1, 0.1, many)
    mirror = np.where(rng.random(many) < 0.5, -1.0, 1.0)
    rows = np.zeros((many, 2, 3), np.float32)
    rows[:, 0, 0], rows[:, 0, 1] = np.cos(angle) * scale * mirror, -np.sin(angle) * scale
    rows[:, 1, 0], rows[:, 1, 1] = np.sin(angle) * scale * mirror, np.cos(angle) * scale
    rows[:, :, 2] = rng.uniform(-0.16, 0.16, (many, 2))
    grid = functional.affine_grid(torch.from_numpy(rows), list(batch.shape), align_corners=False)
    contrast = torch.from_numpy(1.0 + 0.1 * rng.normal(size=(many, 1, 1, 1))).float()
    return functional.grid_sample(batch * contrast, grid, padding_mode="border", align_corners=False)


_DRAWN: dict[str, Any] = {"start": None, "start_sha256": None, "start_layers": (), "freeze": ()}


if __name__ == "__main__":
    main()
