"""Save what a job's last whole round made, and read it in another process: whole or not at all, never pickled.

A checkpoint is one folder, a generation. The newest two are kept, so that a process killed at any byte, or a file that
the disk damaged, leaves one that is whole::

    <kit>/checkpoints/<job id>/
        g-00000003/     state.json, model.npz or model.sealed, best.npz or best.sealed, step-*.npz, sum-*.sealed
        g-00000004/
        .draft/         of a process that was killed; the next one removes it

``state.json`` holds the SHA-256 of every other file and its own. A generation gets its name after every byte of it is
on the disk, and counts only if every sum agrees.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from fedward.aggregation.best import Candidate
from fedward.encryption.message import is_digest, is_key_id, is_nonce
from fedward.errors import FederationError, brief
from fedward.files import sync
from fedward.flare.console.resume_request import GENERATION
from fedward.flare.protocol import MaskedRun, MaskedSum, Model, Sum
from fedward.flare.server.checkpoints.files import DamagedError, checked_file, content_of, packed, put_file, unpacked
from fedward.flare.server.checkpoints.masked import masked_run, pending_files, pending_sum, plain_run
from fedward.settings import Scheme
from fedward.weights import Weights

FORMAT = 3
KEPT = 2
"""Generations that are kept."""
STATE_FILE, DRAFT = "state.json", ".draft"
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_RUN_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_STEP, _SUM = "step-", "sum-"
Summed = tuple[tuple[str, ...], Sum]
"""Names of hospitals, and the sum of what they sent."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """State of a job at the server between two rounds.

    Attributes:
        job: ``job_hash`` of the job.
        job_id: FLARE's id of the run.
        sites: admitted sites that are asked, names sorted.
        left_out: sites that declined, or that are not asked any more, each with the reason.
        key: scheme and id of the hospitals' key, in an encrypted job.
        roster: roster of an encrypted job.
        masked: hospitals and key of a masked job.
        pending: sums that hospitals were asked to take the masks off: of the round after ``model``, or of counts. They
            help for these messages only, so another process asks for the same.
        pending_events: events of that round, to be told when it is whole.
        model: the model; ``after`` counts the whole rounds.
        best: best model so far, in a job that selects it.
        selected: ``best`` is the final model.
        opened: a hospital opened the final model, and the store has it.
        sums: sums of counts for hospitals to open, each with the hospitals in it; None before the final validation.
        step: ``ServerStep.state``.
        missed: sites whose answer to the last round did not count, each with the reason.
        events: events of the last round; a process that was killed may not have written them to the log.
    """

    job: str
    job_id: str
    sites: tuple[str, ...]
    model: Model
    left_out: Mapping[str, str] = field(default_factory=dict)
    key: tuple[Scheme, str] | None = None
    roster: Mapping[str, str] | None = None
    masked: MaskedRun | None = None
    pending: tuple[MaskedSum, ...] = ()
    pending_events: tuple[Mapping[str, Any], ...] = ()
    best: Candidate[Model] | None = None
    selected: bool = False
    opened: bool = False
    sums: tuple[Summed, ...] | None = None
    step: Mapping[str, Weights] = field(default_factory=dict)
    missed: Mapping[str, str] = field(default_factory=dict)
    events: tuple[Mapping[str, Any], ...] = ()


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a new generation and remove all but the newest two.

    Raises:
        OSError: the disk does not accept it; the generations before are as they were.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = folder / DRAFT
    if draft.is_symlink() or draft.is_file():
        draft.unlink()
    elif draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(mode=0o700)
    sums = {}
    for name, content in _files(checkpoint).items():
        sums[name] = hashlib.sha256(content).hexdigest()
        put_file(draft / name, content)
    put_file(draft / STATE_FILE, _state(checkpoint, sums))
    sync(draft)
    known = _generations(folder)
    draft.rename(folder / f"g-{max(_numbers(folder), default=0) + 1:08d}")
    sync(folder)
    for _, old in known[: 1 - KEPT]:
        shutil.rmtree(old, ignore_errors=True)  # one that stays costs disk, and a new one a second would cost more


def load(folder: Path, *, job: str, job_id: str) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest whole checkpoint, or None where there is none, and the reason why each newer one is not whole.

    Raises:
        FederationError: no generation is whole, or the newest whole one is of another job or run.
        OSError: a file cannot be read.
    """
    damaged: list[str] = []
    for _, path in reversed(_generations(folder)):
        try:
            found = _read(path)
        except DamagedError as error:
            damaged.append(f"{path.name}: {error}")
            continue
        if (found.job, found.job_id) != (job, job_id):
            raise FederationError(
                "checkpoint of another job",
                where=path,
                value=f"{found.job_id} {found.job[:12]}",
                remedy="move the folder away; a submitted job gets its own",
            )
        return found, damaged
    if damaged:
        raise FederationError(
            "no checkpoint of the job is whole",
            where=folder,
            value="; ".join(damaged),
            remedy="restore the folder from a backup, or submit the job again",
        )
    return None, []


def _numbers(folder: Path) -> dict[int, Path]:
    """Return what has the name of a generation, by its number; it need not be one."""
    found = ((GENERATION.fullmatch(path.name), path) for path in folder.iterdir())
    return {int(match[1]): path for match, path in found if match is not None}


def _generations(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    return sorted((at, path) for at, path in _numbers(folder).items() if path.is_dir() and not path.is_symlink())


def _files(checkpoint: Checkpoint) -> dict[str, bytes]:
    files = dict([*_model_file("model", checkpoint.model)])
    if checkpoint.best is not None:
        files |= dict([*_model_file("best", checkpoint.best.model)])
    files |= {f"{_SUM}{total.purpose}.sealed": total.sealed for _, total in checkpoint.sums or ()}
    files |= pending_files(checkpoint.pending)
    return files | {f"{_STEP}{name}.npz": packed(arrays) for name, arrays in checkpoint.step.items()}


def _model_file(name: str, model: Model) -> list[tuple[str, bytes]]:
    """Return a model's file; the initial model of an encrypted job has none, since it follows from the seed."""
    if model.weights is not None:
        return [(f"{name}.npz", packed(model.weights))]
    found = {"sealed": model.sealed, "proof": model.proof}
    return [(f"{name}.{kind}", content) for kind, content in found.items() if content is not None]


def _state(checkpoint: Checkpoint, sums: Mapping[str, str]) -> bytes:
    best = checkpoint.best
    content = {
        "format": FORMAT,
        "job": checkpoint.job,
        "job_id": checkpoint.job_id,
        "after": checkpoint.model.after,
        "sites": list(checkpoint.sites),
        "left_out": dict(checkpoint.left_out),
        "key": None if checkpoint.key is None else list(checkpoint.key),
        "roster": None if checkpoint.roster is None else dict(checkpoint.roster),
        "masked": None if checkpoint.masked is None else plain_run(checkpoint.masked),
        "pending": [masked.purpose for masked in checkpoint.pending],
        "pending_events": [dict(event) for event in checkpoint.pending_events],
        "best": None if best is None else {"after": best.after, "score": best.score},
        "selected": checkpoint.selected,
        "opened": checkpoint.opened,
        "sums": None if checkpoint.sums is None else {total.purpose: sites for sites, total in checkpoint.sums},
        "missed": dict(checkpoint.missed),
        "events": [dict(event) for event in checkpoint.events],
        "files": dict(sums),
    }
    text = json.dumps(content, allow_nan=False)
    return json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "state": text}).encode()


def _read(path: Path) -> Checkpoint:
    """Read one generation.

    Raises:
        DamagedError: a file is missing, or is not the one that was written.
    """
    state = _checked_state(path / STATE_FILE)
    files = {name: checked_file(path / _one_name(name), due) for name, due in state["files"].items()}
    try:
        best = state["best"]
        return Checkpoint(
            job=state["job"],
            job_id=state["job_id"],
            sites=tuple(state["sites"]),
            left_out=state["left_out"],
            key=_key(state["key"]),
            roster=_roster(state["roster"]),
            masked=masked_run(state["masked"]),
            pending=tuple(pending_sum(purpose, files) for purpose in state["pending"]),
            pending_events=tuple(state["pending_events"]),
            model=_model("model", files, after=state["after"]),
            best=None
            if best is None
            else Candidate(after=best["after"], model=_model("best", files, after=best["after"]), score=best["score"]),
            selected=state["selected"],
            opened=state["opened"],
            sums=None if state["sums"] is None else tuple(_summed(state["sums"], files)),
            step={
                name.removeprefix(_STEP).removesuffix(".npz"): unpacked(content)
                for name, content in files.items()
                if name.startswith(_STEP)
            },
            missed=state["missed"],
            events=tuple(state["events"]),
        )
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DamagedError(f"cannot be read, {type(error).__name__}") from None


def _checked_state(path: Path) -> dict[str, Any]:
    try:
        outer = json.loads(content_of(path))
        text = outer["state"]
        if hashlib.sha256(text.encode()).hexdigest() != outer["sha256"]:
            raise DamagedError(f"{path.name} was changed")
        state = json.loads(text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedError(f"{path.name} was changed") from None
    kinds = {"files": dict, "job": str, "job_id": str}
    if type(state) is not dict or any(type(state.get(name)) is not kind for name, kind in kinds.items()):
        raise DamagedError(f"{path.name} is no state of a job")
    if not is_digest(state["job"]) or _RUN_ID.fullmatch(state["job_id"]) is None:
        raise DamagedError(f"{path.name} is no state of a job")
    if state.get("format") != FORMAT:
        raise DamagedError(f"of format {brief(state.get('format'), longest=20)} where {FORMAT} was expected")
    return state


def _one_name(name: str) -> str:
    if _FILE_NAME.fullmatch(name) is None:
        raise DamagedError("a file of it has a name that is none")
    return name


def _summed(sums: Mapping[str, list[str]], files: Mapping[str, bytes]) -> Iterator[Summed]:
    for purpose, sites in sums.items():
        yield tuple(sites), Sum(purpose=purpose, sealed=files[f"{_SUM}{purpose}.sealed"])


def _model(name: str, files: Mapping[str, bytes], *, after: int) -> Model:
    weights = files.get(f"{name}.npz")
    return Model(
        after=after,
        weights=None if weights is None else unpacked(weights),
        sealed=files.get(f"{name}.sealed"),
        proof=files.get(f"{name}.proof"),
    )


def _key(content: Any) -> tuple[Scheme, str] | None:
    if content is None:
        return None
    scheme, key_id = content
    if scheme not in get_args(Scheme) or not is_key_id(key_id):
        raise ValueError("no key")
    return scheme, key_id


def _roster(content: Any) -> dict[str, str] | None:
    if content is None:
        return None
    if not all(is_nonce(nonce) for nonce in content.values()):
        raise ValueError("no roster")
    return dict(content)
