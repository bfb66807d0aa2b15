"""A patient moves a step's whole numbers by ``Grid.most_l2`` at most: a search for one that moves them more.

Every layer rule, with images and weights made to exceed the bound; sums with and without the patient, and autograd in
float64, one patient after another.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fedward.errors import JobError
from fedward.privacy.grid import LARGEST, Grid
from fedward.training.dp_sgd.clipped_sum import Clipped, ClippedSum, clip_factors
from fedward.training.dp_sgd.gradient_method import choose_method
from fedward.training.dp_sgd.layer_gradients import by_layer, fits
from fedward.training.dp_sgd.layer_rules import RULES
from fedward.training.dp_sgd.patient_gradients import Patient, one_by_one
from fedward.training.losses import build_loss
from fedward.training.networks import build_network

pytestmark = pytest.mark.slow

SLOTS = 4
SHAPES: dict[type[nn.Module], tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    nn.Linear: (lambda: nn.Linear(48, 40), (3, 48)),
    nn.Conv1d: (lambda: nn.Conv1d(8, 12, 3, padding=1), (8, 4)),
    nn.Conv2d: (lambda: nn.Conv2d(8, 12, 3, padding=1), (8, 2, 2)),
    nn.Conv3d: (lambda: nn.Conv3d(8, 12, 3, padding=1), (8, 2, 2, 2)),
    nn.ConvTranspose1d: (lambda: nn.ConvTranspose1d(6, 5, 2, stride=2), (6, 4)),
    nn.ConvTranspose2d: (lambda: nn.ConvTranspose2d(6, 5, 2, stride=2), (6, 2, 2)),
    nn.ConvTranspose3d: (lambda: nn.ConvTranspose3d(6, 5, 2, stride=2), (6, 2, 2, 2)),
    nn.GroupNorm: (lambda: nn.GroupNorm(2, 8), (8, 4, 4)),
    nn.InstanceNorm1d: (lambda: nn.InstanceNorm1d(8, affine=True), (8, 16)),
    nn.InstanceNorm2d: (lambda: nn.InstanceNorm2d(8, affine=True), (8, 4, 4)),
    nn.InstanceNorm3d: (lambda: nn.InstanceNorm3d(8, affine=True), (8, 2, 2, 4)),
    nn.LayerNorm: (lambda: nn.LayerNorm(24), (3, 24)),
    nn.PReLU: (lambda: nn.PReLU(8), (8, 5)),
}
WIDE = {
    nn.Conv1d: (lambda: nn.Conv1d(4, 3, 1), (4, 600)),
    nn.Conv2d: (lambda: nn.Conv2d(3, 4, 3, stride=2, dilation=2, groups=1), (3, 20, 20)),
    nn.Linear: (lambda: nn.Linear(4, 3), (500, 4)),
}
"""Many positions, where the product costs more than a patient's gradient."""
FEW = {
    nn.Linear: (lambda: nn.Linear(192, 160), (1, 192)),
    nn.Conv1d: (lambda: nn.Conv1d(64, 96, 1), (64, 2)),
    nn.Conv2d: (lambda: nn.Conv2d(24, 32, 3, stride=2, padding=1), (24, 2, 2)),
}
"""Few positions, where the norm alone would cost less than the gradient."""
CASES = [*SHAPES.values(), *WIDE.values(), *FEW.values()]


class Network(nn.Module):
    """The layer, and a ReLU and a last layer behind it: what is lost before a corner is enlarged after it."""

    def __init__(self, layer: nn.Module, shape: tuple[int, ...], *, scale: float, cancel: bool) -> None:
        super().__init__()
        self.layer = layer
        outputs = layer(torch.zeros(1, *shape)).numel()
        self.last = nn.Linear(outputs, 2)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.mul_(scale)
                if cancel and parameter.dim() > 1:
                    parameter.view(-1)[1::2] = -parameter.view(-1)[: parameter.numel() // 2 * 2 : 2]

    def forward(self, images: Tensor) -> Tensor:
        return self.last(torch.relu(self.layer(images)).flatten(1))


def weighted(logits: Tensor, truth: Tensor) -> Tensor:
    """The truth is the gradient of the logits, so that a drawn truth can turn it as it likes."""
    return (logits * truth).sum()


def opposite(images: Tensor) -> Tensor:
    found = images.clone()
    found[1::2] = -found[: len(found) // 2 * 2 : 2]
    return found


IMAGES: dict[str, Callable[[Tensor], Tensor]] = {
    "noise": lambda images: images,
    "equal": lambda images: images[:1].expand_as(images).clone(),
    "opposite": opposite,
    "nearly equal": lambda images: images[:1] + 1e-4 * images,
    "nearly opposite": lambda images: opposite(images) + 1e-4 * images.flip(0),
    "constant": lambda images: torch.ones_like(images),
    "blank": torch.zeros_like,
    "rank one": lambda images: images[..., :1].expand_as(images).clone(),
    "positions cancel": lambda images: (
        images[..., :1] * torch.tensor([1.0, -1.0]).repeat(images.shape[-1])[: images.shape[-1]]
    ),
    "one pixel": lambda images: torch.zeros_like(images).index_fill_(-1, torch.tensor([0]), 1.0),
}
SCALES = [1.0, 1e-3, 1e3, 1e8, 1e18, 1e30, 1e-20, 1e-38, 1e-42]


@dataclass(frozen=True)
class Attack:
    network: nn.Module = field(repr=False)
    patients: list[Patient] = field(repr=False)
    noise: list[Patient] = field(repr=False)
    norm_l2: float
    told: str
    slots: int = SLOTS


@st.composite
def attacks(draw: st.DrawFn, *, scales: Sequence[float] = SCALES) -> Attack:
    make, shape = draw(st.sampled_from(CASES))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 16)))
    torch.manual_seed(draw(st.integers(0, 1 << 16)))
    each, scale = draw(st.sampled_from([1, 2, 2, 2, 3])), draw(st.sampled_from([1.0, 1.0, 1e-6, 1e3, 1e7]))
    cancel, frozen = draw(st.booleans()), draw(st.booleans())
    network = Network(make(), shape, scale=scale, cancel=cancel)
    network.last.requires_grad_(not frozen)

    def patient(kind: str, size: float, truth: str, steep: float) -> Patient:
        images = IMAGES[kind](torch.randn(each, *shape, generator=generator)) * size
        truths = torch.randn(1, 2, generator=generator).expand(each, 2).clone()
        return Patient(images=images, truth=IMAGES[truth](truths) * steep)

    sizes = st.sampled_from(scales)
    kinds = st.tuples(st.sampled_from(sorted(IMAGES)), sizes, st.sampled_from(["equal", "opposite"]), sizes)
    if draw(st.booleans()):  # What cancels between a patient's images is the likeliest to be lost.
        kinds = st.tuples(st.just("nearly equal"), st.sampled_from([1.0, 1e3]), st.just("opposite"), st.just(1e3))
    drawn = draw(st.lists(kinds, min_size=1, max_size=6))
    return Attack(
        network=network,
        patients=[patient(*kind) for kind in drawn],
        noise=[patient("noise", 1.0, "noise", 1.0) for _ in range(2)],
        norm_l2=draw(st.floats(1e-4, 1e4)),
        told=f"{network.layer}, {each} images, weights * {scale}, cancel={cancel}, frozen={frozen}, {drawn}",
    )


def flat(parts: tuple[Tensor, ...]) -> np.ndarray:
    return torch.cat([part.flatten() for part in parts]).double().numpy()


def exact(network: nn.Module, patient: Patient, *, shaken: float = 0.0) -> np.ndarray:
    """One patient's gradient by autograd in float64, with images and weights shaken by a part of themselves."""
    same, generator = copy.deepcopy(network).double(), torch.Generator().manual_seed(1)

    def shake(values: Tensor) -> Tensor:
        return values * (1.0 + shaken * torch.randn(values.shape, generator=generator, dtype=torch.float64))

    with torch.no_grad():
        for parameter in same.parameters():
            parameter.copy_(shake(parameter))
    weighted(same(shake(patient.images.double())), shake(patient.truth.double())).backward()
    return flat(tuple(parameter.grad for parameter in same.parameters() if parameter.requires_grad))


def sum_of(attack: Attack, patients: list[Patient], *, layers: bool) -> Clipped:
    if layers:
        return by_layer(attack.network, weighted, patients, attack.norm_l2, slots=attack.slots)
    return one_by_one(attack.network, weighted, patients, attack.norm_l2)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_every_rule_is_searched(case: int) -> None:
    assert set(SHAPES) == set(RULES)
    torch.manual_seed(case)
    make, shape = CASES[case]
    patients = [Patient(images=torch.randn(2, *shape), truth=torch.randn(2, 2)) for _ in range(2)]
    assert fits(Network(make(), shape, scale=1.0, cancel=False), weighted, patients, slots=SLOTS)


@settings(max_examples=120, deadline=None)
@given(attack=attacks())
def test_no_patient_moves_the_sum_further(attack: Attack) -> None:
    """By layer where ``choose_method`` would take it; a step that is refused moves nothing."""
    layers = fits(attack.network, weighted, attack.noise, slots=SLOTS)
    try:
        whole = sum_of(attack, attack.patients, layers=layers)
    except JobError:
        assume(False)
    for left in range(len(attack.patients)):
        without = sum_of(attack, attack.patients[:left] + attack.patients[left + 1 :], layers=layers)
        moved = flat(whole.units) - flat(without.units)
        assert (moved == np.rint(moved)).all()
        assert np.linalg.norm(moved) <= whole.grid.most_l2


@settings(max_examples=60, deadline=None)
@given(attack=attacks(scales=[1.0, 1e-3, 1e3]), layers=st.booleans())
def test_a_patient_is_what_autograd_says_where_float32_can_tell(attack: Attack, layers: bool) -> None:
    """Where a millionth of images, weights and truth does not matter."""
    for patient in attack.patients:
        wanted, shaken = exact(attack.network, patient), exact(attack.network, patient, shaken=1e-6)
        norm = np.linalg.norm(wanted)
        if norm and np.linalg.norm(wanted - shaken) <= 1e-4 * norm:
            found = sum_of(attack, [patient], layers=layers)
            clipped = wanted * min(1.0, attack.norm_l2 / norm)
            rounding = found.grid.unit * math.sqrt(found.grid.values) / 2
            assert np.linalg.norm(flat(found.total) - clipped) <= 1e-2 * np.linalg.norm(clipped) + rounding


@pytest.mark.parametrize("method", [by_layer, one_by_one])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_equal_and_opposite_images(method: Callable, scale: float) -> None:
    """Two images whose products cancel to a hundred-thousandth: nothing of it is left in float32 Gram matrices."""
    torch.manual_seed(0)
    layer = nn.Linear(256, 256, bias=False)
    base, turn = torch.randn(2, 256) * scale
    images = torch.stack([base, -base + 1e-5 * turn])
    patient = Patient(images=images, truth=torch.ones(2, 256) * 1e3)
    found = flat(method(layer, weighted, [patient], 1.0).total)
    assert 0.5 < np.linalg.norm(found) <= 1.0 + 1e-5


@pytest.mark.parametrize("patients", [2, 4, 8, 9])
@pytest.mark.parametrize("width", [300, 2000])
def test_a_neighbour_does_not_move_another_patient(patients: int, width: int) -> None:
    """Weights that cancel leave the last digits of a sum, and behind a corner they are a gradient of their own."""
    torch.manual_seed(0)
    first, last = nn.Linear(width, 40), nn.Linear(40, 2)
    with torch.no_grad():
        first.weight[:, width // 2 :] = -first.weight[:, : width // 2]
        first.weight.mul_(1e8)
        first.bias.zero_()
    network = nn.Sequential(first, nn.ReLU(), last)
    halves = torch.randn(patients, 1, width // 2)
    drawn = [Patient(images=torch.cat([half, half], dim=1), truth=torch.ones(1, 2)) for half in halves]
    noise = [Patient(images=torch.randn(1, width), truth=torch.ones(1, 2)) for _ in range(2)]
    assert fits(network, weighted, noise, slots=8)
    attack = Attack(network=network, patients=drawn, noise=noise, norm_l2=1.0, told="", slots=8)
    whole = sum_of(attack, drawn, layers=True)
    for left in range(patients):
        without = sum_of(attack, drawn[:left] + drawn[left + 1 :], layers=True)
        assert np.linalg.norm(flat(whole.units) - flat(without.units)) <= whole.grid.most_l2


@pytest.mark.parametrize("little", [1e-3, 1e-5])
def test_a_network_that_mixes_a_little_does_not_fit(little: float) -> None:
    class Mixes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(16, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.last(images + little * images.mean(0))

    torch.manual_seed(0)
    patients = [Patient(images=torch.randn(1, 16), truth=torch.ones(1, 2)) for _ in range(2)]
    assert not fits(Mixes(), weighted, patients, slots=SLOTS)


def test_a_network_that_mixes_loud_images_alone_does_not_fit() -> None:
    class Mixes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(16, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.last(images + (images.abs().max() > 100) * images.mean(0))

    torch.manual_seed(0)
    patients = [Patient(images=torch.randn(1, 16), truth=torch.ones(1, 2)) for _ in range(2)]
    assert not fits(Mixes(), weighted, patients, slots=SLOTS)


def test_a_parameter_of_two_layers_is_refused() -> None:
    """The norm of the sum of two parts is not that of the two parts side by side."""
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    patient = Patient(images=torch.ones(1, 4), truth=torch.ones(1, 4))
    with pytest.raises(JobError, match="a parameter is shared by layers"):
        by_layer(network, weighted, [patient], 1.0)
    assert not fits(network, weighted, [patient])


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(
        st.lists(st.floats(-(2.0**127), 2.0**127, width=32), min_size=3, max_size=3), min_size=1, max_size=8
    ),
    norm_l2=st.floats(1e-30, 1e30),
)
def test_any_float32_is_clipped(values: list[list[float]], norm_l2: float) -> None:
    """From denormals to what float32 cannot square; each clipped gradient is added whole."""
    rows = torch.tensor(values, dtype=torch.float32)
    taken = ClippedSum([torch.zeros(1), torch.zeros(2)], norm_l2)
    before, unit = flat(taken.result().units), taken.result().grid.unit
    for row in rows:
        taken.add([row[None, :1], row[None, 1:]], losses=[0.0])
        moved = flat(taken.result().units) - before
        assert np.linalg.norm(moved) <= taken.result().grid.most_l2
        norm = float(np.linalg.norm(row.double().numpy()))
        wanted = row.double().numpy() * (min(1.0, norm_l2 / norm) if norm else 1.0)
        np.testing.assert_allclose(moved, wanted / unit, rtol=2e-7, atol=0.5)
        before = flat(taken.result().units)


@pytest.mark.parametrize("loud", [1.0, 2.0**60, 2.0**124])
def test_a_loud_neighbour_does_not_change_another_patients_numbers(loud: float) -> None:
    """A factor that float32 does not hold is applied in float64, and to that patient alone."""
    rows = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0))
    rows[1] *= loud

    def units(*patients: int) -> np.ndarray:
        taken = ClippedSum([torch.zeros(5000)], 1.0)
        taken.add([rows[list(patients)]], losses=[0.0] * len(patients))
        return flat(taken.result().units)

    assert (units(0, 1) == units(0) + units(1)).all()


@pytest.mark.parametrize("real", [0, 1, 3])
def test_empty_slots_do_not_count(real: int) -> None:
    rows = torch.randn(4, 5000, generator=torch.Generator().manual_seed(0))
    taken, alone = (ClippedSum([torch.zeros(5000), torch.zeros(3)], 1.0) for _ in range(2))
    taken.add([rows, None], losses=[1.0] * real)
    for row in rows[:real]:
        alone.add([row[None], None], losses=[1.0])
    assert (flat(taken.result().units) == flat(alone.result().units)).all()
    assert taken.result().patients == real


def test_a_million_patients_are_added_exactly() -> None:
    taken = ClippedSum([torch.zeros(4)], 0.1)
    for _ in range(100):
        taken.add([torch.ones(10_000, 4)], losses=[0.0] * 10_000)
    before = flat(taken.result().units).copy()
    taken.add([torch.ones(1, 4)], losses=[0.0])
    assert (flat(taken.result().units) - before == flat(taken.result().units) / 1_000_001).all()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1 << 16), patients=st.integers(2, 12), steps=st.sampled_from([1 << 10, 1 << 24, 1 << 30]))
def test_patients_of_many_hospitals_have_the_sum_of_one(seed: int, patients: int, steps: int) -> None:
    """To the bit: in any order, in any parts."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(patients, 50, generator=generator) * torch.randn(patients, 1, generator=generator).exp()
    order, cut = torch.randperm(patients, generator=generator), int(torch.randint(1, patients, (), generator=generator))

    def units(part: Tensor) -> np.ndarray:
        taken = ClippedSum([torch.zeros(50)], 1.0, steps=steps)
        taken.add([part], losses=[0.0] * len(part))
        return flat(taken.result().units)

    shuffled = rows[order]
    assert (units(rows) == units(shuffled[:cut]) + units(shuffled[cut:])).all()


@pytest.mark.parametrize("method", [by_layer, one_by_one])
def test_more_patients_than_float64_adds_exactly(method: Callable) -> None:
    steps = LARGEST // 4
    assert 2 * Grid(norm_l2=1.0, values=5, steps=steps).most_l2 < 2**53
    patient = Patient(images=torch.ones(1, 4), truth=torch.ones(1, 1))
    assert method(nn.Linear(4, 1), weighted, [patient] * 2, 1.0, steps=steps).patients == 2
    with pytest.raises(JobError, match="too many patients in a step"):
        method(nn.Linear(4, 1), weighted, [patient] * 3, 1.0, steps=steps)


@pytest.mark.parametrize("norm_l2", [0.0, -1.0, math.nan, math.inf])
def test_a_bound_that_is_none(norm_l2: float) -> None:
    with pytest.raises(JobError, match="clip norm must be > 0"):
        clip_factors(torch.ones(1, dtype=torch.float64), norm_l2)


@pytest.mark.parametrize(("expected", "slots"), [(1.0, None), (4.0, 4), (16.0, 8), (64.0, 16)])
def test_slots_follow_the_patients_of_a_step(expected: float, slots: int | None, private_job: Callable) -> None:
    """None: one patient after another. Fewer slots where fewer images or gradients fit."""
    args = {"init_features": 8, "growth_rate": 4, "block_config": [2]}
    job = private_job(patients_per_step=expected, model__args=args)
    network, before = build_network(job), torch.get_rng_state()
    method = choose_method(network, build_loss(job), job)
    assert torch.equal(torch.get_rng_state(), before)
    assert method is one_by_one if slots is None else method.keywords == {"slots": slots} and method.func is by_layer
    many = private_job(patients_per_step=expected, images_per_patient=1000, model__args=args)
    assert choose_method(network, build_loss(many), many) is one_by_one
