"""A model as plain arrays: what travels, and what is written down. NumPy only."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fedward.errors import FedwardError, JobError

MODEL_FILE = "FL_global_model.pt"
"""A job's final model in its result, by FLARE's own name for it."""
Weights = dict[str, NDArray[Any]]
"""Tensor name -> array, names sorted; floating arrays are float32 as the network holds them."""


def difference(new: Mapping[str, NDArray[Any]], old: Mapping[str, NDArray[Any]]) -> Weights:
    """``new - old`` by name, in the dtype of ``new``; neither input is changed.

    Raises:
        JobError: the two do not hold the same names and shapes.
    """
    same_layout(new, old, where="model update")
    return {name: np.subtract(new[name], old[name], dtype=new[name].dtype) for name in sorted(new)}


def add(base: Mapping[str, NDArray[Any]], update: Mapping[str, NDArray[Any]]) -> Weights:
    """``base + update`` by name, in the dtype of ``base``; neither input is changed.

    Raises:
        JobError: the two do not hold the same names and shapes.
    """
    same_layout(base, update, where="model update")
    return {name: np.add(base[name], update[name], dtype=base[name].dtype, casting="unsafe") for name in sorted(base)}


def same_layout(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]], *, where: str) -> None:
    """Refuse two models that differ in a name or a shape.

    Raises:
        JobError: naming the first tensor that differs.
    """
    odd = sorted(set(one) ^ set(other))
    if odd:
        raise JobError("a tensor is on one side only", where=where, value=odd[0], remedy=_SAME)
    for name in sorted(one):
        if one[name].shape != other[name].shape:
            shapes = f"{one[name].shape} and {other[name].shape}"
            raise JobError(f"tensor {name} has two shapes", where=where, value=shapes, remedy=_SAME)


def save_weights(weights: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write a model as ``.npz`` without pickled objects; the file appears whole or not at all."""
    draft = path.with_name(path.name + ".draft")
    with draft.open("wb") as file:
        np.savez(file, **{name: weights[name] for name in sorted(weights)})  # type: ignore[arg-type]
    draft.replace(path)


def load_weights(path: Path) -> Weights:
    """Read what ``save_weights`` wrote.

    Raises:
        FedwardError: no such file, or not a model.
    """
    try:
        with path.open("rb") as content:
            require_stored(content)
            with np.load(content, allow_pickle=False) as file:
                return {name: file[name] for name in sorted(file.files)}
    except OSError as error:
        raise FedwardError("model cannot be read", where=path, remedy="give the path of a model.npz") from error
    except ValueError:
        raise FedwardError("not a model file", where=path, remedy="give the path of a model.npz") from None


def require_stored(file: IO[bytes]) -> None:
    """Refuse a zip archive that may unpack to more than its own size: models are written stored, not deflated.

    NumPy and torch write them so. ``file`` is at its start again afterwards.

    Raises:
        ValueError: it is no zip archive, or an entry is deflated, or entries together are larger than the file.
    """
    size = file.seek(0, 2)
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError):
        raise ValueError("no zip archive") from None
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("a deflated archive")
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("an archive of more than its own size")
    file.seek(0)


_SAME = "install the same version of Fedward everywhere and use one job.toml"
