"""Count what makes the code hard to read: riddles in docstrings, and functions that are too long for a screen.

    python docs/plain.py [FOLDER]      the package, unless another folder is given

A docstring that opens with What, Who, Whether or How is a question that the reader has to solve; "told" and "said" hide
who reports what to whom. Counts are printed; nothing fails.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

QUESTION = re.compile(r"(What|Who|Whom|Whose|Whether|How)\b")
WORDS = ("told", "said")
LONGEST_FUNCTION = 50
"""Lines of a function, its signature and docstring among them."""


def docstrings(tree: ast.AST) -> Iterator[str]:
    """Yield docstrings of modules, classes and functions, and the strings below assignments."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            text = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                yield text.value


def counts(folder: Path) -> dict[str, int]:
    """Count over all Python files below a folder; keys are the lines that are printed."""
    found = {"docstrings": 0, "that open with a question": 0, f"functions over {LONGEST_FUNCTION} lines": 0}
    found |= dict.fromkeys((f'"{word}"' for word in WORDS), 0)
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        texts = list(docstrings(tree))
        found["docstrings"] += len(texts)
        found["that open with a question"] += sum(QUESTION.match(one.strip()) is not None for one in texts)
        for word in WORDS:
            found[f'"{word}"'] += len(re.findall(rf"\b{word}\b", text))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                long = node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
                found[f"functions over {LONGEST_FUNCTION} lines"] += long
    return found


if __name__ == "__main__":
    for what, count in counts(Path(sys.argv[1]) if sys.argv[1:] else Path("custom")).items():
        print(f"{count:6}  {what}")
