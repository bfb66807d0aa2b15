"""One federation for all faults that leave it whole, and the player of a fault."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from fedward.demo.compare import load_model
from fedward.dicom.synthetic.hospital import HOSPITALS
from fedward.errors import FedwardError
from fedward.flare.kits.central import Kits
from fedward.flare.supervisor.single_process import CHECKPOINTS
from fedward.reporting.result import read_result
from fedward.settings import JobSpec, parse
from fedward.weights import MODEL_FILE, Weights
from tests.conftest import tiny_job_content
from tests.integration.conftest import index_all, small_hospitals, started
from tests.integration.faults.fault import Fault
from tests.integration.faults.jobs import plain
from tests.integration.faults.play import LIMIT_S, SERVER, Federation, Play, played, wait_for
from tests.integration.faults.rows import Row, forget
from tests.integration.faults.views import broken, lost, repeated, seconds
from tests.support.federation.site_line import Line

VICTIM = sorted(one.site for one in HOSPITALS)[1]
SMALL_MB = 48
Player = Callable[[Fault], Play]


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """Three hospitals, the victim behind a line of its own, and its processes may lie.

    For root, the victim's folder and the server's checkpoints are small file systems.
    """
    forget()
    folder, full, line = tmp_path_factory.mktemp("faults"), dict[str, Path](), Line()
    lies = folder / "lies"
    lies.mkdir()
    with ExitStack() as held, pytest.MonkeyPatch.context() as patch:
        held.callback(line.close)
        patch.setenv("PYTHONPATH", str(Path(__file__).parent / "liar"), prepend=os.pathsep)
        patch.setenv("FEDWARD_LIES", str(lies))

        def small(path: Path, who: str) -> None:
            path.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0 and _mounted(path):
                held.callback(subprocess.run, ["umount", "--lazy", str(path)], check=False)
                full[who] = path

        small(folder / "sites" / VICTIM, VICTIM)
        job = parse(JobSpec, tiny_job_content(), where="tiny")
        hospitals = index_all(small_hospitals(folder / "data"), folder / "sites", job)

        def prepare(kits: Kits) -> None:
            small(kits.server / CHECKPOINTS, SERVER)
            line.lay(kits.sites[VICTIM])

        with started(hospitals, folder / "federation", prepare=prepare) as running:
            yield Federation(running, VICTIM, line, lies, full)


def _mounted(path: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_MB}m,mode=700", "tmpfs", str(path)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def undisturbed(federation: Federation, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """The final model of ``plain`` without any fault."""
    federation.mend()
    with played(federation, plain("undisturbed"), tmp_path_factory.mktemp("undisturbed")) as play:
        assert play.follower.wait(LIMIT_S) == 0, play.said()
    return load_model(play.result / "workspace" / MODEL_FILE)


@pytest.fixture
def player(federation: Federation, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Player]:
    """Play a fault, write its line, and fail where a promise was not kept."""
    federation.mend()

    def play_it(fault: Fault) -> Play:
        model = request.getfixturevalue("undisturbed") if fault.promised.same_model else None
        name = "fault_" + re.sub(r"\W+", "_", fault.name.lower())[:40].strip("_")
        with fault.around(federation), played(federation, fault.job(name), tmp_path) as play:
            problems, ended = _problems(play, fault)
        problems += broken(play, fault.promised, undisturbed=model) if ended else []
        _row(play, fault, problems).write()
        assert not problems, "\n".join([fault.name, *problems, "told:", *play.said()])
        return play

    yield play_it
    federation.mend()


def _problems(play: Play, fault: Fault) -> tuple[list[str], bool]:
    """What went otherwise than planned, and whether the job has ended; it is aborted otherwise."""
    problems = []
    play.begins()
    try:
        fault.when(play)
        play.begins()
        fault.does(play)
    except AssertionError as error:
        problems.append(str(error))
    try:
        wait_for(lambda: play.follower.poll() is not None, what="the job ends")
    except AssertionError as error:
        with suppress(FedwardError):
            play.federation.running.session.abort(play.job_id)
        return [*problems, str(error)], False
    return problems, True


def _row(play: Play, fault: Fault, problems: list[str]) -> Row:
    private = play.job.privacy.mechanism == "dp-sgd"
    wrong = [one for one in problems if "ε" in one or "charge" in one or "ledger" in one]
    took, missed = "-", "-"
    if play.result.is_dir():
        _, events = read_result(play.result)
        took = f"{seconds(play, fault.promised):.1f}"
        sites = play.federation.running.kits.sites
        missed = ", ".join(f"{site} {lost(events, site)}" for site in sites if lost(events, site)) or "none"
        twice = repeated(play, events)
        missed += f"; {twice} paid twice" if twice else ""
    said = dict.fromkeys(
        line
        for line in play.said()
        if not line.startswith(("read it with", "running", "starting", "Connecting", "the server closes"))
    )
    return Row(
        fault=fault.name,
        promised=fault.promised.words,
        happened="as promised" if not problems else "; ".join(problems),
        seconds=took,
        lost=missed,
        epsilon=("no" if wrong else "yes") if private else "no noise",
        told=" / ".join(said) or "nothing",
    )
