"""Name the measure that each task is judged by; the one place that does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Measure = Literal["auc", "dice"]
TITLES: Mapping[str, str] = {"auc": "AUC", "dice": "Dice"}
"""Measure -> its name for people."""


def measure_of(task: object) -> Measure:
    """Return ``dice`` for "segmentation" and ``auc`` for every other task, an unknown one too."""
    return "dice" if task == "segmentation" else "auc"
