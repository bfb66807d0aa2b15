"""Write plain values as TOML, as a person would write them in ``job.toml``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_value(value: object) -> str:
    """Return a value in one line of TOML; ``tomllib`` reads the same value back.

    Args:
        value: a text, a finite number, true or false, a list or tuple of such values, or a table with texts as keys.

    Raises:
        ValueError: TOML has no such value, as None and infinity.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        pairs = [f"{_key(key)} = {toml_value(one)}" for key, one in value.items()]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    raise ValueError(f"TOML has no such value: {type(value).__name__}")


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else toml_value(key)
