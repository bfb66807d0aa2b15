"""One line on the machine and the versions, for the head of each table."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

import psutil


def machine() -> str:
    """Return cores, memory, Python and the libraries that the figures depend on."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("nvflare", "torch", "monai"))
    memory = psutil.virtual_memory().total / 2**30
    computer = f"{os.cpu_count()} cores, {memory:.0f} GB, {platform.machine()}"
    return f"{computer}, Python {platform.python_version()}, {libraries}"
