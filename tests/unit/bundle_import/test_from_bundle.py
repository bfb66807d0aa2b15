"""A job from a MONAI bundle: against MONAI's own reading of the bundle, and everything that is refused."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.networks.nets as nets
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from monai.transforms import RandFlipd

from fedward.bundle_import.axes import turned_transform, turned_weights
from fedward.bundle_import.config import Config
from fedward.bundle_import.job import Asked
from fedward.bundle_import.write import write_job
from fedward.dataset.manifest import Manifest
from fedward.demo.simulate import run_rounds, take_part, trainers
from fedward.errors import FedwardError, JobError, SettingsError
from fedward.settings import JobSpec, read_job
from fedward.training.check import job_faults
from fedward.training.losses import build_loss
from fedward.training.networks import build_network, initial_weights
from tests.support.command_line import typed

SHIPPED = ("--cohort", "hippocampus", "--structure", "1", "--structure", "2", "--rounds", "16")
ASKED = Asked(name="ours", cohort="hippocampus", structures=("1", "2"))
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def bundle(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root / "tests" / "support" / "bundles" / "hippocampus", tmp_path / "bundle"))


def change(bundle: Path, how: Change, name: str = "train") -> dict[str, Any]:
    path = bundle / "configs" / f"{name}.json"
    content: dict[str, Any] = json.loads(path.read_text())
    how(content)
    path.write_text(json.dumps(content))
    return content


def refused(bundle: Path, asked: Asked = ASKED) -> str:
    out = bundle.parent / "ours"
    with pytest.raises(JobError) as refusal:
        write_job(bundle, out, asked)
    assert not out.exists()
    return str(refusal.value)


def job_of(bundle: Path, asked: Asked = ASKED) -> JobSpec:
    return read_job(write_job(bundle, bundle.parent / "ours", asked).folder)


def test_the_job_in_jobs_is_what_the_command_writes(
    root: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "hippocampus_from_bundle"
    assert typed(monkeypatch, "job", "from-bundle", str(bundle), "--out", str(out), *SHIPPED) == 0
    shipped = root / "jobs" / "hippocampus_from_bundle" / "job.toml"
    assert (out / "job.toml").read_text() == shipped.read_text()
    assert [path.name for path in out.iterdir()] == ["job.toml"]
    assert job_faults(read_job(out)) == []


def test_network_and_loss_are_those_that_monai_makes(bundle: Path) -> None:
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "train.json"))
    theirs, their_loss = parser.get_parsed_content("network_def"), parser.get_parsed_content("loss")
    torch.manual_seed(3)
    torch.save(theirs.state_dict(), _models(bundle))
    done = write_job(bundle, bundle.parent / "ours", ASKED)
    assert done.notes[-1].startswith("no start from models/model.pt: it has ") or "start: " in done.notes[-1]
    job = read_job(done.folder)
    ours = build_network(job)
    turned = turned_weights({key: value.numpy() for key, value in theirs.state_dict().items()}, dims=3)
    ours.load_state_dict({key: torch.from_numpy(value) for key, value in turned.items()})
    image, truth = torch.randn(2, 1, 16, 24, 8), torch.randint(0, 3, (2, 1, 16, 24, 8))
    with torch.inference_mode():
        due, found = theirs.eval()(image), ours.eval()(image.permute(0, 1, 4, 3, 2))
    torch.testing.assert_close(found.permute(0, 1, 4, 3, 2), due, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(build_loss(job)(due, truth.to(torch.uint8)), their_loss(due, truth))
    assert (job.training.optimizer, job.training.lr, job.training.weight_decay) == ("AdamW", 0.002, 0.01)
    assert (job.training.lr_schedule, job.training.batch_size) == ("cosine", 2)
    assert (job.data.crop_border, job.data.clip_percentiles) == (False, (0.0, 100.0))


def _models(bundle: Path) -> Path:
    (bundle / "models").mkdir()
    return bundle / "models" / "model.pt"


def small(content: dict[str, Any]) -> None:
    """Make the network small enough for a start, and its size one that no two axes share."""
    content["network_def"] |= {"channels": [4, 8], "strides": [[1, 2, 2]], "kernel_size": 3, "num_res_units": 1}


@pytest.fixture
def with_weights(bundle: Path) -> tuple[Path, torch.nn.Module]:
    for name in ("train", "inference"):
        content = change(bundle, small, name)
    change(bundle, lambda content: content["train"]["deterministic_transforms"][3].update(spatial_size=[8, 16, 12]))
    args = {key: value for key, value in content["network_def"].items() if key != "_target_"}
    torch.manual_seed(5)
    network = nets.UNet(**args)
    torch.save(network.state_dict(), _models(bundle))
    return bundle, network


def test_weights_that_fit_are_the_start_and_compute_the_same(with_weights: tuple[Path, torch.nn.Module]) -> None:
    bundle, theirs = with_weights
    done = write_job(bundle, bundle.parent / "ours", ASKED)
    assert done.notes[-1] == "start: models/model.pt"
    job = read_job(done.folder)
    assert (job.data.size, job.model.args["strides"], job.model.start) == ((12, 16, 8), [[2, 2, 1]], "start.npz")
    ours = build_network(job)
    ours.load_state_dict({key: torch.from_numpy(value) for key, value in initial_weights(job).items()})
    image = torch.randn(1, 1, 8, 16, 12)
    with torch.inference_mode():
        due, found = theirs.eval()(image), ours.eval()(image.permute(0, 1, 4, 3, 2))
    torch.testing.assert_close(found.permute(0, 1, 4, 3, 2), due, rtol=1e-4, atol=1e-5)


def test_the_job_trains_from_the_bundles_weights(
    with_weights: tuple[Path, torch.nn.Module], make_cohort: Callable[..., Manifest]
) -> None:
    job = job_of(with_weights[0], Asked(name="ours", cohort="chest", structures=("1", "2"), rounds=2))
    cohorts = {
        site: make_cohort(12, site=site, seed=seed, shape=(12, 16, 8), masks_too=True, labels={})
        for seed, site in enumerate(("north", "south"))
    }
    parts, aside = take_part(job, cohorts)
    assert not aside
    sites = trainers(job, parts)
    weights, _ = run_rounds(job, sites)
    start = initial_weights(job)
    assert all(np.isfinite(array).all() for array in weights.values())
    assert any((weights[name] != start[name]).any() for name in start)
    assert all(0.0 <= trainer.validate(weights).plain()["dice"] <= 1.0 for trainer in sites.values())


def test_weights_that_do_not_fit_are_left_out_with_the_reason(with_weights: tuple[Path, torch.nn.Module]) -> None:
    bundle, network = with_weights
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save(state, bundle / "models" / "model.pt")
    done = write_job(bundle, bundle.parent / "ours", ASKED)
    assert "too many, such as module." in done.notes[-1] and "missing, such as model." in done.notes[-1]
    assert read_job(done.folder).model.start is None
    shutil.rmtree(done.folder)
    torch.save(torch.nn.Linear(2, 2), bundle / "models" / "model.pt")  # pickled code
    done = write_job(bundle, bundle.parent / "ours", ASKED)
    assert "holds more than tensors" in done.notes[-1] and not (done.folder / "start.npz").exists()


def test_weights_whose_network_cannot_be_turned_are_no_start(bundle: Path) -> None:
    """``Classifier`` ends in a layer over flattened axes, whose order is another here."""
    args = {"in_shape": [1, 8, 12], "classes": 1, "channels": [2, 4], "strides": [2, 2], "norm": "instance"}
    change(bundle, lambda content: content.update(network_def={"_target_": "Classifier", **args}))
    (bundle / "configs" / "inference.json").unlink()
    change(bundle, lambda content: content.update(loss={"_target_": "torch.nn.BCEWithLogitsLoss"}))
    change(bundle, lambda content: content["train"].update(preprocessing={"_target_": "Compose", "transforms": []}))
    torch.save(nets.Classifier(**args).state_dict(), _models(bundle))
    asked = Asked(name="ours", cohort="chest", size=(12, 8), labels=("tb",))
    done = write_job(bundle, bundle.parent / "ours", asked)
    assert "axes have another order" in done.notes[-1]


def test_everything_that_is_on_no_table_is_named_with_its_place(bundle: Path) -> None:
    def odd(content: dict[str, Any]) -> None:
        content["network_def"]["_target_"] = "scripts.net.UNet"
        content["network_def"]["channels"] = "$[16 * i for i in range(3)]"
        content["loss"]["_target_"] = "monai.losses.HausdorffDTLoss"
        content["optimizer"]["_target_"] = "Novograd"
        content["lr_scheduler"]["_target_"] = "torch.optim.lr_scheduler.StepLR"
        content["train"]["deterministic_transforms"].insert(3, {"_target_": "KSpaceSpikeNoised", "keys": "image"})
        content["train"]["random_transforms"][0]["prob"] = "%train.json::p"
        content["train"]["dataloader"]["batch_size"] = "@nothing"

    change(bundle, odd)
    line = refused(bundle)
    for part in (
        "network_def::_target_: scripts.net.UNet is not on the table of networks; name one of the table, such as UNet",
        "network_def::channels: is an expression",
        "loss::_target_: HausdorffDTLoss is not on the table of losses",
        "optimizer::_target_: Novograd is not on the table of optimizers; name one of SGD, Adam, AdamW",
        "lr_scheduler::_target_: StepLR is no schedule",
        "train::deterministic_transforms::3::_target_: KSpaceSpikeNoised is not on the table of transforms",
        "--leave-out KSpaceSpikeNoised",
        "train::random_transforms::0::prob: is a macro",
        "train::dataloader::batch_size: refers to nothing",
        "train and inference name two networks",
        "see docs/from-bundle.md",
    ):
        assert part in line, part


@pytest.mark.parametrize("poison", ["$__import__('os').system('touch {}')", "$open('{}', 'w')"])
def test_no_expression_is_ever_evaluated(bundle: Path, poison: str) -> None:
    """An expression at every place of the configuration in turn: the job is the same, or it is refused."""
    trace = bundle.parent / "trace"
    text = poison.replace("{}", str(trace))
    places = list(_places(json.loads((bundle / "configs" / "train.json").read_text())))
    assert len(places) > 60
    whole = (bundle / "configs" / "train.json").read_text()
    same = job_of(bundle)
    written = others = 0
    for place in places:
        shutil.rmtree(bundle.parent / "ours", ignore_errors=True)
        content = json.loads(whole)
        _put(content, place, text)
        (bundle / "configs" / "train.json").write_text(json.dumps(content))
        try:
            assert job_of(bundle) == same, place
            written += 1
        except JobError as refusal:
            assert "expression" in str(refusal) or "names no class" in str(refusal), (place, str(refusal))
            others += 1
    assert written > 15 and others > 20
    assert not trace.exists()


def _places(value: Any, way: tuple[Any, ...] = ()) -> Any:
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(one, (*way, key))
    else:
        yield way


def _put(content: Any, way: tuple[Any, ...], value: Any) -> None:
    for key in way[:-1]:
        content = content[key]
    content[way[-1]] = value


CASES: dict[str, tuple[Change, str]] = {
    "channels of the image": (
        lambda c: c["network_def"].update(in_channels=4),
        "network_def::in_channels: is 4, and from the job's data follows 1",
    ),
    "another number of structures": (lambda c: c["network_def"].update(out_channels=2), "out_channels: is 2"),
    "a sigmoid": (lambda c: c["loss"].update(sigmoid=True), "loss::sigmoid: is true"),
    "no softmax": (lambda c: c["loss"].update(softmax=False), "loss::softmax: is False, and Fedward sets True"),
    "an argument that the loss lacks": (lambda c: c["loss"].update(gama=2), "loss DiceCELoss cannot be built"),
    "betas": (lambda c: c["optimizer"].update(betas=[0.5, 0.9]), "optimizer::betas: is [0.5, 0.9], no setting"),
    "a circle": (lambda c: c.update(learning_rate="@learning_rate"), "refers to itself"),
    "another orientation": (
        lambda c: c["train"]["deterministic_transforms"][2].update(axcodes="LPS"),
        "axcodes: is another than RAS",
    ),
    "grey values of the mask": (
        lambda c: c["train"]["random_transforms"][1].update(keys=["image", "label"]),
        "keys: are image, label; a job has image here",
    ),
    "an order of axes": (
        lambda c: c["train"]["random_transforms"].append(
            {"_target_": "RandRotated", "keys": ["image", "label"], "range_x": 0.2}
        ),
        "range_x: has an order of axes",
    ),
    "prepared after chance": (
        lambda c: c["train"]["random_transforms"].append({"_target_": "ScaleIntensityd", "keys": "image"}),
        "ScaleIntensityd comes after a random transform",
    ),
    "its own resizing": (
        lambda c: c["train"]["deterministic_transforms"][3].update(spatial_size="$[32] * 3"),
        "spatial_size: is an expression",
    ),
    "a sum of more than references": (
        lambda c: c["train"]["preprocessing"].update(transforms="$@train::deterministic_transforms[:2]"),
        "train::preprocessing::transforms: is no list",
    ),
    "a class inside an argument": (
        lambda c: c["loss"].update(other_act={"_target_": "os.system", "command": "true"}),
        "loss::other_act: is made of a class of its own",
    ),
    "a size that no machine has": (
        lambda c: c["train"]["deterministic_transforms"][3].update(spatial_size=[10**9, 10**9, 10**9]),
        "the transforms fail on an image of",
    ),
    "no optimizer": (lambda c: c.pop("optimizer"), "optimizer: is missing"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_otherwise_here_is_refused_and_not_changed_in_silence(bundle: Path, case: str) -> None:
    how, line = CASES[case]
    for name in ("train", "inference") if "network_def" in line or "out_channels" in line else ("train",):
        change(bundle, how, name)
    assert line in refused(bundle)


ODD = (None, float("nan"), 10**9, -1, 0, True, "", "@", "@loss", "$", "%x", [], {}, [1, [2]], "x" * 3000, ["image"])


def test_odd_values_anywhere_are_one_line_or_a_sound_job(bundle: Path) -> None:
    """Draws of a place and an odd value: an error of Fedward's, and no folder, or a job that can be read."""
    whole = (bundle / "configs" / "train.json").read_text()
    used = ("network_def", "loss", "optimizer", "lr_scheduler", "train", "learning_rate", "dims")
    todo = [(way, odd) for way in _places(json.loads(whole)) if way[0] in used for odd in ODD]
    for way, odd in random.Random(19).sample(todo, 60):
        content = json.loads(whole)
        _put(content, way, odd)
        (bundle / "configs" / "train.json").write_text(json.dumps(content))
        out = bundle.parent / "ours"
        try:
            write_job(bundle, out, ASKED)
            read_job(out)
            shutil.rmtree(out)
        except FedwardError as refusal:
            assert not out.exists() and "\n" not in str(refusal), way


def test_references_that_multiply_without_end_are_refused(bundle: Path) -> None:
    def nested(content: dict[str, Any]) -> None:
        content |= {f"level{number}": [f"@level{number + 1}"] * 10 for number in range(9)}
        content |= {"level9": [1]}
        content["network_def"]["channels"] = "@level0"
        content["train"]["preprocessing"]["transforms"] = "$@train::preprocessing::transforms + @level0"

    change(bundle, nested)
    line = refused(bundle)
    assert "values with its references" in line and "train::preprocessing::transforms: is no list" in line


def test_batch_norm_becomes_group_norm_or_stays_as_asked(bundle: Path) -> None:
    for name in ("train", "inference"):
        change(bundle, lambda content: content["network_def"].update(norm="batch"), name)
    done = write_job(bundle, bundle.parent / "ours", ASKED)
    assert any(note.startswith("GroupNorm in place of BatchNorm") for note in done.notes)
    assert "norm" not in read_job(done.folder).model.args
    shutil.rmtree(done.folder)
    kept = job_of(bundle, Asked(name="ours", cohort="hippocampus", structures=("1", "2"), batch_norm="average"))
    assert kept.model.batch_norm == "average" and job_faults(kept) == []


def test_a_bundle_in_yaml_gives_the_same_job(bundle: Path) -> None:
    same = job_of(bundle)
    shutil.rmtree(bundle.parent / "ours")
    path = bundle / "configs" / "train.json"
    path.with_suffix(".yaml").write_text(yaml.safe_dump(json.loads(path.read_text()), sort_keys=False))
    with pytest.raises(SettingsError, match="train is there twice"):
        write_job(bundle, bundle.parent / "ours", ASKED)
    path.unlink()
    assert job_of(bundle) == same


def test_structures_and_size_of_the_metadata(bundle: Path) -> None:
    change(bundle, lambda content: content["train"]["deterministic_transforms"].pop(3))
    change(
        bundle,
        lambda content: content["network_data_format"]["inputs"]["image"].update(spatial_shape=[16, 24, 32]),
        "metadata",
    )
    job = job_of(bundle, Asked(name="ours", cohort="hippocampus"))
    assert (job.data.structures, job.data.size) == (("anterior", "posterior"), (32, 24, 16))


def test_a_transform_is_left_out_where_a_person_says_so(bundle: Path) -> None:
    gibbs = {"_target_": "RandGibbsNoised", "keys": "image", "alpha": "$[0.0, 0.5]"}
    change(bundle, lambda content: content["train"]["random_transforms"].insert(0, {"_disabled_": True, **gibbs}))
    asked = Asked(name="ours", cohort="hippocampus", structures=("1", "2"))
    assert "is an expression" in refused(bundle, asked)  # a disabled one too is read as data alone
    change(bundle, lambda content: content["train"]["random_transforms"][0].update(alpha=[0.0, 0.5]))
    job_of(bundle, asked)
    shutil.rmtree(bundle.parent / "ours")
    change(bundle, lambda content: content["train"]["random_transforms"][0].pop("_disabled_"))
    assert "--leave-out RandGibbsNoised" in refused(bundle, asked)
    done = write_job(
        bundle,
        bundle.parent / "ours",
        Asked(name="ours", cohort="hippocampus", structures=("1", "2"), leave_out=("RandGibbsNoised",)),
    )
    assert "without RandGibbsNoised: as you asked" in (done.folder / "job.toml").read_text()


def test_a_mirror_of_a_bundle_mirrors_the_same_axis_of_the_patient() -> None:
    """MONAI on its own array, and on Fedward's, which is the same turned: many draws of dimensions and axes."""
    chance = random.Random(4)
    for _ in range(40):
        dims = chance.choice([2, 3])
        axes = chance.sample(range(-dims, dims), chance.randint(1, dims))
        axes = list({axis % dims: axis for axis in axes}.values())
        array = np.random.default_rng(chance.randrange(99)).random((1, *range(3, 3 + dims)))
        ours = turned_transform({"prob": 1.0, "spatial_axis": axes}, dims=dims)
        due = RandFlipd(keys="image", prob=1.0, spatial_axis=axes)({"image": array})["image"]
        found = RandFlipd(keys="image", **ours)({"image": array.transpose(0, *range(dims, 0, -1))})["image"]
        np.testing.assert_array_equal(np.asarray(found).transpose(0, *range(dims, 0, -1)), np.asarray(due))


def test_references_are_followed_as_monai_follows_them() -> None:
    content = {"a": {"b": [1, {"c": 2.5}]}, "d": "@a::b::1::c", "e": {"f": "@a#b", "g": "@d"}}
    parser = ConfigParser(copy.deepcopy(content))
    config = Config(content)
    assert config.at("e") == parser.get_parsed_content("e") == {"f": [1, {"c": 2.5}], "g": 2.5}
    assert config.at("d") == parser.get_parsed_content("d") and config.faults == []
