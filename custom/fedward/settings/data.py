"""Define what a job uses of a hospital's cohort, and how each image becomes the network's input: ``[data]``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedward.label_words import missing_words
from fedward.settings.base import Flag, Fraction, Settings
from fedward.settings.names import Name
from fedward.structures import structure_key

Percent = Annotated[float, Field(ge=0.0, le=100.0)]
Millimetres = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class Patches(Settings):
    """``[data.patches]``: training on parts of an image; validation puts parts together again (sliding window)."""

    per_image: int = Field(default=1, ge=1, description="Patches drawn from each image in a pass over the images.")
    positive: Fraction = Field(
        default=0.5,
        description="Share of patches whose middle is a pixel of a structure, where the image has one; the others are "
        "anywhere.",
    )
    overlap: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.25, description="Validation: share of its side by which a window overlaps the next."
    )


class Data(Settings):
    """``[data]``."""

    cohort: Name = Field(description="The cohort's name in each hospital's site.toml.")
    size: tuple[int, ...] = Field(
        min_length=2,
        max_length=3,
        description="Size of the network's input in pixels: [H, W] or [D, H, W]; with patches, of a patch.",
    )
    colour: Flag = Field(
        default=False,
        description="The network gets red, green and blue as three channels, and images without colour are left out; "
        "without it, colour becomes luminance.",
    )
    sequences: tuple[Name, ...] = Field(
        default=(),
        description="Sequences by the names of each hospital's site.toml: the network's channels, in order. They are "
        "images of one study on one grid; a study without one of them is left out. Absent: every image is one channel.",
    )
    spacing_mm: tuple[Millimetres, ...] | None = Field(
        default=None,
        description="With patches: distance of pixels in mm along each axis, to which each image is resampled; images "
        "without a known spacing are left out. Without it each image keeps its own.",
    )
    patches: Patches | None = Field(
        default=None,
        description="Segmentation: train on patches of size instead of resizing each image to it.",
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
    def _grid_fits(self) -> Self:
        if self.spacing_mm is not None and self.patches is None:
            raise ValueError("spacing_mm goes with patches; for an image of one size set keep_shape")
        if self.spacing_mm is not None and len(self.spacing_mm) != len(self.size):
            raise ValueError(f"spacing_mm has {len(self.spacing_mm)} numbers, and size has {len(self.size)}")
        if self.keep_shape and self.patches is not None:
            raise ValueError("keep_shape has no effect on patches, which are not resized; leave it out")
        if self.colour and self.sequences:
            raise ValueError("colour and sequences: the channels are of one kind; leave one of them out")
        return self

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        structures = [structure_key(name) for name in self.structures]
        for field, names, keys in (
            ("labels", self.labels, [*self.labels]),
            ("classes", self.classes, [*self.classes]),
            ("sequences", self.sequences, [*self.sequences]),
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

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the network's input channels, in order."""
        return self.sequences or (("red", "green", "blue") if self.colour else ("grey",))

    @property
    def draws(self) -> int:
        """Draws of each image in a pass over the images."""
        return 1 if self.patches is None else self.patches.per_image
