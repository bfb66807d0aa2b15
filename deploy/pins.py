"""The pinned libraries of ``constraints.txt``: when each was released, and when the list was last resolved.

    python deploy/pins.py           what `make check` prints; no network. Fails for a pin without a date, never for age
    python deploy/pins.py --date    write the dates of new pins; asks the package index through uv

It also reports what replaces a dependency audit. An audit needs a database of advisories, and none was found in a
package that is fit for use: see ``AUDIT``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s#]+)(?:  # (?P<date>\d{4}-\d\d-\d\d))?")
RESOLVED = re.compile(r"# Resolved on (\d{4}-\d\d-\d\d)\.", flags=re.MULTILINE)
DATABASE_ENDS = date(2021, 7, 1)
"""The newest entry of safety-db 2021.7.17, the last one on PyPI, by its own time stamp."""
AUDIT = (
    "no dependency audit ran: no package was found that ships a database of Python advisories fit for use. safety-db's "
    "ends at {ends}, before {after} of these {all} releases, and is not for commercial use (CC BY-NC-SA 4.0); "
    "pip-audit, safety, skjold and osv-offline download theirs. Where there is a network: "
    "pip-audit --strict --no-deps --disable-pip -r constraints.txt"
)


def read(text: str) -> dict[str, tuple[str, date | None]]:
    """Version and release date of each library.

    Raises:
        ValueError: a line is neither a comment nor a pin, or a library is named twice.
    """
    pins: dict[str, tuple[str, date | None]] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        found = PIN.fullmatch(line)
        if found is None or found["name"] in pins:
            raise ValueError(f"constraints.txt: not a pin, or a second one: {line!r}; write NAME==VERSION")
        pins[found["name"]] = found["version"], found["date"] and date.fromisoformat(found["date"])
    return pins


def resolved(text: str) -> date:
    """The day on which the list was last resolved.

    Raises:
        ValueError: it does not say so, once.
    """
    found = RESOLVED.findall(text)
    if len(found) != 1:
        raise ValueError("constraints.txt: does not say when it was resolved; run `python deploy/pins.py --date`")
    return date.fromisoformat(found[0])


def ages(text: str, *, today: date) -> str:
    """Return the line on the list's ages, and on an audit.

    Raises:
        ValueError: a pin has no date, or one after the list was resolved.
    """
    on, pins = resolved(text), read(text)
    dates = {name: released for name, (_, released) in pins.items() if released is not None}
    undated = sorted(pins.keys() - dates.keys())
    late = sorted(name for name, released in dates.items() if released > on)
    if undated or late:
        raise ValueError(
            f"constraints.txt: without a release date: {', '.join(undated + late)}; run `deploy/pins.py --date`"
        )
    first, last = (pick(dates, key=lambda name: (dates[name], name)) for pick in (min, max))
    return (
        f"constraints.txt: {len(pins)} pinned libraries, resolved on {on}, {(today - on).days} days ago; "
        f"released from {dates[first]} ({first}) to {dates[last]} ({last})\n"
    ) + AUDIT.format(ends=DATABASE_ENDS, after=sum(one > DATABASE_ENDS for one in dates.values()), all=len(dates))


def dated(text: str, released: dict[str, date], *, today: date) -> str:
    """The list with a date beside each pin. It counts as resolved today where a pin had none.

    Args:
        released: by normalised name, for every pin.
    """
    pins = read(text)
    on = today if any(at is None for _, at in pins.values()) else resolved(text)
    lines = [
        f"{found['name']}=={found['version']}  # {released[normal(found['name'])]}"
        if (found := PIN.fullmatch(line))
        else line
        for line in text.splitlines()
    ]
    written = "\n".join(lines) + "\n"
    return (
        RESOLVED.sub(f"# Resolved on {on}.", written) if RESOLVED.search(written) else f"# Resolved on {on}.\n{written}"
    )


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def ask_index(constraints: Path) -> dict[str, date]:
    """When the first file of each pinned release was uploaded, by normalised name."""
    if (uv := shutil.which("uv")) is None:
        raise ValueError("uv is not installed, which reads upload times; `pip install uv`")
    command = [uv, "pip", "compile", "--quiet", "--no-deps", "--format", "pylock.toml", str(constraints)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"uv cannot look the pins up: {done.stderr.strip().splitlines()[-1:]}")
    return {one["name"]: _uploaded(one) for one in tomllib.loads(done.stdout)["packages"]}


def _uploaded(package: dict[str, Any]) -> date:
    files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
    times: list[datetime] = [file["upload-time"] for file in files if "upload-time" in file]
    if not times:
        raise ValueError(f"{package['name']}: the package index does not say when it was uploaded")
    return min(times).date()


def main(arguments: list[str], *, constraints: Path = CONSTRAINTS, today: date | None = None) -> int:
    """Exit code; what is wrong goes to standard error in one line."""
    today = date.today() if today is None else today
    try:
        text = constraints.read_text(encoding="utf-8")
        if arguments == ["--date"]:
            constraints.write_text(dated(text, ask_index(constraints), today=today), encoding="utf-8")
            text = constraints.read_text(encoding="utf-8")
        print(ages(text, today=today))
    except ValueError as error:
        print(f"fedward: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
