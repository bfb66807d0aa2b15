"""Check that the kit is hardened: classes that a job may name, logs, rights, the two gates, foreign code and files.

FLARE reads ``local/resources.json`` or, if it is absent, ``resources.json.default``; the same for rights. The expected
content is what ``fedward.flare.kits.expected`` would write today.
"""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedward.doctor.context import Case
from fedward.doctor.findings import Finding, Voice

RESOURCES, RIGHTS, PRIVACY = "local/resources.json", "local/authorization.json", "local/privacy.json"
_RESTORE = "restore {} from the kit as the operator gave it; changes to it are not yours to make"
_STREAMERS = ("log_stream", "logstream")
_CHOICES = (
    "fedward.flare.k8s_launcher.SitePods",
    "nvflare.app_common.resource_managers.",
    "nvflare.app_common.resource_consumers.",
)
"""Components that a site may choose in place of the kit's: to start jobs and to count GPUs. FLARE's own launchers for
Docker and Kubernetes are not among them: with these a job chooses its image and its program."""
_EXTENTS = {"none": 0, "n:submitter": 1, "o:submitter": 2, "o:site": 2, "any": 3}
_EXTRA = ("*__resources.json", "*__p_resources.json", "*__j_resources.json", "job_resources.json")
"""Files that FLARE adds to its resources, in startup and in local; no kit of ours has one."""
_LOCAL_HANDLERS = frozenset(
    f"logging.{name}"
    for name in (
        "StreamHandler",
        "FileHandler",
        "NullHandler",
        "handlers.RotatingFileHandler",
        "handlers.TimedRotatingFileHandler",
        "handlers.WatchedFileHandler",
    )
)
_SHOWN = 80
_CUSTOM = "custom"
_STREAM_VARIABLE = "NVFLARE_ALLOW_LOG_STREAMING"


def class_allow_list(case: Case) -> Iterator[Finding]:
    """Check that a job may name only our classes."""
    say = Voice("class-allow-list")
    found, expected = _in_force(case, RESOURCES), json.loads(case.expected[RESOURCES])
    for key in ("class_list_enforcement_mode", "class_allow_list"):
        if found.get(key) != expected[key]:
            value = json.dumps(found.get(key))[:_SHOWN]
            what = f"{key} is not {json.dumps(expected[key])}: a job may have other classes built here"
            yield say.failed(what, where=RESOURCES, value=value, remedy=_RESTORE.format(RESOURCES))
            return
    yield say.passed("a job may name our classes alone", where=RESOURCES, value=", ".join(expected["class_allow_list"]))


def log_streaming(case: Case) -> Iterator[Finding]:
    """Check that no log goes to the server."""
    say, found = Voice("log-streaming"), _in_force(case, RESOURCES)
    remedy = f'set "allow_log_streaming": false in {RESOURCES} and remove the log streamer from its components'
    faults = []
    if found.get("allow_log_streaming") is not False:
        value = json.dumps(found.get("allow_log_streaming"))
        faults.append(say.failed("streaming of logs is allowed", where=RESOURCES, value=value, remedy=remedy))
    for path in _paths(found):
        if _streams(path):
            faults.append(say.failed("a component sends logs", where=RESOURCES, value=path, remedy=remedy))
    if (variable := case.environment.get(_STREAM_VARIABLE)) is not None:
        unset = f"unset {_STREAM_VARIABLE}, here and in the service's unit: it overrules the kit"
        faults.append(say.failed("environment rules over streaming", value=variable, remedy=unset))
    yield from faults or [say.passed("no log goes to the server", where=RESOURCES)]


def components(case: Case) -> Iterator[Finding]:
    """Check that FLARE builds only what the kit names; the site may choose the launcher of a job's process."""
    say = Voice("components")
    expected = set(_paths(json.loads(case.expected[RESOURCES])))
    mismatched = [path for path in _paths(_in_force(case, RESOURCES)) if path not in expected and not _streams(path)]
    foreign = [path for path in mismatched if not path.startswith(_CHOICES)]
    for path in foreign:
        remedy = f"remove it from {RESOURCES}, unless the operator put it there"
        yield say.failed("a component that the kit does not have", where=RESOURCES, value=path, remedy=remedy)
    if not foreign:
        yield say.passed("as in the kit", where=RESOURCES, value=", ".join(mismatched) or None)


def site_door(case: Case) -> Iterator[Finding]:
    """Check that FLARE builds the message guard first in the site's processes, before a cell is open."""
    say = Voice("site-door")
    expected = json.loads(case.expected[RESOURCES])["components"][0]
    built = _in_force(case, RESOURCES).get("components")
    first = built[0] if isinstance(built, list) and built else None
    if first != expected:
        what = f"{expected['path']} is not the first component: other participants reach this site's processes"
        yield say.failed(what, where=RESOURCES, remedy="ask the operator for the kit anew: kits before 0.1.0 lack it")
        return
    yield say.passed("is built first", where=RESOURCES, value=expected["path"])


def authorization(case: Case) -> Iterator[Finding]:
    """Check that nobody outside has more rights here than in the kit's table."""
    say = Voice("authorization")
    remedy = _RESTORE.format(RIGHTS)
    found, expected = _in_force(case, RIGHTS), json.loads(case.expected[RIGHTS])
    if found.get("format_version") != expected["format_version"] or not isinstance(found.get("permissions"), dict):
        yield say.failed("is no table of rights", where=RIGHTS, remedy=remedy)
        return
    laxer: list[str] = []
    stricter: list[str] = []
    for role, right, is_, should in _differences(found["permissions"], expected["permissions"]):
        small = _EXTENTS.get(is_, 9) if isinstance(is_, str) else 9
        below = is_ == should or small < _EXTENTS.get(should, 0)
        (stricter if below else laxer).append(f"{role} {right}: {is_!r} for {should!r}")
    if laxer:
        what = f"table of rights is laxer than the kit's in {len(laxer)} places"
        yield say.failed(what, where=RIGHTS, value="; ".join(laxer[:3]), remedy=remedy)
    elif stricter:
        what = f"table of rights is stricter than the kit's in {len(stricter)} places"
        yield say.warned(what, where=RIGHTS, value="; ".join(stricter[:3]), remedy=f"keep it if meant; else {remedy}")
    else:
        yield say.passed("as in the kit: no shell commands, no code from jobs", where=RIGHTS)


def privacy_scope(case: Case) -> Iterator[Finding]:
    """Check that there is one scope, with both gates, and no laxer one for a job to choose."""
    say = Voice("privacy-scope")
    found, expected = _json(case.kit / PRIVACY), json.loads(case.expected[PRIVACY])
    if found != expected:
        scopes = found.get("scopes")
        several = isinstance(scopes, list) and len(scopes) > 1
        what = "more than one scope: a job may choose the laxer" if several else "is not one scope with our two gates"
        yield say.failed(what, where=PRIVACY, remedy=_RESTORE.format(PRIVACY))
        return
    yield say.passed("one scope, with both gates", where=PRIVACY)


def custom_code(case: Case) -> Iterator[Finding]:
    """Check that there is no code where FLARE would load it."""
    say = Voice("custom-code")
    remedy = "remove it: every site runs the same reviewed package and no code beside it"
    there = [folder for folder in (case.kit, case.local, case.startup) if _CUSTOM in _names(folder)]
    found = [path.relative_to(case.kit) for folder in there for path in _below(folder / _CUSTOM)]
    if found:
        yield say.failed("code beside the package", where=found[0], value=f"{len(found)} files", remedy=remedy)
        return
    yield say.passed("no code beside the package")


def side_files(case: Case) -> Iterator[Finding]:
    """Check that there is no file that FLARE would add to the kit's own and that could weaken it."""
    say = Voice("side-files")
    mismatched = [
        f"{folder.name}/{name}"
        for folder in (case.local, case.startup)
        for name in _names(folder)
        if any(fnmatch.fnmatch(name, pattern) for pattern in _EXTRA)
    ]
    for name in mismatched:
        yield say.failed("FLARE adds this to the kit's resources", where=name, remedy=f"remove {name}")
    if fault := _loose_connection(case.local / "comm_config.json"):
        remedy = "restore it from the kit; if you wrote it, let it only tune"
        yield say.warned(fault, where="local/comm_config.json", remedy=remedy)
    elif not mismatched:
        yield say.passed("none")


def log_config(case: Case) -> Iterator[Finding]:
    """Check that logs go to files and the console, not over the network."""
    say = Voice("log-config")
    own, shipped = case.local / "log_config.json", case.local / "log_config.json.default"
    path = own if own.exists() else shipped
    content = _json(path)
    where = path.relative_to(case.kit)
    handlers = content.get("handlers")
    if not isinstance(handlers, dict):
        yield say.failed("has no handlers", where=where, remedy=_RESTORE.format(where))
        return
    made = [str(handler.get("class") or handler.get("()")) for handler in handlers.values()]
    mismatched = sorted({name for name in made if name not in _LOCAL_HANDLERS})
    mismatched += [name for name in _factories(content) if not name.startswith("nvflare.fuel.utils.log_utils.")]
    if mismatched:
        remedy = f"see where these send what they receive, and take them out of {where} if it leaves the hospital"
        yield say.warned("not a file nor the console", where=where, value=", ".join(mismatched), remedy=remedy)
        return
    yield say.passed("files and console alone", where=where, value=f"{len(made)} handlers")


def startup_files(case: Case) -> Iterator[Finding]:
    """Check that the scripts in startup are as FLARE wrote them."""
    say = Voice("startup-files")
    from fedward.flare.kits.expected import signed_right

    remedy = "restore startup/ from the kit as the operator gave it; site changes go to local/"
    signed = signed_right(case.startup, case.startup / "rootCA.pem")
    if signed is False:
        yield say.failed("a file is not as it was signed", where="startup/signature.json", remedy=remedy)
        return
    for name, content in case.expected.items():
        path = case.kit / name
        if not name.startswith("startup/") or not name.endswith(".sh"):
            continue
        if not path.exists() or path.read_bytes() != content:
            what = "is absent" if not path.exists() else "is not as FLARE writes it"
            yield say.warned(what, where=name, remedy=remedy)
            return
    yield say.passed("as FLARE wrote them" if signed is None else "as they were signed")


def _in_force(case: Case, name: str) -> dict[str, Any]:
    own = case.kit / name
    return _json(own if own.exists() else own.with_name(f"{own.name}.default"))


def _json(path: Path) -> dict[str, Any]:
    """Return a file's object; an absent file or one without an object counts as empty, which no check here accepts."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _paths(resources: dict[str, Any]) -> list[str]:
    """Return the classes of components and handlers; one without a path counts under its whole text."""
    parts = [*(resources.get("components") or ()), *(resources.get("handlers") or ())]
    return [str(part.get("path", part.get("name", part))) if isinstance(part, dict) else str(part) for part in parts]


def _loose_connection(path: Path) -> str | None:
    """Return what FLARE's connection settings leave open; None if there are none or they are safe."""
    if not path.exists():
        return None
    content = _json(path)
    internal = content.get("internal")
    if not content or content.get("allow_adhoc_conns", False) is not False:
        return "lets processes connect past the server, or cannot be read"
    resources = internal.get("resources") if isinstance(internal, dict) else {}
    if not isinstance(resources, dict) or resources.get("connection_security", "mtls") != "mtls":
        return "a job's process connects without mutual TLS"
    return None


def _streams(path: str) -> bool:
    return any(word in path.lower() for word in _STREAMERS)


def _differences(found: dict[str, Any], expected: dict[str, Any]) -> Iterator[tuple[str, str, Any, str]]:
    for role in sorted({*found, *expected}):
        ours, theirs = expected.get(role, {}), found.get(role, {})
        if not isinstance(theirs, dict):
            yield role, "all rights", theirs, "none"
            continue
        for right in sorted({*ours, *theirs}):
            if theirs.get(right) != ours.get(right):
                yield role, right, theirs.get(right), ours.get(right, "none")


def _names(folder: Path) -> list[str]:
    """Return the names in a folder. Unlike ``Path.glob`` it raises if the folder cannot be listed."""
    return sorted(path.name for path in folder.iterdir())


def _below(folder: Path) -> list[Path]:
    """Return every file below a folder, or the folder's own link.

    Raises:
        OSError: a folder cannot be listed.
    """

    def stop(error: OSError) -> None:
        raise error

    if folder.is_symlink() or not folder.is_dir():
        return [folder]
    walked = os.walk(folder, onerror=stop)
    return sorted(Path(place) / name for place, _, names in walked for name in names)


def _factories(content: Any) -> Iterator[str]:
    """Yield every ``()`` of a logging configuration: a class that logging builds."""
    if isinstance(content, dict):
        if isinstance(made := content.get("()"), str):
            yield made
        for part in content.values():
            yield from _factories(part)
    elif isinstance(content, list):
        for part in content:
            yield from _factories(part)
