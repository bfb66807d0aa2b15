"""Check Python source by rules that ruff lacks or may not apply everywhere: each file's faults, by line.

Names are followed through imports (``import numpy as np``, ``from torch import load``), not through assignments: the
rules find what was written without a thought, not what was hidden.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

BUILTINS = {"eval", "exec", "compile", "__import__"}
PROCESSES = {f"subprocess.{name}" for name in ("run", "Popen", "call", "check_call", "check_output")}
UNPACKS = {"extractall", "extract", "unpack_archive"}
SILENCED = re.compile(
    r"#\s*(?:ruff:\s*|flake8:\s*)?noqa(?!:)|#\s*(?:ruff:\s*)?noqa:[^#\n-]*\b(?:S\d+|TID251)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Line that breaks a rule.

    Attributes:
        name: name of what is forbidden; the key of an exception.
        why: reason why it is forbidden.
    """

    line: int
    name: str
    why: str


def faults(source: str, banned: Mapping[str, str]) -> list[Fault]:
    """All faults of a file, by line.

    Args:
        banned: dotted names that may not be imported or used, with what is below them, and why.
    """
    tree = ast.parse(source)
    names = _names(tree)
    found = [*_silenced(source)]
    for node in ast.walk(tree):
        found += _imported(node, banned)
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            found += _used(node, names, banned)
        if isinstance(node, ast.Call):
            found += _called(node, _dotted(node.func, names) or "")
    return sorted(set(found), key=lambda fault: (fault.line, fault.name))


def _silenced(source: str) -> Iterator[Fault]:
    for number, line in enumerate(source.splitlines(), start=1):
        if SILENCED.search(line):
            yield Fault(number, "noqa", "an exception stands in the table, by file, with its reason")


def _names(tree: ast.Module) -> dict[str, str]:
    """Map a file's own names to the dotted names that they stand for."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                names[one.asname or one.name.split(".")[0]] = one.name if one.asname else one.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return names


def _dotted(node: ast.expr, names: Mapping[str, str]) -> str | None:
    """Return the dotted name of an imported object, or the name of a builtin; None for anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id if node.id in BUILTINS else None)
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value, names)):
        return f"{before}.{node.attr}"
    return None


def _ban(name: str, banned: Mapping[str, str]) -> tuple[str, str] | None:
    return next(((key, why) for key, why in banned.items() if name == key or name.startswith(f"{key}.")), None)


def _imported(node: ast.AST, banned: Mapping[str, str]) -> Iterator[Fault]:
    if isinstance(node, ast.Import):
        told = [one.name for one in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        told = [f"{node.module}.{one.name}" for one in node.names]
    else:
        return
    for name in told:
        if ban := _ban(name, banned):
            yield Fault(node.lineno, *ban)


def _used(node: ast.Attribute | ast.Name, names: Mapping[str, str], banned: Mapping[str, str]) -> Iterator[Fault]:
    if (name := _dotted(node, names)) and (ban := _ban(name, banned)):
        yield Fault(node.lineno, *ban)


def _called(node: ast.Call, name: str) -> Iterator[Fault]:
    for rule in RULES:
        if why := rule(node, name):
            method = node.func.attr if isinstance(node.func, ast.Attribute) else "call"
            yield Fault(node.lineno, name or method, why)


def _given(node: ast.Call, word: str) -> object:
    """Return the constant that is given as this keyword; ... where there is none, or no constant."""
    found = [one.value for one in node.keywords if one.arg == word]
    return found[0].value if found and isinstance(found[0], ast.Constant) else ...


def _runs_text(node: ast.Call, name: str) -> str | None:
    return "runs text as code" if name in BUILTINS else None


def _loads_weights(node: ast.Call, name: str) -> str | None:
    return None if name != "torch.load" or _given(node, "weights_only") is True else "say weights_only=True"


def _loads_arrays(node: ast.Call, name: str) -> str | None:
    return None if name != "numpy.load" or _given(node, "allow_pickle") is False else "say allow_pickle=False"


def _command(node: ast.Call, name: str) -> str | None:
    """Check that a command is a list: neither one string, nor given to a shell."""
    if name not in PROCESSES:
        return None
    if any(one.arg == "shell" for one in node.keywords) and _given(node, "shell") is not False:
        return "a shell"
    command = node.args[0] if node.args else next((one.value for one in node.keywords if one.arg == "args"), None)
    text = (
        isinstance(command, ast.Constant)
        or (isinstance(command, ast.JoinedStr | ast.BinOp) and not _has_list(command))
        or (isinstance(command, ast.Call) and isinstance(command.func, ast.Attribute) and command.func.attr in TEXT)
    )
    return "a command is a list, one word an item" if text else None


TEXT = {"format", "join", "strip", "replace"}
"""Methods whose result is a string."""


def _has_list(node: ast.expr) -> bool:
    return any(isinstance(one, ast.List | ast.Tuple) for one in ast.walk(node))


def _unpacks(node: ast.Call, name: str) -> str | None:
    method = isinstance(node.func, ast.Attribute) and node.func.attr in UNPACKS
    return "unpacks without a bound, and where the archive says" if method else None


def _inflates(node: ast.Call, name: str) -> str | None:
    if not (isinstance(node.func, ast.Attribute) and node.func.attr == "decompress"):
        return None
    bound = len(node.args) > 1 or any(one.arg == "max_length" for one in node.keywords)
    return None if bound else "inflates without a bound: give max_length"


def _template(node: ast.Call, name: str) -> str | None:
    if name == "jinja2.Template":
        return "escapes nothing: an Environment with autoescape"
    if name in ("jinja2.Environment", "jinja2.Environment.overlay") and _given(node, "autoescape") is not True:
        return "escapes nothing: say autoescape=True"
    return None


RULES: tuple[Callable[[ast.Call, str], str | None], ...] = (
    _runs_text,
    _loads_weights,
    _loads_arrays,
    _command,
    _unpacks,
    _inflates,
    _template,
)
