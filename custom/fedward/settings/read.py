"""Read settings files. A mistake becomes one ``SettingsError`` line with file, key, value and remedy."""

from __future__ import annotations

import json
import os
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from fedward.errors import SettingsError, brief
from fedward.settings.base import Settings
from fedward.settings.faults import faults
from fedward.settings.federation import FederationSpec
from fedward.settings.job import JobSpec
from fedward.settings.model import START_FILE
from fedward.settings.site import CohortPolicy, Retention, SitePolicy

JOB_FILE = "job.json"
"""File name of a job's settings when they are sent."""

LARGEST_FILE = 1 << 20
"""Bytes of a settings file."""
_DEEPEST = 20
_TOO_DEEP = "lists or tables stand too deep in each other"
_UNREADABLE_VALUE = (ValueError, LookupError, AttributeError, ArithmeticError)
"""Errors of PyYAML for a value such as the date 2024-13-45 and ``!!bool x``."""
_BACKSLASH = ("Unescaped", "Invalid hex value")
"""Beginnings of tomllib's messages for a backslash in double quotes."""
Model_ = TypeVar("Model_", bound=Settings)


def parse(
    model: type[Model_], content: dict[str, Any], *, where: str | Path, remedy: str = "correct the file"
) -> Model_:
    """Check plain data against ``model``; one ``SettingsError`` line names every fault with file, key and value."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise SettingsError(faults(error, model), where=where, remedy=remedy) from None


def read_job(folder: Path) -> JobSpec:
    """Read ``job.toml`` from a job's folder (or the file itself), with its start, a file beside it."""
    path = folder if folder.suffix == ".toml" else folder / "job.toml"
    job = parse(JobSpec, _toml(path), where=path)
    return _started(job, path.parent / (job.model.start or START_FILE), where=path)


def read_sent(path: Path) -> JobSpec:
    """Read a job's settings as they were sent, ``job.json``, with its start, a file beside it.

    Raises:
        SettingsError: a file cannot be read, the settings have a fault, or the start has another hash.
    """
    try:
        content = json.loads(_text(path))
    except (ValueError, RecursionError):
        remedy = "export it with `fedward job export JOB`"
        raise SettingsError("job has no readable settings", where=path, remedy=remedy) from None
    job = parse(JobSpec, content if isinstance(content, dict) else {}, where=path)
    return _started(job, path.parent / START_FILE, where=path)


def changed_job(job: JobSpec, content: dict[str, Any], *, where: str, remedy: str = "correct the change") -> JobSpec:
    """Check changed settings of a job, and keep its start where they have the same."""
    made = parse(JobSpec, content, where=where, remedy=remedy)
    start = job.model.start_bytes
    if start is None or made.model.start_sha256 != job.model.start_sha256:
        return made
    return made.model_copy(update={"model": made.model.with_start(start)})


def _started(job: JobSpec, start: Path, *, where: Path) -> JobSpec:
    return job.model_copy(update={"model": job.model.read_start(start, where=where)})


def read_site(path: Path) -> SitePolicy:
    """Read a ``site.toml``; its relative paths become absolute, starting at its folder."""
    policy = parse(SitePolicy, _toml(path), where=path)
    base = path.resolve().parent
    cohorts = {
        name: cohort.model_copy(
            update={
                field: base / value
                for field in ("images", "index", "labels", "masks")
                if (value := getattr(cohort, field)) is not None
            }
        )
        for name, cohort in policy.cohorts.items()
    }
    cohorts = {name: _archive_beside(cohort, base) for name, cohort in cohorts.items()}
    files = ("key", "ledger", "federation_key", "approvals", "roster")
    own = {field: Path(os.path.normpath(base / value)) for field in files if (value := getattr(policy, field))}
    return policy.model_copy(update={**own, "cohorts": cohorts})


def _archive_beside(cohort: CohortPolicy, base: Path) -> CohortPolicy:
    pacs = cohort.pacs
    if pacs is None:
        return cohort
    files = {field: base / value for field in ("credentials", "ca") if (value := getattr(pacs, field))}
    return cohort.model_copy(update={"pacs": pacs.model_copy(update=files)})


def read_retention(path: Path) -> Retention | None:
    """Read the server's ``local/upkeep.toml``; None where there is none, and then nothing is removed."""
    return parse(Retention, _toml(path), where=path) if path.exists() else None


def read_federation(path: Path) -> FederationSpec:
    """Read a ``federation.yml``."""
    try:
        content = _Yaml(_text(path)).get_single_data()
    except (yaml.YAMLError, *_UNREADABLE_VALUE) as error:
        raise SettingsError(f"not YAML, {error}", where=path, remedy="correct the file") from None
    return parse(FederationSpec, content if isinstance(content, dict) else {}, where=path)


def read_plain(path: Path) -> dict[str, Any]:
    """Read a table in JSON, or in YAML where the file's name ends in .yaml or .yml; nothing in it is evaluated.

    Raises:
        SettingsError: it cannot be read, is too large, is no table, or has a key twice.
    """
    text = _text(path)
    try:
        if path.suffix in (".yaml", ".yml"):
            content = _Yaml(text).get_single_data()
        else:
            content = json.loads(text, object_pairs_hook=_each_key_once)
    except (yaml.YAMLError, *_UNREADABLE_VALUE, RecursionError) as error:
        form = "YAML" if path.suffix in (".yaml", ".yml") else "JSON"
        raise SettingsError(f"not {form}, {error}", where=path, remedy="correct the file") from None
    if not isinstance(content, dict):
        raise SettingsError("is no table", where=path, remedy="correct the file")
    return content


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if twice := next((key for key, times in Counter(key for key, _ in pairs).items() if times > 1), None):
        raise ValueError(f"a table has the key {brief(twice)} twice")
    return dict(pairs)


def plain(settings: Settings) -> dict[str, Any]:
    """Return the settings as JSON-ready data: the inverse of ``parse``."""
    content: dict[str, Any] = json.loads(settings.model_dump_json())
    return content


class _Yaml(yaml.SafeLoader):
    """Loader that refuses lists without a bottom, and a table with one key twice, of which YAML's takes the last."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise yaml.composer.ComposerError(None, None, _TOO_DEEP, self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := next((key for key, times in Counter(keys).items() if times > 1), None):
            what = f"a table has the key {brief(twice)} twice"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
        return super().construct_mapping(node, deep)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise SettingsError(
                f"more than {LARGEST_FILE >> 20} MiB, which no settings file has",
                where=path,
                remedy="give the path of a settings file",
            )
        return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SettingsError(str(reason), where=path, remedy="give the path of a file that can be read") from None


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except RecursionError:
        raise SettingsError(f"not TOML, {_TOO_DEEP}", where=path, remedy="correct the file") from None
    except ValueError as error:
        in_path = str(error).startswith(_BACKSLASH)
        remedy = "write a path with / or in single quotes" if in_path else "correct the file"
        raise SettingsError(f"not TOML, {error}", where=path, remedy=remedy) from None
