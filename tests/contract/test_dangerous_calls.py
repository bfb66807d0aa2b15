"""Check that no file reads bytes as code, runs a shell or unpacks without a bound.

ruff checks most of it (``S`` rules and banned names in ``pyproject.toml``). The rest, and the rooms where ruff may not
look for banned names, are checked here. Every exception is in ``ALLOWED``, and each must still be needed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.contract.source_rules import Fault, faults

ALLOWED: dict[str, dict[str, str]] = {
    "custom/fedward/flare/": {"nvflare": "the room that may"},
    "custom/fedward/flare/payload_types.py": {
        "zipfile": "reads an array archive's table, to refuse what unpacks to more than its own size",
    },
    "custom/fedward/flare/probes/jobs.py": {
        "zipfile": "makes archives in memory, and reads none",
    },
    "custom/fedward/privacy/policy/job_archive.py": {
        "zipfile": "bounds entries, sizes and names of a job's archive before it inflates any"
    },
    "custom/fedward/provisioning/request.py": {"zipfile": "reads one named member up to a bound, and extracts nothing"},
    "custom/fedward/upkeep/update_file.py": {"zipfile": "reads stored members up to a bound, and extracts nothing"},
    "custom/fedward/weights.py": {"zipfile": "refuses what unpacks to more than its own size, and unpacks nothing"},
    "custom/fedward/provisioning/templates.py": {
        "jinja2.Environment": "writes TOML, YAML and JSON, with their own filter"
    },
    "bench/": {"nvflare": "measures it"},
    "tests/": {
        "nvflare": "tests what it does",
        "pickle": "errors and findings go through a process pool, which pickles them; a model file that is a pickle",
        "runpy": "runs this repository's own scripts",
        "importlib.import_module": "imports the modules that this repository's own table names",
        "xml": "reads drawings that this repository made",
        "zipfile": "reads what the test made",
        "tarfile": "reads what the test made",
        "extractall": "the bundle that the test made, with tarfile's filter for data",
        "gzip": "makes files, and reads none",
        "numpy.load": "shows that a pickled array is refused, or reads what the job before it wrote",
    },
    "tests/support/federation/namespaces.py": {"ctypes": "setns(2) and unshare(2), which Python 3.11 does not have"},
    "tests/integration/wiretap/sitecustomize.py": {
        "exec": "has the server's process of a test lie as the test orders it",
        "compile": "as above",
        "importlib.util": "wraps the import of FLARE's own modules, to record what they send",
        "importlib.machinery": "as above",
    },
    "tests/integration/faults/liar/sitecustomize.py": {
        "importlib.util": "changes FLARE's client in a site's process, so that the site lies as it is ordered",
        "importlib.machinery": "as above",
    },
    "tests/integration/union/quiet/sitecustomize.py": {
        "importlib.machinery": "changes the noise in the processes of a test, for a mock that adds none",
    },
    "tests/fuzz/indexing.py": {"gzip.decompress": "unpacks a file that it has just made"},
    "tests/unit/flare/listener/test_server_door.py": {
        "importlib.util": "asks whether the processes that FLARE starts for a job are still called so",
        "importlib.machinery": "as above",
    },
}
BAD = {
    # a line of code -> the rule of ruff's that finds it in the package, or "here"
    "import pickle\npickle.loads(b'')": "S301 TID251",
    "from pickle import loads\nloads(b'')": "S301 TID251",
    "import marshal\nmarshal.loads(b'')": "S302 TID251",
    "import shelve\nshelve.open('a')": "S301 TID251",
    "eval('1')": "S307",
    "exec('1')": "S102",
    "__import__('os')": "here",
    "compile('1', 'a', 'eval')": "here",
    "import yaml\nyaml.load('1', yaml.Loader)": "S506 TID251",
    "import yaml\nyaml.unsafe_load('1')": "TID251",
    "import subprocess\nsubprocess.run('ls', shell=True)": "S602",
    "import subprocess\nsubprocess.run(['ls'], shell=bool(1))": "here",
    "import subprocess\nname = 'a'\nsubprocess.run(f'ls {name}')": "here",
    "import subprocess\nname = 'a'\nsubprocess.Popen('ls ' + name)": "here",
    "import subprocess\nsubprocess.check_output('ls {}'.format(1))": "here",
    "from subprocess import run\nrun('ls')": "here",
    "import os\nos.system('ls')": "S605 TID251",
    "import os\nos.popen('ls')": "S605 TID251",
    "import tarfile\ntarfile.open('a').extractall()": "S202 TID251",
    "import zipfile\nzipfile.ZipFile('a').extractall()": "TID251",
    "def unpack(archive):\n    archive.extractall()": "here",
    "import shutil\nshutil.unpack_archive('a')": "TID251",
    "import gzip\ngzip.open('a').read()": "TID251",
    "import zlib\nzlib.decompress(b'')": "TID251",
    "import zlib\nzlib.decompressobj().decompress(b'')": "here",
    "import numpy as np\nnp.load('a', allow_pickle=True)": "here",
    "import numpy\nnumpy.load('a')": "here",
    "from numpy import load\nload('a', allow_pickle=bool(0))": "here",
    "import torch\ntorch.load('a')": "here",
    "import torch\ntorch.load('a', weights_only=False)": "here",
    "import jinja2\njinja2.Environment()": "S701",
    "from jinja2 import Environment\nEnvironment(autoescape=False)": "S701",
    "import jinja2\njinja2.Template('a')": "here",
    "from xml.etree import ElementTree\nElementTree.fromstring('a')": "S314 TID251",
    "import xml.dom.minidom\nxml.dom.minidom.parseString('a')": "S318 TID251",
    "from lxml import etree": "TID251",
    "import importlib\nimportlib.import_module('a')": "TID251",
    "import runpy\nrunpy.run_path('a')": "TID251",
    "import joblib\njoblib.load('a')": "TID251",
    "import builtins\nbuiltins.eval('1')": "TID251",
    "from tempfile import mktemp\nmktemp()": "S306",
    "import ssl\nssl._create_unverified_context()": "S323",
    "import logging.config\nlogging.config.listen(9)": "S612",
    "import random\nrandom.random()": "S311",
    "import json  # noqa": "here",
    "import pickle  # noqa: TID251": "here",
    "eval('1')  # noqa: S307 - trust me": "here",
    "# ruff: noqa": "here",
}
GOOD = (
    "import subprocess\nsubprocess.run(['ls', '-l'], check=False)",
    "import subprocess\nmore = ['a']\nsubprocess.run(['ls'] + more, check=False)",
    "import subprocess\ncommand = ['a']\nsubprocess.run(command, shell=False, check=False)",
    "import zlib\nzlib.decompressobj(wbits=31).decompress(b'', 10)",
    "import numpy as np\nnp.load('a', allow_pickle=False)",
    "import torch\ntorch.load('a', weights_only=True)",
    "import re\nre.compile('a')",
    "class Layer:\n    def eval(self):\n        return self\n\n\nLayer().eval()",
    "import yaml\nyaml.safe_load('a')",
    "import jinja2\njinja2.Environment(autoescape=True)",
    "for tag in ():  # noqa: SIM118 - S is for a reason\n    pass",
)


def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]


def banned(root: Path) -> dict[str, str]:
    table = project(root)["flake8-tidy-imports"]["banned-api"]
    return {name: entry["msg"] for name, entry in table.items()}


def sources(root: Path) -> dict[str, str]:
    """Return the text of every tracked Python file except these two, which hold the bad lines."""
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=root, capture_output=True, text=True, check=True)
    own = {f"tests/contract/{name}.py" for name in ("test_dangerous_calls", "source_rules")}
    names = set(tracked.stdout.splitlines()) - own
    return {name: (root / name).read_text(encoding="utf-8") for name in sorted(names) if (root / name).exists()}


def allowed(name: str, fault: Fault) -> str | None:
    """Return the entry that allows it."""
    for where, names in ALLOWED.items():
        if fault.name in names and (name == where or (where.endswith("/") and name.startswith(where))):
            return f"{where} {fault.name}"
    return None


def test_no_file_has_a_dangerous_call_and_every_exception_is_needed(root: Path) -> None:
    found = [(name, fault) for name, text in sources(root).items() for fault in faults(text, banned(root))]
    bad = [f"{name}:{fault.line}: {fault.name}: {fault.why}" for name, fault in found if not allowed(name, fault)]
    assert not bad, "\n".join(bad)
    needed = {allowed(name, fault) for name, fault in found}
    assert {f"{where} {name}" for where, names in ALLOWED.items() for name in names} == needed


def by_ruff(root: Path, text: str) -> set[str]:
    """Return the rules that ruff finds broken in such a file of the package, with this project's settings."""
    command = [str(Path(sys.executable).with_name("ruff")), "check", "--output-format", "concise", "--no-cache"]
    given = ["--stdin-filename", str(root / "custom/fedward/planted.py"), "-"]
    done = subprocess.run([*command, *given], input=text, cwd=root, capture_output=True, text=True, check=False)
    return set(re.findall(r": (S\d+|TID251) ", done.stdout))


@pytest.mark.parametrize("text", BAD)
def test_each_planted_call_is_found(root: Path, text: str) -> None:
    here = faults(text, banned(root))
    if BAD[text] == "here":
        assert here
        return
    assert by_ruff(root, text) >= set(BAD[text].split())
    assert here or "TID251" not in BAD[text], "held in the rooms where ruff may not look"


@pytest.mark.parametrize("text", GOOD)
def test_an_honest_call_is_not_found(root: Path, text: str) -> None:
    assert not faults(text, banned(root))
    assert not by_ruff(root, text)


def test_ruff_looks_everywhere_but_for_what_the_table_names(root: Path) -> None:
    """Only tests and these files are exempt from a rule, one by one."""
    lint = project(root)
    assert "S" not in lint["select"] and not {rule for rule in lint["ignore"] if rule.startswith(("S", "TID"))}
    selected = {rule for rule in lint["select"] if re.fullmatch(r"S\d+", rule)}
    assert selected >= {"S102", "S202", "S301", "S302", "S307", "S314", "S506", "S602", "S604", "S605", "S701"}
    let_off = {where: rules for where, rules in lint["per-file-ignores"].items() if not where.startswith("tests")}
    assert all(set(rules) <= {"S606", "S608", "S701", "S704", "TID251"} for rules in let_off.values())
    for where in let_off:
        found = [*root.glob(re.sub(r"\{(.*)\}", "*", where))]
        assert found, f"{where} is let off a rule and is not there"
