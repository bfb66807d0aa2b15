"""Cohorts of small made-up images held in memory, for tests of dataset and training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedward.dataset.manifest import Manifest, MaskFile, Row
from fedward.dicom.image import Image

MakeCohort = Callable[..., Manifest]


@pytest.fixture
def make_cohort(monkeypatch: pytest.MonkeyPatch) -> MakeCohort:
    """A function that makes a cohort; its images have a bright square, in the upper half where the label is yes.

    Arguments: ``patients``; ``images`` of each; ``site``; ``labels`` (column -> one value an image; by default "lesion"
    alternates by patient); ``shape``; ``masks_too`` (structure 1 is the square, 2 its lowest row) and the names of the
    ``structures`` that the manifest gives to them; ``border`` of zeros around the picture; ``held_out``, every how
    many-th patient is for validation; ``seed``.
    """
    pixels: dict[str, np.ndarray] = {}
    masks: dict[str, np.ndarray] = {}
    monkeypatch.setattr("fedward.dataset.load.load_image", lambda row, root: Image(pixels[row.image], row.spacing_mm))
    monkeypatch.setattr("fedward.dataset.load.load_mask", lambda row, root, structures: masks[row.image])

    def make(
        patients: int = 16,
        *,
        images: int = 1,
        site: str = "north",
        labels: dict[str, Sequence[str | None]] | None = None,
        shape: tuple[int, ...] = (20, 24),
        masks_too: bool = False,
        border: int = 0,
        structures: Sequence[str] = ("1", "2", "square", "line", "lung"),
        held_out: int = 4,
        seed: int = 0,
    ) -> Manifest:
        rows = []
        for number in range(patients * images):
            patient = number // images
            rng = np.random.default_rng([seed, number])
            sick = patient % 2 == 1
            name = hashlib.sha256(f"{site}/{seed}/{number}".encode()).hexdigest()[:16]
            image, mask = _picture(shape, upper=sick, rng=rng)
            pixels[name], masks[name] = np.pad(image, border), np.pad(mask, border)
            values = {"lesion": "1" if sick else "0"} if labels is None else {k: v[number] for k, v in labels.items()}
            rows.append(
                _row(
                    image=name,
                    patient=hashlib.sha256(f"{site}/{patient}".encode()).hexdigest()[:16],
                    split="validation" if (patient // 2) % held_out == 0 else "train",
                    shape=pixels[name].shape,
                    labels={k: v for k, v in values.items() if v is not None},
                    masks=(_mask_file(name, structures),) if masks_too else (),
                )
            )
        return Manifest(
            cohort="chest",
            site=site,
            images_root=Path("/nowhere") / site,
            masks_root=Path("/nowhere") / site,
            rows=tuple(sorted(rows, key=lambda row: row.image)),
            quarantined=0,
        )

    return make


def _picture(shape: tuple[int, ...], *, upper: bool, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    image = rng.normal(100, 5, shape).astype(np.float32)
    mask = np.zeros(shape, np.uint8)
    half, side = shape[0] // 2, shape[0] // 4
    top = int(rng.integers(1, half - side)) + (0 if upper else half)
    left = [int(rng.integers(1, extent - side)) for extent in shape[1:]]
    box = (slice(top, top + side), *(slice(at, at + side) for at in left))
    image[box] += 60
    mask[box] = 1
    mask[(slice(top + side - 1, top + side), *box[1:])] = 2
    return image, mask


def _mask_file(name: str, structures: Sequence[str]) -> MaskFile:
    kind: Any = "nifti" if all(one.isdecimal() for one in structures) else "dicom-seg"
    marked = dict.fromkeys(structures, True)
    return MaskFile(path=name, format=kind, structures=marked, sha256="")


def _row(**known: Any) -> Row:
    shape = known["shape"]
    return Row(
        **known,
        study=known["patient"],
        format="nifti",
        paths=(known["image"],),
        spacing_mm=(2.0, 1.0, 1.0)[: len(shape)],
        modality="CR",
        manufacturer="",
        sex="",
        age_decade=None,
        flags=(),
        sha256="",
    )
