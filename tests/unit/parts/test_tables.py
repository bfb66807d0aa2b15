"""The parts that a job may name, against the tables and the classes that they are of."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path

import monai.losses
import monai.networks.nets as nets
import monai.transforms
import pytest
import torch

from fedward.dataset.transforms import TRANSFORMS, build_stage
from fedward.errors import JobError
from fedward.parts.about import ABOUT
from fedward.parts.part import REQUIRED, Part, default_text
from fedward.parts.tables import KINDS, optimizer_names, parts_of
from fedward.settings import Component, JobSpec, Transforms, parse, plain
from fedward.training.losses import LOSSES, build_loss
from fedward.training.networks import NETWORKS, build_network
from tests.support.command_line import typed


@pytest.fixture(scope="module")
def parts() -> dict[str, Part]:
    return {part.name: part for kind in KINDS for part in parts_of(kind)}


def test_every_part_is_there_with_a_phrase_and_no_phrase_is_left_over(parts: dict[str, Part]) -> None:
    names = [*NETWORKS, *LOSSES, *TRANSFORMS, *optimizer_names()]
    assert list(parts) == names
    assert list(ABOUT) == names, "write a phrase for each part in fedward/parts/about.py, in the tables' order"


def test_every_default_is_that_of_the_class(parts: dict[str, Part]) -> None:
    """Arguments of a class are there, or are Fedward's; those of which the table has no own value have the class's."""
    for name, part in parts.items():
        if part.kind == "optimizers":
            continue
        home = {"networks": nets, "transforms": monai.transforms}.get(part.kind, monai.losses)
        make = getattr(home, name, None) or getattr(torch.nn, name)
        own = (NETWORKS[name].defaults or {}) if part.kind == "networks" else {}
        norm = NETWORKS[name].norm if part.kind == "networks" else None
        for argument, parameter in inspect.signature(make).parameters.items():
            if argument in part.arguments and argument not in own and argument != norm:
                due = REQUIRED if parameter.default is inspect.Parameter.empty else default_text(parameter.default)
                assert part.arguments[argument] == due, (name, argument)
        assert not set(part.arguments) & set(part.set_here)


def test_a_job_with_a_networks_arguments_written_out_is_the_same_network(
    parts: dict[str, Part], tiny_job: JobSpec
) -> None:
    for name in ("DenseNet121", "UNet", "Classifier", "SegResNet"):
        content = plain(tiny_job)
        content["model"] = {"network": name}
        if NETWORKS[name].task == "segmentation":
            content["job"]["task"] = "segmentation"
            content["data"] |= {"labels": [], "structures": ["1"]}
        default = build_network(parse(JobSpec, content, where="test"))
        written = {
            argument: tomllib.loads(f"value = {value}")["value"]
            for argument, value in parts[name].arguments.items()
            if value not in ("none", "GroupNorm")
        }
        content["model"] = {"network": name, "args": written}
        same = build_network(parse(JobSpec, content, where="test"))
        assert default.state_dict().keys() == same.state_dict().keys(), name
        assert all(torch.equal(default.state_dict()[key], same.state_dict()[key]) for key in same.state_dict())


def test_what_fedward_sets_is_refused_from_a_job(parts: dict[str, Part], tiny_job: JobSpec) -> None:
    for name, part in parts.items():
        if part.kind == "transforms":
            stage = TRANSFORMS[name].stages[0]
            for argument in part.set_here:
                named = Transforms(**{stage: (Component(name=name, args={argument: True}),)})
                with pytest.raises(JobError, match="filled in by Fedward"):
                    build_stage(tiny_job.model_copy(update={"transforms": named}), stage)
        if part.kind == "networks" and part.facts["task"] == "classification":
            for argument in part.set_here:
                content = plain(tiny_job) | {"model": {"network": name, "args": {argument: 1}}}
                with pytest.raises(JobError, match="derived"):
                    build_network(parse(JobSpec, content, where="test"))


def test_each_loss_that_the_page_recommends_can_be_built(root: Path, tiny_job: JobSpec) -> None:
    page = (root / "docs" / "parts.md").read_text(encoding="utf-8")
    named = [tomllib.loads(text)["loss"] for text in re.findall(r"`(loss = \{.*?\})` \|", page)]
    assert len(named) >= 10
    for loss in named:
        content = plain(tiny_job)
        content["training"]["loss"] = loss
        if "segmentation" in LOSSES[loss["name"]].kinds and "weight" not in loss.get("args", {}):
            content["job"]["task"] = "segmentation"
            content["data"] |= {"labels": [], "structures": ["1"]}
        elif loss["name"] == "CrossEntropyLoss":
            content["data"] |= {"target": "multiclass", "classes": ["a", "b", "c"]}
        build_loss(parse(JobSpec, content, where="test"))


def test_the_command_lists_a_table_and_shows_one_part(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "job", "parts", "networks") == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"^{name} ", out, flags=re.MULTILINE) for name in NETWORKS)
    assert "HistogramNormalized" not in out
    assert typed(monkeypatch, "job", "parts", "densenet121") == 0
    out = capsys.readouterr().out
    assert 'network = "DenseNet121"' in out and "growth_rate = 32" in out
    assert "Fedward sets: spatial_dims, in_channels, out_channels" in out
    assert typed(monkeypatch, "job", "parts", "DensNet121") == 1
    assert "did you mean DenseNet121" in capsys.readouterr().err
