"""Every command prints in every locale: what a terminal cannot show appears as words, and nothing stops for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedward
from fedward.dataset.manifest import QUARANTINE, read_manifest
from fedward.metrics.events import EVENTS_FILE
from fedward.screen import _WORDS
from fedward.settings import JOB_FILE, plain
from tests.conftest import OPEN_SITE_TOML
from tests.support.images.dicom_files import image, save
from tests.support.report_events import made_events, made_job

LOCALES = {
    "utf-8": {"PYTHONIOENCODING": "utf-8"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
pytestmark = pytest.mark.slow
ENCODINGS = {"utf-8": "utf-8", "ascii": "ascii", "latin-1": "latin-1", "C": "ascii"}
SITE = f"""
    site = "north-clinic"
    key = "site.key"
    {OPEN_SITE_TOML}
    [cohorts.chest]
    images = "chest"
    labels = "chest.csv"
    index = "index"
    max_quarantined_fraction = 0.5
    validation_fraction = 0.3
    privacy = {{ dp = "required", epsilon_cap = 2.0, delta = 1e-4, encryption = "not-required" }}
"""
SEVERAL = """
import json, sys
from fedward.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv, code = ["fedward", *words], 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    print(f"<end of {words[0]} {words[1]}: {code}>", flush=True)
    print(f"<end of {words[0]} {words[1]}>", file=sys.stderr, flush=True)
"""
DRAWN = re.compile(r"[-\s+|=`'\u2500-\u257f]")


def environment(more: Mapping[str, str]) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}
    return {**kept, "PYTHONPATH": str(Path(fedward.__file__).parents[1]), "COLUMNS": "200", **more}


def printed(locale: str, *commands: list[str]) -> tuple[str, str]:
    """Return both streams of several commands in one process, decoded as the locale says, without a replacement."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SEVERAL, json.dumps(commands)],
        env=environment(LOCALES[locale]),
        capture_output=True,
        check=False,
        timeout=120,
    )
    return done.stdout.decode(ENCODINGS[locale]), done.stderr.decode(ENCODINGS[locale])


def meaning(text: str) -> str:
    """The words of a text in any encoding, without a table's lines."""
    for character, words in _WORDS.items():
        text = text.replace(character, words)
    return DRAWN.sub("", text).encode("ascii", "backslashreplace").decode("ascii")


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site whose labels have an umlaut, a job with ε, and the result of another."""
    folder = tmp_path_factory.mktemp("hospital")
    sources = [image(name=n, patient=f"P{n}") for n in range(4)]
    sources[3].PixelData = bytes(len(sources[3].PixelData))
    for n, source in enumerate(sources):
        save(source, folder / "chest" / f"{n}.dcm")
    (folder / "chest.csv").write_text("PatientID,größe\nP0,yes\n", encoding="utf-8")
    (folder / "site.toml").write_text(SITE, encoding="utf-8")
    job = made_job()
    settings = folder / "result" / "job" / "fedward" / "app" / "config" / JOB_FILE
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(plain(job)), encoding="utf-8")
    (folder / "result" / "workspace").mkdir()
    lines = "".join(json.dumps(event) + "\n" for event in made_events(job))
    (folder / "result" / "workspace" / EVENTS_FILE).write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def commands(hospital: Path, root: Path) -> list[list[str]]:
    site, private = str(hospital / "site.toml"), str(root / "jobs" / "cxr_private")
    return [
        ["job", "plan", "--help"],
        ["job", "plan", private, "--site", "a=500"],
        ["job", "plan", private, "--site", "a=500", "--format", "json"],
        ["job", "check", private],
        ["job", "check", private, "--format", "json"],
        ["site", "index", site],
        ["site", "ledger", site, "--create"],
        ["site", "ledger", site],
        ["site", "policy", "check", site],
        ["site", "policy", "check", site, "--job", private],
        ["site", "policy", "check", site, "--job", private, "--format", "json"],
        ["job", "report", str(hospital / "result"), "--out", str(hospital / "out")],
    ]


@pytest.fixture(scope="module")
def in_utf8(commands: list[list[str]]) -> tuple[str, str]:
    printed("utf-8", *commands)  # once more, so that all of it is there already
    return printed("utf-8", *commands)


@pytest.mark.parametrize("locale", ["ascii", "latin-1", "C"])
def test_a_command_says_the_same_in_every_locale(
    locale: str, commands: list[list[str]], in_utf8: tuple[str, str]
) -> None:
    assert all(character in in_utf8[0] for character in "εöß│")
    out, err = printed(locale, *commands)
    assert "Traceback" not in out + err
    for ours, theirs in zip((out, err), in_utf8, strict=True):
        assert [meaning(row) for row in ours.split("<end")] == [meaning(row) for row in theirs.split("<end")]


def run(locale: Mapping[str, str], *words: str | bytes, **how: Any) -> subprocess.CompletedProcess[bytes]:
    main = "from fedward.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", main, *words], env=environment(locale), check=False, timeout=60, **how
    )


@pytest.mark.parametrize("locale", list(LOCALES))
def test_a_file_name_in_another_encoding_is_shown_with_its_bytes_escaped(locale: str, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/r\xf6ntgen"
    done = run(LOCALES[locale], "job", "check", name, capture_output=True)
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1 and rb"r\xf6ntgen" in done.stderr


def test_a_cohort_has_one_content_hash_in_every_locale(tmp_path: Path) -> None:
    hashes, lists = set(), set()
    for n, name in enumerate([b"a.dcm", "bïld.dcm".encode(), b"b\xefld.dcm", "größe/c.dcm".encode()]):
        save(image(name=n, patient=f"P{n}"), tmp_path / "chest" / os.fsdecode(name))
    for name in (b"x\xe9.dcm", b"x\xe8.dcm", "xé.dcm".encode()):
        (tmp_path / "chest" / os.fsdecode(name)).write_bytes(name)
    (tmp_path / "chest.csv").write_text("PatientID,y\nP0,1\n", encoding="utf-8")
    (tmp_path / "site.toml").write_text(SITE, encoding="utf-8")
    for locale in LOCALES.values():
        done = run(locale, "site", "index", str(tmp_path / "site.toml"), capture_output=True)
        assert done.returncode == 0, done.stderr
        hashes.add(read_manifest(tmp_path / "index").content_hash)
        lists.add((tmp_path / "index" / QUARANTINE).read_text(encoding="utf-8"))
        shutil.rmtree(tmp_path / "index")
    assert len(hashes) == len(lists) == 1
    assert [row.split(",")[0] for row in lists.pop().splitlines()[1:]] == ["xé.dcm", r"x\xe8.dcm", r"x\xe9.dcm"]


@pytest.mark.parametrize(
    ("locale", "shown"), [("utf-8", "öut"), ("latin-1", "öut"), ("ascii", r"\xf6ut"), ("C", r"\xf6ut")]
)
def test_a_folder_that_the_user_gives_is_shown_readable(locale: str, shown: str, tmp_path: Path) -> None:
    done = run(LOCALES[locale], "job", "check", os.fsencode(tmp_path) + "/öut".encode(), capture_output=True)
    assert done.returncode == 1
    assert f"/{shown}/job.toml" in done.stderr.decode(ENCODINGS[locale])


def test_a_name_that_a_locale_has_no_bytes_for_is_one_line(tmp_path: Path) -> None:
    text = SITE.replace("site.key", "schlüssel")
    (tmp_path / "site.toml").write_text(text, encoding="utf-8")
    done = run(LOCALES["C"], "site", "ledger", str(tmp_path / "site.toml"), "--create", capture_output=True)
    assert done.returncode == 1
    line = done.stderr.decode("ascii")
    assert line.count("\n") == 1 and "cannot be a file's name in this locale, ascii; set LC_ALL=C.UTF-8" in line
    assert r"schl\xfcssel" in line


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_stops_nothing(root: Path, closed: str) -> None:
    words = 'exec "$0" -W ignore -c "from fedward.cli import main; main()" job plan jobs/cxr_private --site a=500 '
    done = subprocess.run(
        ["bash", "-c", words + closed, sys.executable],
        env=environment(LOCALES["ascii"]),
        cwd=root,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0 and b"Traceback" not in done.stdout + done.stderr
    assert bool(done.stdout) == (closed == "2>&-")


def test_the_words_are_plain_and_each_is_for_one_character() -> None:
    assert all(len(one) == 1 and not one.isascii() and words.isascii() and words for one, words in _WORDS.items())
    assert np.unique(list(_WORDS)).size == len(_WORDS)
