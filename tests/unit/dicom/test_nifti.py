"""Check faulty NIfTI files, and the patient that a file belongs to."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.dicom import nifti
from fedward.dicom.nifti import parse_nifti
from fedward.dicom.placement import same_voxels
from fedward.errors import StudyError
from fedward.indexing.reasons import REASONS
from tests.support.images.dicom_files import save_nifti


def made(tmp_path: Path, shape: tuple[int, ...] = (3, 4, 5), name: str = "a.nii.gz") -> bytes:
    values = np.arange(int(np.prod(shape)), dtype=np.int16).reshape(shape)
    return save_nifti(values, tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((3, 4, 5), (5, 4, 3)), ((3, 4, 5, 1), (5, 4, 3)), ((3, 4, 1), (4, 3)), ((3, 4), (4, 3))],
)
def test_axes(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    found = parse_nifti(made(tmp_path, shape))
    assert found.values.shape == expected
    assert len(found.spacing_mm) == len(expected)
    assert found.spacing_mm[-1] == pytest.approx(0.5)


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (3, 4, 5, 1, 2)])
def test_more_than_three_axes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(StudyError) as refusal:
        parse_nifti(made(tmp_path, shape))
    assert refusal.value.reason == "unsupported-shape"


def test_nifti_2_is_read_too(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    nibabel.save(nibabel.Nifti2Image(values, np.eye(4)), tmp_path / "a.nii")
    np.testing.assert_array_equal(parse_nifti((tmp_path / "a.nii").read_bytes()).values, values.T)


@pytest.mark.parametrize("part", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_cut_short_is_refused(tmp_path: Path, part: float, name: str) -> None:
    data = made(tmp_path, (20, 20, 20), name)
    with pytest.raises(StudyError) as refusal:
        parse_nifti(data[: int(len(data) * part)])
    assert refusal.value.reason in ("truncated", "unreadable")


@pytest.mark.parametrize(
    "data", [b"", b"no nifti", b"\x1f\x8bno gzip", gzip.compress(b"no nifti", mtime=0), b"\x5c\x01" + b"\0" * 400]
)
def test_what_is_no_nifti_is_refused(data: bytes) -> None:
    with pytest.raises(StudyError):
        parse_nifti(data)


def test_a_header_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    header = nibabel.Nifti1Image(np.zeros((2, 2, 2), dtype=np.int16), np.eye(4)).header
    header["dim"] = [3, 30_000, 30_000, 30_000, 1, 1, 1, 1]
    header["vox_offset"] = 352
    with pytest.raises(StudyError) as refusal:
        parse_nifti(header.binaryblock + b"\0" * 100)
    assert refusal.value.reason == "undecodable"


Header = Callable[[nibabel.Nifti1Header], object]


def plain(change: Header = lambda header: None, *, shape: tuple[int, ...] = (3, 4, 5), dtype: str = "int16") -> bytes:
    """A single file, little-endian unless ``dtype`` says otherwise, whose header ``change`` has altered."""
    values = np.arange(np.prod(shape)).reshape(shape, order="F").astype(dtype)
    content = nibabel.Nifti1Image(values, np.diag([0.5, 0.6, 2.0, 1.0]), dtype=values.dtype).to_bytes()
    header = nibabel.Nifti1Header(content[:348], check=False)
    change(header)
    return bytes(header.binaryblock) + content[348:]


def refused(data: bytes, reason: str, detail: str = "") -> None:
    with pytest.raises(StudyError) as refusal:
        parse_nifti(data)
    assert refusal.value.reason == reason and reason in REASONS
    assert detail in refusal.value.detail


def members(data: bytes, sizes: list[int]) -> bytes:
    """Compress parts of these sizes, and the rest, each as a member of its own, as pigz and bgzip do."""
    parts, at = [], 0
    for size in [*sizes, len(data)]:
        parts.append(gzip.compress(data[at : at + size], mtime=0))
        at += size
    return b"".join(parts)


@given(sizes=st.lists(st.integers(0, 200), max_size=6), zeros=st.integers(0, 3))
@settings(max_examples=25)
def test_all_members_of_a_gzip_file_are_one_stream(sizes: list[int], zeros: int) -> None:
    data = plain()
    found = parse_nifti(members(data, sizes) + b"\0" * zeros)
    np.testing.assert_array_equal(found.values, parse_nifti(data).values)


@pytest.mark.parametrize("part", [1, 2, 3, 17])
def test_members_do_not_depend_on_how_they_are_read(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nifti, "_PART_BYTES", part)
    data = members(plain(), [100, 0, 30])
    assert parse_nifti(data).values.shape == (5, 4, 3)
    refused(data[:-1], "truncated")
    refused(data + b"x", "unreadable")


@pytest.mark.parametrize("cut", [1, 8, 12, 40])
def test_a_last_member_that_is_cut_short_is_refused(cut: int) -> None:
    refused(members(plain(), [300])[:-cut], "truncated", "the gzip stream does not end")


@pytest.mark.parametrize(
    "rest", [b"x", b"\0\0x", b"\x1f", b"\x1f\x8b", b"another file", zlib.compress(b"zlib, not gzip")]
)
def test_other_bytes_behind_a_gzip_stream_are_refused(rest: bytes) -> None:
    with pytest.raises(StudyError) as refusal:
        parse_nifti(gzip.compress(plain()) + rest)
    assert refusal.value.reason in ("unreadable", "truncated")


def test_a_damaged_member_is_refused() -> None:
    data = bytearray(members(plain(), [300]))
    data[-6] ^= 1  # within the checksum
    refused(bytes(data), "unreadable")


@pytest.mark.parametrize("sizes", [[], [200], [100] * 3])
def test_the_members_together_stay_below_the_bound(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    data = plain()
    monkeypatch.setattr(nifti, "_MAX_BYTES", len(data))
    assert parse_nifti(members(data, sizes)).values.size == 60
    monkeypatch.setattr(nifti, "_MAX_BYTES", len(data) - 1)
    refused(members(data, sizes), "undecodable", "unpacks to more than")


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
RGBA = np.dtype([*RGB.descr, ("A", "u1")])


@pytest.mark.parametrize(("dtype", "name"), [(RGB, "RGB24"), (RGBA, "RGBA32")])
def test_colour_is_refused_by_name(dtype: np.dtype, name: str) -> None:
    data = nibabel.Nifti1Image(np.zeros((3, 4, 5), dtype), np.eye(4)).to_bytes()
    refused(data, "undecodable", f"colour voxels ({name}): export one grey channel")


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_is_refused_and_loses_no_part_silently(dtype: str) -> None:
    data = nibabel.Nifti1Image(np.full((3, 4, 5), 1 + 2j, dtype), np.eye(4)).to_bytes()
    refused(data, "undecodable", f"complex voxels ({dtype}): export the magnitude")


def test_a_value_that_would_become_infinite_is_refused() -> None:
    values = np.ones((3, 4, 5))
    values[1, 1, 1] = 1e300
    refused(nibabel.Nifti1Image(values, np.eye(4)).to_bytes(), "undecodable", "32 bits cannot hold")
    refused(plain(lambda h: h.set_slope_inter(1e38, 0)), "undecodable", "32 bits cannot hold")
    values = np.ones((3, 4, 5))
    values[0, 0, :3] = np.inf, -np.inf, np.nan
    np.testing.assert_array_equal(parse_nifti(nibabel.Nifti1Image(values, np.eye(4)).to_bytes()).values, values.T)


def slope(value: float, inter: float = 0.0) -> Header:
    def change(header: nibabel.Nifti1Header) -> None:
        header["scl_slope"], header["scl_inter"] = value, inter

    return change


@pytest.mark.parametrize(("value", "inter"), [(0.0, 0.0), (0.0, 7.0), (np.nan, 0.0), (np.nan, np.nan), (1.0, 0.0)])
def test_without_a_slope_values_are_as_they_are_stored(value: float, inter: float) -> None:
    np.testing.assert_array_equal(parse_nifti(plain(slope(value, inter))).values.T.ravel(order="F"), np.arange(60))


def test_a_slope_scales() -> None:
    found = parse_nifti(plain(slope(-2.0, 3.0))).values
    np.testing.assert_array_equal(found.T.ravel(order="F"), 3.0 - 2.0 * np.arange(60))


@pytest.mark.parametrize(("value", "inter"), [(np.inf, 0.0), (-np.inf, 0.0), (1.0, np.inf), (1.0, np.nan)])
def test_a_slope_that_is_not_finite_is_refused(value: float, inter: float) -> None:
    with pytest.raises(StudyError) as refusal:
        parse_nifti(plain(slope(value, inter)))
    assert refusal.value.reason in ("undecodable", "unreadable")


def sform(matrix: np.ndarray) -> Header:
    def change(header: nibabel.Nifti1Header) -> None:
        header["sform_code"], header["qform_code"] = 1, 0
        header["srow_x"], header["srow_y"], header["srow_z"] = matrix[:3]

    return change


FLAT = np.array([[1.0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("matrix", "detail"),
    [
        (np.diag([np.nan, 1, 1, 1]), "not finite"),
        (np.diag([np.inf, 1, 1, 1]), "not finite"),
        (np.zeros((4, 4)), "singular"),
        (np.diag([0.0, 1, 1, 1]), "singular"),
        (FLAT, "singular"),
    ],
)
def test_an_affine_that_gives_no_place_is_refused(matrix: np.ndarray, detail: str) -> None:
    refused(plain(sform(matrix)), "undecodable", detail)


def test_the_spacing_is_the_affines_where_pixdim_says_another() -> None:
    def change(header: nibabel.Nifti1Header) -> None:
        sform(np.diag([0.5, 0.6, 2.0, 1.0]))(header)
        header["pixdim"][1:4] = 9.0

    assert parse_nifti(plain(change)).spacing_mm == pytest.approx((2.0, 0.6, 0.5))
    turned = np.array([[0.0, 0, 3, 0], [0.5, 0, 0, 0], [0, -0.7, 0, 0], [0, 0, 0, 1]])
    assert parse_nifti(plain(sform(turned))).spacing_mm == pytest.approx((0.7, 0.5, 3.0))


def test_without_any_form_the_spacing_is_pixdims() -> None:
    def change(header: nibabel.Nifti1Header) -> None:
        header["sform_code"] = header["qform_code"] = 0
        header["pixdim"][1:4] = 0.5, 0.6, 2.0

    assert parse_nifti(plain(change)).spacing_mm == pytest.approx((2.0, 0.6, 0.5))


@pytest.mark.parametrize(("unit", "millimetres"), [("meter", 1000.0), ("mm", 1.0), ("micron", 0.001), ("unknown", 1.0)])
def test_lengths_are_millimetres_whatever_unit_the_file_has(unit: str, millimetres: float) -> None:
    found = parse_nifti(plain(lambda header: header.set_xyzt_units(unit)))
    assert found.spacing_mm == pytest.approx(tuple(millimetres * one for one in (2.0, 0.6, 0.5)))
    assert found.affine[10] == pytest.approx(2.0 * millimetres)


def test_a_header_without_its_pixels_says_where_they_are(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Pair(np.zeros((3, 4, 5), np.int16), np.eye(4)), tmp_path / "a.hdr")
    refused((tmp_path / "a.hdr").read_bytes(), "unreadable", "in another file, .img")
    nibabel.save(nibabel.Nifti2Pair(np.zeros((3, 4, 5), np.int16), np.eye(4)), tmp_path / "b.hdr")
    refused((tmp_path / "b.hdr").read_bytes(), "unreadable", "in another file, .img")


@pytest.mark.parametrize("code", [0, 1, 3, 255, 1234, 1536, 2048])
def test_a_voxel_type_that_is_none_or_is_not_read_here_is_refused(code: int) -> None:
    def change(header: nibabel.Nifti1Header) -> None:
        header["datatype"] = code

    refused(plain(change), "undecodable", f"voxels of type {code}")


NUMBERS = ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
AXES = [
    np.array(
        [[(-1) ** sign if row == axis else 0 for axis, sign in zip(order, signs, strict=True)] for row in range(3)]
    )
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    for signs in np.ndindex(2, 2, 2)
]


@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple),
    kind=st.sampled_from(NUMBERS),
    order=st.sampled_from("<>"),
    axes=st.sampled_from(AXES),
    scale=st.sampled_from([(1.0, 0.0), (2.5, -3.0), (0.0, 5.0), (float("nan"), 0.0)]),
    version=st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image]),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
)
@settings(max_examples=200, deadline=None)
def test_nibabel_reads_the_same(
    shape: tuple[int, ...],
    kind: str,
    order: str,
    axes: np.ndarray,
    scale: tuple[float, float],
    version: type[nibabel.Nifti1Image],
    suffix: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Against ``nibabel.load``, turned by nibabel and reversed by hand; or a refusal whose reason is a known one."""
    values = (np.arange(np.prod(shape)) % 120).astype(kind).reshape(shape)
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array([0.5, 0.75, 2.0])
    header = version.header_class(endianness=order)
    image = version(values, affine, header=header, dtype=values.dtype)
    path = tmp_path_factory.getbasetemp() / f"drawn{suffix}"
    content = image.to_bytes()
    header = version.header_class(content[: version.header_class.sizeof_hdr], check=False)
    header["scl_slope"], header["scl_inter"] = scale
    content = bytes(header.binaryblock) + content[header.sizeof_hdr :]
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    loaded = nibabel.load(path)
    flat = list(shape)
    while len(flat) > 3 and flat[-1] == 1:
        flat.pop()
    if not 2 <= len(flat) <= 3:
        refused(path.read_bytes(), "unsupported-shape")
        return
    found = parse_nifti(path.read_bytes())
    whole = nibabel.Nifti1Image(loaded.get_fdata().reshape([*flat, 1][:3]), loaded.affine)
    expected = nibabel.as_closest_canonical(whole)
    theirs = expected.get_fdata().T
    spacing = list(nibabel.affines.voxel_sizes(expected.affine))[::-1]
    lost = int(np.abs(axes[:, 2]).argmax()) if len(flat) == 2 else 2  # in canonical order; theirs is reversed
    if len(flat) == 2 or theirs.shape[0] == 1:
        theirs = np.squeeze(theirs, 2 - lost)
        spacing.pop(2 - lost)
    np.testing.assert_allclose(found.values, theirs, rtol=1e-6)
    assert found.spacing_mm == pytest.approx(tuple(spacing))
    np.testing.assert_allclose(np.reshape(found.affine, (4, 4)), expected.affine, rtol=1e-6, atol=1e-6)


def altered(
    version: type[nibabel.Nifti1Image], changes: dict[str, object], shape: tuple[int, ...] = (3, 4, 5)
) -> bytes:
    """A single file of either version, with these fields of its header set by their bytes; nothing is put right."""
    content = version(np.ones(shape, np.int16), np.diag([0.5, 0.6, 2.0, 1.0])).to_bytes()
    size = version.header_class.sizeof_hdr
    header = np.frombuffer(content[:size], version.header_class.template_dtype).copy()
    for name, value in changes.items():
        header[name] = value
    return header.tobytes() + content[size:]


VERSIONS = [(nibabel.Nifti1Image, 352), (nibabel.Nifti2Image, 544)]


@given(version=st.sampled_from(VERSIONS), offset=st.integers(-(2**20), 600), packed=st.booleans())
def test_voxels_never_begin_inside_the_header(
    version: tuple[type[nibabel.Nifti1Image], int], offset: int, packed: bool
) -> None:
    kind, earliest = version
    data = altered(kind, {"vox_offset": offset})
    data = data[:earliest] + b"\0" * max(0, offset - earliest) + data[earliest:]
    content = gzip.compress(data, mtime=0) if packed else data
    if offset < earliest:
        refused(content, "unreadable", f"vox_offset {offset:g} is no place behind its header")
    else:
        assert (parse_nifti(content).values == 1).all()


@pytest.mark.parametrize("offset", [0.0, 351.5, 352.5, np.nan, np.inf, -np.inf])
def test_an_offset_that_is_no_place_is_refused(offset: float) -> None:
    with pytest.raises(StudyError) as refusal:
        parse_nifti(altered(nibabel.Nifti1Image, {"vox_offset": offset}) + b"\0" * 9)
    assert refusal.value.reason == "unreadable"


@pytest.mark.parametrize("version", [one for one, _ in VERSIONS])
@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("form", [{"qform_code": 0}, {"qform_code": 1}])
def test_a_spacing_that_the_file_lacks_is_not_made_up(
    version: type[nibabel.Nifti1Image], axis: int, form: dict[str, int]
) -> None:
    pixdim = np.array([1.0, 0.5, 0.6, 2.0, 1, 1, 1, 1])
    pixdim[axis] = 0.0
    lacking = {"sform_code": 0, "pixdim": pixdim, **form}
    refused(altered(version, lacking), "undecodable", "spacing is unknown")
    assert parse_nifti(altered(version, {**lacking, "sform_code": 1})).spacing_mm == pytest.approx((2.0, 0.6, 0.5))


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1)])
def test_the_thickness_of_one_slice_may_be_unknown(shape: tuple[int, ...]) -> None:
    changes = {"sform_code": 0, "qform_code": 0, "pixdim": [1, 0.5, 0.6, 0, 0, 0, 0, 0]}
    assert parse_nifti(altered(nibabel.Nifti1Image, changes, shape)).spacing_mm == pytest.approx((0.6, 0.5))


@pytest.mark.parametrize("name", ["sform_code", "qform_code"])
@pytest.mark.parametrize("code", [-1, 6, 300])
def test_a_form_that_the_standard_lacks_is_not_replaced_by_another(name: str, code: int) -> None:
    refused(altered(nibabel.Nifti1Image, {name: code}), "undecodable", f"{name} {code} is none of the standard's")


@given(
    steps=st.tuples(*[st.integers(200, 16_000)] * 3),  # of 0.0005 mm: there rounding to 0.001 turns over
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    axes=st.sampled_from(AXES),
    noise=st.lists(st.floats(-1e-6, 1e-6), min_size=12, max_size=12),
)
@settings(max_examples=100, deadline=None)
def test_affines_that_differ_by_noise_place_one_grid(
    steps: tuple[int, ...], origin: tuple[float, ...], axes: np.ndarray, noise: list[float]
) -> None:
    """As qform and sform of one file do: rounding could set them apart by a third of a voxel over 255 columns."""
    shape = (256, 2, 2)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes * np.array(steps) * 0.0005, origin
    other = affine.copy()
    other[:3] += np.reshape(noise, (3, 4))
    found = [parse_nifti(nibabel.Nifti1Image(np.zeros(shape, np.uint8), one).to_bytes()) for one in (affine, other)]
    sides = tuple(reversed(found[0].values.shape))
    assert same_voxels(found[1].affine, found[0].affine, sides)


@pytest.mark.parametrize("spacing", [0.9375, 0.4685, 0.7815, 0.6835])
def test_a_step_between_two_thousandths_is_not_rounded(spacing: float) -> None:
    affine = np.diag([spacing, spacing, 3.0, 1.0])
    image = parse_nifti(nibabel.Nifti1Image(np.zeros((4, 4, 2), np.uint8), affine).to_bytes())
    np.testing.assert_array_equal(np.reshape(image.affine, (4, 4)), affine.astype(np.float32))
    beside = affine.copy()
    beside[0, 0] = np.nextafter(np.float32(spacing), np.float32(0))
    mask = parse_nifti(nibabel.Nifti1Image(np.zeros((4, 4, 2), np.uint8), beside).to_bytes())
    assert same_voxels(mask.affine, image.affine, (512, 512, 4))


@given(
    at=st.integers(0, 550),
    by=st.binary(min_size=1, max_size=8),
    version=st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image]),
    packed=st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_whatever_a_header_holds_there_is_an_image_or_a_known_reason(
    at: int, by: bytes, version: type[nibabel.Nifti1Image], packed: bool
) -> None:
    data = bytearray(version(np.arange(60, dtype=np.float32).reshape(3, 4, 5), np.eye(4)).to_bytes())
    data[at : at + len(by)] = by
    content = gzip.compress(bytes(data), mtime=0) if packed else bytes(data)
    try:
        found = parse_nifti(content)
    except StudyError as refusal:
        assert refusal.reason in REASONS
    else:
        assert found.values.dtype == np.float32 and found.values.ndim == len(found.spacing_mm)
        assert np.isfinite(found.spacing_mm).all() and np.isfinite(found.affine).all() and min(found.spacing_mm) > 0
