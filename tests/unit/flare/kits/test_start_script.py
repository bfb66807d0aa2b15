"""Run the start scripts of real kits with a stand-in for FLARE's process: how each of its ends looks from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from fedward.errors import FederationError
from fedward.flare.kits.central import Kits
from fedward.flare.kits.start_script import CHANGES, RESTART, close_start, require_start
from fedward.provisioning.validity import NOT_VALID
from tests.support.kits import central_kits

FLARE = """\
#!/bin/bash
# stand-in: does the next line of $PLAN/acts in the kit, as FLARE's process would, and then ends
echo "$$ $*" >> "$PLAN/started"
cd "$KIT"
act=$(sed -n "$(wc -l < "$PLAN/started")p" "$PLAN/acts")
eval "$act"
"""
RESTARTS, SHUTS_DOWN = "touch restart.fl", "touch shutdown.fl"
RUNS = "trap 'echo ended >> $PLAN/ended; exit 143' TERM; echo up >> $PLAN/up; while :; do /bin/sleep 0.05; done"


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Kits:
    return central_kits(tmp_path_factory.mktemp("kits"))


@pytest.fixture(params=["site", "server"])
def kit(request: pytest.FixtureRequest, kits: Kits) -> Path:
    return kits.server if request.param == "server" else kits.sites["north"]


def begin(
    kit: Path, plan: Path, acts: Sequence[str], *words: str, script: Path | None = None, **environment: str
) -> subprocess.Popen[str]:
    """Start the kit's script as a service manager does, or another one."""
    tools = plan / "bin"
    tools.mkdir()
    for name, text in (("python3", FLARE), ("sleep", "#!/bin/bash\nexec /bin/sleep 0.05\n")):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (plan / "acts").write_text("\n".join(acts) + "\n")
    return subprocess.Popen(
        ["/bin/bash", str(script or kit / "startup" / "sub_start.sh"), *words],
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PLAN": str(plan), "KIT": str(kit)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(kit: Path, plan: Path, acts: Sequence[str], *words: str, script: Path | None = None) -> tuple[int, int]:
    """Exit code of the script, and the number of times that it started FLARE."""
    service = begin(kit, plan, acts, *words, script=script)
    service.communicate(timeout=30)
    return service.returncode, len((plan / "started").read_text().splitlines())


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (RESTARTS, RESTART),
        (f"{RESTARTS}; exit 1", RESTART),
        (SHUTS_DOWN, 0),
        (f"{SHUTS_DOWN}; exit 1", 0),
        (f"{RESTARTS}; {SHUTS_DOWN}", 0),
        (f"exit {NOT_VALID}", NOT_VALID),
        ("exit 0", 0),
        ("exit 101", 101),
        ("kill -9 $$", 128 + signal.SIGKILL),
    ],
)
def test_one_run_ends_with_a_code_that_says_whether_to_start_again(
    kit: Path, tmp_path: Path, act: str, code: int
) -> None:
    assert run(kit, tmp_path, [act], "--once") == (code, 1)


def test_a_file_of_an_earlier_run_decides_nothing(kit: Path, tmp_path: Path) -> None:
    for name in ("restart.fl", "shutdown.fl"):
        (kit / name).touch()
    assert run(kit, tmp_path, ["exit 3"], "--once")[0] == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_script_stops_flares_process_and_is_no_failure(
    kit: Path, tmp_path: Path, number: signal.Signals
) -> None:
    service = begin(kit, tmp_path, [RUNS], "--once")
    while not (tmp_path / "up").exists():
        time.sleep(0.02)
    service.send_signal(number)
    service.communicate(timeout=60)
    assert service.returncode == 0
    assert (tmp_path / "ended").exists(), "FLARE's process got the signal, and was waited for"


@pytest.mark.parametrize("container", [False, True])
def test_a_signal_at_any_moment_of_the_start_leaves_no_process(
    root: Path, kit: Path, tmp_path: Path, container: bool
) -> None:
    """FLARE's process has the script's output open: it is at its end only when no process is left."""
    script = container_script(root, kit, tmp_path) if container else None
    (tmp_path / "slow").write_text("[[ $0 != *.sh ]] || trap '/bin/sleep 0.01' DEBUG\n")
    services = []
    for number in range(30):
        plan = tmp_path / str(number)
        plan.mkdir()
        services.append(begin(kit, plan, [RUNS], "--once", script=script, BASH_ENV=str(tmp_path / "slow")))
        time.sleep(number / 100)
        services[-1].send_signal(signal.SIGTERM)
    for service in services:
        service.communicate(timeout=60)
        assert service.returncode in (0, -signal.SIGTERM), "the second: before the script heeds signals"


@pytest.mark.parametrize(
    ("acts", "code", "started"),
    [
        ([RESTARTS, SHUTS_DOWN], 0, 2),
        (["kill -9 $$", "exit 0", SHUTS_DOWN], 0, 3),
        ([SHUTS_DOWN], 0, 1),
        ([f"exit {NOT_VALID}"], NOT_VALID, 1),
        ([RESTARTS, f"exit {NOT_VALID}"], NOT_VALID, 2),
    ],
)
def test_the_loop_of_start_sh_starts_again_unless_it_is_shut_down_or_a_certificate_is_not_valid(
    kit: Path, tmp_path: Path, acts: list[str], code: int, started: int
) -> None:
    assert run(kit, tmp_path, acts) == (code, started)
    left = {path.name for path in kit.iterdir() if path.suffix == ".fl"}
    assert not left, "the next start finds no trace"


@pytest.mark.parametrize("change", range(len(CHANGES)))
def test_another_script_of_flare_is_not_changed_by_guess(kit: Path, tmp_path: Path, change: int) -> None:
    """Undo all changes of a script, and one part of FLARE's own."""
    text = (kit / "startup" / "sub_start.sh").read_text().partition("DIR=")[2]
    text = f"#!/usr/bin/env bash\nDIR={text}"
    for flares, ours in reversed(CHANGES):
        anchor = 'echo "PYTHONPATH is $PYTHONPATH"\n'
        text = text.replace(ours, flares, 1) if ours else text.replace(anchor, f"{flares}{anchor}", 1)
    script = tmp_path / "sub_start.sh"
    script.write_text(text)
    close_start(script)
    require_start(script)
    assert script.read_text() == (kit / "startup" / "sub_start.sh").read_text()
    script.write_text(text.replace(CHANGES[change][0], "", 1))
    with pytest.raises(FederationError, match="another start script"):
        close_start(script)


@pytest.mark.parametrize("change", [1, 2])
def test_a_kit_whose_restart_would_leave_it_down_is_noticed(kit: Path, tmp_path: Path, change: int) -> None:
    flares, ours = CHANGES[change]
    script = tmp_path / "sub_start.sh"
    script.write_text((kit / "startup" / "sub_start.sh").read_text().replace(ours, flares))
    with pytest.raises(FederationError, match="stay down after a restart"):
        require_start(script)


def test_service_managers_know_the_codes(root: Path) -> None:
    unit = (root / "deploy/systemd/fedward@.service").read_text(encoding="utf-8").splitlines()
    assert {"Restart=on-failure", f"RestartForceExitStatus={RESTART}", f"RestartPreventExitStatus={NOT_VALID}"} <= {
        *unit
    }
    entry = (root / "deploy/containers/entry.sh").read_text(encoding="utf-8")
    assert f'"$code" = {RESTART} ' in entry


@pytest.mark.parametrize(
    ("acts", "code", "started"),
    [
        ([RESTARTS, RESTARTS, SHUTS_DOWN], 0, 3),
        ([RESTARTS, f"exit {NOT_VALID}"], NOT_VALID, 2),
        (["kill -9 $$"], 137, 1),
    ],
)
def test_a_container_goes_on_after_a_restart_and_ends_otherwise(
    root: Path, kit: Path, tmp_path: Path, acts: list[str], code: int, started: int
) -> None:
    assert run(kit, tmp_path, acts, script=container_script(root, kit, tmp_path)) == (code, started)


def container_script(root: Path, kit: Path, folder: Path) -> Path:
    """The container's first process, for a kit that is elsewhere than in a container."""
    entry = (root / "deploy/containers/entry.sh").read_text(encoding="utf-8")
    assert "/kit/startup/sub_start.sh" in entry
    (folder / "entry.sh").write_text(entry.replace("/kit/startup/", f"{kit}/startup/"))
    return folder / "entry.sh"
