"""Measure masked sums at many simulated hospitals: seconds at a hospital and at the server, and bytes.

    python bench/masks.py [--hospitals 3 10 32 100 300] [--parameters 1000000 7000000] [--graphs complete ccesa]
                          [--lost 0.0 0.1] [--repeats 3]

Everything that a round adds to training and transfer is done, in one process and one after the other: one hospital's
upload is sealed and masked, the server adds as many uploads as there are hospitals, hospitals give their shares, the
server takes the masks off, and a hospital opens the sum, which is compared with the true one. A third of the hospitals
may side with the server. Lost hospitals send nothing, and ``ccesa`` is planned for that many; at most as many are lost
as the run bears. ``ccesa`` is left out where it saves nothing. Where more than 1e10 numbers would be masked in all, the
others send the first hospital's numbers with their own seeds and hashes, and shares on polynomials of two terms. So all
work of the server and of one hospital is done, and the sum is not compared. Prints the table, and writes
``bench/results/masks.md`` and ``masks.svg``.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from machine import machine
from plot import Series, log_log, write_svg

from fedward.encryption.keys.key import FederationKey
from fedward.encryption.masks import site_masks
from fedward.encryption.masks.agreement import KeyPair, SharedSecrets
from fedward.encryption.masks.graphs.graph import Graph
from fedward.encryption.masks.graphs.threshold import Threshold
from fedward.encryption.masks.shamir import PRIME
from fedward.encryption.masks.site_masks import SiteMasks
from fedward.encryption.message import MessagePart, pack, unpack
from fedward.encryption.secure_sum import Aggregator, Opened, SecureSum
from fedward.encryption.sum_context import SumContext
from fedward.errors import EncryptionError

RESULTS = Path(__file__).resolve().parent / "results" / "masks.md"
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Row:
    """Medians of one run."""

    hospitals: int
    graph: str
    masks: int
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

    @property
    def round_s(self) -> float:
        """Seconds of one hospital in a round."""
        return self.seal_s + self.help_s + self.open_s


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--hospitals", type=int, nargs="+", default=[3, 10, 32, 100, 300])
    ask.add_argument("--graphs", nargs="+", default=["complete", "ccesa"])
    ask.add_argument("--parameters", type=int, nargs="+", default=[1_000_000, 7_000_000])
    ask.add_argument("--lost", type=float, nargs="+", default=[0.0, 0.1])
    ask.add_argument("--repeats", type=int, default=3)
    given = ask.parse_args()
    rows = []
    for parameters in given.parameters:
        for hospitals in given.hospitals:
            for share in sorted(set(given.lost)):
                for name in given.graphs:
                    graph = graph_of(name, hospitals, share)
                    if graph is None:
                        continue
                    lost = min(hospitals - graph.fewest, round(share * hospitals))
                    print(f"{hospitals} hospitals, {lost} lost, {name}, {parameters:,} parameters", flush=True)
                    rows.append(measured(graph, name, lost, parameters, repeats=given.repeats))
    page = table(rows, given.repeats)
    print(page)
    RESULTS.write_text(page, encoding="utf-8")
    write_svg(RESULTS.with_suffix(".svg"), drawing(rows))


def graph_of(name: str, hospitals: int, lost: float) -> Graph | None:
    """Return the mask graph of a run; None where a sparse one would save nothing."""
    sites, colluding = [f"site-{number:03}" for number in range(hospitals)], max(1, hospitals // 3)
    if name == "complete":
        return Graph.complete(sites, colluding=colluding)
    threshold = Threshold(sites=hospitals, colluding=colluding, lost=round(lost * hospitals))
    try:
        return Graph.sparse(sites, threshold=threshold, seeds={site: secrets.token_bytes(32) for site in sites})
    except EncryptionError:
        return None


def measured(graph: Graph, name: str, lost: int, parameters: int, *, repeats: int) -> Row:
    """Run the protocol once with all its messages, and repeat what one hospital does."""
    sites, hospitals = graph.sites, len(graph.sites)
    pairs = {site: KeyPair.new() for site in sites}
    publics = {site: pair.public for site, pair in pairs.items()}
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
    there = sites[lost:]
    seal_s, sealed = timed(lambda: sums[there[0]].seal(codes, topic), repeats)
    every = len(there) * hospitals * parameters <= 1e10
    adder = Aggregator(topic, scheme="masked", key_id=key.key_id, graph=graph)
    adding = []
    for site in there:
        if site == there[0]:
            message = sealed
        else:
            message = sums[site].seal(codes, topic) if every else spliced(sealed, masks[site], site)
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
    open_s, opened = timed(lambda: opening(sums[there[0]], total, topic), repeats)
    if every and (opened is None or not (opened.codes == codes * len(there)).all()):
        raise RuntimeError("the sum is wrong")
    return Row(
        hospitals=hospitals,
        graph=name,
        masks=len(graph.neighbours(there[0])),
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


def spliced(sealed: bytes, masks: SiteMasks, site: str) -> bytes:
    """Return a message of another hospital with its own seeds and shares, and the numbers of ``sealed``."""
    message = unpack(sealed)
    part = MessagePart(site=site, nonce=secrets.token_bytes(16))
    with quick_shares():
        extra, tag = masks.cover(b"", message.tag, topic=message.topic, part=part)
    numbers = message.payload[: message.topic.length * 4]
    return pack(replace(message, parts=(part,), tag=tag, payload=numbers + extra))


@cache
def power(base: int, exponent: int) -> int:
    """Return a power in Shamir's field."""
    return pow(base, exponent, PRIME)


@contextmanager
def quick_shares() -> Iterator[None]:
    """Share secrets with polynomials of two terms: of the same degree, so that putting together costs the same."""

    def split(secret: bytes, *, needed: int, points: Sequence[int]) -> list[bytes]:
        highest, first = secrets.randbelow(PRIME), int.from_bytes(secret, "little")
        return [((first + highest * power(point, needed - 1)) % PRIME).to_bytes(32, "little") for point in points]

    slow, site_masks.split = site_masks.split, split
    try:
        yield
    finally:
        site_masks.split = slow


def opening(sums: SecureSum, total: bytes, topic: SumContext) -> Opened | None:
    """Open a sum; None where it does not verify, after the same work."""
    try:
        return sums.open(total, topic)
    except EncryptionError:
        return None


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
        "they arrive, and then takes the masks off. Masks: of one hospital with others. Shares: bytes to and from one "
        "hospital when it helps. ![A hospital's round at 7 M](masks.svg)",
        "",
        "| hospitals | graph | masks | lost | parameters | agree | seal | help | open | hospital a round | server adds "
        "| takes off | bytes a parameter up | shares |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.hospitals} | {row.graph} | {row.masks} | {row.lost} | {row.parameters / 1e6:g} M "
        f"| {row.agree_s:.3f} s | {row.seal_s:.2f} s | {row.help_s:.3f} s | {row.open_s:.2f} s | {row.round_s:.2f} s "
        f"| {row.add_s:.2f} s | {row.unmask_s:.2f} s | {row.up_bytes / row.parameters:.3f} "
        f"| {row.shares_bytes / 1000:.1f} kB |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def drawing(rows: Sequence[Row]) -> str:
    """Draw seconds against hospitals, for the largest model and the most that are lost."""
    most, lost = max(row.parameters for row in rows), max((row.lost / row.hospitals for row in rows), default=0)
    chosen = [row for row in rows if row.parameters == most and (row.lost > 0 or lost == 0 or row.hospitals < 10)]
    series = []
    for name in dict.fromkeys(row.graph for row in chosen):
        here = [row for row in chosen if row.graph == name]
        series.append(Series(f"a hospital, {name}", [(row.hospitals, row.round_s) for row in here]))
        series.append(Series(f"server, {name}", [(row.hospitals, row.add_s + row.unmask_s) for row in here]))
    return log_log(series, x="hospitals", title=f"Seconds of a masked round, {most / 1e6:g} M parameters, with losses")


if __name__ == "__main__":
    main()
