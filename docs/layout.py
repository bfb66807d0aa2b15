"""Print the floors of the package, and what is too long or too full; write the table in ``docs/architecture.md``.

    python docs/layout.py            print; exit code 1 for an import upward, a circle, a long file or a full folder
    python docs/layout.py --write    first write the table of rooms

The floors are ``fedward.pipeline.FLOORS``; the table's words are the first line of each package's docstring.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from fedward.pipeline import FLOORS

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path(__file__).with_name("architecture.md")
LONGEST_FILE = 300
"""Lines of a file of the package."""
FULLEST_FOLDER = 15
"""Files of one folder of the package, its templates and pages, or of the tests; folders in it do not count."""
START, END = "<!-- rooms: written by docs/layout.py -->", "<!-- end of rooms -->"
PUBLIC = "api"
"""Room whose names the package itself passes on, at their first use."""
Imports = Mapping[str, frozenset[str]]
"""Module -> modules of the package that it imports, anywhere in its file."""


def modules(package: Path) -> dict[str, Path]:
    """Dotted name of each module of a package -> its file; a package goes by its own name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(package: Path) -> Imports:
    """Map each module of a package to the modules of the package that it imports."""
    known = modules(package)
    return {name: frozenset(_imported(path, known) - {name, package.name}) for name, path in known.items()}


def _imported(path: Path, known: Mapping[str, Path]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in full}
        elif isinstance(node, ast.Attribute):  # fedward.room.module, after any import of the package
            found.add(ast.unparse(node))
    return found & set(known)


def upward(found: Imports, floors: tuple[tuple[str, ...], ...] = FLOORS) -> Iterator[str]:
    """Each import from the same floor or a higher one, and each package that stands on no floor."""
    level = {room: number for number, rooms in enumerate(floors) for room in rooms}
    for name in sorted(found):
        room = _room(name)
        if room is None:
            others = sorted(other for other in found[name] if _room(other) != PUBLIC)
            yield from (f"{name} imports {other}: the package itself imports only {PUBLIC}" for other in others)
            continue
        if room not in level:
            yield f"{name}: {room} is on no floor of fedward.pipeline.FLOORS"
            continue
        for other in sorted(found[name]):
            below = _room(other)
            if below in level and below != room and level[below] >= level[room]:
                yield f"{name} (floor {level[room] + 1}) imports {other} (floor {level[below] + 1})"


def circle(found: Imports) -> list[str]:
    """The modules of one circle of imports, or none."""
    try:
        TopologicalSorter(found).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def too_long(package: Path) -> Iterator[str]:
    """Each file of the package that is longer than ``LONGEST_FILE``."""
    for path in modules(package).values():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > LONGEST_FILE:
            yield f"{path.relative_to(package.parent)}: {lines} lines; {LONGEST_FILE} are allowed"


def too_full(*folders: Path) -> Iterator[str]:
    """Each folder below these that holds more than ``FULLEST_FOLDER`` files."""
    for top in folders:
        for folder in sorted({path.parent for path in top.rglob("*") if path.is_file() and path.suffix != ".pyc"}):
            if any(part.endswith(".egg-info") for part in folder.parts):
                continue
            count = sum(path.is_file() and path.suffix != ".pyc" for path in folder.iterdir())
            if count > FULLEST_FOLDER:
                yield f"{folder.relative_to(ROOT)}: {count} files; {FULLEST_FOLDER} are allowed"


def rooms(package: Path) -> str:
    """The table of rooms, highest floor first: floor, package, first line of its docstring."""
    lines = ["| floor | room | what it does |", "|---|---|---|"]
    for number in range(len(FLOORS), 0, -1):
        for room in FLOORS[number - 1]:
            path = package / room / "__init__.py"
            name = f"`{room}/`" if path.exists() else f"`{room}.py`"
            path = path if path.exists() else package / f"{room}.py"
            docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            lines.append(f"| {number} | {name} | {docstring.splitlines()[0].replace('``', '`')} |")
    return "\n".join(lines)


def _room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def main() -> int:
    package = ROOT / "custom" / "fedward"
    if "--write" in sys.argv[1:]:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{START}\n\n{rooms(package)}\n\n{END}{after}", encoding="utf-8")
    for number in range(len(FLOORS), 0, -1):
        print(f"floor {number:2}: {', '.join(FLOORS[number - 1])}")
    found = imports(package)
    faults = [*upward(found), *too_long(package), *too_full(package, ROOT / "tests")]
    if ring := circle(found):
        faults.append(f"circle of imports: {' -> '.join(ring)}")
    print("\n".join(faults) or f"{len(found)} modules: no import upward, no circle, no long file, no full folder")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
