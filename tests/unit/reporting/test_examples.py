"""Pictures of patients: what they show, and that only the hospital's own copy has them."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedward.errors import FedwardError
from fedward.reporting.data.from_events import report_of
from fedward.reporting.examples import FOLDER, PREDICTED_RGB, TRUE_RGB, picture, png, read_examples, write_examples
from fedward.reporting.page import render
from fedward.reporting.write import write_own_copy
from fedward.validation.outlines import Outlined, ranked
from tests.support.report_events import made_events, made_job

STAYS = "this copy holds images of patients: it stays in the hospital"


def outlined(rank: str = "worst", shape: tuple[int, ...] = (16, 20)) -> Outlined:
    truth, predicted = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    truth[..., 4:10, 4:10] = 1
    predicted[..., 6:12, 6:12] = 1
    image = np.random.default_rng(3).normal(size=shape)
    return Outlined(rank=rank, dice=0.44444, image=image, truth=truth, predicted=predicted)


def test_a_png_is_what_pillow_reads() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(png(pixels))) as read:
        read.load()
        assert (read.format, read.mode) == ("PNG", "RGB") and not read.info
        assert np.array_equal(np.asarray(read), pixels)


def test_the_outlines_lie_on_the_edges_of_the_masks() -> None:
    with Image.open(io.BytesIO(picture(outlined()))) as read:
        drawn = np.asarray(read)
    assert drawn.shape == (256, 320, 3)  # 16 times as large
    down, along = np.nonzero((drawn == TRUE_RGB).all(2))
    assert (down.min(), down.max(), along.min(), along.max()) == (64, 159, 64, 159)
    down, along = np.nonzero((drawn == PREDICTED_RGB).all(2))
    assert (down.min(), along.min()) == (96, 96) and 96 < down.max() <= 191


def test_of_a_volume_the_slice_with_most_of_the_structure() -> None:
    volume = outlined(shape=(5, 16, 20))
    volume.truth[:] = 0
    volume.truth[3, 2:12, 2:12] = 1
    flat = Outlined(rank="worst", dice=0.4, image=volume.image[3], truth=volume.truth[3], predicted=volume.predicted[3])
    assert picture(volume) == picture(flat)
    with pytest.raises(ValueError, match="one shape"):
        picture(Outlined(rank="worst", dice=0.4, image=volume.image, truth=flat.truth, predicted=flat.predicted))


def test_a_flat_image_and_an_empty_mask_are_drawn() -> None:
    none = np.zeros((8, 8), np.uint8)
    with Image.open(io.BytesIO(picture(Outlined(rank="best", dice=1, image=none, truth=none, predicted=none)))) as read:
        assert not np.asarray(read).any()


@pytest.mark.parametrize(
    ("dices", "found"),
    [
        ([[0.9], [0.1], [0.5]], {"worst": 1, "median": 2, "best": 0}),
        ([[0.2, 0.4], [np.nan, 0.1], [np.nan, np.nan]], {"worst": 1, "best": 0}),
        ([[0.7]], {"worst": 0}),
        ([[np.nan]], {}),
    ],
)
def test_ranks_worked_by_hand(dices: list[list[float]], found: dict[str, int]) -> None:
    assert ranked(np.array(dices)) == found


def test_only_the_hospitals_own_copy_has_pictures(tmp_path: Path) -> None:
    job = made_job()
    done = report_of(job, made_events(job))
    write_examples(tmp_path, [outlined("worst"), outlined("best")])
    assert {path.name for path in (tmp_path / "examples").iterdir()} == {"worst.png", "best.png", "examples.json"}
    found = read_examples(tmp_path)
    assert [(one.rank, one.dice) for one in found] == [("worst", 0.4444), ("best", 0.4444)]
    own = tmp_path / "own.html"
    write_own_copy(own, done, found)
    text = own.read_text()
    assert text.count('<img src="data:image/png;base64,') == 2 and STAYS in text.lower()
    assert base64.b64encode(picture(outlined())).decode() in text
    assert "img-src data:" in text and own.stat().st_mode & 0o077 == 0
    plain = render(done)
    assert "<img" not in plain and "data:" not in plain.replace("<data", "") and STAYS not in plain.lower()


def test_a_run_folder_without_pictures_is_one_line(tmp_path: Path) -> None:
    write_examples(tmp_path, [])
    assert not list(tmp_path.iterdir())
    with pytest.raises(FedwardError, match="no example images"):
        read_examples(tmp_path)
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "examples.json").write_text('{"worst": "?"}')
    (tmp_path / "examples" / "worst.png").write_bytes(b"")
    with pytest.raises(FedwardError, match="not as they were written"):
        read_examples(tmp_path)


def test_a_disk_that_takes_no_picture_costs_no_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FOLDER).touch()
    write_examples(tmp_path, [outlined("worst")])
    assert "example images are not written" in caplog.text
