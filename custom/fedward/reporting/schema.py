"""Make the JSON schemas of a report and a dossier from their classes.

    python -m fedward.reporting.schema custom/fedward/reporting

writes the schema files beside this module; a test compares them with the classes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from fedward.reporting.data.report import Report
from fedward.reporting.dossier.dossier import DOSSIER_SCHEMA, Dossier
from fedward.reporting.write import SCHEMA

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILES = {"report.schema.json": (Report, SCHEMA), "dossier.schema.json": (Dossier, DOSSIER_SCHEMA)}
"""File beside this module -> its class and the version of the schema."""


def schema_of(kind: type, version: int) -> dict[str, Any]:
    """Return the schema of a class as JSON, with its version in the field ``schema``; other fields are refused."""
    made = TypeAdapter(kind).json_schema(mode="serialization")
    _close(made)
    made["properties"] = {"schema": {"const": version}, **made["properties"]}
    made["required"] = list(made["properties"])
    return {"$schema": DIALECT, "$id": f"fedward:{kind.__name__.lower()}:{version}", **made}


def text_of(name: str) -> str:
    """Return the required content of the file of that name."""
    return json.dumps(schema_of(*FILES[name]), indent=2, ensure_ascii=False) + "\n"


def _close(node: Any) -> None:
    """Refuse unknown fields of a class and require all its fields; the keys of a table may have any name."""
    if isinstance(node, dict):
        if "properties" in node:
            node["additionalProperties"] = False
            node["required"] = list(node["properties"])
            for one in node["properties"].values():
                one.pop("default", None)
        for value in node.values():
            _close(value)
    elif isinstance(node, list):
        for value in node:
            _close(value)


if __name__ == "__main__":
    for file in FILES:
        Path(sys.argv[1], file).write_text(text_of(file), encoding="utf-8")
