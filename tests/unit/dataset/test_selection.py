"""Check which images take part, and the one-line error of an unsuitable cohort."""

from dataclasses import replace

import pytest

from fedward.dataset.selection import select
from fedward.errors import CohortError
from fedward.settings import JobSpec, parse, plain


def _job(tiny_job: JobSpec, **changes: object) -> JobSpec:
    content = plain(tiny_job)
    for path, value in changes.items():
        section, key = path.split("__")
        content[section][key] = value
    return parse(JobSpec, content, where="test")


def test_support_counts_patients_and_images(make_cohort, tiny_job: JobSpec) -> None:
    support = select(tiny_job, [make_cohort(16, images=2)], site="north").support
    assert (support.train_patients, support.train_images) == (12, 24)
    assert (support.validation_patients, support.validation_images) == (4, 8)
    assert support.train_positives == {"lesion": 6} and support.validation_positives == {"lesion": 2}
    assert support.left_out == 0
    assert support.plain()["train_patients"] == 12


def test_two_cohorts_are_pooled_and_their_patients_kept_apart(make_cohort, tiny_job: JobSpec) -> None:
    both = [make_cohort(8), make_cohort(8, site="south")]
    selection = select(tiny_job, both, site="pooled")
    assert selection.support.train_patients == 12 and selection.support.validation_patients == 4
    assert not {e.row.patient for e in selection.train} & {e.row.patient for e in selection.validation}


def test_images_without_the_label_are_left_out_and_their_patients_counted(make_cohort, tiny_job: JobSpec) -> None:
    values = ["0", "1", None, "0", "No", "TRUE", "yes", "false", "1.0", "0.0"]
    cohort = make_cohort(10, labels={"lesion": values}, held_out=3)
    selection = select(tiny_job, [cohort], site="north")
    assert selection.support.left_out == 1
    truths = {e.row.image: e.truth for e in (*selection.train, *selection.validation)}
    expected = {"0": 0, "1": 1, "no": 0, "true": 1, "yes": 1, "false": 0, "1.0": 1, "0.0": 0}
    for row in cohort.rows:
        if "lesion" in row.labels:
            assert truths[row.image] == (expected[row.labels["lesion"].lower()],)


def test_refusals_say_how_many_and_never_who(make_cohort, tiny_job: JobSpec) -> None:
    cases = [
        ({"labels": {"tb": ["1"] * 16}}, "16 of 16 images have no value for 'lesion'"),
        ({"labels": {"lesion": ["1"] * 16}}, "label 'lesion' is yes for all 16 images: one class only"),
        ({"labels": {"lesion": ["0"] * 16}}, "label 'lesion' is no for all 16 images: one class only"),
        ({"labels": {"lesion": ["0", "maybe"] * 8}}, "holds neither yes nor no: 'maybe'"),
        ({"labels": {"lesion": ["0", "NaN"] * 8}}, "holds neither yes nor no: 'NaN'"),
        ({"patients": 1}, "1 of 1 indexed patient can serve"),
        ({"held_out": 99, "patients": 2}, "none of 2 patients is on the training side"),
        ({"shape": (8, 9, 10)}, "16 of 16 images have not the 2 dimensions"),
    ]
    for arguments, says in cases:
        cohort = make_cohort(**{"patients": 16, **arguments})
        with pytest.raises(CohortError, match="north") as caught:
            select(tiny_job, [cohort], site="north")
        line = str(caught.value)
        assert says in line and "\n" not in line
        assert not any(row.patient in line or row.image in line for row in cohort.rows)


def test_no_validation_side(make_cohort, tiny_job: JobSpec) -> None:
    cohort = make_cohort(8)
    only = tuple(row for row in cohort.rows if row.split == "train")
    with pytest.raises(CohortError, match="none of 6 patients is on the validation side"):
        select(tiny_job, [type(cohort)(**{**_fields(cohort), "rows": only})], site="north")


def test_fewest_patients_is_the_sites_word(make_cohort, tiny_job: JobSpec) -> None:
    select(tiny_job, [make_cohort(16)], site="north", min_patients=16)
    with pytest.raises(CohortError, match=r"16 of 16 indexed patients can serve.*17 or more"):
        select(tiny_job, [make_cohort(16)], site="north", min_patients=17)


def test_multiclass(make_cohort, tiny_job: JobSpec) -> None:
    job = _job(tiny_job, data__labels=["kind"], data__target="multiclass", data__classes=["a", "b", "c"])
    selection = select(job, [make_cohort(6, labels={"kind": list("abcabc")}, held_out=3)], site="north")
    assert {e.truth for e in selection.train} == {(0,), (1,), (2,)}
    with pytest.raises(CohortError, match="no class of the job: 'd'"):
        select(job, [make_cohort(6, labels={"kind": list("abcabd")})], site="north")
    with pytest.raises(CohortError, match="only class 'b'"):
        select(job, [make_cohort(6, labels={"kind": list("bbbbbb")})], site="north")


def test_multilabel_needs_each_label(make_cohort, tiny_job: JobSpec) -> None:
    job = _job(tiny_job, data__labels=["x", "y"], data__target="multilabel")
    cohort = make_cohort(8, labels={"x": list("01010101"), "y": ["0", None, "1", "1", "0", "1", "0", "1"]}, held_out=3)
    assert select(job, [cohort], site="north").support.left_out == 1
    with pytest.raises(CohortError, match="8 of 8 images have no value for 'y'"):
        select(job, [make_cohort(8, labels={"x": list("01010101")})], site="north")


def _segmenting(tiny_job: JobSpec, *structures: str) -> JobSpec:
    content = plain(tiny_job)
    content["job"]["task"] = "segmentation"
    content["data"] |= {"labels": [], "structures": [*structures]}
    return parse(JobSpec, content, where="test")


def test_segmentation_takes_images_with_a_mask(make_cohort, tiny_job: JobSpec) -> None:
    job = _segmenting(tiny_job, "lung")
    assert select(job, [make_cohort(8, masks_too=True)], site="north").support.train_positives == {}
    with pytest.raises(CohortError, match="8 of 8 images have no mask"):
        select(job, [make_cohort(8)], site="north")


def test_masks_that_mark_none_of_the_structures_are_refused_with_what_they_mark(make_cohort, tiny_job: JobSpec) -> None:
    cohort = make_cohort(8, masks_too=True, structures=["255"])
    with pytest.raises(CohortError, match=r"8 of 8 masks mark none of the job's structures 1, 2, but 255; write"):
        select(_segmenting(tiny_job, "1", "2"), [cohort], site="north")


def test_a_structure_that_no_training_image_has_is_flagged(make_cohort, tiny_job: JobSpec) -> None:
    cohort = make_cohort(8, masks_too=True, structures=["1"])
    chosen = select(_segmenting(tiny_job, "01", "2"), [cohort], site="north")
    assert (chosen.absent, chosen.elsewhere) == (("2",), 0)
    assert "absent" not in chosen.support.plain()
    other = make_cohort(8, site="south", masks_too=True, structures=["255"])
    both = select(_segmenting(tiny_job, "1", "2"), [replace(cohort, rows=cohort.rows + other.rows)], site="north")
    assert (both.absent, both.elsewhere) == (("2",), 8)


def test_a_mask_that_describes_none_of_the_structures_says_nothing_about_them(make_cohort, tiny_job: JobSpec) -> None:
    known, other = (make_cohort(8, site=site, masks_too=True, structures=[site]) for site in ("liver", "spleen"))
    chosen = select(_segmenting(tiny_job, "Liver"), [replace(known, rows=known.rows + other.rows)], site="north")
    assert {example.row.structures for example in (*chosen.train, *chosen.validation)} == {frozenset({"liver"})}
    assert chosen.support.left_out == 8


def test_images_whose_masks_do_not_describe_a_structure_are_counted(make_cohort, tiny_job: JobSpec) -> None:
    both = make_cohort(8, masks_too=True, structures=["liver", "spleen"])
    one = make_cohort(8, site="south", masks_too=True, structures=["liver"])
    whole = replace(both, rows=both.rows + one.rows)
    chosen = select(_segmenting(tiny_job, "Liver", "Spleen"), [whole], site="north")
    assert (chosen.absent, chosen.undescribed) == ((), {"Spleen": 8})
    numbers = make_cohort(8, masks_too=True, structures=["1"])
    assert select(_segmenting(tiny_job, "1", "2"), [numbers], site="north").undescribed == {}


def test_a_class_without_a_training_image_is_flagged(make_cohort, tiny_job: JobSpec) -> None:
    job = _job(tiny_job, data__labels=["kind"], data__target="multiclass", data__classes=["a", "b", "c"])
    cohort = make_cohort(6, labels={"kind": list("ababab")}, held_out=3)
    assert select(job, [cohort], site="north").absent == ("c",)


def _fields(cohort) -> dict:
    return {name: getattr(cohort, name) for name in cohort.__dataclass_fields__}
