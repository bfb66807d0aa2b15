"""Write the tables of ``docs/parts.md`` from the code; the text between them is written by hand.

    python docs/parts.py

Each table stands between ``<!-- NAME: written by docs/parts.py -->`` and ``<!-- end of NAME -->``. A test holds the
page to what this writes.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

PAGE = Path(__file__).with_name("parts.md")
_BLOCK = re.compile(r"<!-- ([a-z-]+): written by docs/parts\.py -->\n.*?<!-- end of \1 -->", re.DOTALL)

ROOT = PAGE.parents[1]
FLOORS = ("min_patients", "min_count")
HOSPITALS = (14, 20, 30, 50, 100, 200, 500, 1000)
"""Patients of a hospital, a line of the table each."""
WIDTHS = (0.3, 0.2, 0.1, 0.05)
"""Widths of an interval, a line of the table each."""
AUCS = ((0.8, 0.5), (0.8, 0.1), (0.95, 0.5))
"""Area and share of patients with the finding, a column of both tables each."""


def parts() -> str:
    """The whole page, its tables written anew."""
    return _BLOCK.sub(_written, PAGE.read_text(encoding="utf-8"))


def _written(block: re.Match[str]) -> str:
    name = block[1]
    table = "\n".join(TABLES[name]())
    return f"<!-- {name}: written by docs/parts.py -->\n\n{table}\n\n<!-- end of {name} -->"


def _networks() -> Iterator[str]:
    yield from _table("networks", ("task", "images", "normalisation", "parameters"))


def _losses() -> Iterator[str]:
    yield from _table("losses", ("for",))


def _transforms() -> Iterator[str]:
    yield from _table("transforms", ("stage", "mask"))


def _optimizers() -> Iterator[str]:
    yield from _table("optimizers", ("fixed",))


def _table(kind: str, columns: tuple[str, ...]) -> Iterator[str]:
    from fedward.parts.part import Kind
    from fedward.parts.tables import KINDS, parts_of

    known: Kind = next(one for one in KINDS if one == kind)
    yield f"| name | what it is | {' | '.join(columns)} | arguments, with defaults | set by Fedward |"
    yield f"|{'---|' * (len(columns) + 4)}"
    for part in parts_of(known):
        facts = " | ".join(part.facts[column] for column in columns)
        arguments = ", ".join(f"`{name}` {_default(value)}" for name, value in part.arguments.items())
        ours = ", ".join(f"`{name}`" for name in part.set_here)
        yield f"| `{part.name}` | {part.about} | {facts} | {arguments or 'none'} | {ours or 'nothing'} |"


def _default(value: str) -> str:
    from fedward.parts.part import NONE, REQUIRED

    return f"**{value}**" if value == REQUIRED else value if value == NONE else f"`{value}`"


def _losses_by_task() -> Iterator[str]:
    from fedward.training.losses import LOSSES

    yield "| the job learns | losses |"
    yield "|---|---|"
    kinds = dict.fromkeys(kind for entry in LOSSES.values() for kind in entry.kinds)
    for kind in kinds:
        fitting = ", ".join(f"`{name}`" for name, entry in LOSSES.items() if kind in entry.kinds)
        yield f"| {kind} | {fitting} |"


def _templates() -> dict[str, dict[str, object]]:
    """Template of a hospital's kit -> its values of ``FLOORS``."""
    folder = ROOT / "site_templates"
    base = tomllib.loads((folder / "base" / "values.toml").read_text(encoding="utf-8"))
    found = {}
    for name in ("clinic", "academic-centre"):
        values = base | tomllib.loads((folder / name / "values.toml").read_text(encoding="utf-8"))
        found[name] = {one: values[one] for one in FLOORS} | {"validation_fraction": _fraction()}
    return found


def _fraction() -> float:
    text = (ROOT / "site_templates" / "base" / "site.toml.jinja").read_text(encoding="utf-8")
    (found,) = re.findall(r"^validation_fraction = ([0-9.]+)$", text, flags=re.MULTILINE)
    return float(found)


def _template_floors() -> Iterator[str]:
    templates = _templates()
    yield f"| in `site.toml` | {' | '.join(f'template `{name}`' for name in templates)} |"
    yield f"|{'---|' * (len(templates) + 1)}"
    for one in (*FLOORS, "validation_fraction"):
        yield f"| `{one}` | {' | '.join(str(values[one]) for values in templates.values())} |"


def _hospital_widths() -> Iterator[str]:
    from fedward.indexing.split.sides import wanted
    from fedward.validation.sample_size import FEWEST, SD_OF_DICE, auc_width, dice_width

    fraction = _fraction()
    columns = [f"AUC {auc:g}, {share:.0%} positive" for auc, share in AUCS]
    yield f"| patients | of them for validation, at {fraction:g} | {' | '.join(columns)} | Dice, SD {SD_OF_DICE:g} |"
    yield f"|{'---|' * (len(AUCS) + 3)}"
    for patients in HOSPITALS:
        held = wanted(patients, fraction)
        cells = [
            _width(auc_width(held, auc=auc, prevalence=share))
            if min(held * share, held * (1 - share)) >= FEWEST
            else "too few"
            for auc, share in AUCS
        ]
        dice = _width(dice_width(held)) if held >= FEWEST else "too few"
        yield f"| {patients} | {held} | {' | '.join(cells)} | {dice} |"


def _width(width: float) -> str:
    return f"± {width / 2:.2f}"


def _needed() -> Iterator[str]:
    from fedward.validation.sample_size import SD_OF_DICE, patients_for_auc, patients_for_dice

    columns = [f"AUC {auc:g}, {share:.0%} positive" for auc, share in AUCS]
    yield f"| for ± | {' | '.join(columns)} | Dice, SD {SD_OF_DICE:g} |"
    yield f"|{'---|' * (len(AUCS) + 2)}"
    for width in WIDTHS:
        cells = [patients_for_auc(width, auc=auc, prevalence=share).patients for auc, share in AUCS]
        cells.append(patients_for_dice(width).patients)
        yield f"| {width / 2:g} | {' | '.join('none' if one is None else str(one) for one in cells)} |"


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "networks": _networks,
    "losses": _losses,
    "transforms": _transforms,
    "optimizers": _optimizers,
    "losses-by-task": _losses_by_task,
    "template-floors": _template_floors,
    "hospital-widths": _hospital_widths,
    "patients-needed": _needed,
}
"""Name of a table -> its lines."""


if __name__ == "__main__":
    PAGE.write_text(parts(), encoding="utf-8")
    print(PAGE)
