"""Federated learning for hospitals on NVIDIA FLARE, where each hospital's own policy decides what leaves it.

In Python and in notebooks: ``from fedward import Job, load_model, load_report, simulate``; ``fedward.api`` has them.
They are loaded at their first use, so that ``import fedward`` takes no time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedward.api import Job, load_model, load_report, simulate

__version__ = "0.1.0"
__all__ = ["Job", "__version__", "load_model", "load_report", "simulate"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fedward import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
