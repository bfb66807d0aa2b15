"""DP-SGD in training: its noise, its draws, what it refuses, and that nothing of a patient gets past the clip."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from fedward.errors import JobError
from fedward.privacy.noise import SecureRandom
from fedward.settings import JobSpec
from fedward.settings.privacy import DpSgd
from fedward.training import learner as learner_module
from fedward.training.dp_sgd.dp_sgd import MovingAverage, Private, PrivateRound, PrivateSteps
from fedward.training.dp_sgd.patient_gradients import one_by_one
from fedward.training.networks import initial_weights
from fedward.training.trainer import Trained, Trainer
from fedward.weights import Weights

PRIVATE = Private(sampling_rate=0.4, noise_multiplier=1.0)
SGD = {"training__optimizer": "SGD", "training__momentum": 0.0, "training__lr": 1.0}


def distance(one: Weights, other: Weights) -> float:
    return math.sqrt(sum(float(((one[name] - other[name]) ** 2).sum()) for name in one))


def one_round(job: JobSpec, cohort, private: Private = PRIVATE) -> Trained:
    return Trainer(job, [cohort], site="north", private=private).train(initial_weights(job), round_number=0)


class Fixed(SecureRandom):
    """A source that draws everyone, or nobody, and adds no noise: for arithmetic alone."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def bernoulli(self, n: int, p: float) -> np.ndarray:
        return np.full(n, self.rate > 0)

    def rounded_normal(self, size: int, std: float) -> np.ndarray:
        return np.zeros(size, np.int64)


def steps_for(source: SecureRandom, *, noise: float = 1.0, clip: float = 1.0, expected: float = 4.0) -> PrivateSteps:
    settings = DpSgd(delta=1e-3, noise_multiplier=noise, clip_norm_l2=clip, patients_per_step=expected)
    private = Private(sampling_rate=0.5, noise_multiplier=noise)
    return PrivateSteps(settings, private, patients=[(i,) for i in range(8)], source=source, method=one_by_one)


@pytest.mark.parametrize(("noise", "clip", "expected"), [(0.7, 1.0, 4.0), (2.0, 0.1, 16.0)])
def test_the_noise_is_the_promised_one(noise: float, clip: float, expected: float) -> None:
    network = nn.Linear(200, 200)
    steps, seen = steps_for(SecureRandom(), noise=noise, clip=clip, expected=expected), []
    for _ in range(3):
        assert math.isnan(steps.fill(network, nn.MSELoss(), iter(())))
        seen.append(torch.cat([p.grad.flatten() for p in network.parameters()]).double().numpy())
    values = np.concatenate(seen)
    assert values.std() == pytest.approx(noise * clip / expected, rel=0.02)
    assert abs(values.mean()) < 5 * values.std() / math.sqrt(len(values))
    for one in seen:
        assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 5 / math.sqrt(len(one)), "along the parameters"
    assert abs(np.corrcoef(seen[0], seen[1])[0, 1]) < 5 / math.sqrt(len(seen[0])), "from step to step"


def test_the_noise_of_a_real_round(private_job, make_cohort) -> None:
    """Plain SGD at learning rate 1, a clip so small that only noise is left to see, though patients are drawn."""
    steps, clip, noise = 3, 1e-3, 40.0
    job = private_job(**SGD, clip_norm_l2=clip, training__local_epochs=None, training__local_steps=steps)
    trained = one_round(job, make_cohort(16), Private(sampling_rate=0.5, noise_multiplier=noise))
    start = initial_weights(job)
    moved = np.concatenate([(trained.weights[name] - start[name]).ravel() for name in start])
    assert moved.std() == pytest.approx(noise * clip * math.sqrt(steps) / 4.0, rel=0.05)


def test_the_sum_is_divided_by_the_expected_number(monkeypatch) -> None:
    from fedward.training.dp_sgd.patient_gradients import Patient

    network, loss = nn.Linear(4, 1), nn.MSELoss()
    patients = [Patient(images=torch.ones(1, 4) * k, truth=torch.full((1, 1), 50.0)) for k in (1.0, 2.0, 3.0)]
    for expected in (4.0, 40.0):
        steps_for(Fixed(1.0), expected=expected, clip=0.5).fill(network, loss, iter(patients))
        found = torch.cat([p.grad.flatten() for p in network.parameters()])
        wanted = torch.cat([part.flatten() for part in one_by_one(network, loss, patients, 0.5).total]) / expected
        torch.testing.assert_close(found, wanted.float())


def test_an_empty_draw_is_a_step_of_noise(private_job, make_cohort) -> None:
    job = private_job(training__local_epochs=None, training__local_steps=3)
    trained = one_round(job, make_cohort(16), Private(sampling_rate=1e-9, noise_multiplier=1.0))
    assert trained.steps == 3 and math.isnan(trained.loss)
    assert trained.private == PrivateRound(steps=3, sampling_rate=1e-9, noise_multiplier=1.0, clip_norm_l2=1.0)
    assert distance(trained.weights, initial_weights(job)) > 0


def test_fewer_steps_are_accounted_as_taken(private_job, make_cohort) -> None:
    job = private_job(training__local_epochs=None, training__local_steps=12)
    private = Private(sampling_rate=0.4, noise_multiplier=1.0)
    trainer = Trainer(job, [make_cohort(16)], site="north", private=private)
    trained = trainer.train(initial_weights(job), round_number=0, steps=3)
    assert trained.steps == trained.private.steps == 3


def test_one_seed_two_runs(private_job, make_cohort) -> None:
    """Noise and draws are new each time, after seeding everything that can be seeded."""
    job, cohort, results = private_job(), make_cohort(16), []
    for _ in range(2):
        torch.manual_seed(0)
        np.random.seed(0)
        results.append(one_round(job, cohort).weights)
    assert distance(*results) > 0
    quiet = private_job(**SGD, noise_multiplier=1e-7)
    results = [one_round(quiet, cohort, Private(sampling_rate=0.4, noise_multiplier=1e-7)).weights for _ in range(2)]
    assert distance(*results) > 1e-3, "the draws differ as well"


def test_without_a_plan_nothing_is_trained(private_job, tiny_job, make_cohort, monkeypatch) -> None:
    job, cohort = private_job(), make_cohort(16)
    trainer = Trainer(job, [cohort], site="north")

    def no_step(*args: object, **kwargs: object) -> float:
        raise AssertionError("a gradient was taken")

    monkeypatch.setattr(learner_module.Learner, "_step", no_step)
    with pytest.raises(JobError, match="no sampling rate and noise for a job with DP-SGD"):
        trainer.train(initial_weights(job), round_number=0)
    with pytest.raises(JobError, match="DP-SGD for a job that does not ask for it: 'none'"):
        Trainer(tiny_job, [cohort], site="north", private=PRIVATE)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, math.nan])
def test_rates_that_are_none(rate: float) -> None:
    with pytest.raises(JobError, match="sampling rate"):
        Private(sampling_rate=rate, noise_multiplier=1.0)


@pytest.mark.parametrize("noise", [0.0, -1.0, math.nan, math.inf])
def test_noise_that_is_none(noise: float) -> None:
    with pytest.raises(JobError, match="noise is not positive"):
        Private(sampling_rate=0.5, noise_multiplier=noise)


@pytest.mark.parametrize("noise", [np.zeros(5), np.zeros(3, np.int64)])
def test_noise_that_fails_stops_the_step(noise: np.ndarray) -> None:
    class Broken(Fixed):
        def rounded_normal(self, size: int, std: float) -> np.ndarray:
            return noise

    network = nn.Linear(4, 1)
    with pytest.raises(JobError, match="noise is not whole"):
        steps_for(Broken(0.0)).fill(network, nn.MSELoss(), iter(()))
    assert all(p.grad is None for p in network.parameters())


def test_a_source_that_raises_stops_the_round(private_job, make_cohort, monkeypatch) -> None:
    def no_entropy(size: int) -> bytes:
        raise OSError("no entropy")

    trainer = Trainer(private_job(), [make_cohort(16)], site="north", private=PRIVATE)
    monkeypatch.setattr("fedward.privacy.noise.os.urandom", no_entropy)
    with pytest.raises(OSError, match="no entropy"):
        trainer.train(initial_weights(trainer.job), round_number=0)


def test_a_buffer_that_follows_the_data_stops_the_round(private_job, make_cohort, monkeypatch) -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(24 * 24, 1)
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.seen += images.abs().mean()
            return self.last(images.flatten(1))

    for module in ("learner", "networks"):
        monkeypatch.setattr(f"fedward.training.{module}.build_network", lambda job: Remembers())
    job = private_job()
    trainer = Trainer(job, [make_cohort(16)], site="north", private=Private(sampling_rate=1.0, noise_multiplier=1.0))
    with pytest.raises(JobError, match="a buffer follows the data without noise: 'seen'"):
        trainer.train(initial_weights(job), round_number=0)


def test_steps_and_patients(private_job, make_cohort) -> None:
    cohort = make_cohort(20, images=3)
    trainer = Trainer(private_job(training__local_epochs=2), [cohort], site="north", private=PRIVATE)
    assert trainer.support.train_patients == 14 and trainer.steps == 2 * round(14 / 4)
    assert trainer.patients == {row.patient for row in cohort.rows if row.split == "train"}
    fixed = private_job(training__local_epochs=None, training__local_steps=5)
    assert Trainer(fixed, [cohort], site="north").steps == 5
    trained = trainer.train(initial_weights(trainer.job), round_number=0)
    assert (trained.steps, trained.patients, trained.images) == (trainer.steps, 14, 42)
    assert trained.private is not None and trained.private.steps == trainer.steps


def test_alone_trains_without_noise(private_job, tiny_job, make_cohort) -> None:
    """Its model never leaves: the same as the job would give without DP-SGD."""
    cohort = make_cohort(16)
    job = private_job(model__args=tiny_job.model.args)
    found = Trainer(job, [cohort], site="north", private=PRIVATE).train_alone()
    wanted = Trainer(tiny_job, [cohort], site="north").train_alone()
    assert distance(found, wanted) == 0


def test_the_pull_to_the_global_model_comes_after_the_noise(private_job, make_cohort) -> None:
    """Without draws and nearly without noise, FedProx and weight decay alone move the weights, as worked by hand."""
    job = private_job(**SGD, training__weight_decay=0.25, training__fedprox_mu=0.5, training__local_epochs=2)
    start = initial_weights(job)
    trainer = Trainer(job, [make_cohort(16)], site="north", private=Private(sampling_rate=1e-9, noise_multiplier=1e-7))
    found = trainer.train(start, round_number=0).weights
    for name, value in start.items():
        now = value.astype(np.float64)
        for _ in range(trainer.steps):
            now = now - (0.5 * (now - value) + 0.25 * now)
        np.testing.assert_allclose(found[name], now, atol=1e-5)


def test_the_moving_average_by_hand(private_job, make_cohort) -> None:
    average, network = MovingAverage(0.5), nn.Linear(1, 1, bias=False)
    for value in (1.0, 2.0, 4.0):
        nn.init.constant_(network.weight, value)
        average.add(network)
    average.put_into(network)
    assert float(network.weight.detach()) == pytest.approx((0.125 * 1 + 0.25 * 2 + 0.5 * 4) / 0.875)

    job = private_job(**SGD, ema_decay=0.9)
    start = initial_weights(job)
    private = Private(sampling_rate=0.4, noise_multiplier=1.0)
    averaged = one_round(job, make_cohort(16), private).weights
    last = one_round(private_job(**SGD), make_cohort(16), private).weights
    assert 0 < distance(averaged, start) < distance(last, start)


def test_it_learns_where_noise_is_small(private_job, make_cohort) -> None:
    job = private_job(
        federation__rounds=2,
        training__local_epochs=None,
        training__local_steps=12,
        training__lr=0.01,
        model__args={"init_features": 8, "growth_rate": 4, "block_config": [2, 2]},
        patients_per_step=15.0,
        augmentations=2,
        ema_decay=0.8,
    )
    trainer = Trainer(job, [make_cohort(40)], site="north", private=Private(sampling_rate=0.5, noise_multiplier=0.05))
    weights = initial_weights(job)
    for number in range(2):
        weights = trainer.train(weights, round_number=number).weights
    assert trainer.validate(weights).auc > 0.9


def test_more_images_than_fit_at_once_change_nothing(private_job, make_cohort, monkeypatch) -> None:
    """A logical step of every patient, in chunks of one image or all together: the same result but for rounding."""
    monkeypatch.setattr("fedward.training.trainer.SecureRandom", lambda: Fixed(1.0))
    results = []
    for small in (1, 1 << 20):
        monkeypatch.setattr("fedward.training.dp_sgd.gradient_method.SMALL", small)
        job = private_job(
            training__batch_size=1, **SGD, model__args={"init_features": 8, "growth_rate": 4, "block_config": [2]}
        )
        results.append(one_round(job, make_cohort(24), Private(sampling_rate=1.0, noise_multiplier=1.0)).weights)
    size = distance(results[0], initial_weights(private_job(model__args=job.model.args)))
    assert distance(*results) < 1e-6 * size * 10 and size > 0.1
