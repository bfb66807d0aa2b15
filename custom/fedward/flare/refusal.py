"""Choose the sentence that a hospital sends to the server when it refuses, by the error's class, from a fixed table.

The text of an error never leaves, since it may hold a path, a count of patients, an ε or a name. An executor passes a
code to its gate, and the gate chooses the sentence itself. The gates' sentences about a message
(``refusal_sentences``) are recognised by their form, and sent without the values in them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import NewType

from fedward.errors import (
    AuditError,
    BudgetError,
    CohortError,
    DiskFullError,
    EncryptionError,
    FederationError,
    FedwardError,
    GateError,
    JobError,
    KeyFileError,
    LedgerError,
    LedgerIOError,
    PatientsError,
    PolicyError,
    RepeatError,
    RosterError,
    SettingsError,
    StoreError,
    StudyError,
    single_line,
)
from fedward.flare.refusal_sentences import GATE_SENTENCES, VALUE

LONGEST_REASON = 300
Sentence = NewType("Sentence", str)
"""Text that may be sent: made in this module from its tables, and by a gate that puts its own title before it."""


class Code(StrEnum):
    """Kinds of refusal that may be sent; an executor passes one of these to its gate, and nothing else."""

    FAILED = "failed"
    STOPPED = "stopped"
    AT_DOOR = "at-door"
    REFUSED = "refused"
    SETTINGS = "settings"
    COHORT = "cohort"
    STUDY = "study"
    JOB = "job"
    POLICY = "policy"
    LEDGER = "ledger"
    BUDGET = "budget"
    PATIENTS = "patients"
    DISK_FULL = "disk-full"
    LEDGER_IO = "ledger-io"
    REPEAT = "repeat"
    GATE = "gate"
    ENCRYPTION = "encryption"
    KEY_FILE = "key-file"
    ROSTER = "roster"
    AUDIT = "audit"
    STORE = "store"
    FEDERATION = "federation"
    VALUE = "value-error"
    TYPE = "type-error"
    LOOKUP = "lookup-error"
    ARITHMETIC = "arithmetic-error"
    SYSTEM = "os-error"
    MEMORY = "memory-error"
    RUNTIME = "runtime-error"


_LOG = "the site's log says why"
_SENTENCES: Mapping[Code, str] = {
    Code.FAILED: f"failed; {_LOG}",
    Code.STOPPED: "the job was stopped",
    Code.AT_DOOR: f"the task was refused at the hospital's door; {_LOG}",
    Code.REFUSED: f"this site does not do the task; {_LOG}",
    Code.SETTINGS: f"the site's or the job's settings cannot be used; {_LOG}",
    Code.COHORT: "the hospital's images, labels or index cannot serve this job; at the hospital, "
    "`fedward site policy check SITE_TOML --job JOB` says why, and what to do",
    Code.STUDY: f"an image of the hospital's cohort cannot serve; {_LOG}",
    Code.JOB: f"the job cannot be built or run here; {_LOG}",
    Code.POLICY: "the job is not admitted by the hospital's policy; "
    "`fedward site policy check SITE_TOML --job JOB` says why",
    Code.LEDGER: f"the privacy ledger does not vouch for it; {_LOG}",
    Code.BUDGET: "a patient's privacy budget is spent",
    Code.PATIENTS: "the cohort's patients are not those that this job was charged for; "
    "restore the index that it was charged with, or submit the job again",
    Code.DISK_FULL: "the hospital's disk is full; the site takes part again when there is room",
    Code.LEDGER_IO: f"the hospital cannot write its ledger at the moment; {_LOG}",
    Code.REPEAT: "the task may not come again; the site goes on with the next one",
    Code.GATE: f"a gate of the hospital refused it; {_LOG}",
    Code.ENCRYPTION: f"a key or a sealed message cannot serve; {_LOG}",
    Code.KEY_FILE: f"a file of the hospital's own key cannot be read now; {_LOG}",
    Code.ROSTER: f"hospitals or key of the run do not do for this hospital; {_LOG}",
    Code.AUDIT: f"the hospital's audit log cannot record it; {_LOG}",
    Code.STORE: f"a metrics store cannot be used; {_LOG}",
    Code.FEDERATION: f"a process, port, kit or connection cannot serve; {_LOG}",
    Code.VALUE: f"failed with ValueError; {_LOG}",
    Code.TYPE: f"failed with TypeError; {_LOG}",
    Code.LOOKUP: f"failed with LookupError; {_LOG}",
    Code.ARITHMETIC: f"failed with ArithmeticError; {_LOG}",
    Code.SYSTEM: f"failed with OSError; {_LOG}",
    Code.MEMORY: f"failed with MemoryError; {_LOG}",
    Code.RUNTIME: f"failed with RuntimeError; {_LOG}",
}
SENTENCES: Mapping[Code, Sentence] = {code: Sentence(text) for code, text in _SENTENCES.items()}
CODES = frozenset(code.value for code in Code)
CLASSES: Mapping[type, Code] = {
    FedwardError: Code.REFUSED,
    SettingsError: Code.SETTINGS,
    CohortError: Code.COHORT,
    StudyError: Code.STUDY,
    JobError: Code.JOB,
    PolicyError: Code.POLICY,
    LedgerError: Code.LEDGER,
    BudgetError: Code.BUDGET,
    PatientsError: Code.PATIENTS,
    LedgerIOError: Code.LEDGER_IO,
    DiskFullError: Code.DISK_FULL,
    GateError: Code.GATE,
    RepeatError: Code.REPEAT,
    EncryptionError: Code.ENCRYPTION,
    KeyFileError: Code.KEY_FILE,
    RosterError: Code.ROSTER,
    AuditError: Code.AUDIT,
    StoreError: Code.STORE,
    FederationError: Code.FEDERATION,
    ValueError: Code.VALUE,
    TypeError: Code.TYPE,
    LookupError: Code.LOOKUP,
    ArithmeticError: Code.ARITHMETIC,
    OSError: Code.SYSTEM,
    MemoryError: Code.MEMORY,
    RuntimeError: Code.RUNTIME,
}
"""Class of an error -> its code. The most specific class decides; any other error is ``Code.FAILED``."""

NOT_APPROVED = "job"
APPROVE = "ask the hospital to look at it with `fedward site approve JOB --site-toml SITE_TOML`"
SETTINGS: Mapping[str, str] = {
    NOT_APPROVED: "job is not approved here",
    "privacy": "the job's privacy settings have a fault, which `fedward job check` names",
    "data.cohort": "this hospital has no such cohort",
    "privacy.mechanism": "this cohort is for jobs with differential privacy",
    "encryption": "updates from this cohort leave encrypted or not at all",
    "federation_key": "this hospital has no federation key for the job's scheme",
    "encryption.scheme": "this hospital takes part in a sum only with hospitals that it knows: give scheme 'masked'",
    "privacy.dp_sgd.clip_norm_l2": "clip above this hospital's largest",
    "privacy.update.clip_norm_l2": "no clip, or one above this hospital's largest",
    "privacy.dp_sgd.delta": "δ above this hospital's",
    "privacy.update.delta": "δ above this hospital's",
    "privacy.dp_sgd.epsilon": "ε above this hospital's cap for all of a patient's jobs",
    "privacy.dp_sgd.noise_multiplier": "noise below this hospital's smallest",
    "privacy.update.noise_multiplier": "noise below this hospital's smallest",
    "noise_multiplier": "noise below this hospital's smallest, or none",
    "launcher_spec": "job says which pod it runs in",
}
"""Setting that a policy refused -> text that is sent, with the policy's own bound where there is one."""
_MORE = "`fedward site policy check SITE_TOML --job JOB` says more"
_HASH = re.compile(r"[0-9a-f]{64}")
_LONGEST_MESSAGE = 2000


def public_reason(error: BaseException) -> Sentence:
    """Return what the server may know of an error: one printable line of at most 300 characters from a closed table.

    For a ``PolicyError`` it names the settings of the job that were refused, the policy's own bounds on them and the
    job's hash. Nothing else of an error is disclosed, and never its text.
    """
    code = code_of(error)
    sentence: str | None = None
    if isinstance(error, PolicyError):
        sentence = _policy(error.settings)
    elif isinstance(error, GateError | EncryptionError):
        sentence = _gate_sentence(error.what)
    return Sentence(one_line(sentence or SENTENCES[code]))


def code_of(error: BaseException) -> Code:
    """Return the code of an error's most specific class."""
    return next((CLASSES[one] for one in type(error).__mro__ if one in CLASSES), Code.FAILED)


def one_line(text: str) -> str:
    """Return ``text`` as one line of at most 300 printable characters."""
    return single_line(text[: 10 * LONGEST_REASON])[:LONGEST_REASON].rstrip()


def _policy(settings: object) -> str | None:
    """Describe the refused settings in sentences; leave out a setting on no list, and a bound that is not a number."""
    if not isinstance(settings, Mapping):
        return None
    parts = [_setting(name, settings[name]) for name in SETTINGS if name in settings]
    if not parts:
        return None
    return " | ".join(parts) + ("" if set(SETTINGS) & set(settings) == {NOT_APPROVED} else f"; {_MORE}")


def _setting(name: str, bound: object) -> str:
    if name == NOT_APPROVED:
        found = f": {bound}" if type(bound) is str and _HASH.fullmatch(bound) else ""
        return f"{SETTINGS[name]}{found}; {APPROVE}"
    number = f" of {bound:g}" if type(bound) in (int, float) and math.isfinite(bound) else ""  # type: ignore[arg-type]
    return f"{name}: {SETTINGS[name]}{number}"


def _gate_sentence(what: object) -> str | None:
    """Return the gates' sentence that a message matches, without the values; of several matches, the longest."""
    if type(what) is not str or len(what) > _LONGEST_MESSAGE:
        return None
    return max((one for one in GATE_SENTENCES if _fits(one, what)), key=len, default=None)


def _fits(sentence: str, text: str) -> bool:
    """True if ``text`` is the sentence with any text in place of each value."""
    first, *rest = sentence.split(VALUE)
    if not rest:
        return text == sentence
    *middle, last = rest
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
