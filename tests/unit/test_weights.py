"""Models as arrays: differences, and files without pickles."""

import copy
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fedward.errors import FedwardError, JobError
from fedward.weights import add, difference, load_weights, save_weights

OLD = {"b": np.float32([1, 2]), "a": np.array(3, np.int64)}
NEW = {"a": np.array(5, np.int64), "b": np.float32([1.5, 0])}


def test_difference_and_back() -> None:
    update = difference(NEW, OLD)
    assert list(update) == ["a", "b"]
    np.testing.assert_array_equal(update["b"], np.float32([0.5, -2]))
    back = add(OLD, update)
    for name in NEW:
        np.testing.assert_array_equal(back[name], NEW[name])
        assert back[name].dtype == NEW[name].dtype
    np.testing.assert_array_equal(OLD["b"], np.float32([1, 2]))


@pytest.mark.parametrize("other", [{"a": NEW["a"]}, {**NEW, "c": NEW["a"]}, {**NEW, "b": np.float32([1])}])
def test_two_layouts_are_refused(other: dict) -> None:
    for work in (difference, add):
        with pytest.raises(JobError, match="tensor"):
            work(NEW, other)


def test_file_keeps_names_types_and_bits(tmp_path: Path) -> None:
    weights = {"layer.0.weight": np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32), **OLD}
    save_weights(weights, tmp_path / "model.npz")
    read = load_weights(tmp_path / "model.npz")
    assert list(read) == sorted(weights)
    for name, array in weights.items():
        assert read[name].tobytes() == array.tobytes() and read[name].dtype == array.dtype
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]


def test_an_archive_that_unpacks_to_more_than_itself_is_not_unpacked(tmp_path: Path) -> None:
    """A thousand times its size, once deflated and once as many names for the same bytes."""
    deflated = tmp_path / "deflated.npz"
    np.savez_compressed(deflated, a=np.zeros(10_000_000, np.float32))
    assert deflated.stat().st_size < 100_000
    overlapping = tmp_path / "overlapping.npz"
    with zipfile.ZipFile(overlapping, "w") as archive:
        archive.writestr("a.npy", bytes(50_000))
        (entry,) = archive.infolist()
        for number in range(1000):
            again = copy.copy(entry)
            again.filename = f"b{number}.npy"
            archive.filelist.append(again)
            archive.NameToInfo[again.filename] = again
    for path in (deflated, overlapping):
        with pytest.raises(FedwardError, match="not a model"):
            load_weights(path)


def test_files_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(FedwardError, match="cannot be read"):
        load_weights(tmp_path / "absent.npz")
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, a=np.array([{"code": 1}], dtype=object))
    with pytest.raises(FedwardError, match="not a model"):
        load_weights(pickled)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(FedwardError, match="not a model"):
        load_weights(tmp_path / "text.npz")
