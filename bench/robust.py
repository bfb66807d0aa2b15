"""Measure what false updates do to a masked model: 10 hospitals of which 2 send something else.

    python bench/robust.py [--hospitals 10] [--parameters 1000000] [--draws 5] [--cost 7000000]

Honest updates are a common direction and a deviation of each hospital that is as long. The false ones are twenty times
an honest one (``scale``), an honest one's opposite (``flip``), the honest mean less 1.5 times the honest standard
deviation (``alie``; Baruch, Baruch, Goldberg 2019, "A little is enough"), or noise ten times as long (``noise``). The
error is the distance to the honest hospitals' mean over its length, a mean over some draws.

``byzsecagg`` is the package's own code: fixed point, sketches, shares, distances, multi-Krum, sum. ``byzsecagg, whole
vectors`` is the paper's protocol without a sketch, written here over the field of 2^61 - 1: every hospital shares all
of its quantised update, in K = 2 parts with T = 1 (Lagrange coding), and distances are computed on the shares; nobody
answers falsely in it. ``multi-Krum`` and ``median`` read every update.
``grouped-median`` has as many groups of three hospitals as there are; its last line is of five groups, with 15
hospitals, which bear two false ones. The second table has seconds and bytes for one model. Writes
``bench/results/robust.md``.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from numpy.typing import NDArray

from fedward.aggregation.krum import multi_krum
from fedward.encryption.distances.checking import checks_of, judged
from fedward.encryption.distances.comparing import answers_needed, decode_distances, distance_shares
from fedward.encryption.distances.dealing import deal
from fedward.encryption.distances.packages import message_size
from fedward.encryption.distances.sketch import sketch
from fedward.encryption.distances.sketched_sum import SEALED_BYTES, SketchedSum, require_sketched, seal_share
from fedward.encryption.fixed_point import FixedPoint
from fedward.encryption.keys.key import FederationKey
from fedward.encryption.masks.graphs.groups import Grouping

RESULTS = Path(__file__).resolve().parent / "results" / "robust.md"
PRIME = (1 << 61) - 1
Updates = dict[str, NDArray[np.float32]]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--hospitals", type=int, default=10)
    ask.add_argument("--malicious", type=int, default=2)
    ask.add_argument("--parameters", type=int, default=1_000_000)
    ask.add_argument("--draws", type=int, default=5)
    ask.add_argument("--cost", type=int, default=7_000_000)
    given = ask.parse_args()
    errors = {}
    for attack in ATTACKS:
        how = (given.hospitals, given.malicious, given.parameters, attack)
        draws = [one_draw(*how, seed) for seed in range(given.draws)]
        for seed, draw in enumerate(draws):
            draw |= one_draw(15, given.malicious, given.parameters, attack, seed)
        errors[attack] = {name: statistics.mean(draw[name] for draw in draws) for name in draws[0]}
        print(attack, {name: round(value, 3) for name, value in errors[attack].items()}, flush=True)
    costs = {"byzsecagg": cost_sketched(given.hospitals, given.malicious, given.cost)}
    print(costs, flush=True)
    costs["byzsecagg, whole vectors"] = cost_whole(given.hospitals, given.cost)
    page = table(errors, costs, given)
    print(page)
    RESULTS.write_text(page, encoding="utf-8")


# false updates


def honest_updates(hospitals: int, parameters: int, rng: np.random.Generator) -> Updates:
    common = rng.normal(size=parameters)
    made = [common + rng.normal(size=parameters) for _ in range(hospitals)]
    return {f"site-{number:02}": (one / np.sqrt(2 * parameters)).astype(np.float32) for number, one in enumerate(made)}


def alie(updates: Updates, liars: list[str], rng: np.random.Generator) -> NDArray[np.float32]:
    honest = np.array([one for site, one in updates.items() if site not in liars])
    return np.asarray(honest.mean(axis=0) - 1.5 * honest.std(axis=0), np.float32)


def noise(updates: Updates, liars: list[str], rng: np.random.Generator) -> NDArray[np.float32]:
    size = next(iter(updates.values())).size
    return (10 * rng.normal(size=size) / np.sqrt(size)).astype(np.float32)


ATTACKS: dict[str, Callable[[Updates, list[str], np.random.Generator], NDArray[np.float32]]] = {
    "scale": lambda updates, liars, rng: 20 * updates[liars[0]],
    "flip": lambda updates, liars, rng: -updates[liars[0]],
    "alie": alie,
    "noise": noise,
}


def one_draw(hospitals: int, malicious: int, parameters: int, attack: str, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    updates = honest_updates(hospitals, parameters, rng)
    liars = sorted(updates)[:malicious]
    true = np.mean([one for site, one in updates.items() if site not in liars], axis=0)
    sent = dict(updates)
    for number, liar in enumerate(liars):
        sent[liar] = ATTACKS[attack](updates, [*liars[number:], *liars[:number]], rng)
    whole = whole_distances(sent)
    found = {
        "mean": np.mean(list(sent.values()), axis=0),
        "median": np.median(list(sent.values()), axis=0),
        "multi-Krum": chosen_mean(sent, exact_distances(sent), malicious),
        "byzsecagg": chosen_mean(sent, sketched_distances(sent, malicious), malicious),
        "byzsecagg, whole vectors": chosen_mean(sent, whole, malicious),
        "grouped-median": grouped_median(sent, seed),
    }
    if hospitals == 15:
        found = {"grouped-median, 15 hospitals": found["grouped-median"]}
    return {name: float(np.linalg.norm(one - true) / np.linalg.norm(true)) for name, one in found.items()}


def exact_distances(updates: Updates) -> dict[tuple[str, str], float]:
    pairs = itertools.combinations(sorted(updates), 2)
    return {(one, other): float(np.linalg.norm(updates[one] - updates[other])) for one, other in pairs}


def chosen_mean(updates: Updates, distances: Mapping[tuple[str, str], float], malicious: int) -> NDArray[Any]:
    chosen = multi_krum(distances, sorted(updates), malicious=malicious)
    return np.asarray(np.mean([updates[site] for site in chosen], axis=0))


def grouped_median(updates: Updates, seed: int) -> NDArray[Any]:
    groups = Grouping(count=len(updates) // 3, job=f"{seed}").groups(updates, round_number=0)
    return np.asarray(np.median([np.mean([updates[site] for site in group], axis=0) for group in groups], axis=0))


# byzsecagg on sketches


def codes_of(updates: Updates) -> dict[str, NDArray[np.int64]]:
    fixed = FixedPoint(clipping_range=16.0, bits=32, max_sites=16)
    return {site: fixed.encode(one, weight_code=fixed.weight_code(1.0))[0] for site, one in updates.items()}


def sketched_distances(updates: Updates, malicious: int) -> Mapping[tuple[str, str], float]:
    """Return the distances that the server decodes, two hospitals answering at random."""
    sites, codes = sorted(updates), codes_of(updates)
    points = {site: number + 1 for number, site in enumerate(sites)}
    seed, colluding = np.random.default_rng(0).bytes(32), (len(sites) - 1 - 2 * malicious) // 2
    dealt = {}
    for site in sites:
        others = [one for one in sites if one != site]
        dealt[site] = deal(sketch(codes[site], seed=seed), others=others, points=points, colluding=colluding)
    held = {holder: {site: dealt[site][holder] for site in sites} for holder in sites}
    bound = {"colluding": colluding, "malicious": malicious}
    checks = {holder: checks_of(held[holder], dealings=dict.fromkeys(sites, "bench")) for holder in sites}
    if any(one.why or one.off for one in judged(checks, dealers=sites, points=points, **bound).values()):
        raise RuntimeError("an honest dealer was judged false")
    answers = {holder: distance_shares(held[holder]) for holder in sites}
    for liar in sites[:malicious]:
        answers[liar] = distance_shares(held[sites[-1]])  # another hospital's
    return decode_distances(answers, sites=sites, points=points, **bound)


def cost_sketched(hospitals: int, malicious: int, parameters: int) -> dict[str, float]:
    updates = honest_updates(hospitals, parameters, np.random.default_rng(1))
    sites, codes, seed = sorted(updates), codes_of(updates), bytes(32)
    points = {site: number + 1 for number, site in enumerate(sites)}
    colluding = (hospitals - 1 - 2 * malicious) // 2
    start = time.perf_counter()
    numbers = sketch(codes[sites[0]], seed=seed)
    dealt = deal(numbers, others=sites[1:], points=points, colluding=colluding)
    sketch_s = time.perf_counter() - start
    every = {sites[0]: dealt}
    for site in sites[1:]:
        others = [one for one in sites if one != site]
        every[site] = deal(sketch(codes[site], seed=seed), others=others, points=points, colluding=colluding)
    held = {holder: {site: every[site][holder] for site in sites} for holder in sites}
    bound = {"colluding": colluding, "malicious": malicious}
    checks_s, _ = timed(lambda: checks_of(held[sites[0]], dealings=dict.fromkeys(sites, "bench")))
    checks = {holder: checks_of(held[holder], dealings=dict.fromkeys(sites, "bench")) for holder in sites}
    judge_s, _ = timed(lambda: judged(checks, dealers=sites, points=points, **bound))
    shares_s, _ = timed(lambda: distance_shares(held[sites[0]]))
    answers = {holder: distance_shares(held[holder]) for holder in sites}
    decode_s, found = timed(lambda: decode_distances(answers, sites=sites, points=points, **bound))
    chosen = multi_krum(found, sites, malicious=malicious)
    key = FederationKey(scheme="masked", generation=1, secret=bytes(32))
    sealed = {}
    for holder in sites:
        shares = [every[site][holder].sketch for site in chosen]
        sealed[holder] = seal_share(shares, key, site=holder, name="sum")
    total = np.sum([codes[site] for site in chosen], axis=0)
    check_s, _ = timed(
        lambda: require_sketched(
            total, SketchedSum(seed, sealed), key, name="sum", points=points, colluding=colluding, malicious=malicious
        )
    )
    answered = (
        len(checks[sites[0]].pack()) + 2 * len(answers[sites[0]].pack()) + 4 * SEALED_BYTES
    )  # in a lock: in digits
    sent = message_size(sites=hospitals, holders=hospitals) + answered
    return {
        "hospital": sketch_s + checks_s + judge_s + shares_s + check_s,
        "server": judge_s + decode_s,
        "up": 1 + sent / (4 * parameters),
        "down": 1 + (sent + hospitals * SEALED_BYTES) / (4 * parameters),
        "held": hospitals * (1 + sent / (4 * parameters)),
        "answers": answers_needed(colluding=colluding, malicious=malicious),
        "colluding": colluding,
    }


# byzsecagg on whole vectors: Lagrange coding with K = 2 parts and T = 1 over the field of 2^61 - 1


def times(a: NDArray[np.uint64], b: Any) -> NDArray[np.uint64]:
    """Multiply modulo 2^61 - 1, elementwise; both below it."""
    b = np.asarray(b, np.uint64)
    low, half = np.uint64((1 << 31) - 1), np.uint64(31)
    a1, a0, b1, b0 = a >> half, a & low, b >> half, b & low
    middle = a1 * b0 + a0 * b1
    total = (a1 * b1 << np.uint64(1)) + (middle >> np.uint64(30)) + a0 * b0
    total += (middle & np.uint64((1 << 30) - 1)) << half
    total = (total & np.uint64(PRIME)) + (total >> np.uint64(61))
    return np.where(total >= PRIME, total - np.uint64(PRIME), total)


def plus(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.uint64]:
    total = a + b
    return np.where(total >= PRIME, total - np.uint64(PRIME), total)


def lagrange(points: list[int], at: int) -> list[int]:
    found = []
    for one in points:
        above, below = 1, 1
        for other in points:
            if other != one:
                above, below = above * (at - other) % PRIME, below * (one - other) % PRIME
        found.append(above * pow(below, -1, PRIME) % PRIME)
    return found


BETAS = [101, 102, 103]
"""Where a hospital's polynomial is its two parts, and its noise."""


def shares_of(update: NDArray[np.float32], count: int, rng: np.random.Generator) -> list[NDArray[np.uint64]]:
    codes = (np.rint(update / SCALE).astype(np.int64) % PRIME).astype(np.uint64)
    half = codes.size // 2
    parts = [codes[:half], codes[half : 2 * half], rng.integers(0, PRIME, half, dtype=np.uint64)]
    found = []
    for point in range(1, count + 1):
        weights = lagrange(BETAS, point)
        total = times(parts[0], weights[0])
        for part, weight in zip(parts[1:], weights[1:], strict=True):
            total = plus(total, times(part, weight))
        found.append(total)
    return found


SCALE = 1e-6
"""Step of the quantisation: updates here have values of some thousandths, and twenty times that."""


def squared(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> int:
    difference = plus(a, np.uint64(PRIME) - b)
    product = times(difference, difference)
    return int((product >> np.uint64(32)).sum()) * (1 << 32) + int((product & np.uint64((1 << 32) - 1)).sum())


def whole_distances(updates: Updates) -> dict[tuple[str, str], float]:
    """Return the distances that follow from shares of whole vectors; five answers are enough without false ones."""
    sites, rng = sorted(updates), np.random.default_rng(2)
    shared = {site: shares_of(updates[site], len(sites), rng)[:5] for site in sites}
    answered = [1, 2, 3, 4, 5]
    ends = [sum(pair) % PRIME for pair in zip(lagrange(answered, 101), lagrange(answered, 102), strict=True)]
    found = {}
    for one, other in itertools.combinations(sites, 2):
        values = [squared(a, b) % PRIME for a, b in zip(shared[one], shared[other], strict=True)]
        found[one, other] = float(np.sqrt(sum(end * value for end, value in zip(ends, values, strict=True)) % PRIME))
    return found


def cost_whole(hospitals: int, parameters: int) -> dict[str, float]:
    updates = honest_updates(hospitals, parameters, np.random.default_rng(1))
    rng, sites = np.random.default_rng(2), sorted(updates)
    share_s, first = timed(lambda: shares_of(updates[sites[0]], hospitals, rng))
    mine = [first[0], *(shares_of(updates[site], 1, rng)[0] for site in sites[1:])]
    pairs = list(itertools.combinations(range(hospitals), 2))
    distances_s, _ = timed(lambda: [squared(mine[one], mine[other]) for one, other in pairs])

    def added() -> NDArray[np.uint64]:
        total = mine[0]
        for one in mine[1:-2]:
            total = plus(total, one)
        return total

    sum_s, _ = timed(added)
    part = first[0].nbytes / (4 * parameters)
    return {
        "hospital": share_s + distances_s + sum_s,
        "server": float("nan"),
        "up": (hospitals - 1) * part + part,
        "down": (hospitals - 1) * part + 1,
        "held": hospitals * (hospitals - 1) * part,
        "answers": 5 + 2 * 2,
        "colluding": 1,
    }


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def table(errors: Mapping[str, Mapping[str, float]], costs: Mapping[str, Mapping[str, float]], given: Any) -> str:
    names = list(next(iter(errors.values())))
    lines = [
        "# False updates",
        "",
        f"Written by `python bench/robust.py`; {machine()}. {given.hospitals} hospitals, of which {given.malicious} "
        f"send false updates of {given.parameters / 1e6:g} M values; error relative to the honest mean, mean of "
        f"{given.draws} draws. A false update is 20 times an honest one (scale), the opposite of one (flip), the "
        "honest mean less 1.5 times the honest standard deviation (alie: Baruch, Baruch, Goldberg 2019), or noise ten "
        "times as long. grouped-median bears fewer false hospitals than are here where it is not given more hospitals: "
        "two need 15.",
        "",
        f"| | {' | '.join(errors)} |",
        f"|---|{'---|' * len(errors)}",
    ]
    lines += [f"| {name} | {' | '.join(f'{errors[attack][name]:.3f}' for attack in errors)} |" for name in names]
    lines += ["", "Largest difference of an error to that of multi-Krum on the updates themselves: "]
    for name in names:
        if name.startswith("byzsecagg"):
            most = max(abs(errors[attack][name] - errors[attack]["multi-Krum"]) for attack in errors)
            lines[-1] += f"{name} {most:.4f}; "
    lines[-1] = lines[-1].removesuffix("; ") + "."
    lines += [
        "",
        f"One round of {given.cost / 1e6:g} M values. Bytes are over the 4 bytes a value of a masked upload or of a "
        "model. Seconds of a hospital are those beside masking and training, one after the other.",
        "",
        "| | hospital | server | bytes up | bytes down | held at the server | may collude | answers needed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, cost in costs.items():
        server = "not run" if cost["server"] != cost["server"] else f"{cost['server']:.2f} s"
        lines.append(
            f"| {name} | {cost['hospital']:.2f} s | {server} | {cost['up']:.3f} × | {cost['down']:.3f} × "
            f"| {cost['held']:.1f} × | {cost['colluding']:.0f} | {cost['answers']:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
