"""Settings: frozen, nothing unknown, every fault one line with file, key and remedy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fedward.errors import SettingsError
from fedward.settings import (
    FederationSpec,
    JobSpec,
    SitePolicy,
    parse,
    plain,
    read_federation,
    read_job,
    read_site,
)
from fedward.settings.base import Settings
from tests.conftest import OPEN_COHORT, OPEN_COHORT_TOML, OPEN_SITE, OPEN_SITE_TOML, tiny_job_content


def changed(path: str, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(tiny_job_content())
    *parents, last = path.split(".")
    place = content
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = value
    return content


def test_plain_is_the_inverse_of_parse(tiny_job: JobSpec) -> None:
    assert parse(JobSpec, plain(tiny_job), where="again") == tiny_job
    content = changed("acceptance", {"threshold": 0.8})
    content["federation"] |= {"must_include": ["north", "city"], "min_patients": 40}
    covered = parse(JobSpec, content, where="covered")
    assert parse(JobSpec, plain(covered), where="again") == covered


def test_a_job_that_was_exported_before_there_was_a_coverage_policy_still_parses(tiny_job: JobSpec) -> None:
    content = plain(tiny_job)
    del content["acceptance"], content["federation"]["must_include"], content["federation"]["min_patients"]
    assert parse(JobSpec, content, where="old") == tiny_job


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        ("job.task", "detection", "task"),
        ("job.name", "../up", "name"),
        ("training.lr", 0.0, "lr"),
        ("training.lr", float("nan"), "lr"),
        ("training.local_steps", 5, "local_epochs and local_steps"),
        ("training.surprise", 1, "surprise"),
        ("data.size", [24, 0], "size"),
        ("data.structures", ["Lung"], "structures"),
        ("data.labels", [], "labels"),
        ("data.labels", ["tb", "tb"], "names one thing twice: tb"),
        ("data.labels", [" "], "holds an empty name"),
        ("data.classes", ["a", "b", "a"], "classes names one thing twice: a"),
        ("data.structures", ["Nodule", " nodule "], "names one thing twice"),
        ("data.structures", ["1", "01"], "names one thing twice: 01, 1"),
        ("data.structures", ["1", "0"], "0, which is the background"),
        ("data.structures", [f"s{n}" for n in range(256)], "of at most 255"),
        ("data.target", "multilabel", "multilabel"),
        ("data.target", "multiclass", "classes"),
        ("federation.rounds", 0, "rounds"),
        ("federation.must_include", ["north", "city", "north"], "twice: north"),
        ("federation.must_include", ["North"], "must_include"),
        ("federation.min_patients", 0, "min_patients"),
        ("acceptance", {}, "threshold"),
        ("acceptance.threshold", 1.5, "threshold"),
        ("model.batch_norm", "maybe", "batch_norm"),
        ("federation.aggregation", "mode", "aggregation"),
        ("federation.server_lr", 0.0, "server_lr"),
        ("encryption", {"max_sites": 2}, "max_sites"),
        ("encryption", {"largest": 0.0}, "largest"),
        ("encryption", {"max_patients": 0}, "max_patients"),
        ("encryption", {"scheme": "rsa"}, "scheme"),
        ("encryption", {"scheme": "ckks", "precision": "precise"}, "no precise mode"),
        ("encryption", {"scheme": "aes-ctr", "max_colluding": 1}, "one hospital is enough"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(path: str, value: Any, word: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(JobSpec, changed(path, value), where="job.toml")
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("job.toml: ")
    assert word in line
    assert "correct the file" in line


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.none(), st.integers(), st.text(max_size=5)), max_size=5))
def test_whatever_the_content_the_answer_is_a_spec_or_one_line(content: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(JobSpec, content, where="x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("site", ["North", "north_clinic", "-north", "north--clinic", "9north", "", "a b", "x" * 49])
def test_a_site_id_is_lower_case_kebab(site: str) -> None:
    with pytest.raises(SettingsError, match="site"):
        parse(SitePolicy, {"site": site, "key": "k", "cohorts": {}, **OPEN_SITE}, where="site.toml")


def test_site_paths_start_at_the_file(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(
        f'site = "north"\nkey = "site.key"\n{OPEN_SITE_TOML}[cohorts.chest]\nimages = "dicom"\nindex = "/var/index"\n'
        f"max_quarantined_fraction = 0.1\nvalidation_fraction = 0.2\n{OPEN_COHORT_TOML}"
    )
    policy = read_site(file)
    assert policy.key == tmp_path / "site.key"
    assert policy.federation_key is None
    file.write_text('federation_key = "federation.key"\n' + file.read_text())
    assert read_site(file).federation_key == tmp_path / "federation.key"
    assert policy.cohorts["chest"].images == tmp_path / "dicom"
    assert policy.cohorts["chest"].index == Path("/var/index")
    assert policy.cohorts["chest"].labels is None


def test_no_default_for_a_tolerance(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(
        'site = "north"\nkey = "k"\n[cohorts.chest]\nimages = "a"\nindex = "b"\nvalidation_fraction = 0.2\n'
    )
    with pytest.raises(SettingsError, match="max_quarantined_fraction"):
        read_site(file)


def test_outputs(tiny_job: JobSpec) -> None:
    assert tiny_job.outputs == 1
    multi = changed("data", {"cohort": "c", "size": [8, 8], "target": "multilabel", "labels": ["a", "b", "c"]})
    assert parse(JobSpec, multi, where="x").outputs == 3
    segmentation = changed("data", {"cohort": "c", "size": [8, 8], "structures": ["Lung"]})
    segmentation["job"]["task"] = "segmentation"
    assert parse(JobSpec, segmentation, where="x").outputs == 2


def test_hospitals_and_people_are_listed_once(root: Path) -> None:
    content = plain(read_federation(root / "provisioning" / "federation.yml"))
    content["hospitals"].append(content["hospitals"][0])
    with pytest.raises(SettingsError, match="listed twice"):
        parse(FederationSpec, content, where="federation.yml")


@pytest.mark.parametrize("text", [b"name = [", b"\xff\xfe"])
def test_a_file_that_is_not_toml(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "job.toml").write_bytes(text)
    with pytest.raises(SettingsError, match=r"not (TOML|UTF-8)"):
        read_job(tmp_path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_job(tmp_path)


@pytest.mark.parametrize("text", ["[1, 2]", "name: [", ""])
def test_a_federation_that_is_not_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "f.yml").write_text(text)
    with pytest.raises(SettingsError):
        read_federation(tmp_path / "f.yml")


# settings of before


def in_site(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    content = copy.deepcopy(OPEN_SITE) | {"site": "north", "key": "key"}
    archive = {"protocol": "dicomweb", "url": "https://archive", "query": {"StudyDate": "2020-"}}
    fractions = {"max_quarantined_fraction": 0.5, "validation_fraction": 0.25}
    content["cohorts"] = {
        "chest": {"images": "in", "index": "out", **fractions, "privacy": OPEN_COHORT, "pacs": archive}
    }
    parse(SitePolicy, content, where="site.toml")
    change(content)
    return content


def moved(*path: str, to: str) -> Callable[[dict[str, Any]], None]:
    """The value at a path, or an empty table, goes to another name beside it."""

    def change(content: dict[str, Any]) -> None:
        *above, name = path
        for part in above:
            content = content[part]
        content[to] = content.pop(name, [])

    return change


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (("disclosure",), "leaving"),
        (("auto_approve",), "admits"),
        (("cohorts", "chest", "pacs", "protocol"), "way"),
        (("cohorts", "chest", "pacs", "calling_ae_title"), "own_ae_title"),
        (("cohorts", "chest", "pacs", "query"), "find"),
    ],
)
def test_an_old_name_in_a_hospitals_file_gets_one_line_that_says_the_new(new: tuple[str, ...], old: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse(SitePolicy, in_site(moved(*new, to=old)), where="site.toml")
    key = ".".join((*new[:-1], old))
    assert str(refused.value) == f"site.toml: {key}: is called {new[-1]} now; rename it; correct the file"


@pytest.mark.parametrize(
    ("path", "new"), [("encryption.largest", "clipping_range"), ("federation.local_only", "local_baseline")]
)
def test_an_old_name_in_a_job_gets_one_line_that_says_the_new(path: str, new: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse(JobSpec, changed(path, 1), where="job.toml")
    assert str(refused.value) == f"job.toml: {path}: is called {new} now; rename it; correct the file"


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("training.batchsize", "training.batch_size"),
        ("trainning", "training"),
        ("federation.lr", "training.lr"),
        ("privacy.epsilon", "privacy.dp_sgd.epsilon"),
        ("data.label", "data.labels"),
    ],
)
def test_a_misspelt_key_is_answered_with_the_one_that_is_meant(path: str, meant: str) -> None:
    with pytest.raises(SettingsError, match=rf"{path}: is no setting here; did you mean {meant}( or [a-z_.]+)*\?"):
        parse(JobSpec, changed(path, 1), where="job.toml")


def test_a_misspelt_key_of_a_named_cohort_is_answered_too() -> None:
    content = OPEN_SITE | {"cohorts": {"chest": {"image_root": ".", "privacy": OPEN_COHORT}}}
    with pytest.raises(SettingsError, match=r"cohorts\.chest\.image_root: .*did you mean cohorts\.chest\.images"):
        parse(SitePolicy, content, where="site.toml")


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("federation.rounds", "6", "federation.rounds: is a whole number, without quotes (found '6')"),
        ("federation.rounds", True, "federation.rounds: is a whole number, without quotes"),
        ("training.lr", "0.1", "training.lr: is a number, without quotes"),
        ("data.size", ["24", "24"], "data.size: is a whole number, without quotes"),
    ],
)
def test_text_is_no_number(path: str, value: Any, says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse(JobSpec, changed(path, value), where="job.toml")
    assert says in str(refused.value)


def test_a_name_that_never_was_gets_no_hint() -> None:
    with pytest.raises(SettingsError, match=r"leavings: is no setting here"):
        parse(SitePolicy, in_site(lambda content: content.update(leavings={})), where="site.toml")
    with pytest.raises(SettingsError, match=r"disclosure: is missing"):
        parse(SitePolicy, in_site(lambda content: content.pop("disclosure")), where="site.toml")
    with pytest.raises(SettingsError, match=r"leaving: is no setting here"):
        parse(FederationSpec, {"leaving": {}}, where="federation.yml")
    with pytest.raises(SettingsError, match=r"training\.largest: is no setting here"):
        parse(JobSpec, changed("training.largest", 1), where="job.toml")


STAGES = [
    ["clip", "noise", "encrypt"],
    ["clip", "encrypt", "noise"],
    ["noise", "clip", "encrypt"],
    ["noise", "encrypt", "clip"],
    ["encrypt", "clip", "noise"],
    ["clip", "noise"],
    ["clip", "noise", "noise", "encrypt"],
    [],
]
DP_SGD = {"noise_multiplier": 1.0, "delta": 1e-3, "clip_norm_l2": 1.0, "patients_per_step": 4}
UPDATE = {"clip_norm_l2": 1.0, "noise_multiplier": 1.0, "delta": 1e-3}


@pytest.mark.parametrize(
    ("table", "key", "value", "why"),
    [
        ("dp_sgd", "unit", "image", "6.6 for images may be 38 for a patient"),
        ("dp_sgd", "unit", "patient", "always for a patient"),
        ("dp_sgd", "sampler", "shuffled", "for no other way is ε proven"),
        ("dp_sgd", "sampler", "weighted", "for no other way is ε proven"),
        ("dp_sgd", "sampler", "poisson", "always drawn independently"),
        ("update", "sensitivity_l2", 1.0, "side of the ball to the other"),
        ("update", "sensitivity_l2", 1.99, "always 2 · clip_norm_l2"),
        *(("update", "stages", stages, "nobody can clip or add noise to a cipher") for stages in STAGES),
    ],
)
def test_a_setting_that_went_is_refused_with_the_reason(table: str, key: str, value: Any, why: str) -> None:
    """A key with one possible value is no setting: a reader of a job must not take it for a choice."""
    mechanism, given = {"dp_sgd": ("dp-sgd", DP_SGD), "update": ("update-noise", UPDATE)}[table]
    privacy = {"mechanism": mechanism, table: given}
    parse(JobSpec, changed("privacy", privacy), where="job.toml")
    with pytest.raises(SettingsError) as refused:
        parse(JobSpec, changed("privacy", {**privacy, table: {**given, key: value}}), where="job.toml")
    line = str(refused.value)
    assert line.startswith(f"job.toml: privacy.{table}.{key}: is no setting any more, ") and why in line
    assert line.endswith("; leave it out; correct the file") and " | " not in line


# one line that says what to write


def in_cohort(**settings: Any) -> dict[str, Any]:
    return in_site(lambda content: content["cohorts"]["chest"].update(settings))


def in_pacs(**settings: Any) -> dict[str, Any]:
    return in_site(lambda content: content["cohorts"]["chest"]["pacs"].update(settings))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (in_cohort(modalities="DX"), 'cohorts.chest.modalities: is a list: write ["DX"] (found'),
        (in_cohort(body_parts="Füße"), 'body_parts: is a list: write ["Füße"]'),
        (in_cohort(require=3), "require: is a list: write [3]"),
        (in_cohort(modalities={"a": 1}), "modalities: is a list, in brackets"),
        (in_cohort(modalities=[5]), "modalities.0: is read as a number, not as text: put it in quotes"),
        (in_cohort(images=5), "images: is read as a number, not as text: put it in quotes"),
        (in_cohort(labels=True), "labels: is read as yes or no, not as text: put it in quotes"),
        (in_cohort(privacy="strict"), "privacy: is a table, with settings of its own"),
        (in_cohort(min_patients="many"), "min_patients: is a whole number, without quotes"),
        (in_cohort(min_patients=2.5), "min_patients: is a whole number"),
        (in_cohort(max_quarantined_fraction="a tenth"), "max_quarantined_fraction: is a number, without quotes"),
        (in_pacs(url="archive.example"), "url is no URL: begin it with https://"),
        (in_pacs(ae_title="A" * 17), "ae_title: is no application entity title: give 1 to 16 ASCII characters"),
        (in_pacs(query={"study date": "2020"}), "pacs.query.study date: is no DICOM keyword"),
        (in_site(lambda c: c.update(approved_jobs=["abc"])), "is no job's hash"),
        (in_site(lambda c: c.update(federation_key_id="12 34")), "is no key's id: write the 32 digits"),
        (in_site(lambda c: c["cohorts"].update({"a b": c["cohorts"]["chest"]})), "cohorts.a b: is no name here"),
    ],
)
def test_a_wrong_value_gets_words_for_what_to_write(content: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse(SitePolicy, content, where="site.toml")
    assert said in str(refused.value)
    assert "Input should be a valid" not in str(refused.value) and "match pattern" not in str(refused.value)


TEXTS_FOR_TRUTH = ["yes", "no", "on", "off", "true", "false", "t", "y", "1", "0", ""]


@pytest.mark.parametrize("text", TEXTS_FOR_TRUTH)
def test_no_text_is_taken_for_true_or_false(text: str) -> None:
    said = "is text: write true or false, without quotes"
    for path in ("data.cache", "federation.local_baseline", "training.keep_optimizer"):
        with pytest.raises(SettingsError, match=rf"{path}: {said}"):
            parse(JobSpec, changed(path, text), where="job.toml")
    for name in ("volumes", "exclude_burned_in"):
        with pytest.raises(SettingsError, match=rf"cohorts\.chest\.{name}: {said}"):
            parse(SitePolicy, in_cohort(**{name: text}), where="site.toml")


def models(kind: type[Settings] = Settings) -> Iterator[type[Settings]]:
    """The models of files that people write; other modules, which a test may import, have some of their own."""
    for one in kind.__subclasses__():
        if one.__module__.startswith("fedward.settings."):
            yield one
        yield from models(one)


@pytest.mark.parametrize("model", sorted(models(), key=lambda model: model.__name__), ids=lambda model: model.__name__)
def test_every_setting_that_is_true_or_false_refuses_text_and_no_form_is_told_as_a_pattern(
    model: type[Settings],
) -> None:
    for name, field in model.model_fields.items():
        if bool in (field.annotation, *get_args(field.annotation)):
            with pytest.raises(ValidationError, match="is text: write true or false"):
                model.__pydantic_validator__.validate_assignment(model.model_construct(), name, "yes")
    assert "'pattern':" not in str(model.model_json_schema())


@pytest.mark.parametrize("path", [r"C:\data\images", r"D:\users", r"\\server\share", r"C:\xray"])
def test_a_path_with_backslashes_in_double_quotes_is_refused_with_the_remedy(path: str, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(f'site = "north"\nkey = "{path}"\n')
    with pytest.raises(SettingsError) as refused:
        read_site(tmp_path / "site.toml")
    assert str(refused.value).endswith("; write a path with / or in single quotes")
