"""A documentation page whose commands are typed as they stand there, and the machines that they are typed on.

Every machine is a folder, in which its person stands and which is their home. What people send each other is copied,
and what they read over the telephone is taken from what a command printed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from fedward.flare.local_federation import MARK, marked
from tests.conftest import ROOT

BIN = Path(sys.executable).parent
_BLOCK = re.compile(r"^( *)```bash\n(.*?)^\1```", flags=re.DOTALL | re.MULTILINE)
_PLACEHOLDER = re.compile(r"\b[A-Z][A-Z_]+\b")
STOP_S = 20.0


def heard(what: str, said: str) -> str:
    """Return the part of a printed text that a person reads out."""
    (words,) = re.findall(what, said, flags=re.MULTILINE)
    return str(words)


def soon(condition: Callable[[], bool], *, within_s: float, waited_for: str) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"{waited_for} does not come"
        time.sleep(0.2)


def edit(file: Path, *changes: tuple[str, str]) -> None:
    """Change lines of a file by hand; each change must have something to change."""
    text = file.read_text()
    for before, after in changes:
        text, found = re.subn(before, after, text, flags=re.MULTILINE)
        assert found, f"{file.name} has no {before}"
    file.write_text(text)


def commands(block: str) -> list[str]:
    return [line for line in block.splitlines() if line and not line.startswith("#")]


class Page:
    """A page's blocks of commands, and which commands were taken from it.

    Args:
        name: of the file in ``docs/``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        text = (ROOT / "docs" / name).read_text()
        self.blocks = [textwrap.dedent(block) for _, block in _BLOCK.findall(text)]
        self.taken: set[str] = set()

    @property
    def commands(self) -> set[str]:
        return {command for block in self.blocks for command in commands(block)}

    def take(self, *words: str, but: str | None = None, also: dict[str, str] | None = None, **placeholders: str) -> str:
        """The one block that has these words, with every placeholder filled in.

        Args:
            but: a word that it has not.
            also: names that the page gives as examples -> what they are here.
            placeholders: the page's words in capitals -> what they are here; all of them.
        """
        found = [
            block for block in self.blocks if all(word in block for word in words) and (not but or but not in block)
        ]
        assert len(found) == 1, f"{self.name} has {len(found)} blocks with {words} and without {but}"
        (block,) = found
        self.taken |= set(commands(block))
        assert set(_PLACEHOLDER.findall(block)) == set(placeholders), f"{self.name}: {block}"
        filled = _PLACEHOLDER.sub(lambda word: placeholders[word.group()], block)
        for example, here in (also or {}).items():
            assert example in filled, f"{self.name} names no {example}: {block}"
            filled = filled.replace(example, here)
        return filled


@dataclass(frozen=True)
class Machine:
    """Somebody's machine.

    Attributes:
        folder: where its person types.
        mark: what the processes started there carry.
    """

    folder: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def name(self) -> str:
        return self.folder.name

    def type(
        self, typed: str, *, answer: str | None = None, inside: Sequence[str] = (), log: Path | None = None
    ) -> str:
        """Type commands into a shell in the activated environment; return what they print to either stream.

        Args:
            answer: what the person answers when asked.
            inside: a command that runs the shell elsewhere, as in a network namespace.
            log: where to add what is printed, and what processes print that stay behind.
        """
        with tempfile.TemporaryFile("w+") if log is None else log.open("a+") as printed, _keyboard(answer) as keys:
            ended = subprocess.run(
                [*inside, "bash", "-euc", typed],
                cwd=self.folder,
                env=self._environment(),
                stdin=keys,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                check=False,
            )
            printed.seek(0)
            said = printed.read()
        assert ended.returncode == 0, f"{self.name}: {typed}\n{said}\nexit code {ended.returncode}"
        return said

    def send(self, file: Path | str, to: Machine) -> None:
        """Copy a file, named as it is from here, to where somebody else types."""
        shutil.copy(self.folder / file, to.folder)

    def running(self) -> bool:
        """True if any process that was started here lives."""
        return bool(marked(self.mark))

    def stop(self) -> None:
        """Stop what runs here, and what that starts meanwhile."""
        end = time.monotonic() + STOP_S
        while living := marked(self.mark):
            assert time.monotonic() < end, f"{self.name}: a process does not end"
            for process in living:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(0.05)

    def _environment(self) -> dict[str, str]:
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        path = os.pathsep.join([str(BIN), os.environ["PATH"], "/usr/sbin", "/sbin"])
        own = {MARK: self.mark, "HOME": str(self.folder), "PATH": path, "PYTHONPATH": str(ROOT / "custom")}
        return {**os.environ, **one_thread, **own, "COLUMNS": "200"}


class _keyboard:
    """A terminal on which the answer is typed ahead, or nothing to read from."""

    def __init__(self, answer: str | None) -> None:
        self._answer = answer
        self._open: list[int] = []

    def __enter__(self) -> int:
        if self._answer is None:
            return subprocess.DEVNULL
        self._open = [*os.openpty()]
        os.write(self._open[0], f"{self._answer}\n".encode())
        return self._open[1]

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open:
            os.close(descriptor)
