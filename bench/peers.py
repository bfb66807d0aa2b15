"""Seconds of a round without training beside the peers': Flower's SecAgg+, stock FLARE's encryption, Fedward's masks.

    PYTHONPATH=$PWD/custom OMP_NUM_THREADS=1 python bench/peers.py [--rounds 4] [--only flower flare fedward] [--tiny]

DenseNet121 in its 727 arrays as float32, three sites, one machine. Flower is installed by pip into an environment of
its own in a temporary folder and runs as SuperLink and three SuperNodes in real processes over TLS on loopback; its
clients add a constant to the model and train nothing. Where pip cannot install it, its rows say so. Fedward's rounds
are those of ``encrypted_round.py``. Stock FLARE's filters (``encryption.py``) and the steps of both masks are also
timed alone, without transport. The first round of a federation is left out. ``--tiny`` tries Flower on a small vector
and writes nothing. Prints the table and writes ``bench/results/peers.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from encrypted_round import job_of, rounds_of
from encryption import once, write_models
from encryption_ends import STOCK, read_model
from machine import machine
from masks import graph_of, measured

from fedward.flare.local_federation import MARK, STOP_S, free_port, interruptible, marked
from fedward.settings import JobEncryption

RESULTS = Path(__file__).resolve().parent / "results" / "peers.md"
HOST, SITES, STEP = "127.0.0.1", 3, 0.001
START_S, ROUND_S, INSTALL_S = 120.0, 300.0, 900.0
CERTIFICATES = {"ca-certfile": "ca.pem", "certfile": "server.pem", "keyfile": "server.key"}
"""Option of the SuperLink, after ``--ssl-`` -> file."""

FLOWER_APP = {
    "pyproject.toml": """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "peer"
version = "1.0.0"
description = "Rounds without training"
license = "Apache-2.0"
[tool.flwr.app]
publisher = "bench"
[tool.flwr.app.components]
serverapp = "peer.server:app"
clientapp = "peer.client:app"
[tool.flwr.app.config]
folder = ""
secure = false
rounds = 1
sites = 1
step = 0.0
""",
    "peer/__init__.py": "",
    "peer/server.py": '''
"""Run the rounds; note each one's seconds, the server's own work in it, and the error of the last model."""

import json
import time
from pathlib import Path

import numpy as np
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.compat.common.recorddict_compat import arrayrecord_to_parameters
from flwr.server import LegacyContext, ServerApp, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_PARAMS_RECORD
from flwr.server.workflow.default_workflows import default_fit_workflow

app = ServerApp()


@app.main()
def main(grid, context):
    given = context.run_config
    folder, sites, rounds, in_transport = Path(given["folder"]), given["sites"], [], [0.0]
    with np.load(folder / "global.npz", allow_pickle=False) as content:
        model = [np.atleast_1d(content[name]) for name in content.files]  # SecAgg+ averages no array of 0 dimensions
    secure = SecAggPlusWorkflow(num_shares=sites, reconstruction_threshold=sites - 1)
    fit, ask = (secure if given["secure"] else default_fit_workflow), grid.send_and_receive

    def asked(messages, **named):
        began = time.process_time()
        found = list(ask(messages, **named))
        in_transport[0] += time.process_time() - began
        return found

    def timed(grid, context):
        in_transport[0], start, began = 0.0, time.perf_counter(), time.process_time()
        fit(grid, context)
        own = time.process_time() - began - in_transport[0]
        rounds.append({"wall_s": time.perf_counter() - start, "server_s": own})

    grid.send_and_receive = asked
    strategy = FedAvg(
        fraction_evaluate=0.0,
        min_fit_clients=sites,
        min_available_clients=sites,
        initial_parameters=ndarrays_to_parameters(model),
    )
    legacy = LegacyContext(context, config=ServerConfig(num_rounds=given["rounds"]), strategy=strategy)
    DefaultWorkflow(fit_workflow=timed)(grid, legacy)
    last = parameters_to_ndarrays(arrayrecord_to_parameters(legacy.state.array_records[MAIN_PARAMS_RECORD], True))
    moved = given["step"] * given["rounds"]
    wrong = max(float(np.abs(new - old - moved).max()) for new, old in zip(last, model, strict=True))
    part = folder / "server.part"
    part.write_text(json.dumps({"rounds": rounds, "wrong": wrong / moved}))
    part.rename(folder / "server.json")
''',
    "peer/client.py": '''
"""Add a constant to the model; note the work and the bytes of each message."""

import json
import time
from pathlib import Path

import numpy as np
from flwr.client import NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

EXAMPLES = 1000  # the largest weight that SecAgg+ takes by default


class Client(NumPyClient):
    def __init__(self, step):
        self.step = np.float32(step)

    def fit(self, parameters, config):
        return [np.asarray(one, np.float32) + self.step for one in parameters], EXAMPLES, {}


def noted(message, context, call_next):
    given, number, began = context.run_config, int(message.metadata.group_id), time.process_time()
    down = sum(len(one.data) for record in message.content.array_records.values() for one in record.values())
    reply = secaggplus_mod(message, context, call_next) if given["secure"] else call_next(message, context)
    line = {"round": number, "client_s": time.process_time() - began, "down": down}
    if number == 1:  # a round that is left out of the times: here the message is serialised twice
        line["up"] = sum(len(one.deflate()) for one in get_all_nested_objects(reply).values())
    with (Path(given["folder"]) / f"{context.node_id}.client").open("a") as lines:
        lines.write(json.dumps(line) + "\\n")
    return reply


app = ClientApp(client_fn=lambda context: Client(context.run_config["step"]).to_client(), mods=[noted])
''',
}


class PeerError(Exception):
    """A peer could not be installed or did not finish its rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Seconds of the rounds that count, or the reason why there are none."""

    name: str
    seconds: Sequence[float] = ()
    up: float | None = None
    down: float | None = None
    error: float | None = None
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Seconds of the work alone: one site's and the server's in one round."""

    name: str
    site_s: float
    server_s: float
    up: float
    how: str


@dataclass(frozen=True, slots=True)
class Flower:
    """An environment that has Flower."""

    folder: Path
    version: str

    def program(self, name: str) -> str:
        return str(self.folder / "bin" / name)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--rounds", type=int, default=4)
    ask.add_argument(
        "--only", nargs="+", choices=["flower", "flare", "fedward"], default=["flower", "flare", "fedward"]
    )
    ask.add_argument("--tiny", action="store_true")
    given = ask.parse_args()
    started, load, rows, steps = time.perf_counter(), os.getloadavg()[0], list[Row](), list[Steps]()
    versions = [machine(), *(f"{name} {version(name)}" for name in ("tenseal", "numpy"))]
    with interruptible(), tempfile.TemporaryDirectory(prefix="fedward-peers-") as name:
        folder = Path(name)
        parameters = write(folder, tiny=given.tiny)
        if "flower" in given.only:
            found = flower(folder, parameters, rounds=given.rounds)
            rows, steps, versions = rows + found[0], steps + found[1], [*versions, *found[2]]
        if "flare" in given.only:
            steps.append(stock(folder))
        if "fedward" in given.only:
            rows += fedward(given.rounds)
            steps.append(masks(parameters))
    text = page(rows, steps, given, parameters=parameters, versions=versions, load=load, began=started)
    print(text)
    if not given.tiny and len(given.only) == 3:
        RESULTS.write_text(text + "\n", encoding="utf-8")


def write(folder: Path, *, tiny: bool) -> int:
    """Write the model, and return how many parameters it has."""
    if tiny:
        np.savez(folder / "global.npz", a=np.linspace(-1, 1, 5000, dtype=np.float32), b=np.float32(1.0))
    else:
        write_models(folder, "DenseNet121")
    return sum(array.size for array in read_model(folder, "global").values())


def fedward(rounds: int) -> list[Row]:
    """Measure Fedward's federations: in the clear and masked."""
    return [
        Row(name="Fedward, in the clear", seconds=rounds_of(job_of(rounds, None))),
        Row(name="Fedward, masked", seconds=rounds_of(job_of(rounds, JobEncryption(scheme="masked")))),
    ]


def masks(parameters: int) -> Steps:
    """Time Fedward's masks alone."""
    graph = graph_of("complete", SITES, 0.0)
    if graph is None:
        raise PeerError("there is no complete graph")
    row = measured(graph, "complete", 0, parameters, repeats=3)
    return Steps(
        name="Fedward, masked",
        site_s=row.round_s,
        server_s=row.add_s + row.unmask_s,
        up=row.up_bytes / row.parameters,
        how="`masks.py`: numbers in, seal, help, open; the server adds and takes the masks off",
    )


def stock(folder: Path) -> Steps:
    """Time stock FLARE's filters alone, once."""
    found = once(folder, STOCK)
    return Steps(
        name="stock FLARE, CKKS",
        site_s=found["client_s"],
        server_s=found["server_s"],
        up=found["up"],
        how="`encryption.py`, once: encrypt, serialise, and decrypt; the server reads three messages, adds, serialises",
    )


def flower(folder: Path, parameters: int, *, rounds: int) -> tuple[list[Row], list[Steps], list[str]]:
    """Measure Flower's rounds, plain and with SecAgg+; return its rows and its versions."""
    names = {False: "Flower, plain", True: "Flower, SecAgg+"}
    try:
        installed = install(folder / "flower")
    except PeerError as error:
        return [Row(name=name, missing=f"not installed here: {error}") for name in names.values()], [], []
    rows, steps = [], []
    write_certificates(folder)
    for secure, name in names.items():
        try:
            server, sites = federation(installed, folder, name, secure=secure, rounds=rounds)
        except PeerError as error:
            rows.append(Row(name=name, missing=str(error)))
            continue
        numbers = range(2, rounds + 1)
        own = [[sum(one["client_s"] for one in site if one["round"] == number) for site in sites] for number in numbers]
        up = statistics.median(sum(one.get("up", 0) for one in site) for site in sites) / parameters
        down = statistics.median(sum(one["down"] for one in site if one["round"] == rounds) for site in sites)
        seconds = [one["wall_s"] for one in server["rounds"][1:]]
        rows.append(Row(name=name, seconds=seconds, up=up, down=down / parameters, error=server["wrong"]))
        if secure:
            site_s = statistics.median(statistics.median(those) for those in own)
            server_s = statistics.median(one["server_s"] for one in server["rounds"][1:])
            how = "processor seconds inside the rounds above: the four stages at a client; the workflow at the server"
            steps.append(Steps(name=name, site_s=site_s, server_s=server_s, up=up, how=how))
    return rows, steps, [f"flwr {installed.version}"]


def install(folder: Path) -> Flower:
    """Make a virtual environment with the newest Flower that pip finds.

    Raises:
        PeerError: pip failed; with its last line.
    """
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "flwr", "numpy"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.CalledProcessError as error:
        raise PeerError((error.stderr.strip() or "pip gave no reason").splitlines()[-1]) from None
    except subprocess.TimeoutExpired:
        raise PeerError(f"pip took more than {INSTALL_S:.0f} s") from None
    ask = "from importlib.metadata import version; print(version('flwr'))"
    found = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    return Flower(folder, found)


def federation(
    installed: Flower, folder: Path, name: str, *, secure: bool, rounds: int
) -> tuple[dict[str, Any], list[list[dict[str, Any]]]]:
    """Run one federation of real processes; return the server's notes and each client's.

    Raises:
        PeerError: a process ended, the rounds took too long, or the model is not the one that the clients made.
    """
    work, port = folder / ("secure" if secure else "plain"), free_port(HOST)
    for path, text in FLOWER_APP.items():
        (work / "app" / path).parent.mkdir(parents=True, exist_ok=True)
        (work / "app" / path).write_text(text, encoding="utf-8")
    (work / "global.npz").write_bytes((folder / "global.npz").read_bytes())
    (work / "home").mkdir()
    link = f'[superlink.here]\naddress = "{HOST}:{port}"\nroot-certificates = "{folder}/ca.pem"\n'
    (work / "home" / "config.toml").write_text(f'[superlink]\ndefault = "here"\n{link}', encoding="utf-8")
    with processes(work, path=installed.folder / "bin") as start:
        tls = [f"--ssl-{kind}={folder}/{file}" for kind, file in CERTIFICATES.items()]
        options = ["--host", HOST, "--port", str(port), "--disable-runtime-dependency-installation", *tls]
        server = [start("server", [installed.program("flower-superlink"), *options])]
        wait(lambda: listens(server[0].pid, port), server, START_S, "the SuperLink does not listen", work)
        node = [installed.program("flower-supernode"), "--superlink", f"{HOST}:{port}", "--host", HOST]
        node += ["--root-certificates", f"{folder}/ca.pem"]
        nodes = [start(f"node-{number}", [*node, "--port", str(free_port(HOST))]) for number in range(SITES)]
        config = f'folder="{work}" secure={str(secure).lower()} rounds={rounds} sites={SITES} step={STEP}'
        asked = start("run", [installed.program("flwr"), "run", f"{work}/app", "here", "--run-config", config])
        wait(lambda: asked.poll() is not None, [*server, *nodes], START_S, "flwr run does not end", work)
        if asked.returncode:
            raise PeerError(f"flwr run ended with {asked.returncode}: {last_line(work / 'run.log')}")
        done = work / "server.json"
        wait(done.exists, [*server, *nodes], START_S + rounds * ROUND_S, f"{rounds} rounds were not finished", work)
    notes = json.loads(done.read_text())
    if notes["wrong"] > 0.5:
        raise PeerError(f"the model is wrong by {notes['wrong']:.0%} of the clients' steps: a round was not aggregated")
    clients = [[json.loads(line) for line in path.read_text().splitlines()] for path in work.glob("*.client")]
    return notes, clients


@contextmanager
def processes(work: Path, *, path: Path) -> Iterator[Callable[[str, list[str]], subprocess.Popen[bytes]]]:
    """Give a function that starts a program with a log below ``work``; stop all of them and their children at the end.

    Flower's telemetry and its search for updates are off, and nothing of this repository is on its path.
    """
    mark, started = uuid.uuid4().hex, list[subprocess.Popen[bytes]]()
    own = {"FLWR_HOME": str(work / "home"), "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= own | {MARK: mark, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}

    def start(name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (work / f"{name}.log").open("wb") as log:
            started.append(
                subprocess.Popen(
                    command,
                    cwd=work,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
        return started[-1]

    try:
        yield start
    finally:
        stop(mark, started)


def stop(mark: str, started: Sequence[subprocess.Popen[bytes]]) -> None:
    """Stop every process that carries the mark; a second signal does not interrupt this."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        for _ in range(3):  # a process that is stopped may just have started another one
            living = marked(mark)
            for process in living:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(living, timeout=STOP_S)
        for process in started:
            process.wait(timeout=STOP_S)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def wait(
    done: Callable[[], bool], alive: Sequence[subprocess.Popen[bytes]], limit_s: float, what: str, work: Path
) -> None:
    """Wait until ``done``.

    Raises:
        PeerError: a process ended, or it took more than ``limit_s`` seconds.
    """
    end = time.monotonic() + limit_s
    while not done():
        if any(process.poll() is not None for process in alive):
            raise PeerError(f"{what}: a process ended; {last_line(work / 'server.log')}")
        if time.monotonic() > end:
            raise PeerError(f"{what} within {limit_s:.0f} s")
        time.sleep(0.1)


def listens(pid: int, port: int) -> bool:
    """Return whether the process listens on the port, and on loopback only."""
    found = [one.laddr for one in psutil.Process(pid).net_connections(kind="inet") if one.status == psutil.CONN_LISTEN]
    if any(address.ip != HOST for address in found):
        raise PeerError(f"a process listens on more than {HOST}")
    return any(address.port == port for address in found)


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "its log is empty"


def write_certificates(folder: Path) -> None:
    """Make an authority, and the SuperLink's key and certificate for the loopback address."""
    issuer, authority = name_of("bench authority"), ec.generate_private_key(ec.SECP256R1())
    own, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)

    def issue(subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType) -> bytes:
        builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(minutes=5)).not_valid_after(now + timedelta(days=1))
        return (
            builder.add_extension(extension, critical=True).sign(authority, hashes.SHA256()).public_bytes(Encoding.PEM)
        )

    here = x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))])
    (folder / "ca.pem").write_bytes(issue(issuer, authority, x509.BasicConstraints(ca=True, path_length=0)))
    (folder / "server.pem").write_bytes(issue(name_of(HOST), own, here))
    key = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.key").touch(mode=0o600)
    (folder / "server.key").write_bytes(key)


def name_of(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def page(
    rows: Sequence[Row],
    steps: Sequence[Steps],
    given: argparse.Namespace,
    *,
    parameters: int,
    versions: Sequence[str],
    load: float,
    began: float,
) -> str:
    """Return the page."""
    minutes = (time.perf_counter() - began) / 60
    lines = [
        "# A round without its training, beside Flower and stock FLARE",
        "",
        f"Written by `python bench/peers.py --rounds {given.rounds}` in {minutes:.0f} minutes; {', '.join(versions)}; "
        f"load {load:.1f} before and {os.getloadavg()[0]:.1f} after. {parameters:,} parameters.",
        "",
        "| | median s | lowest | highest | bytes up | bytes down | error |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *map(line_of, rows),
        "",
        "| steps alone | a site s | server s | bytes up | how |",
        "|---|---:|---:|---:|---|",
        *(f"| {one.name} | {one.site_s:.2f} | {one.server_s:.2f} | {one.up:.2f} | {one.how} |" for one in steps),
    ]
    return "\n".join(lines)


def line_of(row: Row) -> str:
    """Return a row of the first table."""
    if not row.seconds:
        return f"| {row.name} | {row.missing} | | | | | |"
    up, down, error = (
        "" if value is None else format(value, how)
        for value, how in ((row.up, ".2f"), (row.down, ".2f"), (row.error, ".1e"))
    )
    median, lowest, highest = statistics.median(row.seconds), min(row.seconds), max(row.seconds)
    return f"| {row.name} | {median:.2f} | {lowest:.2f} | {highest:.2f} | {up} | {down} | {error} |"


if __name__ == "__main__":
    main()
