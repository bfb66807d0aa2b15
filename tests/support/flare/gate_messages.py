"""Collect every sentence that the package raises as GateError or EncryptionError, from its source, without values."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import fedward
from fedward.flare.refusal_sentences import VALUE

ROOMS = ("flare", "privacy", "encryption", "weights.py")
"""The rooms and the module whose code a gate runs."""
RAISED = frozenset({"GateError", "EncryptionError", "RepeatError", "RosterError"})
ELSEWHERE = frozenset(
    {
        "encryption/keys/key_file.py",
        "encryption/keys/old_keys.py",
        "encryption/keys/sealed_box.py",
        "encryption/keys/signature.py",
        "encryption/keys/site_identity.py",
        "flare/console/uploads.py",
        "flare/messages/site_requests.py",
    }
)
"""Files whose errors a person at the hospital sees; a gate sees only their class."""


def messages(source: str) -> Iterator[str]:
    """First argument of each of these errors; each value in it as one sign."""
    tree = ast.parse(source)
    scopes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Module)]
    names: dict[str, list[ast.expr]] = {}
    for scope in scopes:
        for node in ast.walk(scope):
            if isinstance(node, ast.Assign):
                for target, value in _pairs(node):
                    names.setdefault(target, []).append(value)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                names.setdefault(node.target.id, []).append(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RAISED and node.args:
            yield from _texts(node.args[0], names)


def collected() -> set[str]:
    """Return those of the package that have at least two words of fixed text."""
    root = Path(fedward.__file__).parent
    files = [path for room in ROOMS for path in sorted([*(root / room).rglob("*.py"), root / room]) if path.is_file()]
    files = [path for path in files if path.relative_to(root).as_posix() not in ELSEWHERE]
    found = {text for path in files for text in messages(path.read_text(encoding="utf-8"))}
    return {text for text in found if sum(word.isalpha() for word in text.split()) >= 2}


def _pairs(node: ast.Assign) -> Iterator[tuple[str, ast.expr]]:
    for target in node.targets:
        if isinstance(target, ast.Name):
            yield target.id, node.value
        elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            for one, value in zip(target.elts, node.value.elts, strict=True):
                if isinstance(one, ast.Name):
                    yield one.id, value


def _texts(node: ast.expr, names: dict[str, list[ast.expr]]) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body, names)
        yield from _texts(node.orelse, names)
    elif isinstance(node, ast.Dict):
        for value in node.values:
            yield from _texts(value, names)
    elif isinstance(node, ast.Subscript):
        yield from _texts(node.value, names)
    elif isinstance(node, ast.Name):
        for value in names.get(node.id, []):
            if not isinstance(value, ast.Name):
                yield from _texts(value, names)


if __name__ == "__main__":
    for text in sorted(collected()):
        print(f"    {text!r},")
