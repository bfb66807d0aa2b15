"""Weigh updates of sites that took different numbers of local steps (FedNova). NumPy only."""

from __future__ import annotations

from collections.abc import Mapping

from fedward.aggregation.fedavg import weighted_mean
from fedward.settings import JobSpec
from fedward.weights import Weights

FEWEST, LEAST = 4, 4
"""A site takes at least this fraction of its steps, one in four, and at least ``LEAST`` steps: an update of one step is
almost a patient's gradient, and a server that lies would ask every site for it."""


def steps_taken(planned: int, asked: int | None) -> int:
    """Return the steps that a site takes when a server asks for ``asked``: all, or a multiple of the fewest.

    Guarantee: of two numbers that a server can get, the larger one has at least ``fewest`` steps more. The batches of a
    round are the same each time, so the difference of two updates from one model is that of the steps between them; it
    is of no fewer steps than the smallest update.

    Args:
        planned: steps of the job at this site, 1 or more.
        asked: what the server asks for; None: all.
    """
    fewest = max(-(-planned // FEWEST), LEAST)
    if asked is None or asked >= planned or planned < 2 * fewest:
        return planned
    return fewest * max(1, min(asked, planned - fewest) // fewest)


def accumulation(job: JobSpec, steps: int) -> float:
    """Return ‖a‖₁, by which ``steps`` local steps add up gradients (Wang et al. 2020, section 3).

    For SGD it is the distance, in learning rates, that the steps go under a gradient of 1 everywhere: τ without
    momentum; with momentum ρ (τ - ρ(1 - ρ^τ)/(1 - ρ))/(1 - ρ); with FedProx's μ (1 - (1 - ημ)^τ)/(ημ), and weight decay
    counts as μ does. Steps of Adam do not grow with the gradient, and kept momenta have no beginning: it is then τ.
    """
    training = job.training
    if training.optimizer != "SGD" or training.keep_optimizer:
        return float(steps)
    pull = training.lr * (training.fedprox_mu + training.weight_decay)
    distance = buffer = 0.0
    for _ in range(steps):
        buffer = training.momentum * buffer + 1.0 - pull * distance
        distance += buffer
    return distance


def normalised_mean(updates: Mapping[str, tuple[Weights, float]], norms: Mapping[str, float]) -> Weights:
    """Return FedNova's change of the model: τ_eff · Σ pᵢ Δᵢ/‖aᵢ‖₁, with τ_eff = Σ pᵢ ‖aᵢ‖₁ (section 4).

    Here pᵢ is the site's share of all weights and Δᵢ its update. A site that took fewer steps counts as if it had taken
    as many as the others, so the sites' objectives keep their weights. If all norms are equal, the result is that of
    ``weighted_mean`` to the bit. Integer and boolean arrays are not scaled: they count, and add up no gradients.

    Args:
        updates: as for ``weighted_mean``.
        norms: site -> its ``accumulation``, above 0.

    Raises:
        JobError: as ``weighted_mean``.
    """
    total = sum(weight for _, weight in updates.values())
    sites = sorted(updates)
    if len({norms[site] for site in sites}) <= 1 or total <= 0:
        return weighted_mean(updates)
    effective = sum(updates[site][1] * norms[site] for site in sites) / total
    return weighted_mean(updates, scales={site: effective / norms[site] for site in sites})
