"""Define what a job uses of a hospital's cohort, and how each image becomes the network's input: ``[data]``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedward.label_words import missing_words
from fedward.settings.base import Flag, Settings
from fedward.settings.names import Name
from fedward.structures import structure_key

Percent = Annotated[float, Field(ge=0.0, le=100.0)]


class Data(Settings):
    """``[data]``."""

    cohort: Name = Field(description="The cohort's name in each hospital's site.toml.")
    size: tuple[int, ...] = Field(
        min_length=2, max_length=3, description="Size of the network's input in pixels: [H, W] or [D, H, W]."
    )
    crop_border: Flag = Field(default=True, description="Cut the dark constant border off each image before resizing.")
    keep_shape: Flag = Field(
        default=False,
        description="Pad each image with its darkest value to the shape of size before resizing, by its pixel spacings "
        "where the header has them; without it, an image of another shape is stretched.",
    )
    clip_percentiles: tuple[Percent, Percent] = Field(
        default=(0.5, 99.5),
        description="Percentiles of each image to which its grey values are clipped, before they get mean 0 and "
        "standard deviation 1; [0, 100] clips nothing.",
    )
    labels: tuple[str, ...] = Field(default=(), description="Classification: columns of the hospital's label table.")
    target: Literal["binary", "multiclass", "multilabel"] = Field(
        default="binary",
        description="Classification: one yes-or-no label, one of several classes, or several yes-or-no labels.",
    )
    classes: tuple[str, ...] = Field(default=(), description="multiclass: the values of the label, in order.")
    structures: tuple[str, ...] = Field(
        default=(), description="Segmentation: segment labels of DICOM SEG, or values of a NIfTI label map, in order."
    )
    cache: Flag = Field(default=True, description="Keep prepared images in memory (MONAI CacheDataset).")

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if any(side < 1 for side in self.size):
            raise ValueError("every side of size must be at least 1 pixel")
        low, high = self.clip_percentiles
        if low >= high:
            raise ValueError(f"clip_percentiles are the lower one first, and not {low:g} and {high:g}")
        return self

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        structures = [structure_key(name) for name in self.structures]
        for field, names, keys in (
            ("labels", self.labels, [*self.labels]),
            ("classes", self.classes, [*self.classes]),
            ("structures", self.structures, structures),
        ):
            twice = sorted({name for name, key in zip(names, keys, strict=True) if keys.count(key) > 1})
            if twice:
                raise ValueError(f"{field} names one thing twice: {', '.join(twice)}")
            if not all(name.strip() for name in names):
                raise ValueError(f"{field} holds an empty name")
        if len(structures) > 255:
            raise ValueError(f"structures names {len(structures)}, of at most 255")
        if "0" in structures:
            raise ValueError("structures holds 0, which is the background of a label map")
        return self

    @model_validator(mode="after")
    def _classes_are_values(self) -> Self:
        if missing := missing_words(self.classes):
            words = ", ".join(sorted(missing))
            raise ValueError(f"classes has {words}, which means no value in a label table; name the class differently")
        return self
