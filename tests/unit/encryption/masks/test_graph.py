"""Sparse mask graphs: as small as the theorem and the exact bounds let them be, and as protective as they say."""

from __future__ import annotations

import secrets
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from scipy.stats import hypergeom

from fedward.encryption.keys.signature import check_certificate
from fedward.encryption.masks.graphs.drawing import Drawing, check_drawings
from fedward.encryption.masks.graphs.graph import Graph, drawn_by
from fedward.encryption.masks.graphs.sparse import ccesa_probability, degrees, sparse_bound
from fedward.encryption.masks.graphs.threshold import Threshold
from fedward.errors import EncryptionError
from tests.support.flare.signed import SERVER, federation, signer


def threshold(sites: int, *, lost: float = 0.0, colluding: int | None = None) -> Threshold:
    return Threshold(sites=sites, colluding=colluding or sites // 3, lost=int(lost * sites))


def drawn(bound: Threshold) -> Graph:
    sites = [f"site-{number:03}" for number in range(bound.sites)]
    return Graph.sparse(sites, threshold=bound, seeds={site: secrets.token_bytes(32) for site in sites})


# the size


@pytest.mark.parametrize(
    ("sites", "lost", "least"), [(100, 0.0, 0.636), (100, 0.1, 0.795), (300, 0.0, 0.411), (300, 0.1, 0.514)]
)
def test_edges_are_at_least_those_of_the_theorem(sites: int, lost: float, least: float) -> None:
    bound = threshold(sites, lost=lost)
    assert ccesa_probability(bound) == pytest.approx(least, abs=5e-4)
    assert sparse_bound(bound).edges >= ccesa_probability(bound)


@pytest.mark.parametrize(("lost", "first"), [(0.0, 29), (0.05, 40), (0.1, 55), (0.2, 117)])
def test_the_theorem_saves_nothing_below(lost: float, first: int) -> None:
    found = [n for n in range(10, 130) if ccesa_probability(Threshold(sites=n, colluding=1, lost=round(lost * n))) < 1]
    assert abs(found[0] - first) <= 3  # a number of hospitals is whole, the published share is not
    refused = Threshold(sites=found[0] - 1, colluding=1, lost=round(lost * (found[0] - 1)))
    with pytest.raises(EncryptionError, match="graph ccesa saves nothing with") as error:
        sparse_bound(refused)
    assert error.value.remedy == 'give encryption.graph = "complete"'


def test_more_that_are_lost_or_collude_need_more_edges() -> None:
    sizes = [sparse_bound(threshold(100, lost=lost)).edges for lost in (0.0, 0.05, 0.1)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    assert sparse_bound(threshold(100, colluding=80)).picks > sparse_bound(threshold(100, colluding=10)).picks
    # so many lost or colluding that the exact bounds, and not the theorem, decide
    most = Threshold(sites=100, colluding=80, lost=5)
    assert sparse_bound(most).edges > ccesa_probability(most) + 0.05


@pytest.mark.parametrize("sites", [60, 150])
def test_holders_that_collude_are_too_few_and_those_left_enough(sites: int) -> None:
    bound = threshold(sites, lost=0.1)
    found = sparse_bound(bound)
    colluding = hypergeom(sites - 1, bound.colluding, found.picks)
    assert sites * colluding.sf(found.needed - 1) <= 2.0**-41 < sites * colluding.sf(found.needed - 2)
    lost = hypergeom(sites - 1, bound.may_be_lost, found.picks)
    assert sites * lost.sf(found.picks + 1 - found.needed) <= 2.0**-20


def test_degrees_of_drawn_graphs_are_those_of_the_plan() -> None:
    bound = threshold(60, lost=0.05)
    graphs = [drawn(bound) for _ in range(20)]
    neighbours, holders = degrees(bound)
    found = [len(graph.neighbours(site)) for graph in graphs for site in graph.sites]
    assert np.mean(found) == pytest.approx(neighbours, abs=1)
    assert {len(graph.holders(site)) for graph in graphs for site in graph.sites} == {holders}


# the graph


def test_honest_hospitals_stay_connected_whoever_is_left_out() -> None:
    bound = threshold(60, lost=0.05)
    for _ in range(10):
        graph = drawn(bound)
        honest = nx.Graph()
        rng = np.random.default_rng()
        names = set(rng.permutation(graph.sites)[: bound.sites - bound.colluding])
        honest.add_edges_from((one, other) for one in names for other in graph.neighbours(one) if other in names)
        assert nx.node_connectivity(honest) > bound.may_be_lost


def test_masks_are_mutual_and_holders_are_drawn_by_their_hospital_alone() -> None:
    bound = threshold(40)
    sites = [f"site-{number:03}" for number in range(40)]
    seeds = {site: secrets.token_bytes(32) for site in sites}
    graph = Graph.sparse(sites, threshold=bound, seeds=seeds)
    for one in sites:
        assert one not in graph.neighbours(one) and one in graph.holders(one)
        assert set(graph.holders(one)) - {one} <= set(graph.neighbours(one))
        assert all(one in graph.neighbours(other) for other in graph.neighbours(one))
    # others choose their seeds as they like, and a hospital's holders stay the same
    for _ in range(20):
        theirs = {site: secrets.token_bytes(32) for site in sites[1:]} | {sites[0]: seeds[sites[0]]}
        assert Graph.sparse(sites, threshold=bound, seeds=theirs).holders(sites[0]) == graph.holders(sites[0])


def test_each_other_hospital_is_drawn_as_often() -> None:
    sites = [f"s{number}" for number in range(11)]
    counts = dict.fromkeys(sites[1:], 0)
    for _ in range(3000):
        for other in drawn_by("s0", sites, seed=secrets.token_bytes(32), count=4):
            counts[other] += 1
    expected = 3000 * 4 / 10
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 36  # chi-square, 1e-4 at 9 degrees


def test_a_hospital_that_drew_nothing_is_in_no_sum() -> None:
    bound = threshold(60, lost=0.05)
    sites = [f"site-{number:03}" for number in range(60)]
    seeds = {site: secrets.token_bytes(32) for site in sites}
    graph = Graph.sparse(sites, threshold=bound, seeds={site: seeds[site] for site in sites[3:]})
    assert "site-000" in graph.sites and any("site-000" in graph.holders(site) for site in sites[3:])
    with pytest.raises(EncryptionError, match="has no part in the mask graph"):
        graph.neighbours("site-000")
    with pytest.raises(EncryptionError, match="too few hospitals have drawn"):
        Graph.sparse(sites, threshold=bound, seeds={site: seeds[site] for site in sites[4:]})


# the signature


def test_only_the_hospital_itself_draws_for_itself() -> None:
    sites, context = ("city", "coast", "north"), "1" * 64
    certificates = {
        site: check_certificate(
            signer(site).certificate, site=site, root=federation().root, server=SERVER, revoked=lambda _: False
        )
        for site in sites
    }
    seeds = {site: secrets.token_bytes(32) for site in sites}
    content = {
        site: {"seed": seed, "signature": Drawing(site=site, context=context, seed=seed).sign(signer(site))}
        for site, seed in seeds.items()
    }
    assert check_drawings(content, context=context, certificates=certificates) == seeds
    assert certificates["city"].public_bytes(Encoding.DER) == signer("city").certificate
    chosen = {"seed": bytes(32), "signature": content["city"]["signature"]}
    another_run = {
        "seed": bytes(32),
        "signature": Drawing(site="city", context="2" * 64, seed=bytes(32)).sign(signer("city")),
    }
    swapped = {"city": content["coast"], "coast": content["city"]}
    for bad in (
        {"city": chosen},
        {"city": another_run},
        swapped,
        {"city": content["city"], "coast": content["city"]},
        {"city": {"seed": seeds["city"]}},
        {"city": {"seed": b"short", "signature": b""}},
        {"city": {"seed": seeds["city"], "signature": None}},
        {"city": None},
        {"ghost": content["city"]},
        [content["city"]],
        None,
    ):
        with pytest.raises(EncryptionError):
            check_drawings(bad, context=context, certificates=certificates)


def test_the_page_has_the_sizes_of_the_code() -> None:
    page = (Path(__file__).parents[4] / "docs" / "encryption.md").read_text(encoding="utf-8")
    counts = (30, 60, 100, 150, 256)
    for lost in (0.0, 0.1):
        bounds = [sparse_bound(threshold(n, lost=lost)) if lost == 0 or n > 30 else None for n in counts]
        picks = " | ".join("refused" if one is None else str(one.picks) for one in bounds)
        edges = " | ".join("" if one is None else f"{one.edges:.2f}" for one in bounds)
        assert f"| `max_lost = {lost:g}`: others drawn | {picks} |" in page
        assert f"share that mask | {edges} |".replace("|  |", "| |") in page
