"""Losses beside their formulas and torch's own."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedward.errors import JobError
from fedward.settings import JobSpec, parse, plain
from fedward.training.losses import LOSSES, build_loss

LOGITS = torch.tensor([[0.3], [-1.2], [2.0]])
TRUTH = torch.tensor([[1.0], [0.0], [0.0]])


def _job(tiny_job: JobSpec, name: str, kind: str = "binary", **args: object) -> JobSpec:
    content = plain(tiny_job)
    content["training"]["loss"] = {"name": name, "args": args}
    if kind == "segmentation":
        content["job"]["task"] = "segmentation"
        content["data"] |= {"labels": [], "structures": ["a", "b"]}
    elif kind == "multiclass":
        content["data"] |= {"target": "multiclass", "classes": ["x", "y", "z"]}
    elif kind == "multilabel":
        content["data"] |= {"target": "multilabel", "labels": ["x", "y", "z"]}
    return parse(JobSpec, content, where="test")


def test_binary_cross_entropy_by_hand(tiny_job: JobSpec) -> None:
    chance = 1 / (1 + np.exp(-LOGITS[:, 0].numpy()))
    expected = -np.mean([np.log(chance[0]), np.log(1 - chance[1]), np.log(1 - chance[2])])
    assert float(build_loss(_job(tiny_job, "BCEWithLogitsLoss"))(LOGITS, TRUTH)) == pytest.approx(expected)
    weighted = -np.mean([3 * np.log(chance[0]), np.log(1 - chance[1]), np.log(1 - chance[2])])
    loss = build_loss(_job(tiny_job, "BCEWithLogitsLoss", pos_weight=[3.0]))
    assert float(loss(LOGITS, TRUTH)) == pytest.approx(weighted)


def test_focal_loss_without_focus_is_cross_entropy(tiny_job: JobSpec) -> None:
    loss = build_loss(_job(tiny_job, "FocalLoss", gamma=0.0))
    torch.testing.assert_close(loss(LOGITS, TRUTH), functional.binary_cross_entropy_with_logits(LOGITS, TRUTH))


def test_cross_entropy_of_classes_and_of_masks(tiny_job: JobSpec) -> None:
    logits, classes = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    loss = build_loss(_job(tiny_job, "CrossEntropyLoss", "multiclass", weight=[1.0, 2.0, 0.5]))
    expected = functional.cross_entropy(logits, classes, weight=torch.tensor([1.0, 2.0, 0.5]))
    torch.testing.assert_close(loss(logits, classes), expected)
    maps, mask = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 1, 4, 5), dtype=torch.uint8)
    loss = build_loss(_job(tiny_job, "CrossEntropyLoss", "segmentation"))
    torch.testing.assert_close(loss(maps, mask), functional.cross_entropy(maps, mask[:, 0].long()))


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, entry in LOSSES.items() for kind in entry.kinds], ids=str
)
def test_the_truth_costs_less_than_its_opposite(name: str, kind: str, tiny_job: JobSpec) -> None:
    loss = build_loss(_job(tiny_job, name, kind))
    if kind == "segmentation":
        truth = torch.randint(0, 3, (2, 1, 8, 8), dtype=torch.uint8)
        sure = functional.one_hot(truth[:, 0].long(), 3).movedim(-1, 1).float() * 20 - 10
    elif kind == "multiclass":
        truth = torch.tensor([0, 2, 1])
        sure = functional.one_hot(truth, 3).float() * 20 - 10
    else:
        truth = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])[:, : 1 if kind == "binary" else 3]
        sure = truth * 20 - 10
    right, wrong = float(loss(sure, truth)), float(loss(-sure, truth))
    assert right == pytest.approx(0, abs=0.05) and wrong > right + 0.2


@pytest.mark.parametrize(
    ("name", "kind", "args", "says"),
    [
        ("BCEWithLogitLoss", "binary", {}, "did you mean BCEWithLogitsLoss"),
        ("Qqqq", "binary", {}, "choose one of BCEWithLogitsLoss, FocalLoss"),
        ("DiceLoss", "binary", {}, "loss is not for binary: 'DiceLoss'"),
        ("BCEWithLogitsLoss", "segmentation", {}, "loss is not for segmentation"),
        ("DiceLoss", "segmentation", {"no_such": 1}, "cannot be built"),
    ],
)
def test_refused(name: str, kind: str, args: dict, says: str, tiny_job: JobSpec) -> None:
    with pytest.raises(JobError) as caught:
        build_loss(_job(tiny_job, name, kind, **args))
    assert says in str(caught.value) and "\n" not in str(caught.value)
