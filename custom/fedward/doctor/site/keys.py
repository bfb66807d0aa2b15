"""Check keys and permissions: the federation's key, the site's key, and every file that others must not change."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from fedward.doctor.context import Case
from fedward.doctor.findings import Finding, Voice
from fedward.errors import EncryptionError, SettingsError
from fedward.settings import SitePolicy


def site_key(case: Case) -> Iterator[Finding]:
    """Check that the site's key for pseudonyms is there and valid. It is never made here."""
    from fedward.indexing.site_key import load_key

    say, path = Voice("site-key"), case.policy.key
    if not path.exists():
        remedy = f"restore it from backup; on a new site `fedward site ledger {case.site_toml} --create` makes it"
        yield say.failed("site has no key", where=path, remedy=remedy)
        return
    try:
        load_key(path)
    except SettingsError as error:
        yield say.refused(error, remedy="restore it from backup")
        return
    yield say.passed("is one", where=path)


def federation_key(case: Case) -> Iterator[Finding]:
    """Check that the federation's key, where there is one, can be read and is the one that the other hospitals have."""
    say, site = Voice("federation-key"), case.policy
    if site.federation_key is None:
        yield say.skipped("policy names none: masked jobs make their own")
        return
    from fedward.encryption.keys.key_file import read_key
    from fedward.encryption.keys.sealed_box import grouped

    try:
        key = read_key(site.federation_key)
    except EncryptionError as error:
        yield say.refused(error, remedy="have another hospital seal it to you again, and `fedward key open` it")
        return
    expected = site.federation_key_id
    if expected is not None and expected != key.key_id:
        value = f"here {grouped(key.key_id)}, due {grouped(expected)}"
        remedy = "have the key sealed to you again by a hospital that jobs run at, and `fedward key open` it"
        what = "is not the key that the policy expects: sums with the other hospitals fail"
        yield say.failed(what, where=site.federation_key, value=value, remedy=remedy)
        return
    named = f"{grouped(key.key_id)}, generation {key.generation}, {key.scheme}"
    if expected is None:
        remedy = "ask another hospital to read its `fedward key show` to you, and write it to federation_key_id"
        yield say.warned("nothing to hold its id against", where=site.federation_key, value=named, remedy=remedy)
        return
    yield say.passed("is the one that the policy expects", where=site.federation_key, value=named)


def roster(case: Case) -> Iterator[Finding]:
    """Check that the roster of known hospitals can be read, and has as many as a masked job must have here."""
    say, site = Voice("roster"), case.policy
    if site.roster is None:
        yield say.skipped("policy names none: masked jobs run here with any hospitals of the authority's")
        return
    from fedward.encryption.masks.known_sites import read_roster

    try:
        known = read_roster(site.roster)
    except EncryptionError as error:
        yield say.refused(error, remedy="restore it from backup")
        return
    remedy = f"call a hospital, and `fedward site roster {case.site_toml} --add SITE=FINGERPRINT`"
    value = f"{len(known)}, min_known {site.min_known}"
    if site.min_known and not known:
        yield say.failed(
            "nobody is on it, so no masked job can run here", where=site.roster, value=value, remedy=remedy
        )
    elif len(known) < site.min_known:
        what = "has fewer hospitals than min_known: a masked job needs those that they introduce"
        yield say.warned(what, where=site.roster, value=value, remedy=remedy)
    else:
        yield say.passed("can be read", where=site.roster, value=value)


def private_files(case: Case) -> Iterator[Finding]:
    """Check that only their owner can access keys and ledger, and that the owner is the user of the service."""
    say = Voice("private-files")
    found = []
    for path in _private(case):
        status = path.stat()
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077:
            remedy = f"chmod 600 {path}"
            found.append(say.failed("others may read or change it", where=path, value=f"{mode:04o}", remedy=remedy))
        if status.st_uid != os.geteuid():
            remedy = "run the doctor as the user that runs the service, who owns the kit"
            value = f"owner {status.st_uid}, running as {os.geteuid()}"
            tell = say.warned if os.geteuid() == 0 else say.failed
            found.append(tell("is another user's", where=path, value=value, remedy=remedy))
    yield from found or [say.passed("keys and ledger are their owner's alone", value=f"{len(_private(case))} files")]


def file_permissions(case: Case) -> Iterator[Finding]:
    """Check that nobody else may change the files that control this site: policy, kit, and their folders."""
    say = Voice("file-permissions")
    deciding = [case.site_toml, case.site_toml.parent, case.kit, case.startup, case.local]
    deciding += sorted(path for folder in (case.startup, case.local) for path in folder.iterdir())
    faults = []
    for bit, who, tell in ((stat.S_IWOTH, "anybody", say.failed), (stat.S_IWGRP, "its group", say.warned)):
        loose = [path for path in dict.fromkeys(deciding) if _writable(path, bit)]
        if loose:
            value = f"{stat.S_IMODE(loose[0].stat().st_mode):04o}"
            what = f"{who} may change it" + (f", and {len(loose) - 1} more" if len(loose) > 1 else "")
            remedy = f"chmod go-w {case.site_toml.parent} {case.site_toml}; chmod -R go-w {case.kit}"
            faults.append(tell(what, where=loose[0], value=value, remedy=remedy))
    yield from faults or [say.passed("nobody else may change kit or policy")]


def _private(case: Case) -> list[Path]:
    """Return the files that are secret or prove something; other checks report absent ones."""
    site: SitePolicy = case.policy
    named = [site.key, site.federation_key, site.ledger]
    named += [cohort.pacs.credentials for cohort in site.cohorts.values() if cohort.pacs is not None]
    paths = [path for path in sorted(case.startup.iterdir()) if path.suffix == ".key"]
    paths += [path for path in named if path is not None]
    return [path for path in dict.fromkeys(paths) if path.is_file()]


def _writable(path: Path, bit: int) -> bool:
    """True if the mode has this write bit; in a folder with the sticky bit nobody may replace another's file."""
    mode = path.stat().st_mode
    return bool(mode & bit) and not (mode & stat.S_ISVTX and stat.S_ISDIR(mode))
