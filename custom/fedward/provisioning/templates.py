"""Render a hospital's first ``local/`` files from ``site_templates/``: ``base``, changed by template and runtime.

Values come from base, then the hospital's template (clinic, academic-centre), then its runtime (systemd, docker,
kubernetes); a later folder may change a value but not add one. A ``*.jinja`` file of a later folder replaces the file
of the same name in an earlier one, unless its result is empty. Nothing here can weaken a kit: in ``resources.json``
only the few components that differ between machines are replaced, each by a class of a fixed list.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

import fedward
from fedward.errors import SettingsError
from fedward.settings import FederationSpec, Hospital

RESOURCES = "resources.json"
"""Name of the one file that is merged, by ``change_resources``, and not written."""

_SUFFIX = ".jinja"
_VALUES = "values.toml"
_REPLACEABLE: Mapping[str, frozenset[str]] = {
    "resource_manager": frozenset(
        {
            "nvflare.app_common.resource_managers.gpu_resource_manager.GPUResourceManager",
            "nvflare.app_common.resource_managers.passthrough_resource_manager.PassthroughResourceManager",
        }
    ),
    "resource_consumer": frozenset({"nvflare.app_common.resource_consumers.gpu_resource_consumer.GPUResourceConsumer"}),
    "process_launcher": frozenset({"nvflare.app_common.job_launcher.client_process_launcher.ClientProcessJobLauncher"}),
    "k8s_launcher": frozenset({"fedward.flare.k8s_launcher.SitePods"}),
}
"""Components that a template may add or remove, with the classes that each may have."""


def render(templates: Path, *, spec: FederationSpec, hospital: Hospital) -> dict[str, str]:
    """Return the hospital's files, by name in the kit's ``local/``: ``site.toml`` and the files of its runtime.

    Args:
        templates: ``site_templates/``.
        spec: the federation.
        hospital: one of its hospitals; its ``template`` and ``runtime`` choose the folders.

    Raises:
        SettingsError: a folder is absent, a value is missing or unknown, or a template is invalid.
    """
    rendered = _rendered(templates, spec, hospital)
    return {name: text for name, text in sorted(rendered.items()) if name != RESOURCES}


def change_resources(
    resources: Mapping[str, Any], *, templates: Path, spec: FederationSpec, hospital: Hospital
) -> dict[str, Any]:
    """Return a site's hardened ``resources.json`` with the components of its template and runtime.

    Args:
        resources: the hardened content; it is not changed.

    Raises:
        SettingsError: as ``render``, or a template names a component or class outside the fixed list.
    """
    return with_components(resources, resource_components(templates, spec=spec, hospital=hospital))


def resource_components(templates: Path, *, spec: FederationSpec, hospital: Hospital) -> dict[str, Any]:
    """Return the components of template and runtime, by id; None removes a component. The result may be sent.

    Raises:
        SettingsError: as ``change_resources``.
    """
    text = _rendered(templates, spec, hospital).get(RESOURCES, "")
    try:
        wanted: dict[str, Any] = json.loads(text) if text else {}
    except json.JSONDecodeError as error:
        where = templates / RESOURCES
        raise SettingsError(f"not JSON, {error}", where=where, remedy="correct the template") from None
    with_components({"components": []}, wanted)
    return wanted


def with_components(resources: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``resources`` with these components in place, by id; None removes one.

    Raises:
        SettingsError: an id or class is outside the fixed list, from any sender.
    """
    for name, component in wanted.items():
        path = component.get("path") if isinstance(component, dict) else None
        if name not in _REPLACEABLE or (component is not None and path not in _REPLACEABLE[name]):
            remedy = "a template may change the resource manager and the launcher, by the classes that Fedward knows"
            what = "component may not come from a template"
            raise SettingsError(what, where=RESOURCES, value=path or name, remedy=remedy)
    kept = [component for component in resources["components"] if component["id"] not in wanted]
    new = [{"id": name, **component} for name, component in wanted.items() if component is not None]
    return {**resources, "components": [*kept, *new]}


def site_components(resources: Mapping[str, Any], *, defaults: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the components that a site chose where a template may choose, by id; None: it removed one.

    Args:
        resources: content of the site's ``resources.json``.
        defaults: other contents; what equals one of theirs was not chosen by the site.
    """
    own = _replaceable(resources)
    others = [_replaceable(content) for content in defaults]
    return {name: own.get(name) for name in _REPLACEABLE if all(own.get(name) != other.get(name) for other in others)}


def without_site_components(resources: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``resources.json`` without the components that a template or a site may choose."""
    kept = [component for component in resources["components"] if component.get("id") not in _REPLACEABLE]
    return {**resources, "components": kept}


def _replaceable(resources: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        str(component["id"]): {key: value for key, value in component.items() if key != "id"}
        for component in resources["components"]
        if component.get("id") in _REPLACEABLE
    }


def _rendered(templates: Path, spec: FederationSpec, hospital: Hospital) -> dict[str, str]:
    folders = [templates / name for name in ("base", hospital.template, hospital.runtime)]
    for folder in folders:
        if not (folder / _VALUES).is_file():
            remedy = "give the folder site_templates/ of this Fedward"
            raise SettingsError("no template", where=templates, value=folder.name, remedy=remedy)
    context = {**_values(folders), "spec": spec, "hospital": hospital, "version": fedward.__version__}
    environment = jinja2.Environment(  # TOML, YAML and JSON, not HTML: the filter below quotes values
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["toml"] = _quoted
    texts = [
        (path.name.removesuffix(_SUFFIX), _one(path, environment, context))
        for folder in folders
        for path in sorted(folder.glob(f"*{_SUFFIX}"))
    ]
    return {name: text for name, text in texts if text}


def _one(path: Path, environment: jinja2.Environment, context: Mapping[str, Any]) -> str:
    try:
        text = environment.from_string(path.read_text(encoding="utf-8")).render(context)
    except jinja2.TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f"{path}:{line}" if line else path
        raise SettingsError(str(error.message), where=where, remedy="correct the template") from None
    return text if text.strip() else ""


def _values(folders: list[Path]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for folder in folders:
        path = folder / _VALUES
        try:
            own = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"not TOML, {error}", where=path, remedy="correct the file") from None
        unknown = sorted(own.keys() - values.keys()) if values else []
        if unknown:
            remedy = f"name it in {folder.parent.name}/base/{_VALUES} first"
            raise SettingsError("no such value", where=path, value=", ".join(unknown), remedy=remedy)
        values |= own
    return values


def _quoted(value: object) -> str:
    """Return a value quoted as TOML, JSON and YAML all write it."""
    return json.dumps(value, ensure_ascii=False)
