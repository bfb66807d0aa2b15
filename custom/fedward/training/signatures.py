"""Read the keyword arguments of a class of torch or MONAI, with their defaults, from its signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

_OPEN = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def keyword_arguments(*makers: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return name -> parameter of all of these together, those of the first before the others'.

    A class that takes its base's arguments as ``**kwargs`` comes with its base.
    """
    found: dict[str, inspect.Parameter] = {}
    for maker in makers:
        for name, parameter in inspect.signature(maker).parameters.items():
            if parameter.kind not in _OPEN:
                found.setdefault(name, parameter)
    return found
