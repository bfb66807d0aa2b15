"""Measure masked sums at many simulated hospitals: seconds at a hospital and at the server, and bytes.

    python bench/masks.py [--hospitals 3 10 32 100] [--parameters 1000000 7000000] [--repeats 3] [--lost 0.0 0.1 0.3]

Everything that a round adds to training and transfer is done, in one process and one after the other: one hospital's
upload is sealed and masked, the server adds as many uploads as there are hospitals, hospitals give their shares, the
server takes the masks off, and a hospital opens the sum, which is compared with the true one. To keep the time of the
whole short, hospitals beyond the first three send one upload's numbers again, with their own seeds and shares. Lost
hospitals send nothing; at most as many are lost as the run bears, a third siding with the server. Prints the table and
writes ``bench/results/masks.md``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from machine import machine

from fedward.encryption.keys.key import FederationKey
from fedward.encryption.masks.agreement import KeyPair, SharedSecrets
from fedward.encryption.masks.graph import Graph
from fedward.encryption.masks.site_masks import SiteMasks
from fedward.encryption.masks.threshold import Threshold
from fedward.encryption.secure_sum import Aggregator, SecureSum
from fedward.encryption.sum_context import SumContext

RESULTS = Path(__file__).resolve().parent / "results" / "masks.md"
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Row:
    """Medians of one run."""

    hospitals: int
    lost: int
    parameters: int
    agree_s: float
    seal_s: float
    help_s: float
    open_s: float
    add_s: float
    unmask_s: float
    up_bytes: int
    shares_bytes: int


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--hospitals", type=int, nargs="+", default=[3, 10, 32, 100])
    ask.add_argument("--parameters", type=int, nargs="+", default=[1_000_000, 7_000_000])
    ask.add_argument("--lost", type=float, nargs="+", default=[0.0, 0.1])
    ask.add_argument("--repeats", type=int, default=3)
    given = ask.parse_args()
    rows = []
    for parameters in given.parameters:
        for hospitals in given.hospitals:
            most = Threshold(sites=hospitals, colluding=max(1, hospitals // 3)).may_be_lost
            for lost in sorted({min(most, round(share * hospitals)) for share in given.lost}):
                print(f"{hospitals} hospitals, {lost} lost, {parameters:,} parameters", flush=True)
                rows.append(measured(hospitals, lost, parameters, repeats=given.repeats))
    page = table(rows, given.repeats)
    print(page)
    RESULTS.write_text(page, encoding="utf-8")


def measured(hospitals: int, lost: int, parameters: int, *, repeats: int) -> Row:
    """Run the protocol once with all its messages, and repeat what one hospital does."""
    sites = [f"site-{number:03}" for number in range(hospitals)]
    pairs = {site: KeyPair.new() for site in sites}
    publics = {site: pair.public for site, pair in pairs.items()}
    graph = Graph.complete(sites, colluding=max(1, hospitals // 3))
    key = FederationKey(scheme="masked", generation=1, secret=bytes(32))
    topic = SumContext(
        job_id="bench",
        purpose="model",
        round_number=0,
        layout="0" * 64,
        context="1" * 64,
        length=parameters + 1,
        bits=32,
    )
    agree_s, first = timed(lambda: SharedSecrets(pairs[sites[0]], site=sites[0], publics=publics), repeats)
    shared = {site: SharedSecrets(pairs[site], site=site, publics=publics) for site in sites[1:]} | {sites[0]: first}
    masks = {site: SiteMasks(shared[site], site=site, graph=graph) for site in sites}
    codes = np.random.default_rng(1).integers(-1000, 1000, parameters + 1)
    sums = {site: SecureSum(key, site=site, masks=masks[site]) for site in sites}
    seal_s, sealed = timed(lambda: sums[sites[lost]].seal(codes, topic), repeats)
    adder = Aggregator(topic, scheme="masked", key_id=key.key_id, graph=graph)
    there = sites[lost:]
    adding = []
    for site in there:
        message = sealed if site == there[0] else sums[site].seal(codes, topic)
        start = time.perf_counter()
        adder.add(message, site=site)
        adding.append(time.perf_counter() - start)
    unmasking = adder.unmasking
    if unmasking is None:
        raise RuntimeError("a masked sum has masks")
    request = unmasking.request(there[-1])
    help_s, answer = timed(lambda: masks[there[-1]].help(request, topic), repeats)
    for site in there:
        content = answer if site == there[-1] else masks[site].help(unmasking.request(site), topic)
        unmasking.answer(content, holder=site)
    start = time.perf_counter()
    total = adder.sum()
    unmask_s = time.perf_counter() - start
    open_s, opened = timed(lambda: sums[there[0]].open(total, topic), repeats)
    if not (opened.codes == codes * len(there)).all():
        raise RuntimeError("the sum is wrong")
    return Row(
        hospitals=hospitals,
        lost=lost,
        parameters=parameters,
        agree_s=agree_s,
        seal_s=seal_s,
        help_s=help_s,
        open_s=open_s,
        add_s=sum(adding),
        unmask_s=unmask_s,
        up_bytes=len(sealed),
        shares_bytes=sum(map(len, request.packages.values())) + len(answer),
    )


def timed(work: Callable[[], Result], repeats: int) -> tuple[float, Result]:
    """Return the median seconds of some calls, and the last result."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), found


def table(rows: Sequence[Row], repeats: int) -> str:
    """Return the page."""
    lines = [
        "# Masked sums at many hospitals",
        "",
        f"Written by `python bench/masks.py`, medians of {repeats}; {machine()}. A hospital agrees on keys once in a "
        "run, and in each round seals, helps and opens the sum. The server adds all uploads while "
        "they arrive, and then takes the masks off. Shares: bytes to and from one hospital when it helps.",
        "",
        "| hospitals | lost | parameters | agree | seal | help | open | hospital a round | server adds | takes off "
        "| bytes a parameter up | shares |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.hospitals} | {row.lost} | {row.parameters / 1e6:g} M | {row.agree_s:.3f} s | {row.seal_s:.2f} s "
        f"| {row.help_s:.3f} s | {row.open_s:.2f} s | {row.seal_s + row.help_s + row.open_s:.2f} s | {row.add_s:.2f} s "
        f"| {row.unmask_s:.2f} s | {row.up_bytes / row.parameters:.3f} | {row.shares_bytes / 1000:.1f} kB |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
