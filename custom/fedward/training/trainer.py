"""Train and validate a job's model on a site's images.

The caller gives a model and gets one back. This module does not decide what is sent, or through which gate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedward.dataset.images import Images
from fedward.dataset.manifest import Manifest
from fedward.dataset.selection import Support, select
from fedward.errors import JobError
from fedward.privacy.noise import SecureRandom
from fedward.settings import JobSpec
from fedward.training.dp_sgd.dp_sgd import Private, PrivateRound, PrivateSteps
from fedward.training.dp_sgd.patient_sampler import by_patient
from fedward.training.kept_state import KeptStates
from fedward.training.learner import Learner
from fedward.training.networks import initial_weights
from fedward.training.results import Progress, Trained, of_all_rounds
from fedward.training.scores.details import details
from fedward.training.scores.example_outlines import outlined
from fedward.training.scores.scoring import masks_of, predictions_of, scores_of
from fedward.training.union.union_gradients import UnionGradients, union_gradients
from fedward.validation.outlines import Outlined
from fedward.validation.pooling.cohort_statistics import cohort_statistics
from fedward.validation.pooling.pooled import score_histogram
from fedward.validation.predictions import Predictions
from fedward.validation.scores import Scores
from fedward.validation.segmentation import MaskScorer
from fedward.weights import Weights

__all__ = ["Predictions", "Private", "PrivateRound", "Progress", "Trained", "Trainer"]


class Trainer:
    """Trainer of one job at one site.

    Args:
        job: the job.
        cohorts: the site's cohort; several are pooled, as for a centralised comparison, and a budget given in
            ``local_steps`` then counts for each of them.
        site: the site's name, for messages and for the random draws.
        min_patients: minimum count of patients with which the site takes part.
        private: sampling rate and noise of a job with DP-SGD. Without it such a job can validate and train alone, but
            ``train`` refuses.

    Raises:
        CohortError: the cohort does not fit the job.
        JobError: the job cannot be built, its network cannot be trained with DP-SGD, or ``private`` for a job without.

    On one machine's CPU the same job, cohort and weights give bit-identical results, independent of earlier work in the
    process, if the rounds come in order (momenta and FedBN layers are kept from round to round). Training with DP-SGD
    is the exception: its draws and its noise are secret and never repeat.
    """

    def __init__(
        self,
        job: JobSpec,
        cohorts: Sequence[Manifest],
        *,
        site: str,
        min_patients: int = 2,
        private: Private | None = None,
    ) -> None:
        if private is not None and job.privacy.dp_sgd is None:
            remedy = 'set privacy.mechanism to "dp-sgd" or train without'
            raise JobError(
                "DP-SGD for a job that does not ask for it", where=site, value=job.privacy.mechanism, remedy=remedy
            )
        self._job, self._site, self._cohorts, self._private = job, site, len(cohorts), private
        self._selection = select(job, cohorts, site=site, min_patients=min_patients)
        if job.training.threads:
            torch.set_num_threads(job.training.threads)
        self._learner = Learner(job, site=site)
        self._predictions: Predictions | None = None
        self._masks: MaskScorer | None = None

    @property
    def job(self) -> JobSpec:
        """Job of this trainer."""
        return self._job

    @property
    def support(self) -> Support:
        """Number of patients and images from which this site's numbers are computed."""
        return self._selection.support

    @property
    def absent(self) -> tuple[str, ...]:
        """Labels, classes or structures of the job that no training image of this site has."""
        return self._selection.absent

    @property
    def patients(self) -> frozenset[str]:
        """Pseudonyms of the training patients."""
        return frozenset(example.row.patient for example in self._selection.train)

    @property
    def steps(self) -> int:
        """Optimizer steps in one round; under DP-SGD this includes steps that draw no patient."""
        settings = self._job.privacy.dp_sgd
        if settings is None:
            return self._plain_steps
        return self._budget(max(1, round(self.support.train_patients / settings.patients_per_step)))

    @property
    def kept(self) -> KeptStates:
        """State that stays at the site from round to round, for the last two rounds."""
        return self._learner.kept

    def train(
        self,
        weights: Mapping[str, NDArray[Any]],
        *,
        round_number: int,
        steps: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Trained:
        """Train one round from ``weights``.

        Args:
            weights: the global model.
            round_number: 0 for the first; the learning rate and the random draws depend on it.
            steps: optimizer steps, 1 to ``self.steps``; None: all of them.
            on_progress: called after each step; an error that it raises stops the training.

        Raises:
            CohortError: an image can no longer be read.
            JobError: other ``steps``, weights of another network, a loss that is not finite, a job with DP-SGD but
                without ``private``, or a step for which the DP-SGD guarantee does not hold; then there is no result.
        """
        taken, private = self.steps if steps is None else steps, self._private_steps()
        if self._job.noises_sum:
            raise JobError("noise is for the sum of all sites", where=self._site, remedy="use union_gradients")
        if not 1 <= taken <= self.steps:
            raise JobError("steps are none of the job's", where=self._site, value=taken, remedy="take fewer, 1 or more")
        return self._round(
            self._learner, weights, round_number=round_number, steps=taken, on_progress=on_progress, private=private
        )

    def union_gradients(self, weights: Mapping[str, NDArray[Any]]) -> UnionGradients:
        """Sum the clipped gradients of drawn patients, for a job with noise for the sum; errors as ``train``."""
        steps = self._private_steps()
        if steps is None or not self._job.noises_sum:
            raise JobError("job has no noise for the sum", where=self._site, remedy="use train")
        return union_gradients(self._job, self._learner, weights, self._training_images, steps=steps)

    def validate(self, weights: Mapping[str, NDArray[Any]]) -> Scores:
        """Score a model on this site's validation split; the trained state does not change."""
        if self._job.job.task == "segmentation":
            self._masks = masks_of(self._job, self._learner, weights, self._validation_images)
            return self._masks.scores()
        self._predictions = self.predict(weights)
        return scores_of(self._job, self._predictions)

    def predict(self, weights: Mapping[str, NDArray[Any]]) -> Predictions:
        """Return a classification model's scores for each validation image, for use at the site only.

        Raises:
            JobError: the job is a segmentation.
        """
        if self._job.job.task == "segmentation":
            raise JobError("a segmentation job has no scores for each image", where=self._site, remedy="use validate")
        return predictions_of(self._job, self._learner, weights, self._validation_images)

    def score_histogram(self) -> NDArray[np.int64]:
        """Return score counts of the last validated model, for a sum over sites; see ``validation.pooling.pooled``.

        Raises:
            JobError: the job is a segmentation, no model was validated yet, or scores are not finite.
        """
        if self._predictions is None:
            raise JobError("no scores to count", where=self._site, remedy="validate a classification model first")
        return score_histogram(self._job, self._predictions)

    def details(self, wanted: Collection[str]) -> dict[str, Any]:
        """Return the detail tables for the scores of the last validated model; see ``fedward.training.scores.details``.

        Raises:
            CohortError: an image can no longer be read.
            JobError: no model was validated yet.
        """
        found = self._predictions if self._masks is None else self._masks.overlaps
        if found is None:
            raise JobError("no scores to detail", where=self._site, remedy="validate a model first")
        shown = self._validation_images.each
        return details(self._job, self._selection.validation, found=found, images=shown, wanted=wanted)

    def outlined(self, weights: Mapping[str, NDArray[Any]]) -> tuple[Outlined, ...]:
        """Return three images with masks of a segmentation job's last validated model, for the site only."""
        if self._masks is None:
            return ()
        dices, images = self._masks.image_dices, self._selection.validation
        return outlined(self._job, self._learner, weights, images, dices=dices, site=self._site)

    def cohort_statistics(self) -> NDArray[np.int64]:
        """Count this site's patients and images; see ``fedward.validation.pooling.cohort_statistics``.

        The training images are prepared once more, without augmentation, and none is kept.

        Raises:
            CohortError: an image can no longer be read.
        """
        job = self._job.model_copy(update={"data": self._job.data.model_copy(update={"cache": False})})
        passing = Images(job, self._selection.train, training=False, site=self._site)
        images = chain(passing.each(), self._validation_images.each())
        return cohort_statistics(self._job, (*self._selection.train, *self._selection.validation), images)

    def train_alone(self, *, on_progress: Callable[[Progress], None] | None = None) -> Weights:
        """Train on the site's data without a federation: same passes, start and learning rates, separate momenta.

        There is no DP-SGD here: of a private job, neither this model nor its scores may leave the site. The trainer's
        state does not change, so that a federation may train before and after.

        Returns:
            The model; with FedBN also the layers that never leave the site, so that it can be validated as trained.
        """
        rounds, learner = self._job.federation.rounds, Learner(self._job, site=self._site)
        weights = initial_weights(self._job)
        for number in range(rounds):
            follow = None if on_progress is None else of_all_rounds(on_progress, number, rounds)
            steps = self._plain_steps
            weights = self._round(learner, weights, round_number=number, steps=steps, on_progress=follow).weights
        return learner.everything()

    def _round(
        self,
        learner: Learner,
        weights: Mapping[str, NDArray[Any]],
        *,
        round_number: int,
        steps: int,
        on_progress: Callable[[Progress], None] | None,
        private: PrivateSteps | None = None,
    ) -> Trained:
        started = time.perf_counter()

        def on_step(step: int, loss: float) -> None:
            if on_progress is not None:
                on_progress(Progress(step=step, steps=steps, loss=loss))

        how = {"steps": steps, "steps_a_pass": self._steps_a_pass, "round_number": round_number}
        loss = learner.train(weights, self._training_images, on_step=on_step, private=private, **how)
        return Trained(
            weights=learner.weights(),
            patients=self.support.train_patients,
            images=self.support.train_images,
            steps=steps,
            loss=loss,
            seconds=time.perf_counter() - started,
            private=None if private is None else private.round(steps),
        )

    def _private_steps(self) -> PrivateSteps | None:
        """Return DP-SGD's part of a round, with a new generator; None only for a job without DP-SGD."""
        settings = self._job.privacy.dp_sgd
        if self._job.privacy.mechanism != "dp-sgd" or settings is None:
            return None
        if self._private is None:
            remedy = "plan and charge it first; nothing was trained"
            raise JobError("no sampling rate and noise for a job with DP-SGD", where=self._site, remedy=remedy)
        return PrivateSteps(
            settings,
            self._private,
            patients=by_patient(self._selection.train),
            source=SecureRandom(),
            method=self._learner.method,
        )

    @property
    def _plain_steps(self) -> int:
        return self._budget(self._steps_a_pass)

    def _budget(self, steps_a_pass: int) -> int:
        training = self._job.training
        if training.local_steps is not None:
            return training.local_steps * self._cohorts
        return (training.local_epochs or 1) * steps_a_pass

    @property
    def _steps_a_pass(self) -> int:
        return max(1, round(self.support.train_images * self._job.data.draws / self._job.training.batch_size))

    @cached_property
    def _training_images(self) -> Images:
        return Images(self._job, self._selection.train, training=True, site=self._site)

    @cached_property
    def _validation_images(self) -> Images:
        return Images(self._job, self._selection.validation, training=False, site=self._site)
