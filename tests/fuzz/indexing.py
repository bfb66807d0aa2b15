"""What a hospital gives: DICOM and NIfTI files through the whole index, label tables, and the cohort's manifest."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
import struct
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
from pydicom.uid import JPEG2000Lossless, RLELossless

from fedward.dataset.manifest import HEADER, ROWS, read_manifest
from fedward.dicom.header import silence
from fedward.indexing.index import index_cohort
from fedward.indexing.labels import read_labels
from fedward.indexing.quarantine import QuarantineError, read_quarantine
from fedward.indexing.reasons import REASONS
from fedward.indexing.site_key import load_key
from fedward.settings import SitePolicy
from tests.fuzz.child import Target, ill_told, main, rearm
from tests.fuzz.mutations import MARK, line, token
from tests.support.images.dicom_files import as_bytes, image, pattern, save, segmentation, series, site

BATCH = 50
"""Files of one cohort; the valid ones in it are another number, so that files spoil each other too."""
_TEXTS = (b"", b"NaN", b"-1", b"1e999", b"9" * 64, b"\\", b"1\\2\\3\\4", b"\x1b[2J", b"\xff\xfe", MARK.encode() * 40)
_LONG = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN", b"SQ", b"UT", b"UC", b"UR", b"SV", b"UV"})


def dicom(folder: Path) -> Target:
    """Every fiftieth call indexes the cohort of the last ``BATCH`` inputs, so that all are counted together."""
    silence()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # as in the index's own workers: decoders write of their panics there
    waiting: list[bytes] = []
    facts: Counter[str] = Counter()
    runs = iter(range(10**6))

    def given(content: bytes) -> None:
        waiting.append(content)
        if len(waiting) == BATCH:
            _index(folder / f"cohort-{next(runs)}", waiting, facts)
            waiting.clear()

    return Target(_images(folder), given, edits=(_element, _element, _element, _element_moved), facts=facts)


def _index(root: Path, contents: list[bytes], facts: Counter[str]) -> None:
    """Index the files, and check that each is a row's or in quarantine with a reason, once."""
    suffixes = [".nii.gz" if content.startswith(b"\x1f\x8b") else ".dcm" for content in contents]
    names = [f"{number:03d}{suffix}" for number, suffix in enumerate(suffixes)]
    (root / "images").mkdir(parents=True)
    for name, content in zip(names, contents, strict=True):
        (root / "images" / name).write_bytes(content)
    policy = site(root)
    try:
        manifest = index_cohort(policy, "chest", workers=0, progress=lambda *_: rearm())
        assert read_manifest(root / "index") == manifest
        used = [path for row in manifest.rows for path in (*row.paths, *(mask.path for mask in row.masks))]
        assert manifest.quarantined == len(read_quarantine(root / "index"))
    except QuarantineError as error:
        assert ill_told(error, (MARK,)) is None, error
        used = []
    aside = read_quarantine(root / "index")
    assert sorted({*used, *(one.file for one in aside)}) == names, "a file is neither used nor in quarantine"
    counts = Counter(one.file for one in aside)
    assert not counts.keys() & set(used) and max(counts.values(), default=1) == 1, "a file is accounted for twice"
    for one in aside:
        assert one.reason in REASONS and (one.detail.isprintable() or not one.detail), one
        assert len(one.detail) < 500 and MARK not in one.detail, one
    facts.update(used=len(used), quarantined=len(aside))
    shutil.rmtree(root)


def _images(folder: Path) -> list[bytes]:
    one = image(name="plain", patient=MARK, PatientName=f"{MARK}^X", WindowCenter=2000, WindowWidth=900)
    packed = [image(pattern(kind, (64, 64)), name=kind, patient=MARK) for kind in (RLELossless, JPEG2000Lossless)]
    packed[0].compress(RLELossless)
    packed[1].compress(JPEG2000Lossless)
    film = image(pattern("film", (3, 8, 6)), name="film", modality="MR", patient=MARK)
    colour = image(pattern("c", (8, 6, 3), bits=8), name="colour", bits=8, photometric="RGB", patient=MARK)
    slices = series(3, patient=MARK)
    mask = segmentation(slices, {"Lung": np.ones((3, 8, 6), bool)})
    path = folder / "made.nii.gz"
    nibabel.save(nibabel.Nifti1Image(pattern("n", (5, 4, 3)).astype(np.int16), np.diag([0.5, 0.6, 2.0, 1.0])), path)
    nifti = gzip.compress(gzip.decompress(path.read_bytes()), mtime=0)
    return [*map(as_bytes, [one, *packed, film, colour, *slices, mask]), nifti]


def _elements(content: bytes) -> list[tuple[int, int, int, bool]]:
    """Start, start of the value, its length, and whether the length has four bytes, of each element in explicit VR."""
    found, at = [], 132
    while at + 8 <= len(content):
        wide = content[at + 4 : at + 6] in _LONG
        start = at + (12 if wide else 8)
        if start > len(content):
            break
        length = int.from_bytes(content[start - 4 : start] if wide else content[at + 6 : at + 8], "little")
        if length == 0xFFFFFFFF or not content[at + 4 : at + 6].isupper():
            length = 0
        found.append((at, start, length, wide))
        at = start + length
    return found


def _element(drawn: random.Random, content: bytes) -> bytes:
    """Give an element another value, length or VR; its length is then stated truly, or not."""
    found = _elements(content)
    if not found:
        return content
    at, start, length, wide = drawn.choice(found)
    numbers = (
        struct.pack("<H", drawn.choice((0, 1, 7, 33, 255, 65535))),
        struct.pack("<d", float("nan")),
        drawn.randbytes(8),
    )
    value = drawn.choice((*_TEXTS, *numbers)) if drawn.random() < 0.8 else content[start : start + length]
    value += b" " * (len(value) % 2)
    stated = len(value) if drawn.random() < 0.85 else drawn.choice((0, 1, 65534, 2**32 - 1, 2**31))
    head = bytearray(content[at:start])
    if wide:
        head[-4:] = struct.pack("<I", stated)
    else:
        head[-2:] = struct.pack("<H", stated & 0xFFFF)
    if drawn.random() < 0.1:
        head[4:6] = drawn.choice((b"DS", b"IS", b"US", b"FD", b"SQ", b"UI", b"PN", b"AT", b"UN", b"ZZ", b"OB"))
    return content[:at] + bytes(head) + value + content[start + length :]


def _element_moved(drawn: random.Random, content: bytes) -> bytes:
    """Remove an element, or have it twice."""
    found = _elements(content)
    if not found:
        return content
    at, start, length, _ = drawn.choice(found)
    whole = content[at : start + length]
    return content[:at] + (b"" if drawn.random() < 0.6 else whole + whole) + content[start + length :]


def labels(folder: Path) -> Target:
    key, path = load_key(folder / "key"), folder / "labels.csv"
    head = "PatientID,StudyInstanceUID,lesion,grade\n"
    lines = [f"{MARK}{n},1.2.{n},{n % 2},{'NA' if n == 3 else 'II'}\n" for n in range(6)]
    plain = (head + "".join(lines)).encode()
    other = f'sep=;\nImage;"lesion"\r\n"a/{MARK}.nii.gz";"1"\r\nb.nii;"0, {MARK}\n"\r\n'.encode()

    def given(content: bytes) -> None:
        path.write_bytes(content)
        table = read_labels(path, key)
        counted = {row.line for row in table.rows} | {one.line for one in table.refused} | set(table.blank)
        assert counted, "a table without a line is refused"
        for one in table.refused:
            assert MARK not in one.detail and (not one.detail or one.detail.isprintable())

    return Target([plain, plain.decode().encode("utf-16"), other, plain.replace(b",", b"\t")], given)


def manifest(folder: Path) -> Target:
    policy: SitePolicy = site(folder, masks=folder / "masks")
    slices = series(3, patient=MARK)
    for number, one in enumerate([*slices, image(name="x", patient="P2")]):
        save(one, folder / "images" / f"{number}.dcm")
    save(segmentation(slices, {"Lung": np.ones((3, 8, 6), bool)}), folder / "masks" / "lung.dcm")
    index_cohort(policy, "chest", workers=0)
    index = folder / "index"
    whole = (index / ROWS).read_bytes()

    def given(content: bytes) -> None:
        (index / ROWS).write_bytes(content)
        found = read_manifest(index)
        patients = found.patients() + found.patients("train")
        masks = [(row.structures, row.mask, mask.placed) for row in found.rows for mask in row.masks]
        assert patients >= 0 <= len(masks) and len(found.content_hash) == 64
        assert (index / HEADER).exists()

    return Target(
        [whole, _resealed(random.Random(0), whole)], given, edits=(token, token, _resealed, _resealed_after, line)
    )


def _resealed(drawn: random.Random, content: bytes) -> bytes:
    """The manifest with the content hash that its rows have: anyone who writes the file can compute it."""
    first, *rows = content.split(b"\n")
    try:
        header = json.loads(first)
        again = [json.dumps(json.loads(row), separators=(",", ":")) for row in rows if row]
    except (ValueError, RecursionError):
        return content
    if not isinstance(header, dict):
        return content
    header["content_hash"] = hashlib.sha256("".join(f"{row}\n" for row in again).encode("utf-8", "replace")).hexdigest()
    return "\n".join([json.dumps(header), *again, ""]).encode("utf-8", "replace")


def _resealed_after(drawn: random.Random, content: bytes) -> bytes:
    first, newline, rows = content.partition(b"\n")
    return _resealed(drawn, first + newline + token(drawn, rows))


if __name__ == "__main__":
    main({"dicom": dicom, "labels": labels, "manifest": manifest})
