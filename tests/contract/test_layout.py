"""Imports go downward only, files stay short and folders small; the check itself finds what it should."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedward.pipeline import FLOORS


@pytest.fixture
def layout(root: Path) -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(root / "docs" / "layout.py")))


@pytest.fixture
def package(root: Path) -> Path:
    return root / "custom" / "fedward"


def test_no_package_imports_one_on_its_floor_or_above(layout: SimpleNamespace, package: Path) -> None:
    found = layout.imports(package)
    assert len(found) > 300 and "fedward.weights" in found["fedward.flare.gates.egress"]
    assert list(layout.upward(found)) == []


def test_no_circle_of_files(layout: SimpleNamespace, package: Path) -> None:
    assert layout.circle(layout.imports(package)) == []


def test_every_floor_is_there(package: Path) -> None:
    rooms = [room for floor in FLOORS for room in floor]
    assert len(rooms) == len(set(rooms))
    there = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    assert set(rooms) == there - {"__init__"}


def test_files_and_folders_stay_small(layout: SimpleNamespace, package: Path, root: Path) -> None:
    assert list(layout.too_long(package)) == []
    assert list(layout.too_full(package, root / "tests")) == []


def test_the_architecture_page_has_the_rooms_as_the_code_has_them(
    layout: SimpleNamespace, package: Path, root: Path
) -> None:
    page = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert f"{layout.START}\n\n{layout.rooms(package)}\n\n{layout.END}" in page, "run `make reference`"


def test_what_is_wrong_is_found(layout: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = tmp_path / "fedward"
    for name, text in {
        "errors": "",
        "low": "def late():\n    from fedward.high import roof\n",
        "high/__init__": "",
        "high/roof": "from fedward.high import wall\n",
        "high/wall": "import fedward.high.roof\nfrom fedward import errors\n",
        "lost": "",
        "api": "",
        "sly": "import fedward.errors\nfedward.high.wall.build()\n",
    }.items():
        path = house / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (house / "__init__.py").write_text("from fedward.high import roof\nfrom fedward.api import Job\n")
    found = layout.imports(house)
    faults = list(layout.upward(found, (("errors",), ("low", "sly"), ("high",), ("api",))))
    assert faults == [
        "fedward imports fedward.high.roof: the package itself imports only api",
        "fedward.lost: lost is on no floor of fedward.pipeline.FLOORS",
        "fedward.low (floor 2) imports fedward.high.roof (floor 3)",
        "fedward.sly (floor 2) imports fedward.high (floor 3)",
        "fedward.sly (floor 2) imports fedward.high.wall (floor 3)",
    ]
    assert set(layout.circle(found)) == {"fedward.high.roof", "fedward.high.wall"}
    (house / "low.py").write_text("\n" * 301)
    assert [line.split(":")[0] for line in layout.too_long(house)] == ["fedward/low.py"]
    for number in range(16):
        (house / "high" / f"{number}.html").touch()
    monkeypatch.setitem(layout.too_full.__globals__, "ROOT", tmp_path)
    assert list(layout.too_full(house)) == ["fedward/high: 19 files; 15 are allowed"]
