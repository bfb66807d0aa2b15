"""Debian packages that a test needs: skipped by name where one is absent, failed where nothing may be skipped (CI)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

NO_SKIP = "FEDWARD_NO_SKIP"
"""Variable that continuous integration sets to 1: a test whose package is absent fails there."""

_SHOWN_BY = {
    "chromium": "chromium",
    "dclint": "dclint",
    "prettier": "prettier",
    "dcmtk": "storescu",
    "debootstrap": "debootstrap",
    "faketime": "faketime",
    "iproute2": "ip",
    "iptables": "iptables",
    "kubectl": "kubectl",
    "npm": "npm",
    "openssl": "openssl",
    "orthanc": "Orthanc",
    "orthanc-dicomweb": "/usr/share/orthanc/plugins/libOrthancDicomWeb.so",
    "podman": "podman",
    "prometheus": "promtool",
    "prometheus-alertmanager": "amtool",
    "runc": "runc",
    "shellcheck": "shellcheck",
    "systemd": "systemd-analyze",
    "util-linux": "unshare",
}
"""The program, or file, by which a package is known to be there."""


def absent(package: str) -> bool:
    """True if a package of ``deploy/packages.sh`` is not installed."""
    shown_by = _SHOWN_BY[package]
    if shown_by.startswith("/"):
        return not Path(shown_by).exists()
    return shutil.which(shown_by, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None


def needs(*packages: str) -> None:
    """Skip the test that asks for packages which are not installed; fail it where ``FEDWARD_NO_SKIP=1``.

    Raises:
        KeyError: a package that ``deploy/packages.sh`` does not install.
    """
    for package in packages:
        if absent(package):
            reason = f"not installed: {package} (Debian; deploy/packages.sh installs it)"
            if os.environ.get(NO_SKIP) == "1":
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)
