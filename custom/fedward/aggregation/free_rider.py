"""Which updates no local training explains: nothing new, an old step again, another site's update, or noise.

A free rider answers every round, is paid with the model and trains on nobody. Lin et al. 2019 ("Free-riders in
federated learning: attacks and defenses", sections 3 and 4) send random weights, or the last global step again; Fraboni
et al. 2021 ("Free-rider attacks on model aggregation in federated learning", AISTATS, section 3) the model as it came,
plain or disguised with noise. Each of the four rules is about something that honest training does not do by chance.
They only flag: a person asks the hospital. Nothing is dropped for it.

What stays unseen: a replay under much noise, a site that trains on a few patients or on public images, a copy that was
changed. And **in an encrypted job nobody can see any of this**: the server adds what it cannot read, and hospitals open
sums alone. Under differential privacy the noise makes honest updates look like the free rider's. There the ledger of
who answered, in how many seconds and bytes, is all there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.weights import Weights

NOTHING = 0.01
"""Norm against the median of the others' below which an update changes nothing. Hospitals that differ a hundredfold in
steps would be within it; in the tests' honest rounds the least is above 0.1."""
REPLAY = 0.99
"""Cosine to the previous global step above which an update is that step, or a multiple of it."""
COPY = 0.999
"""Cosine between two updates of a round above which one is a multiple of the other: hospitals share no patient, and
two batches drawn apart leave more than 2.5 degrees between them."""
NEARER = 0.1
"""Both cosines count only where 1 - cosine is at most this part of what it is for the others: full passes at a small
learning rate bring everybody near everybody, and then nobody is flagged."""
CHANCE = 3.0
"""Standard deviations within which an update's product with the others' mean is chance, see ``_agreement``."""
AGREE = 8.0
"""Standard deviations that the others' median must have, so that there is a direction to have missed: once a model has
learned what there is, honest updates are noise too."""
_COLUMNS = 1 << 18
"""Values looked at at a time: 2 MiB a site in float64."""


def suspects(updates: Mapping[str, Weights], *, previous: Weights | None = None) -> dict[str, str]:
    """Sites whose update of a round no local training explains, with the reason in words.

    In floating tensors alone, as one vector a site; time and memory are linear in its length, and time is quadratic in
    the number of sites. One rule a site, in the order nothing, replay, copy, noise. Of a copy both are named: who took
    it from whom cannot be told. Fewer than three sites are held only to ``NOTHING``: a single other is no yardstick.

    Args:
        updates: site -> the difference that it sent, all of one layout, finite.
        previous: what the server added to the model in the round before, None in the first.
    """
    sites = sorted(updates)
    if len(sites) < 2:
        return {}
    shape = _shape([updates[site] for site in sites], previous)
    found: dict[str, str] = {}
    rules = (_nothing,) if len(sites) < 3 else (_nothing, _replay, _copy, _noise)
    for rule in rules:
        for at, reason in rule(shape, sites):
            found.setdefault(sites[at], reason)
    return found


@dataclass(frozen=True, slots=True)
class _Shape:
    """How the round's updates lie to each other.

    Attributes:
        norms: [sites] L2.
        cosines: [sites, sites]; 0 where a norm is.
        replayed: [sites] cosine to the previous step, None without one.
        agreement: [sites] see ``_agreement``.
    """

    norms: NDArray[np.float64]
    cosines: NDArray[np.float64]
    replayed: NDArray[np.float64] | None
    agreement: NDArray[np.float64]


def _shape(updates: list[Weights], previous: Weights | None) -> _Shape:
    rows = [*updates, *([] if previous is None else [previous])]
    gram = np.zeros((len(rows), len(rows)))
    for block in _blocks(rows):
        gram += block @ block.T
    norms = np.sqrt(np.diag(gram))
    cosines = gram / np.outer(_above_0(norms), _above_0(norms))
    n = len(updates)
    replayed = cosines[n, :n] if previous is not None and norms[n] > 0 else None
    return _Shape(norms[:n], cosines[:n, :n], replayed, _agreement(updates, norms[:n]))


def _agreement(updates: list[Weights], norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each update goes with the mean of the others (all of norm 1), in standard deviations of chance.

    Chance: the signs of an update's values u have nothing to do with those of the mean m, however large they are. Then
    sum(u m) has mean 0 and variance sum(u² m²), and passes t of its standard deviations with probability at most
    2 exp(-t²/2) (Hoeffding 1963, theorem 2); so does the number of equal signs. Taken is whichever of the two says
    more: a few large values carry what SGD learned, very many small ones what Adam did. Noise passes 3 in about 0.5 %
    of rounds, whatever scale it imitates in each layer.
    """
    sums = np.zeros((4, len(updates)))
    for block in _blocks(updates):
        unit = block / _above_0(norms)[:, None]
        terms = unit * (unit.sum(axis=0) - unit)
        signs = np.sign(terms)
        parts = (terms, np.square(terms), signs, np.abs(signs))
        sums += np.stack([part.sum(axis=1) for part in parts])
    values, numbers = sums[0] / np.sqrt(_above_0(sums[1])), sums[2] / np.sqrt(_above_0(sums[3]))
    return np.asarray(np.where(np.abs(values) >= np.abs(numbers), values, numbers))


def _nothing(shape: _Shape, sites: list[str]) -> Iterator[tuple[int, str]]:
    for at, norm in enumerate(shape.norms):
        others = float(np.median(np.delete(shape.norms, at)))
        if norm <= NOTHING * others and others > 0:
            yield at, f"changes nothing: norm {norm:.2g} where the others' median is {others:.2g}"


def _replay(shape: _Shape, sites: list[str]) -> Iterator[tuple[int, str]]:
    if shape.replayed is None:
        return
    for at, cosine in enumerate(shape.replayed):
        others = np.delete(shape.replayed, at)
        if cosine > REPLAY and 1 - cosine <= NEARER * (1 - np.median(others)):
            yield at, f"is the last global step again: cosine {cosine:.4f}, the others' {np.median(others):.2f}"


def _copy(shape: _Shape, sites: list[str]) -> Iterator[tuple[int, str]]:
    pairs = [(one, two) for two in range(len(sites)) for one in range(two)]
    for one, two in pairs:
        cosine = shape.cosines[one, two]
        rest = float(np.median([shape.cosines[pair] for pair in pairs if pair != (one, two)]))
        if cosine > COPY and 1 - cosine <= NEARER * (1 - rest):
            for at, other in ((one, two), (two, one)):
                yield at, f"is a multiple of {sites[other]}'s update, or that of this one: cosine {cosine:.4f}"


def _noise(shape: _Shape, sites: list[str]) -> Iterator[tuple[int, str]]:
    for at, agreement in enumerate(shape.agreement):
        others = float(np.median(np.delete(shape.agreement, at)))
        if abs(agreement) <= CHANCE and others >= AGREE:
            yield at, f"is like noise: {agreement:+.1f} standard deviations of chance, the others' {others:+.1f}"


def _blocks(rows: list[Weights]) -> Iterator[NDArray[np.float64]]:
    """The floating tensors of each row as one matrix [rows, values], some columns at a time."""
    for name in sorted(rows[0]):
        if rows[0][name].dtype.kind != "f":
            continue
        flat = [np.asarray(row[name]).reshape(-1) for row in rows]
        for start in range(0, flat[0].size, _COLUMNS):
            yield np.stack([one[start : start + _COLUMNS] for one in flat]).astype(np.float64)


def _above_0(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values, each 0 as 1: what it divides is 0 as well."""
    return np.asarray(np.where(values > 0, values, 1.0), dtype=np.float64)
