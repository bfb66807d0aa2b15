"""A site's trainer: it learns, repeats itself bit for bit, and keeps one model's training apart from another's."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from fedward.errors import CohortError, JobError
from fedward.privacy.disclosure.metric_registry import DETAILS
from fedward.settings import Disclosure, JobSpec, parse, plain
from fedward.training.networks import build_network, initial_weights
from fedward.training.trainer import Progress, Trainer
from fedward.weights import Weights
from tests.support.disclosure import refused, release

AUGMENT = [{"name": "RandFlipd", "args": {"prob": 0.5, "spatial_axis": 1}}, {"name": "RandGaussianNoised"}]
Job = Callable[..., JobSpec]


@pytest.fixture
def job(tiny_job: JobSpec) -> Job:
    """``job(training__lr=0.1, …)``: the tiny job with other values, dropout and augmentation."""

    def make(**changes: object) -> JobSpec:
        content = plain(tiny_job)
        content["model"]["args"]["dropout_prob"] = 0.1
        content["transforms"]["augment"] = AUGMENT
        for path, value in changes.items():
            section, key = path.split("__")
            content[section][key] = value
        return parse(JobSpec, content, where="test")

    return make


def run(trainer: Trainer, rounds: int = 2) -> Weights:
    weights = initial_weights(trainer.job)
    for number in range(rounds):
        weights = trainer.train(weights, round_number=number).weights
    return weights


def same(one: Weights, other: Weights) -> bool:
    return list(one) == list(other) and all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_it_learns(job: Job, make_cohort) -> None:
    spec = job(
        federation__rounds=3,
        training__local_epochs=6,
        training__lr=0.01,
        model__args={"init_features": 8, "growth_rate": 4, "block_config": [2, 2]},
    )
    trainer = Trainer(spec, [make_cohort(40)], site="north")
    before = trainer.validate(initial_weights(spec))
    after = trainer.validate(run(trainer, 3))
    assert after.auc > 0.9 > before.auc
    assert after.loss < before.loss


def test_what_a_round_reports(job: Job, make_cohort) -> None:
    trainer = Trainer(job(training__local_epochs=2), [make_cohort(16, images=2)], site="north")
    seen: list[Progress] = []
    start = initial_weights(trainer.job)
    kept = {name: array.copy() for name, array in start.items()}
    trained = trainer.train(start, round_number=0, on_progress=seen.append)
    assert (trained.patients, trained.images, trained.steps) == (12, 24, 6)
    assert [progress.step for progress in seen] == [1, 2, 3, 4, 5, 6] and {p.steps for p in seen} == {6}
    assert trained.loss == pytest.approx(np.mean([p.loss for p in seen]))
    assert list(trained.weights) == sorted(start) and all(a.dtype == np.float32 for a in trained.weights.values())
    assert same(start, kept), "the weights that came in are not to be changed"
    assert not same(trained.weights, start)


def test_local_steps_count_for_each_pooled_cohort(job: Job, make_cohort) -> None:
    spec = job(training__local_epochs=None, training__local_steps=5)
    cohorts = [make_cohort(), make_cohort(site="south")]
    assert Trainer(spec, cohorts[:1], site="north").train(initial_weights(spec), round_number=0).steps == 5
    assert Trainer(spec, cohorts, site="pooled").train(initial_weights(spec), round_number=0).steps == 10


def test_a_round_of_fewer_steps_and_none_of_more(job: Job, make_cohort) -> None:
    spec = job(training__local_epochs=None, training__local_steps=5)
    trainer, start = Trainer(spec, [make_cohort()], site="north"), initial_weights(spec)
    assert trainer.train(start, round_number=0, steps=2).steps == 2
    assert same(trainer.train(start, round_number=0, steps=5).weights, trainer.train(start, round_number=0).weights)
    for steps in (0, -1, 6):
        with pytest.raises(JobError, match="none of the job's"):
            trainer.train(start, round_number=0, steps=steps)


def test_reruns_are_bit_identical_whatever_happened_before(job: Job, make_cohort) -> None:
    spec, cohort = job(training__keep_optimizer=True), make_cohort()
    first = run(Trainer(spec, [cohort], site="north"))
    torch.manual_seed(5)
    np.random.seed(5)
    trainer = Trainer(spec, [cohort], site="north")
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    run(Trainer(spec, [make_cohort(8, site="south")], site="south"), 1)
    trainer.validate(initial_weights(spec))
    assert same(first, run(trainer))
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all()


def test_site_round_and_seed_each_change_the_draws(job: Job, make_cohort) -> None:
    spec, cohort = job(), make_cohort()
    start = initial_weights(spec)
    results = [
        Trainer(spec, [cohort], site="north").train(start, round_number=0).weights,
        Trainer(spec, [cohort], site="south").train(start, round_number=0).weights,
        Trainer(spec, [cohort], site="north").train(start, round_number=1).weights,
        Trainer(job(job__seed=8), [cohort], site="north").train(start, round_number=0).weights,
    ]
    assert not any(same(a, b) for i, a in enumerate(results) for b in results[:i])


def test_momenta_are_kept_only_when_asked(job: Job, make_cohort) -> None:
    cohort = make_cohort()
    for kept in (True, False):
        spec = job(training__keep_optimizer=kept)
        trainer, fresh = (Trainer(spec, [cohort], site="north") for _ in range(2))
        weights = trainer.train(initial_weights(spec), round_number=0).weights
        second = trainer.train(weights, round_number=1).weights
        assert same(second, fresh.train(weights, round_number=1).weights) is not kept


def test_training_alone_leaves_the_federation_alone(job: Job, make_cohort) -> None:
    spec, cohort = job(training__keep_optimizer=True), make_cohort()
    expected = run(Trainer(spec, [cohort], site="north"))
    trainer, seen = Trainer(spec, [cohort], site="north"), []
    start = trainer.train(initial_weights(spec), round_number=0).weights
    alone = trainer.train_alone(on_progress=seen.append)
    assert same(expected, trainer.train(start, round_number=1).weights)
    assert same(alone, expected), "one site's federation is training alone"
    assert [p.step for p in seen] == list(range(1, 2 * trainer.steps + 1)) and {p.steps for p in seen} == {
        2 * trainer.steps
    }


def test_fedprox_is_the_proximal_term(job: Job, make_cohort) -> None:
    """Beside plain torch: SGD on loss + mu/2·|w - w0|², the term differentiated by autograd."""
    mu, lr = 0.7, 0.05
    spec = job(
        model__args={"init_features": 8, "growth_rate": 4, "block_config": [2, 2]},
        transforms__augment=[],
        training__optimizer="SGD",
        training__momentum=0.0,
        training__lr=lr,
        training__fedprox_mu=mu,
        training__batch_size=1000,
        training__local_epochs=3,
    )
    trainer = Trainer(spec, [make_cohort()], site="north")
    found = trainer.train(initial_weights(spec), round_number=0).weights
    network, origin = build_network(spec).train(), build_network(spec)
    (items,) = trainer._training_images.batches([np.arange(12)])
    images = torch.stack([item["image"] for item in items])
    truth = torch.stack([item["truth"] for item in items])
    for _ in range(3):
        network.zero_grad()
        pull = sum(
            ((p - q.detach()) ** 2).sum() for p, q in zip(network.parameters(), origin.parameters(), strict=True)
        )
        (nn.functional.binary_cross_entropy_with_logits(network(images), truth) + mu / 2 * pull).backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= lr * parameter.grad
    for name, value in network.state_dict().items():
        np.testing.assert_allclose(found[name], value.numpy(), atol=2e-5)


def test_learning_rate_falls_to_nothing(job: Job, make_cohort) -> None:
    """A last step at the end of a long cosine hardly moves the weights; a first one does."""
    spec = job(federation__rounds=100, training__lr_schedule="cosine", training__optimizer="SGD")
    trainer, start = Trainer(spec, [make_cohort()], site="north"), initial_weights(spec)

    def moved(number: int) -> float:
        weights = trainer.train(start, round_number=number).weights
        return float(np.sqrt(sum(((weights[name] - start[name]) ** 2).sum() for name in start)))

    assert moved(99) < 1e-3 * moved(0)


def test_layers_of_batch_norm_stay_at_the_site(job: Job, make_cohort) -> None:
    args = {"init_features": 8, "growth_rate": 4, "block_config": [2, 2]}
    spec = job(model__batch_norm="local", model__args=args)
    cohort = make_cohort()
    trainer = Trainer(spec, [cohort], site="north")
    start = initial_weights(spec)
    assert not any("norm" in name for name in start)
    fresh = trainer.validate(start)
    trained = trainer.train(start, round_number=0)
    assert list(trained.weights) == list(start)
    assert trainer.validate(start) != fresh, "the site validates with its own statistics"
    scored = trainer.validate(trained.weights)
    assert trainer.validate(trained.weights) == scored
    alone = trainer.train_alone()
    assert any("running_mean" in name for name in alone)
    other = Trainer(spec, [cohort], site="north")
    assert other.validate(alone) == trainer.validate(alone), "a model trained alone brings its own layers"
    assert trainer.validate(trained.weights) == scored


def test_predictions_agree_with_the_scores(job: Job, make_cohort) -> None:
    trainer = Trainer(job(), [make_cohort(32)], site="north")
    weights = run(trainer, 1)
    found, scores = trainer.predict(weights), trainer.validate(weights)
    assert found.scores.shape == found.labels.shape == (8, 1) and len(set(found.images)) == 8
    assert ((found.scores > 0) & (found.scores < 1)).all()
    assert scores.auc == pytest.approx(roc_auc_score(found.labels[:, 0], found.scores[:, 0]))
    chance = np.where(found.labels == 1, found.scores, 1 - found.scores)
    assert scores.loss == found.loss == pytest.approx(-np.log(chance).mean(), rel=1e-5)


@pytest.mark.parametrize("target", ["multiclass", "multilabel"])
def test_several_classes_and_several_labels(target: str, job: Job, make_cohort) -> None:
    if target == "multiclass":
        spec = job(
            data__target=target,
            data__labels=["kind"],
            data__classes=["a", "b", "c"],
            training__loss={"name": "CrossEntropyLoss"},
        )
        cohort = make_cohort(24, labels={"kind": list("abcb" * 6)}, held_out=2)
    else:
        spec = job(data__target=target, data__labels=["x", "y"])
        cohort = make_cohort(24, labels={"x": list("01" * 12), "y": list("0011" * 6)}, held_out=2)
    trainer = Trainer(spec, [cohort], site="north")
    scores = trainer.validate(run(trainer)).plain()
    assert set(scores["labels"]) == ({"a", "b", "c"} if target == "multiclass" else {"x", "y"})
    known = [one["auc"] for one in scores["labels"].values() if one["auc"] is not None]
    assert known and all(0 <= value <= 1 for value in known)
    json.dumps(scores, allow_nan=False)


def test_details_are_of_the_model_validated_last_and_of_validation_patients(job: Job, make_cohort) -> None:
    spec = job(data__labels=["lesion"])
    cohort = make_cohort(40, images=2, held_out=2)
    trainer = Trainer(spec, [cohort], site="north")
    with pytest.raises(JobError, match="validate a model first"):
        trainer.details({"curves"})
    scores = trainer.validate(initial_weights(spec))
    told = trainer.details({"subgroups", "curves", "profile"})
    assert set(told) == {"subgroups", "curves", "profile"} and trainer.details(set()) == {}
    assert (told["profile"]["patients"], told["profile"]["images"]) == (scores.patients, scores.images)
    disclosure = Disclosure(metrics=("scores", *DETAILS), decimals=3, min_count=5)
    left = release({"scores": scores.plain(), **told}, disclosure, private=True, names=spec.names)
    assert left["subgroups"]["lesion"]["sex"].keys() >= told["subgroups"]["lesion"]["sex"].keys()
    assert left["profile"]["patients"] == 20 and refused(left, disclosure, private=True, names=spec.names) == []
    (sexes,) = (told["subgroups"]["lesion"]["sex"],)
    held_out = {row.patient for row in cohort.rows if row.split == "validation"}
    assert sum(cell["patients"] for cell in sexes.values()) == len(held_out) == scores.patients
    bins = told["curves"]["lesion"]["reliability"].values()
    assert sum(row["patients"] for row in bins) == scores.patients
    assert told["curves"]["lesion"]["roc"]["1.00"] == 1.0
    json.dumps(told, allow_nan=False)
    first = told["curves"]["lesion"]["reliability"]
    trainer.validate(run(trainer))
    assert trainer.details({"curves"})["curves"]["lesion"]["reliability"] != first


@pytest.mark.parametrize("shape", [(20, 24), (12, 16, 14)])
def test_segmentation(shape: tuple[int, ...], job: Job, make_cohort) -> None:
    spec = job(
        job__task="segmentation",
        data__labels=[],
        data__structures=["square", "line"],
        data__size=[16] * len(shape),
        model__network="UNet",
        model__args={"channels": [8, 16], "strides": [2]},
        transforms__augment=[],
        training__loss={"name": "DiceCELoss"},
        training__lr=0.02,
        training__local_epochs=6,
    )
    trainer = Trainer(spec, [make_cohort(16, shape=shape, masks_too=True)], site="north")
    before = trainer.validate(initial_weights(spec)).plain()
    after = trainer.validate(run(trainer)).plain()
    assert after["structures"]["square"]["dice"] > max(0.5, before["structures"]["square"]["dice"])
    assert after["hd95_mm"] > 0 and (after["images"], after["patients"], after["dice_patients"]) == (4, 4, 4)
    json.dumps(after, allow_nan=False)
    told = trainer.details({"subgroups", "curves"})["subgroups"]["square"]["sex"]
    assert sum(cell["patients"] for cell in told.values()) == 4
    with pytest.raises(JobError, match="use validate"):
        trainer.predict(initial_weights(spec))


def test_weights_of_another_network_are_refused(job: Job, make_cohort) -> None:
    trainer = Trainer(job(), [make_cohort()], site="north")
    weights = initial_weights(trainer.job)
    name = next(iter(weights))
    for bad in (
        {k: v for k, v in weights.items() if k != name},
        {**weights, name: np.zeros(3, np.float32)},
        {**weights, "extra": weights[name]},
    ):
        for work in (trainer.validate, lambda w: trainer.train(w, round_number=0)):
            with pytest.raises(JobError) as caught:
                work(bad)
            assert "\n" not in str(caught.value)


def test_a_loss_that_runs_away_is_one_line(job: Job, make_cohort) -> None:
    trainer = Trainer(
        job(training__optimizer="SGD", training__lr=1e30, training__local_epochs=4), [make_cohort()], site="north"
    )
    with pytest.raises(JobError, match=r"training\.lr: the loss is no longer finite: 1e\+30; lower it"):
        trainer.train(initial_weights(trainer.job), round_number=0)


def test_whoever_follows_may_stop_it_and_train_again(job: Job, make_cohort) -> None:
    trainer = Trainer(job(), [make_cohort()], site="north")

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    before = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        trainer.train(initial_weights(trainer.job), round_number=0, on_progress=stop)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(run(trainer), run(Trainer(trainer.job, [make_cohort()], site="north")))


def test_a_cohort_that_cannot_serve_is_refused_at_once(job: Job, make_cohort) -> None:
    with pytest.raises(CohortError, match="16 of 16 images have no value for 'lesion'"):
        Trainer(job(), [make_cohort(16, labels={"tb": ["1"] * 16})], site="north")
