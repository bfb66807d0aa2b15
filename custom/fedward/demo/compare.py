"""Take measures that are possible only in a demo: one training and one score over all hospitals' images, and each
hospital's own model at all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedward.dataset.manifest import Manifest
from fedward.demo.pooled_beside import train_beside
from fedward.reporting.data.score import Score, score_of
from fedward.settings import JobSpec
from fedward.weights import Weights, load_weights

if TYPE_CHECKING:
    from fedward.training.trainer import Predictions, Trainer

Log = Callable[[str], None]
_NOT_POSSIBLE = "not asked for or not possible"
NOT_ASKED = Score(why=_NOT_POSSIBLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Values of the job's measure (AUC or mean Dice); None where it could not be computed.

    Attributes:
        federated_pooled: federated model over all hospitals' validation images.
        centralised: site -> model trained on all hospitals' images, at that site; empty if it was not trained.
        centralised_pooled: the same over all hospitals' validation images.
        local_only: site that trained the model -> site that tested it -> value.
        local_only_pooled: site that trained the model -> value over all hospitals' validation images.
        private_alone: site -> model that it trained alone at the job's own ε, at that site; empty without DP-SGD.
        model_sha256: hash of the federated model's file.
        pooled_private: site -> model trained at the job's own ε on all hospitals' images in one place; only for noise
            for the sum.
        pooled_private_pooled: the same over all hospitals' validation images.
    """

    federated_pooled: Score
    centralised: Mapping[str, float | None]
    centralised_pooled: Score
    local_only: Mapping[str, Mapping[str, float | None]]
    local_only_pooled: Mapping[str, float | None]
    model_sha256: str
    private_alone: Mapping[str, float | None] = field(default_factory=dict)
    pooled_private: Mapping[str, float | None] = field(default_factory=dict)
    pooled_private_pooled: Score = NOT_ASKED


def compare(
    job: JobSpec,
    cohorts: Mapping[str, Manifest],
    federated: Path,
    local_only: Mapping[str, Path],
    *,
    centralised: bool,
    log: Log,
) -> Comparison:
    """Score the federated, the local-only and, if requested, a centralised model at every site that took part.

    The centralised model makes the same number of passes over all training images as the federation made.
    """
    from fedward.training.trainer import Trainer

    if job.noises_sum:
        log("  training on all hospitals' images in one place at the same ε, beside what follows")
        private_model = train_beside(job, cohorts)
    sites = {site: Trainer(job, [manifest], site=site) for site, manifest in cohorts.items()}
    pooled: Mapping[str, float | None] = {}
    pooled_over_all = NOT_ASKED
    if centralised:
        log("  centralised: training on all hospitals' images in one place, which only a demo may do")
        trainer = Trainer(job, list(cohorts.values()), site="centralised")
        weights = trainer.train_alone()
        pooled, pooled_over_all = measured_everywhere(job, sites, weights)
    log("  testing each hospital's own model at every hospital")
    own = {site: score_everywhere(job, sites, load_weights(path)) for site, path in sorted(local_only.items())}
    private_alone: dict[str, float | None] = {}
    if job.privacy.mechanism == "dp-sgd":
        private_alone = _private_alone(job, cohorts, log)
    private, private_over_all = measured_everywhere(job, sites, private_model()) if job.noises_sum else ({}, NOT_ASKED)
    return Comparison(
        private_alone=private_alone,
        pooled_private=private,
        pooled_private_pooled=private_over_all,
        federated_pooled=measured_everywhere(job, sites, load_model(federated))[1],
        centralised=pooled,
        centralised_pooled=pooled_over_all,
        local_only={site: at for site, (at, _) in own.items()},
        model_sha256=hashlib.sha256(federated.read_bytes()).hexdigest(),
        local_only_pooled={site: over_all for site, (_, over_all) in own.items()},
    )


def _private_alone(job: JobSpec, cohorts: Mapping[str, Manifest], log: Log) -> dict[str, float | None]:
    """Run the job with one site in it, for each site: as many private steps, the same ε, no other site's noise."""
    from fedward.demo.simulate import simulate, take_part

    parts, _ = take_part(job, cohorts)
    found = {}
    for number, (site, part) in enumerate(sorted(parts.items()), 1):
        log(f"  training alone at the same ε, as long as together: {site}, {number} of {len(parts)}")
        found[site] = simulate(job, {site: part}).scores[site].plain()[job.measure]
    return found


def load_model(path: Path) -> Weights:
    """Read ``FL_global_model.pt`` as arrays."""
    import torch

    state: dict[str, Any] = torch.load(path, weights_only=True)
    return {name: tensor.numpy() for name, tensor in sorted(state.items())}


def score_everywhere(
    job: JobSpec, sites: Mapping[str, Trainer], weights: Weights
) -> tuple[dict[str, float | None], float | None]:
    """Return the job's measure at each site, and over all hospitals' validation images."""
    at, over_all = measured_everywhere(job, sites, weights)
    return at, over_all.value


def measured_everywhere(
    job: JobSpec, sites: Mapping[str, Trainer], weights: Weights
) -> tuple[dict[str, float | None], Score]:
    """Return the job's measure at each site, and over all hospitals' validation images with its 95 % interval.

    The interval is over the patients of all hospitals (``validation.bootstrap``), of several labels or classes that of
    their mean. A segmentation has none: its value is the mean of the hospitals' own, weighted by their patients.
    """
    if job.job.task == "segmentation":
        scores = {site: trainer.validate(weights).plain() for site, trainer in sites.items()}
        known = [(score["dice"], score["dice_patients"]) for score in scores.values() if score["dice"] is not None]
        over_all = Score(value=_weighted(known), n=sum(n for _, n in known), why="" if known else _NOT_POSSIBLE)
        return {site: score["dice"] for site, score in scores.items()}, over_all
    found = {site: trainer.predict(weights) for site, trainer in sites.items()}
    return {site: _auc(job, [one]).value for site, one in found.items()}, _auc(job, list(found.values()))


def _auc(job: JobSpec, found: Sequence[Predictions]) -> Score:
    """Compute AUC over the images of one site or of several together; no value if one class is absent."""
    from fedward.validation.scores import score_classes, score_labels

    labels = np.concatenate([one.labels for one in found])
    scores = np.concatenate([one.scores for one in found])
    patients = [f"{number} {patient}" for number, one in enumerate(found) for patient in one.patients]
    multiclass = job.data.target == "multiclass"
    score, names = (score_classes, job.data.classes) if multiclass else (score_labels, job.data.labels)
    all_of_them = score_of(job, score(labels, scores, names=names, patients=patients, loss=0.0).plain())
    return all_of_them if all_of_them.value is not None else NOT_ASKED


def _weighted(values: Sequence[tuple[float, int]]) -> float | None:
    count = sum(n for _, n in values)
    return None if count == 0 else float(np.sum([value * n for value, n in values]) / count)
