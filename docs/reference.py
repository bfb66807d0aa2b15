"""Write ``docs/reference.md`` from the code: every command with its options, every setting with its meaning.

    python docs/reference.py

A test holds the page to what this writes, so nothing can be added without being documented.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from fedward.cli import app
from fedward.metrics.events import KINDS
from fedward.settings import FederationSpec, JobSpec, Retention, SitePolicy

PAGE = Path(__file__).with_name("reference.md")
FILES = (
    ("jobs/<name>/job.toml", JobSpec),
    ("site.toml", SitePolicy),
    ("local/upkeep.toml", Retention),
    ("provisioning/federation.yml", FederationSpec),
)


def reference() -> str:
    """The whole page."""
    from fedward.audit.actions import ABOUT, ACTIONS
    from fedward.indexing.reasons import FLAGS, REASONS
    from fedward.indexing.tables.account import REASONS as LINE_REASONS
    from fedward.privacy.disclosure.metric_registry import BREAKDOWNS
    from fedward.reporting.data.summary import MEANINGS

    lines = ["# Reference", "", "Written from the code by `make reference`.", "", "## Commands", ""]
    lines += _commands(typer.main.get_command(app), "fedward")
    lines += ["## Settings", "", "Unknown keys are refused. A setting without a default must be given.", ""]
    for name, model in FILES:
        lines += [f"### {name}", "", "| setting | default | meaning |", "|---|---|---|", *_settings(model, ""), ""]
    lines += ["## Metrics that may leave", ""]
    lines += ["`disclosure.metrics` names groups, or metrics of a group, such as `scores.auc`."]
    lines += [f"{_in_words(BREAKDOWNS)} are named as groups only.", ""]
    lines += ["| group | its metrics |", "|---|---|", *_metrics(), ""]
    lines += ["## Reasons for quarantine", "", "| reason | meaning |", "|---|---|"]
    lines += [f"| `{reason}` | {meaning} |" for reason, meaning in REASONS.items()]
    lines += ["", "## Flags of images that serve all the same", "", "| flag | meaning |", "|---|---|"]
    lines += [f"| `{flag}` | {meaning} |" for flag, meaning in FLAGS.items()]
    lines += ["", "## Reasons for refused lines of a label table", "", "| reason | the line |", "|---|---|"]
    lines += [f"| `{reason}` | {meaning} |" for reason, meaning in LINE_REASONS.items()]
    lines += ["", "## summary.json", ""]
    lines += [
        "For a script. A number that was not measured is null. `MEASURE` is `auc`, or `dice` for a segmentation, whose"
    ]
    lines += ["`auc` fields are null.", "", "| field | meaning |", "|---|---|"]
    lines += [f"| `{field.format(measure='MEASURE')}` | {meaning} |" for field, meaning in MEANINGS.items()]
    lines += ["", "## Events of a job", "", "| event | meaning and fields |", "|---|---|"]
    lines += [f"| `{kind}` | {meaning} |" for kind, meaning in KINDS.items()]
    lines += [
        "",
        "## Acts of the audit log",
        "",
        "| act | meaning | refused where it cannot be recorded |",
        "|---|---|---|",
    ]
    lines += [f"| `{act}` | {one.meaning} | {'yes' if one.must else 'no'} |" for act, one in ACTIONS.items()]
    lines += ["", "| fact | meaning |", "|---|---|", *(f"| `{fact}` | {meaning} |" for fact, meaning in ABOUT.items())]
    return "\n".join(lines) + "\n"


def _commands(command: Any, path: str) -> Iterator[str]:
    children = getattr(command, "commands", None)
    if children:
        for name in sorted(children):
            yield from _commands(children[name], f"{path} {name}")
        return
    yield f"### `{path}`"
    yield ""
    yield " ".join((command.help or "").split())
    yield ""
    yield "| argument or option | default | meaning |"
    yield "|---|---|---|"
    for parameter in command.params:
        if parameter.name == "help":
            continue
        names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
        if parameter.param_type_name == "argument":
            names = f"`{parameter.metavar or parameter.name.upper()}`"
        default = "required" if parameter.required else _default(parameter.default)
        yield f"| {names} | {default} | {' '.join((parameter.help or '').split())} |"
    yield ""


def _settings(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner, key = _inner(field.annotation), f"{prefix}{name}"
        if inner is None or field.description is not None:
            yield f"| `{key}` | {_field_default(field)} | {field.description}{_choices(field.annotation)} |"
        if inner is not None:
            kind, many = inner
            yield from _settings(kind, f"{key}{many}.")


def _inner(annotation: Any) -> tuple[type[BaseModel], str] | None:
    """The model inside a field, and how its key is written: one, perhaps none, a list of them, or a table by name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    origin = typing.get_origin(annotation)
    many = {tuple: "[]", dict: ".<name>"}.get(origin, "")
    found = [one for one in map(_inner, typing.get_args(annotation)) if one is not None]
    return (found[0][0], many + found[0][1]) if found else None


def _choices(annotation: Any) -> str:
    """The values of a setting that has a closed list of them, as a sentence; "" for any other."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return f" One of {', '.join(f'`{value}`' for value in arguments)}." if len(arguments) > 1 else ""
    if origin is tuple:
        return _choices(arguments[0]).replace(" One of ", " Any of ")
    if origin in (types.UnionType, typing.Union):
        kinds = [one for one in arguments if one is not types.NoneType]
        return _choices(kinds[0]) if len(kinds) == 1 else ""
    return ""


def _in_words(names: Iterable[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)


def _metrics() -> Iterator[str]:
    """Each group that a hospital's list may name, with its metrics, those of its tables included."""
    from fedward.privacy.disclosure.metric_registry import ABOVE, GROUPS

    for group in GROUPS:
        if group not in ABOVE:
            below = [name for one in GROUPS if ABOVE.get(one) == group for name in GROUPS[one]]
            names = dict.fromkeys([*GROUPS[group], *below])
            yield f"| `{group}` | {', '.join(f'`{name}`' for name in names)} |"


def _field_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default_factory() if field.default_factory else field.default  # type: ignore[call-arg]
    return "required" if value is PydanticUndefined else _default(value)


def _default(value: Any) -> str:
    if value is None or value == () or value == [] or value == {} or value == "":
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
    print(PAGE)
