"""Represent a model as plain arrays, as it is sent and saved. NumPy only."""

from __future__ import annotations

import hashlib
import io
import json
import math
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fedward.errors import EncryptionError, FedwardError, GateError, JobError, shown
from fedward.files import write_atomic

MODEL_FILE = "FL_global_model.pt"
"""File name of a job's final model in its result; FLARE sets it."""
Weights = dict[str, NDArray[Any]]
"""Tensor name -> array, names sorted; floating arrays are float32 as the network holds them."""


def difference(new: Mapping[str, NDArray[Any]], old: Mapping[str, NDArray[Any]]) -> Weights:
    """Return ``new - old`` by name, in the dtype of ``new``; neither input is changed.

    Raises:
        JobError: the two do not have the same names and shapes.
    """
    same_layout(new, old, where="model update")
    return {name: np.subtract(new[name], old[name], dtype=new[name].dtype) for name in sorted(new)}


def add(base: Mapping[str, NDArray[Any]], update: Mapping[str, NDArray[Any]]) -> Weights:
    """Return ``base + update`` by name, in the dtype of ``base``; neither input is changed.

    Raises:
        JobError: the two do not have the same names and shapes.
    """
    same_layout(base, update, where="model update")
    return {name: np.add(base[name], update[name], dtype=base[name].dtype, casting="unsafe") for name in sorted(base)}


def l2_norm(arrays: Iterable[NDArray[Any]]) -> float:
    """Compute the L2 norm over all values of floating arrays, in float64; NaN where a value is not finite.

    Each array is scaled by its largest value, so that no square overflows or underflows.
    """
    return math.hypot(*map(_norm_of, arrays))


def _norm_of(array: NDArray[Any]) -> float:
    values = array.astype(np.float64).ravel()
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0 or not math.isfinite(largest):
        return 0.0 if largest == 0.0 else math.nan
    values /= largest
    return largest * math.sqrt(float(np.square(values, out=values).sum()))


def same_layout(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]], *, where: str) -> None:
    """Refuse two models that differ in a name or a shape.

    Raises:
        JobError: names the first tensor that differs.
    """
    mismatched = sorted(set(one) ^ set(other))
    if mismatched:
        raise JobError("a tensor is on one side only", where=where, value=mismatched[0], remedy=_SAME)
    for name in sorted(one):
        if one[name].shape != other[name].shape:
            shapes = f"{one[name].shape} and {other[name].shape}"
            raise JobError(f"tensor {name} has two shapes", where=where, value=shapes, remedy=_SAME)


def save_weights(weights: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write a model as ``.npz`` without pickled objects; the file appears whole or not at all."""
    arrays = {name: weights[name] for name in sorted(weights)}
    write_atomic(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def load_weights(path: Path) -> Weights:
    """Read a model that ``save_weights`` wrote.

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

    NumPy and torch write models in this form. Afterwards ``file`` is at its start again.

    Raises:
        ValueError: it is no zip archive, an entry is deflated, or all entries together are larger than the file.
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


def stored_layout(content: bytes, *, where: str, remedy: str) -> dict[str, Tensor]:
    """Return the tensors that a model file's bytes declare; nothing of their values is read.

    Args:
        content: a ``.npz`` as ``save_weights`` writes it, by somebody else.
        where, remedy: for the error.

    Raises:
        JobError: it is no such file, or has one name twice.
    """
    with _stored(content, where=where, remedy=remedy) as archive:
        names = archive.namelist()
        if len(set(names)) != len(names) or any(not name.endswith(".npy") for name in names):
            raise ValueError("a tensor twice, or an entry that is none")
        headers = ((name, archive.open(name).read(_LONGEST_HEADER)) for name in sorted(names))
        return {name.removesuffix(".npy"): _header(content)[0] for name, content in headers}


def read_stored(content: bytes, layout: Layout, *, where: str, remedy: str) -> Weights:
    """Read tensors of a model file's bytes that somebody else wrote; nothing is allocated before it fits the layout.

    Args:
        content: as for ``stored_layout``.
        layout: names, types and shapes of the tensors to read.
        where, remedy: for the error.

    Raises:
        JobError: it is no such file, or lacks one of these tensors.
    """
    with _stored(content, where=where, remedy=remedy) as archive:
        return {name: _read_array(archive, name, layout[name]) for name in sorted(layout)}


@contextmanager
def _stored(content: bytes, *, where: str, remedy: str) -> Iterator[zipfile.ZipFile]:
    """Open the archive of a model file; any fault in it, found here or by the caller, becomes one line."""
    try:
        if content.count(_ENTRY) > MOST_TENSORS:
            raise ValueError("more tensors than any network has")
        require_stored(io.BytesIO(content))
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield archive
    except (ValueError, LookupError, OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile, struct.error):
        raise JobError("not a model file", where=where, remedy=remedy) from None


def _header(content: bytes) -> tuple[Tensor, bool, int]:
    """Return the tensor, whether it is in Fortran's order, and where its values begin; of NumPy's format 1.0."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("another version")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    return Tensor(dtype=dtype.str, shape=shape), fortran and len(shape) > 1, file.tell()


def _read_array(archive: zipfile.ZipFile, name: str, due: Tensor) -> NDArray[Any]:
    content = archive.read(f"{name}.npy")
    found, fortran, at = _header(content)
    dtype = np.dtype(due.dtype)
    if found != due or fortran or len(content) - at != math.prod(due.shape) * dtype.itemsize:
        raise ValueError("another tensor than its header says")
    return np.frombuffer(content, dtype, offset=at).reshape(due.shape).copy()


MOST_TENSORS = 20_000
"""Largest number of tensors in a model file; a network has hundreds."""
_ENTRY = b"PK\x01\x02"
"""Beginning of each entry in the list of a zip archive."""
_LONGEST_HEADER = 12_000
"""Bytes within which a header of NumPy's format ends; NumPy reads none of more than 10,000 characters."""
_SAME = "install the same version of Fedward everywhere and use one job.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """NumPy's dtype string and the shape of a tensor in the agreed layout."""

    dtype: str
    shape: tuple[int, ...]


Layout = Mapping[str, Tensor]


def layout_of(weights: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Return the names, dtypes and shapes of a model."""
    return {name: Tensor(dtype=weights[name].dtype.str, shape=weights[name].shape) for name in sorted(weights)}


def layout_hash(layout: Layout, *, network: str, args: Mapping[str, Any]) -> str:
    """Compute SHA-256, 64 hex digits, over the network's name and arguments and each tensor's name, dtype and shape."""
    tensors = [[name, layout[name].dtype, list(layout[name].shape)] for name in sorted(layout)]
    text = json.dumps([network, dict(args), tensors], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


_NUMERIC = "biuf"


def digest(update: Mapping[str, NDArray[Any]]) -> str:
    """Compute SHA-256, as 64 hexadecimal digits, over the sorted names with each array's dtype, shape and bytes.

    Every field is preceded by its length, so that two different updates never give the hash the same input.

    Raises:
        GateError: an array does not hold numbers.
    """
    state = hashlib.sha256(b"fedward/update/1")
    for name in sorted(update):
        array = update[name]
        if array.dtype.kind not in _NUMERIC:
            raise GateError("a tensor holds something else than numbers", value=array.dtype.kind)
        for part in (name.encode(), array.dtype.str.encode(), repr(array.shape).encode()):
            state.update(len(part).to_bytes(8, "little") + part)
        data = np.ascontiguousarray(array).tobytes()
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


def parameter_count(layout: Layout) -> int:
    """Count the numbers in a model of ``layout``."""
    return sum(math.prod(tensor.shape) for tensor in layout.values())


def flatten(weights: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Return all numbers of a model, float32 of shape (n,), in a new array.

    Raises:
        EncryptionError: a tensor is not float32.
    """
    for name in sorted(weights):
        _require_float32(name, weights[name].dtype)
    vector = np.empty(sum(array.size for array in weights.values()), np.float32)
    start = 0
    for name in sorted(weights):
        array = weights[name]
        vector[start : start + array.size].reshape(array.shape)[...] = array
        start += array.size
    return vector


def flatten_units(units: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return all whole numbers, int64 of shape (n,), in the order of the sorted names."""
    return np.concatenate([units[name].ravel() for name in sorted(units)])


def unflatten(vector: NDArray[np.float32], layout: Layout) -> Weights:
    """Return new arrays with the layout's names and shapes: the inverse of ``flatten``.

    Raises:
        EncryptionError: the layout has a tensor that is not float32, or ``vector`` is not float32 of its length.
    """
    for name in sorted(layout):
        _require_float32(name, np.dtype(layout[name].dtype))
    expected = parameter_count(layout)
    if vector.dtype != np.float32 or vector.shape != (expected,):
        raise EncryptionError(f"vector is not {expected} numbers of float32", value=f"{vector.dtype} {vector.shape}")
    weights: Weights = {}
    start = 0
    for name in sorted(layout):
        shape = layout[name].shape
        stop = start + math.prod(shape)
        weights[name] = vector[start:stop].reshape(shape).copy()
        start = stop
    return weights


def _require_float32(name: str, dtype: np.dtype[Any]) -> None:
    if dtype != np.float32:
        raise EncryptionError(
            f"tensor {shown(name)} cannot be sealed: it is not float32",
            value=dtype.str,
            remedy="choose a network whose tensors are all float32, such as one with GroupNorm",
        )
