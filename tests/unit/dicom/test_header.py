"""Reading quietly: no warning and no log line gets out, no fault of a reader gets through."""

from __future__ import annotations

import logging
import threading
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from fedward.dicom.header import (
    is_stated,
    items,
    numbers,
    parse,
    quiet,
    read_bytes,
    refusing,
    required,
    syntax_of,
    text,
    value,
    whole,
)
from fedward.dicom.pixels import decode
from fedward.errors import JobError, StudyError
from tests.support.images.dicom_files import as_bytes, image, pattern


class Panic(BaseException):
    """Stands for pyo3's PanicException, which is no Exception either."""


@pytest.mark.parametrize(
    "fault", [ValueError("P1^NAME"), MemoryError(), RecursionError(), EOFError(), Panic("P1^NAME")]
)
def test_any_fault_of_a_reader_becomes_a_reason_without_its_message(fault: BaseException) -> None:
    with pytest.raises(StudyError) as refusal, refusing("undecodable", "pixels"):
        raise fault
    assert refusal.value.reason == "undecodable"
    assert refusal.value.detail == f"pixels: {type(fault).__name__}"


@pytest.mark.parametrize("wish", [KeyboardInterrupt(), SystemExit(3), JobError("x"), StudyError("no-pixels")])
def test_wishes_to_stop_and_fedwards_own_errors_pass(wish: BaseException) -> None:
    with pytest.raises(type(wish)) as passed, refusing("undecodable"):
        raise wish
    assert passed.value is wish


def test_quiet_hides_warnings_and_logs_and_then_restores(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("pydicom")
    before = warnings.filters[:]
    with quiet():
        with quiet():
            warnings.warn("P1^NAME", UserWarning, stacklevel=1)
        logger.error("P1^NAME")
    assert not caplog.records
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", UserWarning, stacklevel=1)
    logger.error("heard")
    assert [record.message for record in caplog.records] == ["heard"]


def test_quiet_in_overlapping_threads_restores_what_was_there() -> None:
    before, first_in, second_in, first_out = warnings.filters[:], *(threading.Event() for _ in range(3))

    def first() -> None:
        with quiet():
            first_in.set()
            second_in.wait(5)
        first_out.set()

    def second() -> None:
        first_in.wait(5)
        with quiet():
            second_in.set()
            first_out.wait(5)

    threads = [threading.Thread(target=one) for one in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def encoded(dataset: Dataset, syntax: str) -> bytes:
    """The file in an encoding of uncompressed pixels."""
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    return as_bytes(dataset)


def bare(data: bytes) -> bytes:
    """The data set alone, without preamble and file meta information (PS3.10 7.1)."""
    return data[132 + 12 + int.from_bytes(data[140:144], "little") :]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_file_without_preamble_or_file_meta_has_the_pixels_of_the_whole_file(syntax: str) -> None:
    data = encoded(image(), syntax)
    for less in (data, data[132:], bare(data)):
        header = parse(less)
        assert text(header, "PatientID") == "P1"
        assert syntax_of(header) == syntax
        np.testing.assert_array_equal(decode(header).values, pattern())


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("left", [None, ""])
def test_a_file_without_transfer_syntax_has_the_one_of_its_encoding(syntax: str, left: str | None) -> None:
    dataset = parse(encoded(image(), syntax))
    if left is None:
        del dataset.file_meta.TransferSyntaxUID
    else:
        dataset.file_meta.TransferSyntaxUID = left
    out = BytesIO()
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    dcmwrite(out, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
    header = parse(out.getvalue())
    assert syntax_of(header) == syntax
    np.testing.assert_array_equal(decode(header).values, pattern())


def test_compressed_pixels_without_transfer_syntax_are_refused_by_its_name() -> None:
    dataset = image(pattern(shape=(64, 48)))
    dataset.compress(RLELossless)
    header = parse(bare(as_bytes(dataset)))
    assert syntax_of(header) is None
    with pytest.raises(StudyError) as refusal:
        decode(header)
    assert refusal.value.reason == "undecodable"
    assert refusal.value.detail == "TransferSyntaxUID (0002,0010) is absent and the pixels are compressed"


@pytest.mark.parametrize("uid", ["1.2.840.113619.5.2", "1.2.3", "1.2.840.10008.5.1.4.1.1.1"])
def test_a_transfer_syntax_that_is_not_the_standards_is_refused(uid: str) -> None:
    header = parse(as_bytes(image()))
    header.file_meta.TransferSyntaxUID = UID(uid)
    with pytest.raises(StudyError, match=r"TransferSyntaxUID \(0002,0010\) is not one of the standard's"):
        decode(header)


def test_a_preamble_alone_before_the_data_set() -> None:
    data = bare(as_bytes(image()))
    np.testing.assert_array_equal(decode(parse(b"\0" * 128 + b"DICM" + data)).values, pattern())


def test_compressed_pixels_under_a_syntax_of_uncompressed_ones_are_refused() -> None:
    dataset = image(np.random.default_rng(0).integers(0, 4096, (64, 48)))
    dataset.compress(RLELossless)
    dataset.Rows = dataset.Columns = 8  # so that the bytes suffice
    data = as_bytes(dataset)
    changed = data.replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1\0", 1)
    with pytest.raises(StudyError, match="compressed pixels in transfer syntax Explicit VR Little Endian"):
        decode(parse(changed))


@pytest.mark.parametrize("number", [9, 10, 13, 32, 0])
def test_a_number_of_blanks_is_stated_and_a_text_of_blanks_is_not(number: int) -> None:
    """As bytes, 9 in US is a tab and a NUL."""
    header = parse(as_bytes(image(HighBit=number, PatientID="  ", ImageComments=None, NumberOfFrames="")))
    assert is_stated(header, "HighBit")
    assert required(header, "HighBit") == number
    assert not is_stated(header, "PatientID")
    assert not is_stated(header, "ImageComments")
    assert not is_stated(header, "NumberOfFrames")
    for keyword in ("HighBit", "PatientID", "NumberOfFrames"):
        getattr(header, keyword)  # pydicom converts it now
    assert is_stated(header, "HighBit")
    assert required(header, "HighBit") == number
    assert not is_stated(header, "NumberOfFrames")


def test_a_required_number_is_one_whole_number() -> None:
    header = parse(as_bytes(image(SamplesPerPixel=[1, 3])))
    with pytest.raises(StudyError, match=r"SamplesPerPixel \(0028,0002\) is not one whole number"):
        required(header, "SamplesPerPixel")


@pytest.mark.parametrize(
    ("reason", "data"), [("unreadable", b""), ("unreadable", b"GIF89a"), ("unreadable", b"\0" * 500)]
)
def test_what_is_not_dicom(reason: str, data: bytes) -> None:
    with pytest.raises(StudyError) as refusal:
        parse(data)
    assert refusal.value.reason == reason


def test_optional_values_of_all_sorts() -> None:
    header = parse(
        as_bytes(
            image(
                PatientID="  A 7 ",
                Manufacturer="Größe",
                SpecificCharacterSet="ISO_IR 192",
                ImageComments=None,
                PixelSpacing=[0.5, 0.25],
                WindowCenter=["10", "20"],
                NumberOfFrames="",
            )
        )
    )
    assert text(header, "PatientID") == "A 7"
    assert text(header, "Manufacturer") == "Größe"
    assert text(header, "ImageComments") == ""
    assert numbers(header, "PixelSpacing") == (0.5, 0.25)
    assert whole(header, "WindowCenter") == 10
    assert whole(header, "NumberOfFrames") is None
    assert whole(header, "Rows") == 16
    assert value(header, "NumberOfFrames") is None
    assert items(header, "SharedFunctionalGroupsSequence") == []


def test_plain_values_and_converted_values_are_the_same() -> None:
    header = parse(as_bytes(image(SpecificCharacterSet="ISO_IR 100", RescaleSlope="1.5")))
    first = [text(header, "SOPInstanceUID"), text(header, "Modality"), numbers(header, "RescaleSlope")]
    for keyword in ("SOPInstanceUID", "Modality", "RescaleSlope"):
        getattr(header, keyword)  # pydicom converts it now
    assert [text(header, "SOPInstanceUID"), text(header, "Modality"), numbers(header, "RescaleSlope")] == first


@pytest.mark.parametrize("bad", ["abc", "1\\x", "nan", "inf", "1e999"])
def test_numbers_that_are_none(bad: str) -> None:
    header = Dataset()
    header.add_new("ImageComments", "LT", bad)
    assert numbers(header, "ImageComments") == ()


def test_reading_a_folder_a_pipe_and_nothing(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "absent"):
        with pytest.raises(StudyError) as refusal:
            read_bytes(tmp_path / name)
        assert refusal.value.reason == "unreadable"


def test_pixels_do_not_leak_into_a_detail() -> None:
    dataset = image(np.zeros((4, 4)), PatientID="SECRET-7", BitsAllocated=7)
    with pytest.raises(StudyError) as refusal:
        decode(parse(as_bytes(dataset)))
    assert "SECRET" not in str(refusal.value)
