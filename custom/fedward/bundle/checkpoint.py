"""Read a model that was trained elsewhere, and turn it into the start of a job: plain float32 tensors by name.

A model is a file of torch (``.pt``, ``.pth``; read with ``weights_only``, so that nothing in it runs), of safetensors
or of NumPy (``.npz``), a MONAI bundle's folder, or a finished job's result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.coldstart.model import RESULT_MODEL, read_torch
from fedward.errors import JobError
from fedward.settings import JobSpec, beginnings
from fedward.training.networks import drawn_weights
from fedward.training.start import misfits, require_trained, started
from fedward.weights import Weights, layout_of, load_weights

_BUNDLE_MODEL = Path("models") / "model.pt"
_NESTED = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which checkpoints of training programs hold the state dict."""
_WRAPPED = "module."
"""Beginning of every name in the state dict of a network that was trained on several devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Tensors of a model.

    Attributes:
        file: file that they are from.
        weights: float32, by name.
        done: what was changed or left out, one sentence each.
    """

    file: Path
    weights: Weights
    done: tuple[str, ...]


def read_checkpoint(model: Path) -> Checkpoint:
    """Read a model's tensors.

    Raises:
        JobError: no model is there, or it holds something else than tensors.
        FedwardError: an ``.npz`` that is no model.
    """
    file = _file_of(model)
    done: list[str] = []
    content = _content(file, done)
    if all(name.startswith(_WRAPPED) for name in content):
        content = {name.removeprefix(_WRAPPED): value for name, value in content.items()}
        done.append(f"took {_WRAPPED!r} off every name")
    floating = {name: value for name, value in content.items() if value.dtype.kind == "f"}
    if whole := sorted(set(content) - set(floating)):
        done.append(f"left out {len(whole)} tensors of whole numbers, such as {whole[0]}; no job exchanges them")
    if not floating:
        raise JobError("model has no tensor of floating numbers", where=file, remedy="give a state dict")
    if other := sorted(name for name, value in floating.items() if value.dtype != np.float32):
        done.append(f"turned {len(other)} tensors into float32, such as {other[0]} of {floating[other[0]].dtype}")
    with np.errstate(over="ignore"):
        weights = {name: np.ascontiguousarray(floating[name], np.float32) for name in sorted(floating)}
    if unsound := sorted(name for name, value in weights.items() if not np.isfinite(value).all()):
        what = "model has a value that is not finite in float32"
        raise JobError(what, where=file, value=unsound[0][:200], remedy="give a model whose training did not diverge")
    return Checkpoint(file=file, weights=weights, done=tuple(done))


def some_layers(checkpoint: Checkpoint, layers: tuple[str, ...], job: JobSpec | None) -> Checkpoint:
    """Return the tensors of some layers, held to a job's network where one is given.

    Args:
        checkpoint: from ``read_checkpoint``.
        layers: beginnings of names, as ``model.start_layers``; empty: all.
        job: the job that will start from it; its own start and layers are not looked at.

    Raises:
        JobError: no name begins so; or the tensors do not fit the job's network, with a list of those that do not.
    """
    weights, where = checkpoint.weights, checkpoint.file
    names = tuple(weights)
    if job is not None:
        drawn = drawn_weights(job)
        names = started(job.model.model_copy(update={"start_layers": layers}), tuple(drawn))
        has = {name: value for name, value in weights.items() if not layers or name in names}
        due = {name: drawn[name] for name in names}
        if wrong := misfits(layout_of(has), layout_of(due)):
            remedy = "change model.network or model.args, or give --layers for those that fit"
            raise JobError(wrong, where=where, remedy=remedy)
        require_trained({**drawn, **has}, drawn, where=str(where), remedy="give the weights of a trained network")
    elif layers:
        found = {beginning: beginnings(names, beginning) for beginning in layers}
        if missing := [beginning for beginning, ones in found.items() if not ones]:
            raise JobError("no tensor of the model", where="--layers", value=missing[0], remedy="see its names")
        names = tuple(name for name in names if any(name in ones for ones in found.values()))
    kept = {name: weights[name] for name in names}
    done = checkpoint.done
    if len(kept) < len(weights):
        done = (*done, f"left out {len(weights) - len(kept)} tensors of other layers")
    return Checkpoint(file=where, weights=kept, done=done)


def _file_of(model: Path) -> Path:
    if not model.is_dir():
        return model
    found = [path for path in (model / RESULT_MODEL, model / _BUNDLE_MODEL) if path.is_file()]
    if len(found) != 1:
        what = "folder holds no model" if not found else "folder holds two models"
        remedy = f"give a file, a bundle with {_BUNDLE_MODEL}, or a result with {RESULT_MODEL}"
        raise JobError(what, where=model, remedy=remedy)
    return found[0]


def _content(file: Path, done: list[str]) -> Mapping[str, NDArray[Any]]:
    if file.suffix == ".npz":
        return load_weights(file)
    if file.suffix == ".safetensors":
        return _safetensors(file)
    content, _ = read_torch(file)
    for key in _NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            done.append(f"took the tensors under {key!r}, and left out what is beside them")
            content = content[key]
            break
    return _arrays(content, file)


def _arrays(content: object, file: Path) -> dict[str, NDArray[Any]]:
    import torch

    remedy = "give a state dict that torch.save wrote"
    if not isinstance(content, dict) or not content:
        raise JobError("not a model file, no table of tensors", where=file, remedy=remedy)
    arrays = {}
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor) or value.is_quantized:
            what = "not a model file, an entry is no plain tensor"
            raise JobError(what, where=file, value=str(name)[:200], remedy=remedy)
        if value.layout is not torch.strided or value.is_complex():
            what = "not a model file, a tensor is sparse or complex"
            raise JobError(what, where=file, value=name[:200], remedy=remedy)
        arrays[name] = (value.float() if value.dtype is torch.bfloat16 else value).detach().numpy()
    return arrays


def _safetensors(file: Path) -> dict[str, NDArray[Any]]:
    remedy = "save it with torch.save"
    try:
        from safetensors.numpy import load
    except ImportError:
        raise JobError("safetensors is not installed here", where=file, remedy=remedy) from None
    try:
        return dict(load(file.read_bytes()))
    except OSError as error:
        raise JobError(f"model cannot be read, {error.strerror}", where=file, remedy="give its path") from None
    except Exception:  # noqa: BLE001 - its reader raises kinds of its own for a damaged file
        raise JobError(
            "not a model file of safetensors, or of a type that NumPy lacks", where=file, remedy=remedy
        ) from None
