"""Change the start script of a site or a server, which FLARE writes: TLS 1.3 alone, no code of the kit, an honest end.

FLARE's script ends with the exit code 0 after a console's ``restart`` and after ``shutdown``, so that a service manager
cannot tell them apart. With ``--once`` the script now waits for FLARE's process and ends as follows:

| end | file in the kit | exit code | systemd, compose, start.sh |
|---|---|---|---|
| ``shutdown`` in the console, or a signal to stop | ``shutdown.fl``, or none | 0 | stays down |
| ``restart`` in the console | ``restart.fl`` | 75 | up again |
| a certificate that is not valid | none | 78 | stays down |
| anything else | none | FLARE's own; 128 + the signal that killed it | up again unless 0 |

In Kubernetes a pod whose container ended is always started again. The codes are those of BSD's ``sysexits.h``:
EX_TEMPFAIL and EX_CONFIG.
"""

from __future__ import annotations

from pathlib import Path

from fedward.errors import FederationError
from fedward.flare.listener.tls13 import CIPHERS, VARIABLE
from fedward.provisioning.validity import NOT_VALID
from fedward.screen import UTF8_CHILD

RESTART = 75
"""Exit code of the start script after a console's ``restart``."""
_ANEW = "make the kit anew"
_EXPORT = f'export {VARIABLE}="{CIPHERS}"\n'
_SAFE_PATH = "export PYTHONSAFEPATH=1\n"
"""Line that stops Python from importing from a process's working folder, which is the kit."""
_UTF8 = "".join(f"export {name}={value}\n" for name, value in UTF8_CHILD.items())
"""Lines that make FLARE's files and logs UTF-8 in every locale: it names no encoding."""
_CODE_PATH = "export PYTHONPATH=/local/custom:$PYTHONPATH\n"
"""Line of FLARE's script. If nothing was set before, its empty last part means the process's working folder."""
_JOB_SETTINGS = "config_folder=config"

_FLARE_ONCE = """\
  start_python
  exit $?
"""
_ONCE = f"""\
  stopped=
  trap 'stopped=1' TERM INT HUP
  exec {{tick}}<> <(:)
  start_python &
  service=$!
  while kill -0 "$service" 2> /dev/null; do
    [[ -z "$stopped" ]] || kill -TERM "$service" 2> /dev/null
    read -rt 0.2 -u "$tick"
  done
  wait "$service"
  code=$?
  if [[ -n "$stopped" || -f "$WORKSPACE/shutdown.fl" ]]; then
    exit 0
  fi
  if [[ -f "$WORKSPACE/restart.fl" ]]; then
    echo "fedward: the console asked for a restart"
    exit {RESTART}
  fi
  exit "$code"
"""
"""End of the script with ``--once``. A signal is heeded before FLARE starts, and passed on until it has ended:
bash may not wake from ``wait`` for a signal that comes just before it, and a child just made may swallow one. It waits
on a pipe that nobody writes to: ``sleep`` would be a process, which a full machine refuses."""
_FLARE_GONE = """\
    if [[ -f "$WORKSPACE/shutdown.fl" ]]; then
      echo "Gracefully shutdown."
"""
_GONE = f"""\
    wait "$pid" 2> /dev/null
    if [[ $? -eq {NOT_VALID} ]]; then
      echo "fedward: a certificate is not valid; not started again"
      rm -f "$WORKSPACE/pid.fl" "$WORKSPACE/shutdown.fl" "$WORKSPACE/restart.fl" "$WORKSPACE/daemon_pid.fl"
      exit {NOT_VALID}
    fi
{_FLARE_GONE}"""
"""Beginning of the loop's part for a process that is gone: the loop of ``start.sh`` starts everything else again."""

CHANGES = ((_CODE_PATH, ""), (_FLARE_ONCE, _ONCE), (_FLARE_GONE, _GONE))
"""Parts of FLARE's script, each there once, and their replacements."""


def close_start(script: Path) -> None:
    """Make a start script use TLS 1.3 only, give Python no path to code in the kit, and end as the table says.

    Raises:
        FederationError: FLARE writes another script than this module knows.
    """
    first, rest = script.read_text(encoding="utf-8").split("\n", 1)
    for flares, ours in CHANGES:
        if rest.count(flares) != 1:
            raise FederationError("FLARE writes another start script than Fedward closes", where=script)
        rest = rest.replace(flares, ours)
    script.write_text(f"{first}\n{_EXPORT}{_SAFE_PATH}{_UTF8}{rest}", encoding="utf-8")


def require_start(script: Path) -> None:
    """Refuse a start script that this module did not change.

    Raises:
        FederationError: names the script, and the part that is missing.
    """
    text = script.read_text(encoding="utf-8")
    if _EXPORT not in text:
        raise FederationError("kit would take TLS 1.2", where=script, remedy=_ANEW)
    if _SAFE_PATH not in text or "/local/custom" in text:
        raise FederationError("kit would import code from its own folder", where=script, remedy=_ANEW)
    if _JOB_SETTINGS not in text.split():
        raise FederationError("kit would not find its jobs' settings", where=script, remedy=_ANEW)
    if _ONCE not in text or _GONE not in text:
        raise FederationError("kit would stay down after a restart by the console", where=script, remedy=_ANEW)
