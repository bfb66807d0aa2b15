"""Write a finished job's model as a MONAI bundle, and hold it to the job's own network before it is given out.

``configs/``: ``metadata.json``, ``inference.json``, ``job.json`` (the job's settings). ``models/``: ``model.pt``, the
state dict of the network as it was built; ``model.pt2`` and ``model.onnx``, the network itself, where ``programs`` can
make them. ``fedward_scripts/``: the functions of the configuration. ``README.md``: the model card.
"""

from __future__ import annotations

import inspect
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedward.bundle.config import SCRIPTS, inference, metadata
from fedward.bundle.programs import INPUT, OUTPUT, require_same, write_programs
from fedward.coldstart.model import Given
from fedward.dataset import prepare
from fedward.dataset.preparation import preparation_words, times
from fedward.errors import JobError
from fedward.files import write_atomic
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import JOB_FILE, JobSpec, plain
from fedward.training import group_norm
from fedward.training.networks import build_network, gets_group_norm, network_args, predict

_AXES = ("slices", "rows", "columns")
_SCRIPTS = """\"\"\"Functions of this bundle's configuration: copies of Fedward's own files.\"\"\"

from .group_norm import with_group_norm
from .prepare import Fit, Standardise

__all__ = ["Fit", "Standardise", "with_group_norm"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """Bundle that was written.

    Attributes:
        folder: its folder.
        left_out: form of the model that could not be written -> the reason.
    """

    folder: Path
    left_out: Mapping[str, str]


def export_bundle(given: Given, out: Path, *, intended_use: str, licence: Path | None = None) -> Exported:
    """Write the bundle of a model.

    Guarantee: plain MONAI, with the bundle alone, computes what the job's network computes, within ``SAME``; so do
    ``model.pt2`` and ``model.onnx`` where they are written.

    Args:
        given: the model, with its job.
        out: a folder that does not exist yet.
        intended_use: use that the consortium intends.
        licence: file with the licence; None: the card says that there is none.

    Raises:
        JobError: the folder exists, or the bundle computes something else.
        OSError: the disk does not accept it.
    """
    job = given.job
    if out.exists():
        raise JobError("folder exists already", where=out, remedy="name a new one")
    network = as_built(job, given)
    facts = {"model_sha256": given.sha256, "job_hash": job_hash(job)}
    config = inference(job, network_args(job), group_norm=gets_group_norm(job))
    try:
        for folder in ("configs", "models", SCRIPTS):
            (out / folder).mkdir(parents=True)
        _write_json(out / "configs" / "metadata.json", metadata(job, intended_use=intended_use, facts=facts))
        _write_json(out / "configs" / "inference.json", config)
        _write_json(out / "configs" / JOB_FILE, plain(job))
        write_atomic(out / "models" / "model.pt", lambda file: torch.save(network.state_dict(), file))
        for module in (prepare, group_norm):
            write_atomic(out / SCRIPTS / Path(inspect.getfile(module)).name, inspect.getsource(module))
        write_atomic(out / SCRIPTS / "__init__.py", _SCRIPTS)
        if licence is not None:
            write_atomic(out / "LICENSE", licence.read_bytes())
        sample = _sample(job)
        bundled = load_network(out)
        require_same(lambda one: predict(network, one), lambda one: predict(bundled, one), sample, where=out)
        left_out = write_programs(network, sample, out / "models")
        card = _card(job, intended_use, facts, licensed=licence is not None, without=left_out)
        write_atomic(out / "README.md", card)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return Exported(folder=out, left_out=left_out)


def as_built(job: JobSpec, given: Given) -> nn.Module:
    """Return the job's network with the given weights, for evaluation."""
    network = build_network(job)
    state = network.state_dict() | {name: torch.from_numpy(array) for name, array in given.weights.items()}
    network.load_state_dict(state)
    return network.requires_grad_(False).eval()


def load_network(bundle: Path) -> nn.Module:
    """Load a bundle's network as plain MONAI does, from its configuration and files alone."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser["bundle_root"] = str(bundle)
    sys.path.insert(0, str(bundle))
    try:
        for name in [name for name in sys.modules if name.partition(".")[0] == SCRIPTS]:
            del sys.modules[name]  # another bundle's
        network: nn.Module = parser.get_parsed_content("network")
    finally:
        sys.path.remove(str(bundle))
    return network


def _sample(job: JobSpec) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn((2, len(job.data.channels), *job.data.size), generator=generator)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_atomic(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _card(
    job: JobSpec, intended_use: str, facts: Mapping[str, str], *, licensed: bool, without: Mapping[str, str]
) -> str:
    size, part = times(job.data.size), "an image" if job.data.patches is None else "a patch"
    axes = ", ".join((("channels",) if len(job.data.channels) > 1 else ()) + _AXES[-len(job.data.size) :])
    needs = job.data.keep_shape or job.data.spacing_mm is not None
    spacing = " `spacing_mm` beside `image`: its pixels' distance along each axis." if needs else ""
    steps = "\n".join(f"{number}. {words}" for number, words in enumerate(preparation_words(job), 1))
    private = "differential privacy" if job.privacy.mechanism != "none" else "no differential privacy"
    known = "\n".join(f"- {name}: `{value}`" for name, value in facts.items())
    programs = {
        "model.pt2": 'the network for torch alone: `torch.export.load("models/model.pt2").module()`',
        "model.onnx": f"the network for any ONNX runtime, input `{INPUT}`, output `{OUTPUT}` before the activation",
    }
    written = "\n".join(
        f"- `models/{name}`: {words if name not in without else f'not written ({without[name]})'}."
        for name, words in programs.items()
    )
    return f"""# {job.job.name}

{job.job.description or "No description was given."}

Intended use: {intended_use}

{job.model.network} for {job.job.task}; channels: {", ".join(job.data.channels)}; {part} of {size} pixels.
It was trained by several hospitals together, with {private}.
Whether and how it may be used on patients is for each hospital's board and the law.
{"LICENSE has its licence." if licensed else "It was given no licence."}

## What it needs of an image

Its values as an array `values`, ({axes}), bright for dense; DICOM's rescale and VOI window applied.{spacing} Then:

{steps}

## Use it with plain MONAI

```python
import sys
from monai.bundle import ConfigParser

sys.path.append("BUNDLE")
parser = ConfigParser()
parser.read_config("BUNDLE/configs/inference.json")
parser["bundle_root"] = "BUNDLE"
names = ("network", "preprocessing", "inferer", "probabilities")
network, prepare, infer, probabilities = map(parser.get_parsed_content, names)
found = probabilities(infer(prepare({{"image": values}})["image"][None], network))
```

`outputs` in `inference.json` names the columns of `found`, in order.

## Use the network without MONAI

Both take prepared images, or patches of them, float32, images × {len(job.data.channels)} × {size}, any number of them.

{written}

## Facts

{known}
"""
