"""Check the draws of a step: which patients, how often, and which images of each."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import binomtest

from fedward.dataset.images import Images
from fedward.dataset.selection import select
from fedward.privacy.noise import SecureRandom
from fedward.training.dp_sgd.patient_sampler import PatientSampler, by_patient, load


def sampler(patients, rate: float = 0.3, images: int = 1, copies: int = 1) -> PatientSampler:
    return PatientSampler(
        patients, sampling_rate=rate, images_per_patient=images, augmentations=copies, source=SecureRandom()
    )


def test_images_of_a_patient_belong_together(tiny_job, make_cohort) -> None:
    cohorts = [make_cohort(12, images=3), make_cohort(8, site="south")]
    examples = select(tiny_job, cohorts, site="pooled").train
    found = by_patient(examples)
    assert sorted(position for own in found for position in own) == list(range(len(examples)))
    for own in found:
        assert len({(examples[i].row.patient, examples[i].images_root) for i in own}) == 1
    assert Counter(map(len, found)) == {3: 8, 1: 6}


@pytest.mark.parametrize("rate", [0.02, 0.4, 1.0])
def test_the_rate_is_the_promised_one_for_each_patient_whatever_the_images(rate: float) -> None:
    """A patient with nine images is drawn no more often than one with one."""
    patients = [tuple(range(9)), *[(9 + i,) for i in range(49)]]
    own, steps, total, many = sampler(patients, rate), 400, 0, 0
    sizes = []
    for _ in range(steps):
        drawn = own.draw()
        sizes.append(len(drawn))
        total += len(drawn)
        many += any(positions[0] < 9 for positions in drawn)
    for hits, throws in ((total, steps * 50), (many, steps)):
        interval = binomtest(hits, throws, rate).proportion_ci(confidence_level=1 - 1e-9)
        assert interval.low <= rate <= interval.high
    if rate < 1:
        spread = np.var(sizes) / (50 * rate * (1 - rate))
        assert 0.6 < spread < 1.5, "independent coins, not a fixed number"


def test_what_is_looked_at_of_a_patient() -> None:
    (few,) = sampler([(4, 7)], 1.0, images=5, copies=2).draw()
    assert len(few) == 10 and few[0::2].tolist() == few[1::2].tolist()
    assert sorted(Counter(few.tolist()).values()) == [4, 6], "in turn: none twice before all once"
    seen = Counter()
    many = sampler([tuple(range(6))], 1.0, images=2)
    for _ in range(300):
        (drawn,) = many.draw()
        assert len(set(drawn.tolist())) == 2
        seen.update(drawn.tolist())
    assert min(seen.values()) > 50 and set(seen) == set(range(6))


def test_nobody_may_be_drawn() -> None:
    assert sampler([(0,), (1,)], 1e-9).draw() == []


def test_one_patients_augmentation_says_nothing_of_another(private_job, make_cohort, monkeypatch) -> None:
    """With the secret seeds fixed, a patient's images are the same whichever patients were drawn before."""
    job = private_job(transforms__augment=[{"name": "RandGaussianNoised", "args": {"prob": 1.0}}])
    images = Images(job, select(job, [make_cohort(12)], site="north").train, training=True, site="north")
    draw = [np.array([position, position]) for position in (0, 1, 2)]
    fresh = [patient.images for patient in load(images, draw, truth="truth")]
    assert not (fresh[0][0] == fresh[0][1]).all(), "copies differ"
    monkeypatch.setattr("fedward.training.dp_sgd.patient_sampler.secrets.randbits", lambda bits: 5)
    together = [patient.images for patient in load(images, draw, truth="truth")]
    (alone,) = [patient.images for patient in load(images, draw[2:], truth="truth")]
    assert (together[2] == alone).all() and not (fresh[2] == alone).all()
