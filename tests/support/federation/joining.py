"""Hospitals that join by the distributed way: the operator's desk, each participant's machine, and what goes between.

Every machine is a folder. A command is given only what lies in its own folder; a file that people send each other is
copied, and a fingerprint that they read over the telephone is passed on as a word.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import uuid
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

from fedward import cli
from fedward.errors import FederationError
from fedward.flare.kits.central import Kits
from fedward.metrics.store import STORE_FILE
from fedward.provisioning.network.health import hello
from tests.conftest import ROOT

LOGS = ("audit.log", "console.log", "error_log.txt", "log.json", "log.txt", "log_fl.txt")
LOGS += tuple(f"{STORE_FILE}{end}" for end in ("", "-wal", "-shm"))
"""Files at a kit's top that its processes write; they also write ``audit/``, ``storage/`` and a folder for each job."""


def fedward(*words: str | Path) -> str:
    """Return the output of ``fedward <words>``; it must succeed."""
    code, printed = ending(*words)
    assert code == 0, f"fedward {' '.join(map(str, words))}\n{printed}"
    return printed


def ending(*words: str | Path) -> tuple[int, str]:
    """Exit code of ``fedward <words>``, and what it prints."""
    printed, code = StringIO(), 0
    with redirect_stdout(printed), mock.patch.object(sys, "argv", ["fedward", *map(str, words)]):
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, printed.getvalue()


def asked(*words: str | Path) -> Any:
    """The answer of ``fedward <words>`` to a script."""
    return json.loads(fedward(*words, "--format", "json"))


class Desk:
    """The operator's machine, with the federation's file on it.

    Args:
        folder: for all machines.
        file: the content of the federation's file, to which hospitals are added as lines.
    """

    def __init__(self, folder: Path, file: str) -> None:
        self._folder = folder
        self.file, self.out = folder / "operator" / "federation.yml", folder / "operator" / "out"
        self.file.parent.mkdir(parents=True)
        self.file.write_text(file)
        self.authority: dict[str, str] = {}

    def add_line(self, line: str) -> None:
        """Add a hospital to the end of the file's list of hospitals."""
        head, people = self.file.read_text().split("people:\n")
        self.file.write_text(f"{head}  - {line}\npeople:\n{people}")

    def machine(self, name: str) -> Path:
        """Folder of a participant's own machine."""
        return self._folder / name

    def kit(self, name: str) -> Path:
        """A participant's kit, which it made itself; a person's must have their name."""
        return self.machine(name) / name

    def join(self, name: str) -> Path:
        """Let a participant of the file join, from the invitation to the kit."""
        machine, of = self.machine(name), ("--file", self.file, "--out", self.out)
        machine.mkdir()
        invited = asked("federation", "invite", name, *of, "--templates", ROOT / "site_templates")
        invitation = shutil.copy(invited["invitation"], machine)
        requested = asked("site", "join", invitation, "--request", machine / "request")
        assert requested["authority"] == invited["authority"], "as read over the telephone"
        request = shutil.copy(requested["request"], self.file.parent)
        signed = asked("federation", "approve", request, *of, "--expect", requested["key"])["signed"]
        self.authority[name] = invited["authority"]
        assert self.take(name, signed) == "made"
        return self.kit(name)

    def take(self, name: str, signed: str) -> str:
        """Let a participant take what was signed for it; returns what that did to its kit."""
        machine = self.machine(name)
        sent = shutil.copy(signed, machine)
        words = ("--request", machine / "request", "--kit", self.kit(name), "--authority", self.authority[name])
        return str(asked("site", "join", sent, *words)["done"])


def seal_to(maker: Path, key: Path, *, others: dict[str, Path], keys: dict[str, Path], out: Path) -> None:
    """Let a hospital seal its key to others, from their certificates, and each of them open its box.

    Args:
        maker: kit of the hospital that seals.
        others: their kits, of which only the certificate is sent.
        keys: where each of them puts the key.
        out: folder for the boxes.
    """
    out.mkdir(parents=True)
    certificates = [word for kit in others.values() for word in ("--to", kit / "startup" / "client.crt")]
    said = fedward("key", "seal", key, "--kit", maker, *certificates, "--out", out).splitlines()
    for site, kit in others.items():
        line = next(number for number, text in enumerate(said) if text.startswith(f"for {site}: "))
        spoken = said[line + 1].split("fingerprint ")[1]
        fedward("key", "open", out / f"{site}.box", keys[site], "--kit", kit, "--expect", spoken)


def greeted(kit: Path) -> str:
    """Return the server's refusal of a kit; empty if it does not refuse."""
    try:
        hello(kit, timeout_s=20.0)
    except FederationError as error:
        return str(error)
    return ""


def contents(machine: Path, kit: Path) -> dict[str, str]:
    """Hash and mode of every file on a participant's machine, but for what its kit's processes write."""
    files = [path for path in machine.rglob("*") if path.is_file() and not _written(path, kit)]
    return {
        str(path.relative_to(machine)): f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mode:o}"
        for path in files
    }


def _written(path: Path, kit: Path) -> bool:
    if not path.is_relative_to(kit):
        return False
    first, *rest = path.relative_to(kit).parts
    return (not rest and first in LOGS) or (
        bool(rest) and (first in ("audit", "storage", "transfer") or _is_job(first))
    )


def _is_job(name: str) -> bool:
    with suppress(ValueError):
        return str(uuid.UUID(name)) == name
    return False


def kits_of(desk: Desk, *, server: str, sites: list[str], people: list[str]) -> Kits:
    """The kits on their machines, as if they were on one."""
    return Kits(
        folder=desk.machine(server).parent,
        server=desk.kit(server),
        sites={site: desk.kit(site) for site in sites},
        people={person: desk.kit(person) for person in people},
    )
