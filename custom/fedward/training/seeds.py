"""Derive seeds from the task alone, independent of earlier computations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(*parts: str | int) -> int:
    """Derive a seed below 2^32 from the SHA-256 of the parts; it is the same on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


@contextmanager
def torch_seed(seed: int) -> Iterator[None]:
    """Draw torch's random numbers (dropout) from ``seed`` inside; restore the global state afterwards."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        if devices:
            torch.manual_seed(seed)
        else:
            torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 2 ms to look for devices
        yield
