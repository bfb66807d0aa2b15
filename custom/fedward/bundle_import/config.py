"""Read a bundle's configuration as plain data, follow its references, and collect what a job cannot have.

After the bundle specification of MONAI 1.6 (docs.monai.io, "MONAI Bundle Specification" and "Bundle Configuration"):
``_target_`` names a class, ``@a::b`` or ``@a#b`` refers to another value, ``$`` begins a Python expression and ``%`` a
macro. References are followed here; expressions and macros are faults.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedward.errors import SettingsError, brief
from fedward.settings import read_plain

ENDS = (".json", ".yaml", ".yml")
MOST_VALUES = 20_000
"""Values that are read of a file: references to references may multiply them without end."""
_REFERENCE = re.compile(r"@[A-Za-z0-9_]+(?:(?:::|#)[A-Za-z0-9_]+)*")
_SUM = re.compile(rf"{_REFERENCE.pattern}|\$\s*{_REFERENCE.pattern}(?:\s*\+\s*{_REFERENCE.pattern})*\s*")
_OWN = ("_target_", "_desc_", "_disabled_", "_mode_", "_requires_")


@dataclass(slots=True)
class Config:
    """One file of a bundle's configuration.

    Attributes:
        content: what the file holds.
        faults: lines for a person: place, what is there, remedy.
        read: number of values that were read so far, those behind references again for each.
    """

    content: Mapping[str, Any]
    faults: list[str] = field(default_factory=list)
    read: int = 0

    def fault(self, place: str, what: str, remedy: str) -> None:
        """Note what a job cannot have."""
        line = f"{place}: {what}; {remedy}"
        if line not in self.faults:
            self.faults.append(line)

    def has(self, place: str) -> bool:
        """Return whether something stands at a place such as ``train::dataloader``."""
        return self._raw(place) is not _MISSING

    def at(self, place: str, *, without: Sequence[str] = ()) -> Any:
        """Return the value at a place with its references followed; None where it has a fault or nothing is there.

        Args:
            place: keys, with ``::`` between them.
            without: keys of the table there that are left out unread.
        """
        raw = self._raw(place)
        if raw is _MISSING:
            return None
        if isinstance(raw, Mapping):
            raw = {key: value for key, value in raw.items() if key not in without}
        return self._followed(raw, place, ())

    def listed(self, place: str, way: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
        """Return the items of a list with the place of each; the list may be ``$@a + @b``, a sum of references.

        Args:
            place: keys, with ``::`` between them.
            way: places of the sums that led here.
        """
        raw = self._raw(place)
        found = _SUM.fullmatch(raw) if isinstance(raw, str) and place not in way else None
        if found is not None:
            items = []
            for reference in _REFERENCE.findall(found[0]):
                items += self.listed(_place(reference), (*way, place))
            return items
        if not isinstance(raw, list):
            self.fault(place, f"is no list, but {brief(_shown(raw), longest=80)}", "write the list out")
            return []
        return [(f"{place}::{number}", self.at(f"{place}::{number}")) for number in range(len(raw))]

    def component(self, place: str, *, without: Sequence[str] = ()) -> Component | None:
        """Return the component at a place; None where there is none, it is disabled, or it has a fault."""
        return self.as_component(self.at(place, without=without), place)

    def as_component(self, value: Any, place: str) -> Component | None:
        """Return a value as a component; None where it is disabled or none."""
        if value is None:
            return None
        if not isinstance(value, Mapping) or not isinstance(value.get("_target_"), str):
            self.fault(place, "names no class", "give it a _target_")
            return None
        if value.get("_disabled_") in (True, "true", "True"):
            return None
        if value.get("_mode_", "default") != "default" or value.get("_requires_"):
            self.fault(place, "has _mode_ or _requires_", "leave it out: a job's parts are made in one way")
        args = {key: one for key, one in value.items() if key not in _OWN}
        for key in (key for key, one in args.items() if _names_class(one)):
            self.fault(f"{place}::{key}", "is made of a class of its own", "write plain values")
        return Component(place=place, target=value["_target_"], args=args)

    def _raw(self, place: str) -> Any:
        value: Any = self.content
        for key in place.split("::"):
            if isinstance(value, Mapping) and key in value:
                value = value[key]
            elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                value = value[int(key)]
            else:
                return _MISSING
        return value

    def _followed(self, value: Any, place: str, way: tuple[str, ...]) -> Any:
        self.read += 1
        if self.read > MOST_VALUES:
            self.fault("the configuration", f"has more than {MOST_VALUES} values with its references", "shorten it")
            return None
        if isinstance(value, Mapping):
            return {str(key): self._followed(one, f"{place}::{key}", way) for key, one in value.items()}
        if isinstance(value, list):
            return [self._followed(one, f"{place}::{number}", way) for number, one in enumerate(value)]
        if not isinstance(value, str | int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
            self.fault(place, f"is no value of a job, {brief(value, longest=80)}", "write a text or a number")
            return None
        if not isinstance(value, str) or not value.startswith(("$", "@", "%")):
            return value
        if value[0] != "@" or not _REFERENCE.fullmatch(value):
            what = {"$": "an expression", "%": "a macro", "@": "a reference that is not followed here"}[value[0]]
            self.fault(place, f"is {what}, {brief(value, longest=80)}", "write the value itself")
            return None
        target = _place(value)
        found = self._raw(target)
        if found is _MISSING or target in way:
            what = "refers to itself" if target in way else "refers to nothing"
            self.fault(place, f"{what}, {brief(value, longest=80)}", "write the value itself")
            return None
        return self._followed(found, target, (*way, target))


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A class with its arguments, as a configuration names it.

    Attributes:
        place: where it stands.
        target: ``_target_``.
        args: its arguments, with references followed.
    """

    place: str
    target: str
    args: dict[str, Any]

    def name_in(self, *homes: str) -> str:
        """Return the class's name where it is one of MONAI's or torch's packages; else the whole ``_target_``."""
        home, _, name = self.target.rpartition(".")
        return name if not home or any(f"{home}.".startswith(f"{one}.") for one in homes) else self.target


def read_config(bundle: Path, name: str) -> Config | None:
    """Read ``configs/NAME.json``, or with YAML's ends; None where there is none.

    Raises:
        SettingsError: it cannot be read, or is there twice.
    """
    found = [path for end in ENDS if (path := bundle / "configs" / f"{name}{end}").is_file()]
    if len(found) > 1:
        remedy = f"keep one of {', '.join(path.name for path in found)}"
        raise SettingsError(f"{name} is there twice", where=bundle / "configs", remedy=remedy)
    return Config(read_plain(found[0])) if found else None


def _names_class(value: Any) -> bool:
    """Return whether a value, or one inside it, is a component."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_names_class, value.values()))
    return isinstance(value, list) and any(map(_names_class, value))


def _place(reference: str) -> str:
    return reference[1:].replace("#", "::")


def _shown(value: Any) -> Any:
    return "nothing" if value is _MISSING else value


_MISSING: Any = object()
