"""Flag updates that no local training explains: no change, a repeated step, another site's update, or noise.

A free rider answers every round and gets the model, but does not train. In Lin et al. 2019 ("Free-riders in federated
learning: attacks and defenses", sections 3 and 4) it sends random weights or the last global step again; in Fraboni et
al. 2021 ("Free-rider attacks on model aggregation in federated learning", AISTATS, section 3) it sends the received
model, plain or disguised with noise. Each of the four rules tests for an update that honest training does not give by
chance. The rules only flag: a person then asks the hospital. No update is dropped.

Not detected: a replay under much noise, a site that trains on a few patients or on public images, a copy that was
changed. **In an encrypted job none of this can be detected**: the server adds ciphertexts that it cannot decrypt, and
hospitals open sums alone. Under differential privacy the noise makes honest updates look like a free rider's. In both
cases only the record of the answers remains, with the sites' seconds and bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.weights import Weights

NOTHING = 0.01
"""Ratio of an update's norm to the median of the others' at or below which it changes nothing. Only hospitals that
differ a hundredfold in steps would reach it; in the tests' honest rounds the smallest ratio is above 0.1."""
REPLAY = 0.99
"""Cosine to the previous global step above which an update is that step, or a multiple of it."""
COPY = 0.999
"""Cosine between two updates of a round above which one is a multiple of the other: hospitals share no patient, and
the updates from two separate batches differ by more than 2.5 degrees."""
NEARER = 0.1
"""Largest ratio of 1 - cosine to the others' 1 - cosine at which both cosines count: full passes at a small learning
rate make all updates similar, and then no site is flagged."""
CHANCE = 3.0
"""Standard deviations within which an update's product with the others' mean is chance; see ``_agreement``."""
AGREE = 8.0
"""Smallest median of the others' agreement, in standard deviations, at which noise is flagged: then the others share a
direction. When a model has finished learning, honest updates are noise too."""
_AT_A_TIME = 1 << 18
"""Values of all sites together that are processed at a time: 2 MiB in float64, about a processor's cache."""


def suspects(updates: Mapping[str, Weights], *, previous: Weights | None = None) -> dict[str, str]:
    """Return the sites whose update of a round no local training explains, with the reason as text.

    Only floating tensors are used, as one vector a site; time and memory are linear in its length, and time is
    quadratic in the number of sites (one matrix product). Each site gets one reason, by the first rule that applies:
    nothing, replay, copy, noise. For a copy both sites are named, since the original cannot be identified. Fewer than
    three sites are checked for ``NOTHING`` alone: one other site is not enough for a comparison.

    Args:
        updates: site -> the difference that it sent, all of one layout, finite.
        previous: the server's change of the model in the round before, None in the first.
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
    """Geometry of the round's updates.

    Attributes:
        norms: [sites] L2.
        cosines: [sites, sites]; 0 where a norm is 0.
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
    """Compute each update's agreement with the mean of the others (all of norm 1), in standard deviations of chance.

    Chance: the signs of an update's values u are independent of those of the mean m, for values of any size. Then
    sum(u m) has mean 0 and variance sum(u² m²), and exceeds t of its standard deviations with probability at most
    2 exp(-t²/2) (Hoeffding 1963, theorem 2). The same holds for the number of equal signs. The result is the one of the
    two that is larger in absolute value: SGD's learning is in a few large values, Adam's in very many small ones. Noise
    exceeds 3 in about 0.5 % of rounds, at any scale that it imitates in each layer.
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
    twos, ones = np.tril_indices(len(sites), k=-1)
    cosines = shape.cosines[ones, twos]
    order = np.argsort(cosines)
    ordered, ranks = cosines[order], np.argsort(order)
    for pair in np.flatnonzero(cosines > COPY):
        one, two, cosine = int(ones[pair]), int(twos[pair]), cosines[pair]
        if 1 - cosine <= NEARER * (1 - _median_without(ordered, int(ranks[pair]))):
            for at, other in ((one, two), (two, one)):
                yield at, f"is a multiple of {sites[other]}'s update, or that of this one: cosine {cosine:.4f}"


def _median_without(ordered: NDArray[np.float64], place: int) -> float:
    """Return the median of all values but the one at ``place``, from the values in ascending order."""
    left = len(ordered) - 1
    low, high = (left - 1) // 2, left // 2
    return float((ordered[low + (low >= place)] + ordered[high + (high >= place)]) / 2)


def _noise(shape: _Shape, sites: list[str]) -> Iterator[tuple[int, str]]:
    for at, agreement in enumerate(shape.agreement):
        others = float(np.median(np.delete(shape.agreement, at)))
        if abs(agreement) <= CHANCE and others >= AGREE:
            yield at, f"is like noise: {agreement:+.1f} standard deviations of chance, the others' {others:+.1f}"


def _blocks(rows: list[Weights]) -> Iterator[NDArray[np.float64]]:
    """Yield the floating tensors of all rows as one matrix [rows, values], some columns at a time."""
    for name in sorted(rows[0]):
        if rows[0][name].dtype.kind != "f":
            continue
        flat = [np.asarray(row[name]).reshape(-1) for row in rows]
        columns = max(1, _AT_A_TIME // len(rows))
        for start in range(0, flat[0].size, columns):
            yield np.stack([one[start : start + columns] for one in flat], dtype=np.float64)


def _above_0(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values as divisors, with 1 in place of 0: the dividend is then 0 as well."""
    return np.asarray(np.where(values > 0, values, 1.0), dtype=np.float64)
