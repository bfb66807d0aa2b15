"""Replace files of a kit, all of them or none, and keep the old ones in ``replaced/``.

1. ``.update-draft`` gets the new files and copies of the old ones, on the disk.
2. It is renamed to ``.update-decided``. This decides.
3. Each new file takes its place by a rename; the stamp is the last. The old ones go to ``replaced/``.

A kill before 2 leaves the old kit. After 2 ``finish`` completes it; every command that updates a kit calls it first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from fedward.errors import FederationError
from fedward.files import sync

DRAFT, DECIDED, REPLACED = ".update-draft", ".update-decided", "replaced"
_NEW, _OLD, _NAME = "new", "old", "name"


def replace(kit: Path, files: Mapping[str, bytes], *, name: str) -> Path:
    """Write these files into the kit; return the folder with the old ones. Call it with the kit's lock held.

    Args:
        files: content by path below the kit, in the order in which they take their places.
        name: of the folder in ``replaced/``; it must be new.

    Raises:
        FederationError: they cannot be written. The old kit is in its place then.
    """
    draft, kept = kit / DRAFT, kit / REPLACED / name
    if kept.exists():
        raise FederationError("files of an update of that name are kept already", where=kept, remedy="move it away")
    try:
        try:
            draft.mkdir(mode=0o700)
            (draft / _NAME).write_text(name, encoding="utf-8")
            (draft / "order").write_text("\n".join(files), encoding="utf-8")
            for path, content in files.items():
                _copy(kit, draft, path, content)
            for one in sorted(draft.rglob("*"), reverse=True):
                sync(one)
            sync(draft)
            draft.rename(kit / DECIDED)
        except BaseException:  # Ctrl-C too
            shutil.rmtree(draft, ignore_errors=True)
            raise
        sync(kit)
        finish(kit)
    except OSError as error:
        remedy = "let this user write the kit, make room, and update again"
        raise FederationError(
            "cannot be written", where=error.filename or kit, value=error.strerror, remedy=remedy
        ) from None
    return kept


def finish(kit: Path) -> bool:
    """Complete an update that was decided and interrupted, and remove a draft that was not; True if there was one.

    Raises:
        OSError: the disk cannot be written; the next call goes on.
    """
    shutil.rmtree(kit / DRAFT, ignore_errors=True)
    decided = kit / DECIDED
    if not decided.is_dir():
        return False
    for path in (decided / "order").read_text(encoding="utf-8").splitlines():
        new = decided / _NEW / path
        if new.exists():
            (kit / path).parent.mkdir(parents=True, exist_ok=True)
            new.rename(kit / path)
            sync((kit / path).parent)
    kept = kit / REPLACED / (decided / _NAME).read_text(encoding="utf-8")
    if (decided / _OLD).is_dir():
        kept.parent.mkdir(exist_ok=True)
        (decided / _OLD).rename(kept)
        sync(kept.parent)
    shutil.rmtree(decided)
    sync(kit)
    return True


def _copy(kit: Path, draft: Path, path: str, content: bytes) -> None:
    new, old, there = draft / _NEW / path, draft / _OLD / path, kit / path
    new.parent.mkdir(parents=True, exist_ok=True)
    new.write_bytes(content)
    new.chmod(0o755 if path.endswith(".sh") else 0o644)
    if there.exists():
        facts = there.stat()
        new.chmod(facts.st_mode & 0o777)
        if os.geteuid() == 0:
            os.chown(new, facts.st_uid, facts.st_gid)
        old.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(there, old)
