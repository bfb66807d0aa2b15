"""The server's load against the number of sites, and ten jobs in a row: memory, seconds a round, files, threads.

    python bench/load.py [--part real simulated row] [--sites 5 10 20 50] [--simulated 5 10 20 50 100 200]

``real``: client processes with their own kits over mutual TLS on this machine, against one real server; a tiny network
and one local step. ``simulated``: the server's real controller and FLARE's own bookkeeping of tasks, sites in simulated
time, a model of one million values. ``row``: ten jobs in a row on three real sites. Each part keeps its figures as JSON
below ``build/load/``; all that are there go to ``bench/results/load.md`` and ``load.svg``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
from machine import machine
from plot import Series, log_log, write_svg
from ten_rounds import trivial_job

from fedward.demo.federate import LEAD, await_sites, federation_of
from fedward.demo.hospitals import DemoHospital
from fedward.demo.prepare import gather
from fedward.dicom.synthetic.hospital import HOSPITALS, write_cohort
from fedward.flare.admin_session import Console, console
from fedward.flare.export import export_job
from fedward.flare.job_context import SITE_FILE
from fedward.flare.kits.central import Kits, provision
from fedward.flare.local_federation import LocalFederation, free_port, interruptible
from fedward.metrics.events import EVENTS_FILE, EventReader

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
RESULTS, KEPT = ROOT / "bench" / "results", ROOT / "build" / "load"
IMAGES, ROUNDS, JOBS, VALUES = 12, 6, 10, 1_000_000
SPARE = 0.9
"""Fraction of the free memory that client processes may take."""
Row = dict[str, Any]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--part", nargs="*", choices=["real", "simulated", "row"], default=["simulated", "row", "real"])
    ask.add_argument("--sites", type=int, nargs="+", default=[5, 10, 20, 50])
    ask.add_argument("--simulated", type=int, nargs="+", default=[5, 10, 20, 50, 100, 200])
    ask.add_argument("--more", action="store_true", help="add to what an earlier run found")
    ask.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = ask.parse_args()
    if asked.one is not None:
        print(json.dumps(simulated(asked.one)))
        return
    KEPT.mkdir(parents=True, exist_ok=True)
    parts: Mapping[str, Callable[[], Iterator[Row]]] = {
        "real": lambda: real(asked.sites),
        "simulated": lambda: (in_a_process(sites) for sites in asked.simulated),
        "row": jobs_in_a_row,
    }
    for part in asked.part:
        path = KEPT / f"{part}.json"
        rows = json.loads(path.read_text())["rows"] if asked.more and path.exists() else list[Row]()
        before = os.getloadavg()[0]
        for row in parts[part]():
            rows.append(row | {"load": [before, before := os.getloadavg()[0]]})
            print(rows[-1], flush=True)
            path.write_text(json.dumps({"rows": rows, "machine": machine()}, indent=2), encoding="utf-8")
    known = {
        part: json.loads((KEPT / f"{part}.json").read_text()) for part in parts if (KEPT / f"{part}.json").exists()
    }
    table = report(known)
    print(table)
    (RESULTS / "load.md").write_text(table + "\n", encoding="utf-8")


@dataclass
class Watch:
    """Largest memory of the server's processes while a job runs, its CPU time, and the clients' memory, in MB."""

    federation: LocalFederation
    server: Path
    job: float = 0.0
    parent: float = 0.0
    clients: list[float] = field(default_factory=list)
    cpu: dict[int, float] = field(default_factory=dict)
    """Number of whole rounds -> CPU seconds of the server's processes when it was first seen."""

    def look(self) -> None:
        self.federation.check()
        for process in self.of_server():
            size = _rss(process)
            if _is_parent(process):
                self.parent = max(self.parent, size)
            else:
                self.job = max(self.job, size)

    def of_server(self) -> list[psutil.Process]:
        kit = str(self.server.resolve())
        return [one for one in self.federation.processes() if kit in _command(one) and "python" in _command(one)[0]]

    def look_at_cpu(self, rounds: int) -> None:
        self.cpu.setdefault(rounds, sum(map(_cpu_s, self.of_server())))

    @property
    def cpu_s(self) -> float:
        """CPU seconds of the server in one round: between the first and the last whole round that were seen."""
        first, last = min(filter(None, self.cpu)), max(self.cpu)
        return (self.cpu[last] - self.cpu[first]) / (last - first)

    def look_at_clients(self) -> None:
        """Note the memory that each client process has for itself (PSS: shared pages are divided)."""
        kit = str(self.server.resolve())
        self.clients = [_pss(one) for one in self.federation.processes() if kit not in _command(one)]


def real(sizes: Sequence[int]) -> Iterator[Row]:
    """Run one job of ``ROUNDS`` rounds at each number of sites, as far as the memory goes."""
    with tempfile.TemporaryDirectory(prefix="fedward-load-") as name:
        folder = Path(name)
        hospitals, kits, port = provisioned(folder, max(sizes))
        last: Row | None = None
        for size in sizes:
            here = size if last is None else min(size, _fit(last))
            last = one_size(folder, hospitals[:here], kits, port=port) | {"wanted": size}
            yield last
            if here < size:
                return


def _fit(row: Row) -> int:
    """Return the number of sites for which the free memory is enough, from what each took before."""
    return int(psutil.virtual_memory().available / 2**20 * SPARE / (row["clients_mb"] / row["sites"]))


def provisioned(folder: Path, sites: int) -> tuple[Sequence[DemoHospital], Kits, int]:
    """Make the hospitals with a few images each, and the kits of all."""
    job = trivial_job(min_sites=sites)
    like = [
        replace(HOSPITALS[place % len(HOSPITALS)], site=f"site-{place:02}", images=IMAGES, faults=())
        for place in range(sites)
    ]
    write_cohort(folder / "data", label="lesion", masks=False, hospitals=like)
    hospitals = gather(job, folder / "data", folder, named={}).hospitals
    port = free_port()
    kits = provision(federation_of([hospital.site for hospital in hospitals], port=port), folder / "fl")
    for hospital in hospitals:
        (kits.sites[hospital.site] / "local" / SITE_FILE).write_bytes(hospital.config.read_bytes())
    return hospitals, kits, port


def one_size(folder: Path, hospitals: Sequence[DemoHospital], kits: Kits, *, port: int) -> Row:
    """Start so many sites and run one job; return the server's memory and the seconds a round."""
    sites = [hospital.site for hospital in hospitals]
    some = replace(kits, sites={site: kits.sites[site] for site in sites})
    spec = federation_of(sites, port=port)
    exported = export_job(trivial_job(rounds=ROUNDS, min_sites=len(sites)), folder / "jobs")
    with (
        interruptible(),
        LocalFederation(spec, some, threads=1) as federation,
        console(some.people[LEAD]) as session,
    ):
        await_sites(federation, session, some, spec, timeout_s=600.0)
        watch = Watch(federation, some.server)
        events = run_job(session, exported, folder / "results", some, watch)
    walls = [event["wall_s"] for event in events if event["event"] == "round"]
    return {
        "sites": len(sites),
        "counted": [len(event["sites"]) for event in events if event["event"] == "round"],
        "round_s": statistics.median(walls[1:]),
        "cpu_s": watch.cpu_s,
        "job_mb": watch.job,
        "parent_mb": watch.parent,
        "clients_mb": sum(watch.clients),
    }


def run_job(
    session: Console, exported: Path, out: Path, kits: Kits, watch: Watch, *, poll_s: float = 0.5
) -> list[dict[str, Any]]:
    """Submit a job, watch it to its end, and return the server's events."""
    job_id = session.submit(exported)
    reader, rounds = EventReader(kits.server / job_id / EVENTS_FILE), 0

    def each() -> None:
        nonlocal rounds
        watch.look()
        rounds += sum(event["event"] == "round" for event in reader)
        watch.look_at_cpu(rounds)
        if rounds >= 2 and not watch.clients:
            watch.look_at_clients()

    status = session.wait(job_id, each=each, poll_s=poll_s)
    result = session.download(job_id, out)
    events = list(EventReader(result / EVENTS_FILE))
    if "COMPLETED" not in status:
        told = [event for event in events if event["event"] in ("failed", "declined", "dropped", "uncovered")]
        errors = (result / "error_log.txt").read_text(encoding="utf-8")[-2000:]
        raise SystemExit(f"the job ended as {status}: {told[-5:]}\n{errors}")
    return events


def jobs_in_a_row() -> Iterator[Row]:
    """Run ``JOBS`` jobs on three sites; after each, the memory, open files and threads of the server's parent."""
    with tempfile.TemporaryDirectory(prefix="fedward-load-") as name:
        folder = Path(name)
        hospitals, kits, port = provisioned(folder, 3)
        spec = federation_of([hospital.site for hospital in hospitals], port=port)
        exported = export_job(trivial_job(rounds=2), folder / "jobs")
        with (
            interruptible(),
            LocalFederation(spec, kits, threads=1) as federation,
            console(kits.people[LEAD]) as session,
        ):
            await_sites(federation, session, kits, spec)
            watch = Watch(federation, kits.server)
            for number in range(JOBS):
                start = time.monotonic()
                run_job(session, exported, folder / f"results-{number}", kits, watch)
                wall_s = time.monotonic() - start
                time.sleep(2.0)
                yield {"job": number + 1, "wall_s": wall_s, **_parent_state(watch)}


def _parent_state(watch: Watch) -> Row:
    (parent,) = (one for one in watch.of_server() if _is_parent(one))
    return {
        "rss_mb": _rss(parent),
        "files": parent.num_fds(),
        "threads": parent.num_threads(),
        "processes": len(watch.federation.processes()),
    }


def in_a_process(sites: int) -> Row:
    """Simulate in a process of its own, so that each size begins with the same memory."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), "--one", str(sites)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: Row = json.loads(done.stdout)
    return found


def simulated(sites: int) -> Row:
    """Run the server's controller against so many simulated sites; return its memory and CPU seconds a round."""
    from tests.support.flare.simulated import Federation, TinyStore, steady

    with tempfile.TemporaryDirectory(prefix="fedward-load-") as name:
        store = TinyStore(VALUES, last=True)
        federation = Federation(
            Path(name),
            {f"site-{place:03}": steady(1.0 + place / sites) for place in range(sites)},
            store=store,
            record=False,
            federation={"rounds": ROUNDS, "min_sites": sites, "local_baseline": False},
        )
        process = psutil.Process()
        before, start = _rss(process), time.process_time()
        largest = [before]
        federation.clock.after(0.0, lambda: _sample(federation.clock, process, largest))
        if not federation.run().of("finished"):
            raise SystemExit("the simulated job did not finish")
        cpu_s = time.process_time() - start
    return {
        "sites": sites,
        "round_s": cpu_s / ROUNDS,
        "base_mb": before,
        "job_mb": max(largest),
    }


def _sample(clock: Any, process: psutil.Process, largest: list[float]) -> None:
    """Look at the memory twice a simulated second."""
    largest.append(_rss(process))
    clock.after(0.5, lambda: _sample(clock, process, largest))


def report(known: Mapping[str, Any]) -> str:
    lines = [
        "# Load of the server",
        "",
        "Written by `python bench/load.py` in several runs (`--more`) on a shared machine; see each load average.",
    ]
    drawn: list[Series] = []
    if "real" in known:
        lines += _real_table(known["real"])
        rows = known["real"]["rows"]
        drawn += [Series(f"{what}, processes", [(r["sites"], r[key]) for r in rows]) for what, key in _REAL]
    if "simulated" in known:
        lines += _simulated_table(known["simulated"])
        rows = known["simulated"]["rows"]
        drawn += [Series(f"{what}, simulated", [(r["sites"], r[key]) for r in rows]) for what, key in _SIMULATED]
    if "row" in known:
        lines += _row_table(known["row"])
    if drawn:
        write_svg(RESULTS / "load.svg", log_log(drawn, x="sites", title="Server against the number of sites"))
        lines += ["", "![memory and seconds a round against the number of sites](load.svg)"]
    return "\n".join(lines)


_REAL = (("MB of the job's process", "job_mb"), ("s a round", "round_s"), ("server's CPU s a round", "cpu_s"))
_SIMULATED = (("MB of the process", "job_mb"), ("CPU s a round", "round_s"))


def _head(title: str, part: Row) -> list[str]:
    first, last = part["rows"][0]["load"][0], part["rows"][-1]["load"][-1]
    return ["", f"## {title}", "", f"{part['machine']}; load average {first:.1f} before and {last:.1f} after.", ""]


def _real_table(part: Row) -> list[str]:
    rows = part["rows"]
    lines = [
        *_head(f"Real processes: a tiny network, one local step, {ROUNDS} rounds, mutual TLS", part),
        "| sites | s a round | server: CPU s a round | its job MB | its parent MB | clients: MB a site | load |",
        "|---:|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {r['sites']} | {r['round_s']:.2f} | {r['cpu_s']:.2f} | {r['job_mb']:.0f} | {r['parent_mb']:.0f} "
            f"| {r['clients_mb'] / r['sites']:.0f} | {r['load'][-1]:.0f} |"
            for r in rows
        ),
        "",
        f"Exponent of {_exponents(rows, _REAL)}. The clients share this machine's cores with the server, so",
        "that a round contains the sites' own work. A site is its parent and its job's process, by PSS; the server's",
        "figures are the largest RSS.",
    ]
    if (wanted := rows[-1]["wanted"]) > rows[-1]["sites"]:
        lines += [f"{wanted} sites did not fit into the memory; {rows[-1]['sites']} did."]
    return lines


def _simulated_table(part: Row) -> list[str]:
    rows = part["rows"]
    return [
        *_head(f"Simulated sites: a model of {VALUES:,} values (4 MB), {ROUNDS} rounds, in the clear", part),
        "| sites | CPU s a round | MB before | largest MB |",
        "|---:|---:|---:|---:|",
        *(f"| {r['sites']} | {r['round_s']:.3f} | {r['base_mb']:.0f} | {r['job_mb']:.0f} |" for r in rows),
        "",
        f"Exponent of {_exponents(rows, _SIMULATED)}. The seconds contain the simulation itself: each site draws a",
        "random update, and nothing crosses a wire.",
    ]


def _row_table(part: Row) -> list[str]:
    rows = part["rows"]
    return [
        *_head(f"{len(rows)} jobs in a row on three real sites: the server's parent after each", part),
        "| job | s | RSS MB | open files | threads | processes in all |",
        "|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {r['job']} | {r['wall_s']:.1f} | {r['rss_mb']:.1f} | {r['files']} | {r['threads']} | {r['processes']} |"
            for r in rows
        ),
    ]


def _exponents(rows: Sequence[Row], what: Sequence[tuple[str, str]]) -> str:
    """Word the slope of a straight line through all logarithms, and that of the two largest sizes."""

    def word(name: str, key: str) -> str:
        points = [(math.log(r["sites"]), math.log(r[key])) for r in rows]
        (x1, y1), (x2, y2) = points[-2:]
        slope = statistics.linear_regression(*zip(*points, strict=True)).slope
        return f"{name}: {slope:.2f}, of the two largest {(y2 - y1) / (x2 - x1):.2f}"

    return "; ".join(word(name, key) for name, key in what)


def _is_parent(process: psutil.Process) -> bool:
    return any("server_train" in word for word in _command(process))


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() or [""]
    except psutil.Error:
        return [""]


def _rss(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / 2**20
    except psutil.Error:
        return 0.0


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
        return float(times.user + times.system)
    except psutil.Error:
        return 0.0


def _pss(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss) / 2**20
    except psutil.Error:
        return 0.0


if __name__ == "__main__":
    main()
