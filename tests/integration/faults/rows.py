"""Write the rehearsal's table, ``build/rehearsal.md``: one line a fault, also for a promise that was not kept."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.conftest import ROOT

BUILD = ROOT / "build" / "rehearsal"
HEAD = "| fault | promised | happened | seconds | rounds lost | ε right | who was told what |\n" + "|---" * 7 + "|\n"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    fault: str
    promised: str
    happened: str
    seconds: str
    lost: str
    epsilon: str
    told: str

    def write(self) -> None:
        """Keep the line, and write the table of all that are kept."""
        BUILD.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"\W+", "-", self.fault)
        (BUILD / f"{name}.json").write_text(json.dumps(asdict(self)))
        kept = [json.loads(path.read_text()) for path in sorted(BUILD.glob("*.json"))]
        lines = ["| " + " | ".join(value.replace("|", "/") for value in one.values()) + " |\n" for one in kept]
        table = BUILD.with_suffix(".md")
        draft = table.with_suffix(f".{os.getpid()}")
        draft.write_text(HEAD + "".join(lines))
        draft.replace(table)


def forget() -> None:
    """Remove the lines of an earlier run."""
    for path in BUILD.glob("*.json") if BUILD.is_dir() else ():
        Path(path).unlink()
