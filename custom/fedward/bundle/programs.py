"""Write a network as programs that run without MONAI and Fedward: ``torch.export``'s, and ONNX.

TorchScript is not written: torch deprecates it, and says to use ``torch.export`` in its place.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn

from fedward.errors import JobError
from fedward.training.networks import predict

SAME = 1e-5
"""Largest difference of two ways to compute one output."""
INPUT, OUTPUT = "image", "logits"
"""Names in the ONNX file; of a network of several outputs the first is ``OUTPUT``."""
_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_EXPORTERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
"""Loggers that say what torch skips."""

Answer = Callable[[torch.Tensor], torch.Tensor]


def write_programs(network: nn.Module, sample: torch.Tensor, folder: Path) -> dict[str, str]:
    """Write ``model.pt2`` and ``model.onnx``, for any number of images, each held to the network within ``SAME``.

    Args:
        network: network for evaluation.
        sample: images, (B, 1, *size).
        folder: folder to write into.

    Returns:
        name of a file that could not be written -> the reason.
    """
    left_out = {}
    for name, write in (("model.pt2", _write_pt2), ("model.onnx", _write_onnx)):
        path = folder / name
        try:
            with _quietly():
                theirs = write(_captured(network, sample), path)
                require_same(lambda images: predict(network, images), theirs, sample, where=path)
        except PackageNotFoundError as absent:
            left_out[name] = f"{absent.name} is not installed: pip install 'fedward[onnx]', and export again"
        except Exception as error:  # noqa: BLE001 - torch raises many kinds for a network that it cannot capture
            path.unlink(missing_ok=True)
            left_out[name] = f"{type(error).__name__}: torch cannot write it, or it computes something else"
    return left_out


def require_same(ours: Answer, theirs: Answer, sample: torch.Tensor, *, where: Path) -> None:
    """Refuse a program that computes something else than the job's network, for one image or several.

    Raises:
        JobError: an output differs by more than ``SAME``.
    """
    with torch.inference_mode():
        apart = max(float((ours(some) - theirs(some)).abs().max()) for some in (sample, sample[:1]))
    if not apart <= SAME:
        raise JobError("computes something else than the job's network", where=where, value=apart, remedy="report it")


def _captured(network: nn.Module, sample: torch.Tensor) -> torch.export.ExportedProgram:
    """Return the network as a program of any number of images, without the paths of this machine that torch notes."""
    number = {0: torch.export.Dim("images", min=1)}
    program = torch.export.export(network, (sample,), dynamic_shapes=(number,))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def _write_pt2(program: torch.export.ExportedProgram, path: Path) -> Answer:
    torch.export.save(program, path)
    again = torch.export.load(path).module()
    return lambda images: predict(again, images)


def _write_onnx(program: torch.export.ExportedProgram, path: Path) -> Answer:
    for package in _ONNX_PACKAGES:
        version(package)
    import onnxruntime

    made = torch.onnx.export(
        program, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], external_data=False, verbose=False
    )
    if made is None:
        raise JobError("torch gave no program", where=path, remedy="report it")
    made.save(path)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep torch's warnings of its own deprecated and skipped parts off the screen."""
    loggers = [logging.getLogger(name) for name in _EXPORTERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
