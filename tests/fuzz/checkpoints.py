"""What the server's process keeps of a job between two rounds: the files of a checkpoint."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path

from fedward.flare.server.checkpoints.checkpoint import load, save
from fedward.flare.server.checkpoints.earlier import aborted
from tests.fuzz.child import Target, main
from tests.fuzz.mutations import token
from tests.unit.flare.server.test_checkpoint import JOB, JOB_ID, made


def checkpoint(folder: Path) -> Target:
    """One file of a checkpoint is the input; the state's hash is made right again for half of them."""
    whole = folder / "whole"
    for after in (1, 2):
        save(whole, made(after))
    names = sorted(path.name for path in (whole / "g-00000002").iterdir())
    runs = iter(range(10**6))
    corpus = [(whole / "g-00000002" / name).read_bytes() for name in names]
    place = folder / "job"
    true = load(whole, job=JOB, job_id=JOB_ID)[0]

    def given(content: bytes) -> None:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole, place)
        if (number := next(runs)) % 3 == 0:
            shutil.rmtree(place / "g-00000001")
        name = "state.json" if content.startswith(b'{"sha') or number % 2 else names[number % len(names)]
        (place / "g-00000002" / name).write_bytes(content)
        (place / "aborted.json").write_bytes(content)
        said = aborted(place)
        assert all(word.isprintable() and len(word) < 300 for word in said.values()), said
        found, damaged = load(place, job=JOB, job_id=JOB_ID)
        assert found is not None and true is not None and len("; ".join(damaged)) < 1000
        assert found.model.weights is not None and found.job == JOB and isinstance(found.missed, dict)

    return Target(corpus, given, edits=(_state, _state, token))


def _state(drawn: random.Random, content: bytes) -> bytes:
    """Change a value of the state, and make its hash right."""
    try:
        text = json.loads(content)["state"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return content
    if not isinstance(text, str):
        return content
    text = token(drawn, text.encode("utf-8", "replace")).decode("utf-8", "replace")
    return json.dumps({"sha256": hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(), "state": text}).encode()


if __name__ == "__main__":
    main({"checkpoint": checkpoint})
