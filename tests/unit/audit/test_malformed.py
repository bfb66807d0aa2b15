"""Files of an audit log that anyone may have written: each ends in a verdict of one line, and none in a traceback."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedward.audit.files import LOG_FILE
from fedward.audit.head import HEAD_FILE
from fedward.audit.keys import KEY_FILE
from fedward.audit.log import AuditLog
from fedward.audit.place import log_at
from fedward.audit.verify import entries, verify
from fedward.cli import app
from fedward.errors import AuditError
from tests.support.audit_log import of_rounds, scratch

FILES = 5_000
SEED = 20_260_301
PIECES = (
    b"",
    b"\n",
    b"\0" * 9,
    b"{}\n",
    b"[]",
    b"null\n",
    b"[" * 60_000 + b"\n",
    b'{"n":' + b"9" * 6_000 + b"}\n",
    b'{"n":1e999}\n',
    b'{"n":NaN,"at":null}\n',
    b'{"n":true}\n',
    b'"\\ud800"\n',
    "é\u202e\n".encode(),
    b"\xff\xfe\n",
    b'{"n":1,"at":"2026-03-01T00:00:00.000Z","who":[],"what":{},"about":[],"prev":1,"hash":"x"}\n',
    b"A" * 3_000_000,
)


def mangled(drawn: random.Random, content: bytes) -> bytes:
    """The content, changed in one of several ways, or other content altogether."""
    way = drawn.randrange(6)
    at = drawn.randrange(len(content) + 1)
    if way == 0:
        return content[:at]
    if way == 1:
        return content[:at] + drawn.choice(PIECES) + content[at:]
    if way == 2:
        return drawn.choice(PIECES)
    if way == 3:
        return content[:at] + drawn.randbytes(drawn.randrange(40)) + content[at + drawn.randrange(40) :]
    if way == 4:
        lines = content.splitlines(keepends=True)
        drawn.shuffle(lines)
        return b"".join(lines)
    return content.replace(drawn.choice([b'"', b":", b"1", b"a", b","]), drawn.choice([b"", b"{", b"\\", b"\n"]))


def test_five_thousand_malformed_files_have_a_verdict_of_one_line_each() -> None:
    drawn = random.Random(SEED)
    verdicts = {"fault": 0, "whole": 0}
    with scratch() as folder:
        log = of_rounds(folder, 4)
        true = {name: (folder / name).read_bytes() for name in (LOG_FILE, HEAD_FILE, KEY_FILE)}
        for _ in range(FILES):
            for name, content in true.items():
                (folder / name).write_bytes(content)
            name = drawn.choices(list(true), weights=[8, 2, 1])[0]
            (folder / name).write_bytes(mangled(drawn, true[name]))
            try:
                found = verify(log_at(folder))
            except AuditError as error:
                verdicts["fault"] += 1
                assert str(error).isprintable() and len(str(error)) < 600
            else:
                verdicts["whole"] += 1
                torn = b"" if not found.torn_bytes else (folder / LOG_FILE).read_bytes()[-found.torn_bytes :]
                assert (folder / LOG_FILE).read_bytes() == true[LOG_FILE] + torn, "a changed log has no verdict 'whole'"
            for entry in entries(log):
                assert entry.who.isprintable()
    print(verdicts)
    assert verdicts["fault"] > FILES // 2 and sum(verdicts.values()) == FILES


@pytest.mark.parametrize("name", [LOG_FILE, HEAD_FILE, KEY_FILE])
@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nowhere", "link to itself"])
def test_a_file_of_another_kind_is_a_fault_and_nothing_hangs(tmp_path: Path, name: str, kind: str) -> None:
    of_rounds(tmp_path, 2)
    path = tmp_path / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if "itself" in kind else tmp_path / "nowhere")
    log = AuditLog(tmp_path)
    with pytest.raises(AuditError) as raised:
        verify(log)
    assert "\n" not in str(raised.value)
    with pytest.raises(AuditError):
        log.append("signed-in", who="a", about={})


def test_the_command_line_says_one_line(tmp_path: Path) -> None:
    log = of_rounds(tmp_path / "audit", 3)
    log.path.write_bytes(log.path.read_bytes().replace(b'"round":1', b'"round":7'))
    answer = CliRunner().invoke(app, ["audit", "verify", str(tmp_path)])
    assert isinstance(answer.exception, AuditError) and "entry 2 was changed" in str(answer.exception)
    assert answer.output == ""
