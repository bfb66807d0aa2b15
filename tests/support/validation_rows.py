"""Lines of a manifest for validation images of made-up patients, for tests that look at nothing else of an image."""

from __future__ import annotations

from typing import Any

from fedward.dataset.manifest import Row


def validation_row(
    image: int,
    patient: str,
    *,
    sex: str = "F",
    age: int | None = 40,
    maker: str = "SIEMENS",
    spacing_mm: tuple[float, ...] | None = None,
) -> Row:
    fields: dict[str, Any] = dict.fromkeys(("format", "shape", "labels", "flags"))
    return Row(
        **fields,
        image=f"{image:016x}",
        patient=patient,
        study="s",
        split="validation",
        paths=(),
        masks=(),
        modality="DX",
        manufacturer=maker,
        sex=sex,
        age_decade=age,
        sha256="",
        spacing_mm=spacing_mm,
    )
