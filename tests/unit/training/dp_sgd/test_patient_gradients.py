"""Patients' gradients and their clip, on both ways: against plain autograd, torch.func.vmap and Opacus."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, grad, vmap

from fedward.errors import JobError
from fedward.training.dp_sgd.clipped_sum import Clipped, clip_factors
from fedward.training.dp_sgd.layer_gradients import by_layer, fits
from fedward.training.dp_sgd.patient_gradients import Patient, one_by_one, trainable
from fedward.training.networks import predict

pytestmark = pytest.mark.slow

INSTANCE = {"channels": [8, 16], "strides": [2, 2], "norm": ["instance", {"affine": True}]}
SMALL_VIT = {"hidden_size": 48, "mlp_dim": 64, "num_heads": 3, "num_layers": 2, "dropout_rate": 0.0}
SMALL_UNET = {"features": [8, 8, 16, 16, 16, 8]}
LAYERS, ONE = [by_layer, one_by_one], [one_by_one]
CASES = {
    "DenseNet121": ("DenseNet121", {}, (32, 32), LAYERS),
    "resnet18": ("resnet18", {}, (32, 32), LAYERS),
    "ResNet": ("ResNet", {"block_inplanes": [8, 8, 16, 16]}, (32, 32), LAYERS),
    "Classifier": ("Classifier", INSTANCE, (32, 32), LAYERS),
    "ViT": ("ViT", SMALL_VIT, (32, 32), ONE),
    "SegResNet": ("SegResNet", {}, (32, 32), LAYERS),
    "BasicUNet": ("BasicUNet", SMALL_UNET, (32, 32), LAYERS),
    "BasicUNet-3D": ("BasicUNet", SMALL_UNET, (16, 16, 16), LAYERS),
    "UNet": ("UNet", {}, (32, 32), LAYERS),
    "DynUNet": ("DynUNet", {"filters": [8, 16, 16, 16]}, (32, 32), LAYERS),
    "EfficientNetBN": ("EfficientNetBN", {}, (32, 32), LAYERS),
}

SLOW = ("DenseNet121", "resnet18", "EfficientNetBN")
"""Their layers are those of others here; float64 convolutions take them a minute."""


def plain_gradients(network: nn.Module, loss: Callable, patients: list[Patient]) -> list[torch.Tensor]:
    """Each patient's gradient by ``backward`` alone, one vector a patient."""
    found = []
    for patient in patients:
        network.zero_grad(set_to_none=True)
        loss(predict(network, patient.images), patient.truth).backward()
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in trainable(network)]
        found.append(torch.cat([part.flatten() for part in parts]).clone())
    network.zero_grad(set_to_none=True)
    return found


def flat(clipped: Clipped) -> torch.Tensor:
    return torch.cat([part.flatten() for part in clipped.total])


def quiet(network: nn.Module) -> nn.Module:
    """Without the random part of a forward pass, which no two passes share."""
    for layer in network.modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            layer.eval()
        if hasattr(layer, "drop_connect_rate"):
            layer.drop_connect_rate = 0.0
    return network


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_plain_autograds(case: str, make_case) -> None:
    """One patient in float32, as in training; clipped sums in float64, where no wrong formula passes for rounding."""
    name, args, size, methods = CASES[case]
    network, loss, patients = make_case(name, size=size, args=args, patients=2, images=1 if len(size) == 3 else 2)
    quiet(network)
    (exact,) = plain_gradients(network, loss, patients[:1])
    for method in methods:
        alone = partial(method, slots=1) if method is by_layer else method
        found = flat(alone(network, loss, patients[:1], 10 * float(exact.norm()), steps=1 << 40))
        assert (found - exact).norm() <= 1e-5 * exact.norm(), method.__name__
    assert fits(network, loss, patients[:1]) is (by_layer in methods)
    assert all(p.requires_grad for p in network.parameters()), "the network is left as it was"
    if case in SLOW:
        return
    network.double()
    patients = [Patient(images=p.images.double(), truth=_double(p.truth)) for p in patients]
    each = plain_gradients(network, loss, patients)
    clip = 0.9 * max(float(one.norm()) for one in each)
    wanted = sum(one * min(1.0, clip / one.norm()) for one in each)
    for method in methods:
        found = flat(method(network, loss, patients, clip, steps=1 << 40))
        assert (found - wanted).norm() <= 1e-7 * wanted.norm(), method.__name__


def _double(truth: torch.Tensor) -> torch.Tensor:
    return truth.double() if truth.is_floating_point() else truth


def test_gradients_are_those_of_vmap(make_case) -> None:
    network, loss, patients = make_case("Classifier", args=INSTANCE, patients=4)
    weights = {name: p.detach() for name, p in network.named_parameters()}

    def value(weights: dict, images: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return loss(functional_call(network, weights, (images,)), truth)

    images, truths = torch.stack([p.images for p in patients]), torch.stack([p.truth for p in patients])
    each = vmap(grad(value), in_dims=(None, 0, 0), randomness="different")(weights, images, truths)
    rows = torch.cat([each[name].flatten(1) for name in weights], dim=1)
    clip = float(rows.norm(dim=1).median())
    wanted = (rows * (clip / rows.norm(dim=1, keepdim=True)).clamp(max=1.0)).sum(0)
    for method in LAYERS:
        assert (flat(method(network, loss, patients, clip)) - wanted).norm() <= 3e-5 * wanted.norm()


def test_the_sum_is_opacus_sum() -> None:
    """GradSampleModule on a small network with GroupNorm, clipped as Opacus's DPOptimizer clips."""
    from opacus import GradSampleModule

    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 1)]
    network, loss = nn.Sequential(*layers), nn.BCEWithLogitsLoss()
    images, truth = torch.randn(6, 1, 8, 8), torch.randint(0, 2, (6, 1)).float()
    hooked = GradSampleModule(nn.Sequential(*layers), loss_reduction="mean")
    loss(hooked(images.clone().requires_grad_()), truth).backward()
    rows = torch.cat([p.grad_sample.flatten(1) for p in hooked.parameters()], dim=1).detach()
    hooked.to_standard_module()
    network.zero_grad(set_to_none=True)
    norms = rows.norm(dim=1)
    clip = float(norms.median())
    wanted = (rows * (clip / norms).clamp(max=1.0)[:, None]).sum(0)
    patients = [Patient(images=images[i : i + 1], truth=truth[i : i + 1]) for i in range(6)]
    for method in LAYERS:
        assert (flat(method(network, loss, patients, clip)) - wanted).norm() <= 3e-5 * wanted.norm()


@settings(max_examples=30, deadline=None)
@given(
    scales=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=6),
    norm_l2=st.floats(1e-3, 1e3),
    method=st.sampled_from(LAYERS),
)
def test_no_patient_passes_the_bound(scales: list[float], norm_l2: float, method: Callable) -> None:
    """(B, 1) outputs under BCEWithLogitsLoss, where Opacus's ghost mode does not clip."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.PReLU(), nn.Flatten(), nn.Linear(8, 1))
    loss = nn.BCEWithLogitsLoss()
    patients = [Patient(images=torch.randn(2, 1, 4, 4) * scale, truth=torch.tensor([[0.0], [1.0]])) for scale in scales]
    for patient in patients:
        assert float(flat(method(network, loss, [patient], norm_l2)).norm()) <= norm_l2 * (1 + 1e-6)
    whole = flat(method(network, loss, patients, norm_l2))
    for left in range(len(patients)):
        others = patients[:left] + patients[left + 1 :]
        without = flat(method(network, loss, others, norm_l2))
        assert float((whole - without).norm()) <= norm_l2 * (1 + 1e-6), "rounding to the grid aside"


@pytest.mark.parametrize("method", LAYERS)
def test_many_images_of_a_patient_count_once(method: Callable, make_case) -> None:
    network, loss, _ = make_case("Classifier", args=INSTANCE)
    for images in (1, 3, 12):
        _, _, (patient, *_) = make_case("Classifier", args=INSTANCE, images=images)
        loud = Patient(images=patient.images * 100, truth=patient.truth)
        assert float(flat(method(network, loss, [loud], 0.01)).norm()) <= 0.01 * (1 + 1e-5)


@pytest.mark.parametrize("slots", [1, 2, 3, 16])
def test_slots_do_not_change_the_sum(slots: int, make_case) -> None:
    network, loss, patients = make_case("SegResNet", size=(16, 16), patients=7)
    whole = flat(by_layer(network, loss, patients, 0.1, steps=1 << 40, slots=7))
    found = by_layer(network, loss, iter(patients), 0.1, steps=1 << 40, slots=slots)
    assert found.patients == 7
    assert (flat(found) - whole).norm() <= 1e-6 * whole.norm()


@pytest.mark.parametrize("method", LAYERS)
def test_nobody_is_zero_everywhere(method: Callable, make_case) -> None:
    network, loss, _ = make_case("Classifier")
    found = method(network, loss, [], 1.0)
    assert (found.patients, found.loss) == (0, 0.0)
    assert len(found.total) == len(trainable(network)) and all(not part.any() for part in found.total)


@pytest.mark.parametrize("method", LAYERS)
def test_every_parameter_has_a_slot(method: Callable) -> None:
    class Idle(nn.Module):
        """A layer that the result does not depend on, and one that is frozen."""

        def __init__(self) -> None:
            super().__init__()
            self.idle, self.used, self.frozen = nn.Linear(2, 2), nn.Linear(4, 1), nn.Linear(4, 4)
            self.frozen.requires_grad_(False)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.used(self.frozen(images.flatten(1)))

    network = Idle()
    patient = Patient(images=torch.ones(1, 1, 2, 2), truth=torch.ones(1, 1))
    found = method(network, nn.BCEWithLogitsLoss(), [patient], 1.0)
    assert [part.shape for part in found.total] == [p.shape for p in trainable(network)]
    assert [bool(part.any()) for part in found.total] == [False, False, True, True]
    assert not any(p.requires_grad for p in network.frozen.parameters())


@pytest.mark.parametrize("method", LAYERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_patient_whose_numbers_overflow_adds_nothing_and_is_not_told(method: Callable, bad: float, make_case) -> None:
    """A refusal would tell the server that this patient was drawn; the others' sum is the one without the patient."""
    network, loss, patients = make_case("Classifier")
    others = method(network, loss, [patients[0], *patients[2:]], 1.0)
    patients[1].images[0, 0, 0, 0] = bad
    found = method(network, loss, patients, 1.0)
    assert all(torch.equal(one, other) for one, other in zip(found.units, others.units, strict=True))
    assert found.patients == len(patients)
    assert not method(network, loss, [patients[1]], 1.0).units[0].any(), "alone it adds zeros"


@pytest.mark.parametrize("method", LAYERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_gradients_that_are_not_finite_beside_a_finite_loss(method: Callable, bad: float, make_case) -> None:
    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, g: torch.Tensor) -> torch.Tensor:
            return g * bad

    network, loss, patients = make_case("Classifier")
    found = method(network, lambda logits, truth: loss(Steep.apply(logits), truth), patients, 1.0)
    assert all(torch.equal(part, torch.zeros_like(part)) for part in found.units)


def test_factors_by_hand() -> None:
    found = clip_factors(torch.tensor([0.0, 0.5, 1.0, 2.0, 1e30], dtype=torch.float64), 1.0).numpy()
    np.testing.assert_allclose(found, [1.0, 1.0, 1.0, 0.5, 1e-30], rtol=2e-9)
    assert found[2] < 1.0, "a hair is held back for the rounding of the norm"
    for bad in (math.nan, math.inf):
        with pytest.raises(JobError):
            clip_factors(torch.tensor([1.0, bad]), 1.0)


def test_a_network_that_layers_cannot_follow_does_not_fit(make_case) -> None:
    _, loss, patients = make_case("Classifier", size=(4, 4))

    class Mixes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(16, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            rows = images.flatten(1)
            return self.last(rows - rows.mean(0))

    class Twice(Mixes):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.last(images.flatten(1)) + self.last(images.flatten(1) ** 2)

    class Overwrites(Mixes):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            rows = images.flatten(1).clone()
            logits = self.last(rows)
            rows.add_(1.0)
            return logits

    class Bare(Mixes):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.ones(16))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.last(images.flatten(1) + self.shift)

    for kind in (Mixes, Twice, Overwrites, Bare):
        assert not fits(kind(), loss, patients), kind.__name__


def test_different_numbers_of_images_are_refused(make_case) -> None:
    network, loss, patients = make_case("Classifier")
    short = Patient(images=patients[0].images[:1], truth=patients[0].truth[:1])
    with pytest.raises(JobError, match="different numbers of images"):
        by_layer(network, loss, [patients[0], short], 1.0)
