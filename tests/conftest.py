"""Provide fixtures for every test: the repository, real data beside it if present, tiny jobs and hospitals."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedward.settings import JobSpec, parse

ROOT = Path(__file__).resolve().parents[1]
FORKS = (
    "tests/integration/images/test_index_real.py",
    "tests/unit/dicom/synthetic/",
    "tests/unit/encryption/keys/test_old_keys.py",
    "tests/unit/indexing/",
    "tests/unit/privacy/test_noise.py",
)
"""Tests that fork the process that runs them."""

# a run that was started in the background ignores Ctrl-C, and so would every process that a test starts and interrupts
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that fork workers come first: a fork of a process in which other tests left threads may crash."""
    items.sort(key=lambda item: not item.nodeid.startswith(FORKS))


def pytest_collection_finish() -> None:
    """Leave what collection has loaded out of every later collection of garbage, which it makes ten times as long."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def leaks_are_told_in_their_own_file() -> Iterator[None]:
    """Collect garbage after each file: a resource that it left open gives a warning, and so an error, in that file."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data beside the repository; a test that needs it is skipped where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"real data is not beside the repository: {folder.name}/data")
    return folder


OPEN_COHORT = {"dp": "not-required", "epsilon_cap": None, "delta": None, "encryption": "not-required"}
"""A cohort's ``privacy`` that requires nothing of a job."""
OPEN_SITE = {
    "ledger": "ledger.db",
    "approved_jobs": "any",
    "disclosure": {"metrics": (), "decimals": 3, "min_count": 1},
}
"""Site-wide settings of ``site.toml`` that require nothing of a job and release no metric."""
OPEN_SITE_TOML = """ledger = "ledger.db"
approved_jobs = "any"
disclosure = { metrics = [], decimals = 3, min_count = 1 }
"""
"""The same as the first lines of a file."""
OPEN_COHORT_TOML = 'privacy = { dp = "not-required", encryption = "not-required" }\n'
"""``OPEN_COHORT`` as a line below ``[cohorts.<name>]``."""


def tiny_job_content() -> dict[str, Any]:
    """A classification job that trains in a second: small images, a small network, two rounds."""
    return {
        "job": {"name": "tiny", "task": "classification", "seed": 7},
        "federation": {"rounds": 2, "min_sites": 2, "round_timeout_s": 120.0, "grace_s": 60.0, "local_baseline": True},
        "data": {"cohort": "chest", "labels": ["lesion"], "target": "binary", "size": [24, 24]},
        "model": {
            "network": "DenseNet",
            "args": {"init_features": 8, "growth_rate": 4, "block_config": [2, 2], "bn_size": 2},
        },
        "training": {
            "loss": {"name": "BCEWithLogitsLoss"},
            "optimizer": "AdamW",
            "lr": 0.003,
            "batch_size": 8,
            "local_epochs": 1,
            "threads": 1,
        },
        "privacy": {"mechanism": "none"},
    }


@pytest.fixture
def tiny_job() -> JobSpec:
    return parse(JobSpec, tiny_job_content(), where="tiny")
