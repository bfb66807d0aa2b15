"""Check the machine: disk space, memory, processors, and a GPU if there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from fedward.doctor.context import GIB, Case
from fedward.doctor.findings import Finding, Voice

_GPU = ("nvidia[0-9]*", "dxg", "kfd")
"""Devices in /dev of NVIDIA's driver, of Windows' driver for its Linux subsystem, and of AMD's driver."""
_ROOM = "make room, or name a folder on another disk in site.toml"


def disk(case: Case) -> Iterator[Finding]:
    """Check the disk space for the kit's logs and models, each cohort's index, and images that a PACS sends."""
    say, limits = Voice("disk"), case.limits
    wanted: dict[Path, tuple[str, float, float]] = {case.kit: ("kit", limits.kit_fail_bytes, limits.kit_warn_bytes)}
    for name, cohort in case.policy.cohorts.items():
        least = limits.index_fail_bytes + _size(cohort.index)  # the new index is written beside the old one
        wanted[cohort.index] = (f"index of {name}", least, 2.0 * least)
        if cohort.pacs is not None:
            wanted[cohort.images] = (f"images of {name}", limits.kit_fail_bytes, limits.kit_warn_bytes)
    for folder, (what, least, ample) in wanted.items():
        free = float(shutil.disk_usage(_standing(folder)).free)
        value = f"{free / GIB:.1f} GiB free"
        if free < least:
            yield say.failed(f"{what}: less than {least / GIB:.1f} GiB", where=folder, value=value, remedy=_ROOM)
        elif free < ample:
            yield say.warned(f"{what}: less than {ample / GIB:.1f} GiB", where=folder, value=value, remedy=_ROOM)
        else:
            yield say.passed(f"{what}: room enough", where=folder, value=value)


def memory(case: Case) -> Iterator[Finding]:
    """Check the memory that a job could have now."""
    import psutil

    say, limits = Voice("memory"), case.limits
    free, whole = psutil.virtual_memory().available, psutil.virtual_memory().total
    value = f"{free / GIB:.1f} of {whole / GIB:.1f} GiB free"
    remedy = "end what else runs here, or give the machine more memory"
    if free < limits.memory_fail_bytes:
        yield say.failed(f"less than {limits.memory_fail_bytes / GIB:.0f} GiB for a job", value=value, remedy=remedy)
    elif free < limits.memory_warn_bytes:
        yield say.warned(f"less than {limits.memory_warn_bytes / GIB:.0f} GiB for a job", value=value, remedy=remedy)
    else:
        yield say.passed("room enough for a job", value=value)


def processors(case: Case) -> Iterator[Finding]:
    """Check the number of CPU threads that this process may use."""
    threads = len(os.sched_getaffinity(0))
    if threads < 2:
        remedy = "give the machine a second CPU thread, or have long rounds agreed"
        yield Voice("processors").warned("a single CPU thread", value=threads, remedy=remedy)
    else:
        yield Voice("processors").passed("CPU threads", value=threads)


def gpu(case: Case) -> Iterator[Finding]:
    """Check that the installed torch can use the GPU that is there; no GPU is needed."""
    say = Voice("gpu")
    present = sorted(path.name for pattern in _GPU for path in Path("/dev").glob(pattern))
    if not present:
        yield say.passed("none, and none is needed: jobs train on the CPU")
        return
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        yield say.passed("torch can use it", value=", ".join(names))
    else:
        remedy = "install the CUDA build of torch that this release names, and a driver that fits; or train on the CPU"
        yield say.warned("there, and torch cannot use it", where=", ".join(present), remedy=remedy)


def _standing(folder: Path) -> Path:
    """Return the folder, or its nearest existing parent, where it would be made."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file()) if folder.is_dir() else 0
