"""Check that a hospital's refusal is a sentence of a closed table, whatever the error holds and whoever sends it."""

from __future__ import annotations

import ast
import importlib
import math
import pickle
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal

import fedward
from fedward import errors
from fedward.errors import EncryptionError, FedwardError, GateError, PolicyError, StudyError
from fedward.flare.gates.gate import Gate
from fedward.flare.protocol import REFUSAL, REFUSED_AT_DOOR, Task, refusal, refuse
from fedward.flare.refusal import CLASSES, CODES, SENTENCES, SETTINGS, Code, Sentence, code_of, one_line, public_reason
from fedward.flare.refusal_sentences import GATE_SENTENCES, VALUE
from fedward.flare.site.executor import HospitalExecutor
from tests.support.flare.gate_messages import collected
from tests.support.flare.hospital import Hospital, assert_refused, parts

Make = Callable[..., Hospital]
PACKAGE = Path(fedward.__file__).parent
PSEUDONYM = "9f86d081884c7d65"
MARKS = ("/data/DOE^JANE/1.dcm", "8.4713", PSEUDONYM, "MARK\nDOE")
SECRET = " ".join(MARKS)
TOLD = frozenset(SENTENCES.values()) | GATE_SENTENCES


def classes() -> list[type[FedwardError]]:
    """Every error class of the package, wherever it is made."""
    for room in ("dicom", "indexing"):
        for module in pkgutil.walk_packages([str(PACKAGE / room)], f"fedward.{room}."):
            importlib.import_module(module.name)
    found, due = [], [FedwardError]
    while due:
        one = due.pop()
        found.append(one)
        due += one.__subclasses__()
    return found


def made(kind: type[FedwardError], what: str = SECRET) -> FedwardError:
    if issubclass(kind, StudyError):
        return kind(what, SECRET)
    try:
        return kind(what, where=SECRET, value=SECRET, remedy=SECRET)
    except TypeError:  # one that words its message itself
        error = kind.__new__(kind)
        FedwardError.__init__(error, what, where=SECRET, value=SECRET, remedy=SECRET)
        return error


def assert_told(reason: str) -> None:
    assert reason in TOLD, reason
    assert reason.isprintable() and len(reason) <= 300
    assert not any(mark in reason for mark in (*MARKS, "MARK", "DOE", "8.47", "/data"))


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_no_class_of_error_tells_what_it_holds(kind: type[FedwardError]) -> None:
    error = made(kind)
    assert any(mark in error.args[0] or "DOE" in error.args[0] for mark in MARKS)
    assert_told(public_reason(error))


def test_every_class_of_the_tree_has_its_own_sentence() -> None:
    ours = {one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, FedwardError)}
    assert ours <= set(CLASSES)
    assert len({SENTENCES[CLASSES[one]] for one in ours}) == len(ours)
    assert set(SENTENCES) == set(Code)
    assert all(code_of(made(one)) is CLASSES[one] for one in ours)


def test_a_class_of_its_own_is_told_as_the_nearest_that_is_known() -> None:
    class Own(GateError):
        pass

    class MARK(ValueError):
        pass

    class Foreign(BaseException):
        pass

    assert public_reason(Own(SECRET)) == SENTENCES[Code.GATE]
    assert public_reason(MARK(SECRET)) == SENTENCES[Code.VALUE]
    assert public_reason(Foreign(SECRET)) == SENTENCES[Code.FAILED]
    assert public_reason(KeyError(SECRET)) == SENTENCES[Code.LOOKUP]


def raised() -> list[tuple[str, str]]:
    """Class and text of every error that the package raises with a text of its own."""
    known = {one.__name__ for one in classes()} | {"ValueError", "TypeError", "RuntimeError", "OSError"}
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in known and node.args:
                text = node.args[0]
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    found.add((node.func.id, text.value))
                elif isinstance(text, ast.JoinedStr):
                    pieces = [str(one.value) if isinstance(one, ast.Constant) else "8.4713" for one in text.values]
                    found.add((node.func.id, "".join(pieces)))
    return sorted(found)


def test_no_message_of_the_package_is_told_with_its_values() -> None:
    kinds: dict[str, Any] = {one.__name__: one for one in (*classes(), ValueError, TypeError, RuntimeError, OSError)}
    messages = raised()
    assert len(messages) > 300
    for name, text in messages:
        kind = kinds[name]
        error = made(kind, text) if issubclass(kind, FedwardError) else kind(text)
        assert_told(public_reason(error))


@given(text=st.text(), kind=st.sampled_from([*CLASSES, Exception]))
def test_whatever_the_text_the_sentence_is_of_the_table(text: str, kind: Any) -> None:
    error = made(kind, text) if issubclass(kind, FedwardError) else kind(text)
    assert public_reason(error) in TOLD


@given(sentence=st.sampled_from(sorted(GATE_SENTENCES)), values=st.lists(st.text(max_size=40), min_size=4, max_size=4))
@pytest.mark.parametrize("kind", [GateError, EncryptionError])
def test_a_sentence_of_the_gates_is_told_without_its_values(kind: Any, sentence: str, values: list[str]) -> None:
    first, *rest = sentence.split(VALUE)
    text = first + "".join(value + part for value, part in zip(values, rest, strict=False))
    reason = public_reason(kind(text, value=SECRET))
    assert reason in GATE_SENTENCES
    if not rest:
        assert reason == sentence
    assert public_reason(FedwardError(text)) == SENTENCES[Code.REFUSED], "of no other class is a text looked at"


def test_the_gates_sentences_are_those_that_the_code_raises() -> None:
    assert collected() == GATE_SENTENCES, "python -m tests.support.flare.gate_messages prints the list"


# a policy's refusal


@given(
    names=st.lists(st.sampled_from([*SETTINGS, SECRET, "disclosure"]), max_size=6),
    bound=st.one_of(st.none(), st.text(), st.sampled_from(MARKS), st.floats(), st.binary(), st.booleans()),
)
def test_of_a_policy_its_settings_and_its_bounds_alone_are_told(names: list[str], bound: Any) -> None:
    error = PolicyError(SECRET, where=SECRET, value=SECRET, remedy=SECRET, settings=dict.fromkeys(names, bound))
    reason = public_reason(error)
    assert reason.isprintable() and 0 < len(reason) <= 300
    assert not any(mark in reason for mark in ("MARK", "DOE", "/data", PSEUDONYM))
    if not set(names) & set(SETTINGS):
        assert reason == SENTENCES[Code.POLICY]
    numbers = re.findall(r" of (\S+?)(?: \||;|$)", reason)
    if type(bound) is not float or not math.isfinite(bound):
        assert "8.47" not in reason
    elif len(reason) < 300:
        assert set(numbers) <= {f"{bound:g}", "a"}


def test_a_policys_refusal_comes_back_whole_from_another_process() -> None:
    error = PolicyError("no", where="here", settings={"privacy.dp_sgd.epsilon": 4.0})
    again = pickle.loads(pickle.dumps(error))
    assert public_reason(again) == public_reason(error)
    assert "privacy.dp_sgd.epsilon: ε above this hospital's cap for all of a patient's jobs of 4" in public_reason(
        again
    )


# the executor and the gate


@pytest.mark.parametrize("kind", [*classes(), ValueError, KeyError, RecursionError], ids=lambda kind: kind.__name__)
def test_the_executor_hands_over_a_code(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(context: FLContext) -> None:
        raise made(kind) if issubclass(kind, FedwardError) else kind(SECRET)

    monkeypatch.setattr("fedward.flare.site.executor.SiteJob", fail)
    answer = HospitalExecutor().execute(Task.ADMIT.value, Shareable(), FLContext(), Signal())
    assert type(answer.get_header(REFUSAL)) is str and answer.get_header(REFUSAL) in CODES
    assert not any(mark in str(answer) for mark in (*MARKS, "DOE"))


def test_what_the_door_in_wrote_is_not_handed_on() -> None:
    task = Shareable()
    task.set_header(REFUSED_AT_DOOR, SECRET)
    answer = HospitalExecutor().execute(Task.ROUND.value, task, FLContext(), Signal())
    assert answer.get_header(REFUSAL) == Code.AT_DOOR.value and SECRET not in str(answer)


@pytest.mark.parametrize("code", list(Code))
def test_the_gate_makes_the_sentence_from_the_code(make: Make, code: Code) -> None:
    hospital = make()
    said = refuse(code.value)
    said.set_header("more", "MARK")
    assert assert_refused(hospital.send(said)) == SENTENCES[code]
    parts(hospital.send(hospital.honest()[1]))


@pytest.mark.parametrize(
    "said", [*MARKS, "", "AUC 8.4713 of 3 patients", *sorted(SENTENCES.values())[:3], 7, None, ["failed"], b"failed"]
)
def test_whatever_else_an_executor_says_does_not_leave(make: Make, said: Any) -> None:
    hospital = make()
    answer = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    answer.set_header(REFUSAL, said)
    reason = assert_refused(hospital.send(answer))
    assert reason == "egress gate: refusal is of no known code"
    assert assert_refused(hospital.send(hospital.honest()[1])) == reason, "an executor that lies is done"


def test_of_a_policy_the_gate_says_what_it_worked_out_itself(make: Make) -> None:
    hospital = make(received=False)
    site = hospital.local / "site.toml"
    site.write_text(site.read_text().replace('"not-required", epsilon', '"required", epsilon'))
    reason = assert_refused(hospital.send(refuse(Code.POLICY.value), Task.ADMIT))
    assert reason == (
        "privacy.mechanism: this cohort is for jobs with differential privacy; "
        "`fedward site policy check SITE_TOML --job JOB` says more"
    )


# the server


@given(said=st.one_of(st.text(), st.integers(), st.binary(), st.lists(st.text())), code=st.text())
def test_the_server_shows_one_printable_line(said: Any, code: str) -> None:
    answer = make_reply(code or ReturnCode.EXECUTION_EXCEPTION)
    answer.set_header(REFUSAL, said)
    reason = refusal(answer)
    if reason is not None:
        assert reason and reason.isprintable() and len(reason) <= 300
    assert one_line("x" * 1000) == "x" * 300 and one_line("a\x1b[2J\n b\u202e") == "a [2J b"


# the source


def _forwarded(path: Path) -> Iterator[int]:
    """Lines that use a caught error otherwise than for its class, for the site's own log or for its public sentence."""
    allowed = {
        "public_reason",
        "code_of",
        "isinstance",
        "latch",
        "fail",
        "public_sentence",
        "log_error",
        "log_exception",
        "warning",
    }
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for scope in ast.walk(tree):
        name = None
        if isinstance(scope, ast.ExceptHandler):
            name = scope.name
        elif isinstance(scope, ast.FunctionDef):
            named = [one.arg for one in scope.args.args if one.annotation and "E" in ast.unparse(one.annotation)]
            name = next((one for one in named if one == "error"), None)
        if name is None:
            continue
        fine = {
            id(inner)
            for call in ast.walk(scope)
            if isinstance(call, ast.Call) and ast.unparse(call.func).rsplit(".", 1)[-1] in allowed
            for inner in ast.walk(call)
        }
        for node in ast.walk(scope):
            if isinstance(node, ast.Name) and node.id == name and id(node) not in fine:
                yield node.lineno


HOSPITAL = sorted(path for room in ("gates", "site") for path in (PACKAGE / "flare" / room).rglob("*.py"))
"""Files whose code runs at the hospital while a task is answered."""


@pytest.mark.parametrize("path", HOSPITAL, ids=lambda path: path.stem)
def test_nothing_else_forwards_an_errors_text(path: Path) -> None:
    assert list(_forwarded(path)) == []


def test_the_files_that_run_at_the_hospital_are_there() -> None:
    assert {"executor", "site_job", "gate", "ingress", "egress", "secure_aggregation"} <= {one.stem for one in HOSPITAL}


def test_refusals_are_sent_by_the_executor_and_the_gates_alone() -> None:
    """Whoever calls ``protocol.refuse`` is of these files; the call's argument is a code or a sentence of the table."""
    callers = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = any(
            isinstance(node, ast.ImportFrom)
            and node.module == "fedward.flare.protocol"
            and any(alias.name in ("refuse", "REFUSAL") for alias in node.names)
            for node in ast.walk(tree)
        )
        if imported:
            callers.add(path.relative_to(PACKAGE).as_posix())
    assert callers == {"flare/gates/egress.py", "flare/site/executor.py"}


def test_the_search_for_forwarded_texts_finds_one(tmp_path: Path) -> None:
    source = tmp_path / "one.py"
    source.write_text("try:\n    work()\nexcept FedwardError as error:\n    send(error.what)\n")
    assert list(_forwarded(source)) == [4]


def test_a_sentence_is_made_from_the_tables_and_nowhere_else() -> None:
    """mypy holds ``refuse`` to a code or a ``Sentence``; here it is held who may call a text one."""
    makers = {
        path.relative_to(PACKAGE).as_posix()
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", None)) in ("Sentence", "cast")
        and "Sentence" in ast.unparse(node)
    }
    assert makers == {"flare/refusal.py", "flare/gates/gate.py"}
    assert get_type_hints(refuse)["reason"] == Code | Sentence
    assert all(
        get_type_hints(one)["return"] is Sentence
        for one in (public_reason, Gate.public_sentence, Gate.latch, Gate.fail)
    )
