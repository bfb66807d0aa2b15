"""Seconds of a round without training beside the peers': Flower's SecAgg+, stock FLARE's encryption, Fedward's masks.

    PYTHONPATH=$PWD/custom OMP_NUM_THREADS=1 python bench/peers.py [--rounds 4] [--only flower flare fedward] [--tiny]

The arrays of DenseNet121 that a Fedward job sends, as float32; three sites, one machine, real processes on loopback.
Flower is installed by pip into an environment of its own in a temporary folder; where pip cannot, its rows say so. It
runs as SuperLink and three SuperNodes over TLS, on the arrays as they are, on all in one array, and on a tiny model,
which shows what a round costs beside the model. Stock FLARE runs ``FedAvgRecipeWithHE`` with kits of its own
``HEBuilder``, for one round, since three sites and a server on one machine took all its memory in a second one; it is
stopped before no memory is left. The clients of both add a constant to the model and train nothing. Fedward's rounds
are those of ``encrypted_round.py``. The work of FLARE's filters (``encryption.py``) and of both masks is also timed
alone. ``--tiny`` tries the peers on the tiny model; it and ``--only`` write nothing. Prints the tables and writes
``bench/results/peers.md``.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stdout, suppress
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
from encrypted_round import job_of, measured_job
from encryption import once
from encryption_ends import PATIENTS, STOCK
from machine import machine
from masks import graph_of, measured
from nvflare.app_opt.pt.recipes import FedAvgRecipeWithHE
from nvflare.fuel.flare_api.flare_api import new_secure_session
from nvflare.lighter.impl.cert import CertBuilder
from nvflare.lighter.impl.he import HEBuilder
from nvflare.lighter.impl.signature import SignatureBuilder
from nvflare.lighter.impl.static_file import StaticFileBuilder
from nvflare.lighter.impl.workspace import WorkspaceBuilder
from nvflare.lighter.provision import prepare_project
from nvflare.lighter.provisioner import Provisioner

from fedward.demo.federate import LEAD, federation_of
from fedward.errors import FederationError
from fedward.flare.kits.central import Kits
from fedward.flare.local_federation import MARK, STOP_S, LocalFederation, free_port, interruptible, marked
from fedward.settings import FederationSpec, JobEncryption
from fedward.training.networks import initial_weights

RESULTS = Path(__file__).resolve().parent / "results" / "peers.md"
HOST, SITES, STEP, TINY = "127.0.0.1", len(PATIENTS), 0.001, 10
SPARE = 3 * 2**29
"""Bytes of free memory below which FLARE's federation is stopped."""
Noted = dict[str, Any]
INCLUDED = (
    "**Flower**: one fit of `DefaultWorkflow`, by the server's clock; the client adds a constant. TLS with the "
    "server's certificate only. SuperExec starts a new Python process for each message to a client, four in a round of "
    "SecAgg+, and SuperNode, SuperExec and the grid ask at fixed intervals; the row of the tiny model shows what that "
    "costs. SecAgg+ with its default quantisation; each client has the largest weight. Bytes up are all objects of a "
    "client's replies, bytes down are the model's arrays; HTTP, TLS and the keys that go down are not counted.",
    "**stock FLARE**: from `Round 0 started` to `Round 0 finished` in the server's log; mutual TLS. In a first round "
    "the model goes down in the clear, nothing is decrypted, and the training script starts. Bytes up are those that "
    "FLARE's client logs.",
    "**Fedward**: from a round's question to its close, less the slowest site's training and validation; mutual TLS. "
    "Every check of the site and the server is in it.",
    "Not in any figure: starting the federation, a network's delay, training, and a lost site.",
)
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
one = false
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
        model = [content[name] for name in content.files]
    if given["one"]:
        model = [np.concatenate([array.ravel() for array in model])]
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
    moved = given["step"] * given["rounds"] * (1 + sites) / 2
    wrong = max(float(np.abs(new - old - moved).max()) for new, old in zip(last, model, strict=True))
    part = folder / "server.part"
    size = sum(array.size for array in model)
    part.write_text(json.dumps({"rounds": rounds, "wrong": wrong / moved, "parameters": size}))
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


def client(context):
    return Client(context.run_config["step"] * context.node_config["site"]).to_client()


app = ClientApp(client_fn=client, mods=[noted])
''',
}


FLARE_JOB = {
    "peer_arrays.py": '''
"""The model's arrays as a network that PyTorch can save."""

import numpy as np
import torch


class Arrays(torch.nn.Module):
    def __init__(self, path):
        super().__init__()
        with np.load(path, allow_pickle=False) as content:
            arrays = [torch.nn.Parameter(torch.from_numpy(content[name])) for name in content.files]
        self.arrays = torch.nn.ParameterList(arrays)
''',
    "peer_train.py": '''
"""Add a constant to the model."""

import sys

import nvflare.client as flare
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType

flare.init()
step = float(sys.argv[1])
while flare.is_running():
    params = {name: array + step for name, array in flare.receive().params.items()}
    flare.send(FLModel(params=params, params_type=ParamsType.FULL, meta={"NUM_STEPS_CURRENT_ROUND": 1}))
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
            found = flower(folder, rounds=given.rounds, tiny=given.tiny)
            rows, steps, versions = rows + found[0], steps + found[1], [*versions, *found[2]]
        if "flare" in given.only:
            rows.append(flare(folder, parameters))
            steps.append(stock(folder))
        if "fedward" in given.only:
            rows += fedward(given.rounds)
            steps.append(masks(parameters))
    text = page(rows, steps, given, parameters=parameters, versions=versions, load=load, began=started)
    print(text)
    if not given.tiny and len(given.only) == 3:
        RESULTS.write_text(text + "\n", encoding="utf-8")


def write(folder: Path, *, tiny: bool) -> int:
    """Write the model and three sites' models, which differ in every array; return how many parameters it has.

    Flower does not send an array again that the receiver already has, so no two may be alike.
    """
    random = np.random.default_rng(0)
    weights = (
        {f"array-{n}": np.zeros(100, np.float32) for n in range(TINY)} if tiny else initial_weights(job_of(1, None))
    )
    model = {
        name: (array + random.normal(scale=0.001, size=array.shape)).astype(np.float32)
        for name, array in weights.items()
    }
    np.savez(folder / "global.npz", **model)
    for number, site in enumerate(PATIENTS, start=1):
        np.savez(folder / f"{site}.npz", **{name: array + np.float32(STEP * number) for name, array in model.items()})
    return sum(array.size for array in model.values())


def fedward(rounds: int) -> list[Row]:
    """Measure Fedward's federations: in the clear and masked."""
    return [
        Row(name="Fedward, in the clear", seconds=measured_job(job_of(rounds, None)).rounds),
        Row(name="Fedward, masked", seconds=measured_job(job_of(rounds, JobEncryption(scheme="masked"))).rounds),
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
        how="`masks.py`: numbers in, seal, help, open; the server adds and takes the masks off",
    )


def stock(folder: Path) -> Steps:
    """Time stock FLARE's filters alone, once."""
    found = once(folder, STOCK)
    how = "`encryption.py`, once: encrypt, serialise and decrypt; the server reads three messages, adds and serialises"
    return Steps(name="stock FLARE, CKKS", site_s=found["client_s"], server_s=found["server_s"], how=how)


def flare(folder: Path, parameters: int) -> Row:
    """Run one round of stock FLARE's encrypted FedAvg in real processes."""
    name, work = "stock FLARE, CKKS, first round", folder / "flare"
    try:
        kits, spec = flare_kits(work)
        with LocalFederation(spec, kits, threads=1) as running:
            for process in running.processes():  # if memory runs out, these go first
                Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000")
            flare_job(work, folder / "global.npz", kits, running)
            rounds = await_flare(kits, running)
    except (PeerError, FederationError) as error:
        return Row(name=name, missing=str(error).replace("\n", " "))
    logs = [(kit / "console.log").read_text(errors="replace") for kit in kits.sites.values()]
    sent = [int(size) for log in logs for size in re.findall(r"SubmitUpdate to: server\..*\((\d+) Bytes\)", log)]
    return Row(name=name, seconds=[rounds], up=statistics.median(sent) / parameters if sent else None)


def flare_kits(work: Path) -> tuple[Kits, FederationSpec]:
    """Provision with FLARE's own builders, ``HEBuilder`` among them."""
    spec, sites = federation_of(list(PATIENTS), port=free_port()), list(PATIENTS)
    server = {"name": spec.server.host, "type": "server", "org": "operator"}
    server |= {"fed_learn_port": spec.server.port, "admin_port": spec.server.port}
    clients = [{"name": site, "type": "client", "org": site} for site in sites]
    lead = {"name": LEAD, "type": "admin", "org": "operator", "role": "lead"}
    project = {"api_version": 3, "name": "peer", "description": "", "participants": [server, *clients, lead]}
    files = StaticFileBuilder(config_folder="config", scheme="grpc")
    builders = [WorkspaceBuilder(), files, CertBuilder(), HEBuilder(), SignatureBuilder()]
    with redirect_stdout(io.StringIO()):
        made = Provisioner(str(work / "kits"), builders).provision(prepare_project(project))
    root = Path(made["current_prod_dir"])
    kits = {site: root / site for site in sites}
    return Kits(folder=root, server=root / spec.server.host, sites=kits, people={LEAD: root / LEAD}), spec


def flare_job(work: Path, model: Path, kits: Kits, running: LocalFederation) -> None:
    """Export the recipe with a model and a training script, wait for the sites, and submit it."""
    for path, text in FLARE_JOB.items():
        (work / path).write_text(text, encoding="utf-8")
    network = {"class_path": "peer_arrays.Arrays", "args": {"path": str(model)}}
    script = str(work / "peer_train.py")
    with redirect_stdout(io.StringIO()), chdir(work):
        recipe = FedAvgRecipeWithHE(
            name="peer", model=network, min_clients=SITES, num_rounds=1, train_script=script, train_args=str(STEP)
        )
        recipe.export(str(work / "jobs"))
    for app in (work / "jobs" / "peer").glob("app*"):
        (app / "custom").mkdir(exist_ok=True)
        shutil.copy(work / "peer_arrays.py", app / "custom")
    session = new_secure_session(LEAD, str(kits.people[LEAD]), timeout=START_S)
    try:
        end = time.monotonic() + START_S
        while len(session.get_connected_client_list()) < SITES:
            running.check()
            if time.monotonic() > end:
                raise PeerError("the sites do not connect")
            time.sleep(0.2)
        session.submit_job(str(work / "jobs" / "peer"))
    finally:
        session.close()


def await_flare(kits: Kits, running: LocalFederation) -> float:
    """Return the seconds of the first round, by the server's log.

    Raises:
        PeerError: the round takes too long, or the machine's memory is nearly used up.
    """
    log, end, times = kits.server / "console.log", time.monotonic() + START_S + ROUND_S, list[datetime]()
    while len(times) < 2:
        running.check()
        if psutil.virtual_memory().available < SPARE:
            raise PeerError("stopped: the machine has too little memory")
        if time.monotonic() > end:
            raise PeerError(f"a round was not finished: {last_line(log)}")
        time.sleep(0.2)
        found = re.findall(r"^(\S+ \S+) - ScatterAndGather - .* Round 0 (?:started|finished)\.", log.read_text(), re.M)
        times = [datetime.strptime(f"{text}000+0000", "%Y-%m-%d %H:%M:%S,%f%z") for text in found]
    return (times[1] - times[0]).total_seconds()


def flower(folder: Path, *, rounds: int, tiny: bool) -> tuple[list[Row], list[Steps], list[str]]:
    """Measure Flower's rounds, plain and with SecAgg+; return its rows and its version."""
    names = {False: "Flower, plain", True: "Flower, SecAgg+"}
    try:
        installed = install(folder / "flower")
    except PeerError as error:
        return [Row(name=name, missing=f"not installed here: {error}") for name in names.values()], [], []
    rows, steps = list[Row](), list[Steps]()
    write_certificates(folder)
    (folder / "small").mkdir()
    small = write(folder / "small", tiny=True)
    kinds = {
        "": (folder, False),
        ", all in one array": (folder, True),
        f", {small:,} parameters": (folder / "small", True),
    }
    for secure, name in names.items():
        for kind, (models, one) in kinds.items() if not tiny else [("", kinds[""])]:
            work = folder / f"flower-{len(rows)}"
            try:
                server, sites = federation(
                    installed, folder, work, models / "global.npz", secure=secure, one=one, rounds=rounds
                )
            except PeerError as error:
                rows.append(Row(name=name + kind, missing=str(error)))
                continue
            rows.append(row_of(name + kind, server, sites))
            if secure and models == folder:
                steps.append(steps_of(name + kind, server, sites))
    return rows, steps, [f"flwr {installed.version}"]


def row_of(name: str, server: Noted, sites: Sequence[Sequence[Noted]]) -> Row:
    """Return the seconds of all rounds but the first, bytes up in the first and bytes down in the last."""
    last, parameters = len(server["rounds"]), server["parameters"]
    up = statistics.median(sum(one.get("up", 0) for one in site) for site in sites) / parameters
    down = statistics.median(sum(one["down"] for one in site if one["round"] == last) for site in sites) / parameters
    seconds = [one["wall_s"] for one in server["rounds"][1:]]
    return Row(name=name, seconds=seconds, up=up, down=down, error=server["wrong"])


def steps_of(name: str, server: Noted, sites: Sequence[Sequence[Noted]]) -> Steps:
    """Return the processor seconds of all rounds but the first."""
    numbers = range(2, len(server["rounds"]) + 1)
    own = [sum(one["client_s"] for one in site if one["round"] == number) for site in sites for number in numbers]
    server_s = statistics.median(one["server_s"] for one in server["rounds"][1:])
    how = "processor seconds in the rounds above: a client app's work in all four stages; the server's workflow"
    return Steps(name=name, site_s=statistics.median(own), server_s=server_s, how=how)


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
    installed: Flower, folder: Path, work: Path, model: Path, *, secure: bool, one: bool, rounds: int
) -> tuple[Noted, list[list[Noted]]]:
    """Run one federation of Flower's processes; return the server's notes and each client's.

    Raises:
        PeerError: a process ended, the rounds took too long, or the model is not the one that the clients made.
    """
    port = free_port(HOST)
    for path, text in FLOWER_APP.items():
        (work / "app" / path).parent.mkdir(parents=True, exist_ok=True)
        (work / "app" / path).write_text(text, encoding="utf-8")
    shutil.copy(model, work / "global.npz")
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
        nodes = [
            start(f"node-{number}", [*node, "--port", str(free_port(HOST)), "--node-config", f"site={number}"])
            for number in range(1, SITES + 1)
        ]
        config = f'folder="{work}" secure={str(secure).lower()} one={str(one).lower()} '
        config += f"rounds={rounds} sites={SITES} step={STEP}"
        asked = start("run", [installed.program("flwr"), "run", f"{work}/app", "here", "--run-config", config])
        wait(lambda: asked.poll() is not None, [*server, *nodes], START_S, "flwr run does not end", work)
        if asked.returncode:
            raise PeerError(f"flwr run ended with {asked.returncode}: {last_line(work / 'run.log')}")
        done = work / "server.json"
        wait(done.exists, [*server, *nodes], START_S + rounds * ROUND_S, f"{rounds} rounds were not finished", work)
    notes = json.loads(done.read_text())
    if notes["wrong"] > 0.5:
        raise PeerError(f"the model is wrong by {notes['wrong']:.0%} of the clients' steps: a round was not aggregated")
    return notes, [[json.loads(line) for line in path.read_text().splitlines()] for path in work.glob("*.client")]


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
        f"load {load:.1f} before and {os.getloadavg()[0]:.1f} after. DenseNet121's {parameters:,} parameters as "
        "float32 unless a row says otherwise, three sites and the server on one machine, real processes on loopback. "
        "Medians of all rounds but the first.",
        "",
        "| a round | median s | lowest | highest | rounds | bytes up | bytes down | error |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *map(line_of, rows),
        "",
        "Bytes are a parameter's and a site's. Error: the largest of any parameter after the last round, as a part of "
        "what the clients added in all rounds.",
        "",
        "| work alone, no transport | a site s | the server s | how |",
        "|---|---:|---:|---|",
        *(f"| {one.name} | {one.site_s:.2f} | {one.server_s:.2f} | {one.how} |" for one in steps),
        "",
        *(f"- {line}" for line in INCLUDED),
    ]
    return "\n".join(lines)


def line_of(row: Row) -> str:
    """Return a row of the first table."""
    if not row.seconds:
        return f"| {row.name} | {row.missing} | | | | | | |"
    up, down, error = (
        "" if value is None else format(value, how)
        for value, how in ((row.up, ".2f"), (row.down, ".2f"), (row.error, ".1e"))
    )
    median, lowest, highest = statistics.median(row.seconds), min(row.seconds), max(row.seconds)
    return (
        f"| {row.name} | {median:.2f} | {lowest:.2f} | {highest:.2f} | {len(row.seconds)} | {up} | {down} | {error} |"
    )


if __name__ == "__main__":
    main()
