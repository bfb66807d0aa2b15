"""Write the table of a job's scores as CSV or Parquet; Parquet needs pyarrow, the extra ``parquet``."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

from fedward.errors import FedwardError
from fedward.files import write_atomic
from fedward.reporting.metrics.table import COLUMNS, Row


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write the table as CSV, UTF-8, whole or not at all; a value that is None is an empty cell.

    Raises:
        OSError: the disk does not accept it.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([COLUMNS, *(["" if value is None else value for value in astuple(row)] for row in rows)])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.getvalue())


def write_parquet(path: Path, rows: Sequence[Row]) -> None:
    """Write the table as Parquet, whole or not at all; a value that is None is null.

    Raises:
        FedwardError: pyarrow is not installed.
        OSError: the disk does not accept it.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        remedy = "run `pip install -c constraints.txt pyarrow`, or write CSV"
        raise FedwardError("Parquet needs pyarrow, which is not installed", where=path, remedy=remedy) from None
    text, number, count = pyarrow.string(), pyarrow.float64(), pyarrow.int64()
    kinds = {
        **dict.fromkeys(COLUMNS, text),
        **dict.fromkeys(("value", "low", "high"), number),
        "round": count,
        "n": count,
    }
    columns = {name: pyarrow.array([getattr(row, name) for row in rows], type=kinds[name]) for name in COLUMNS}
    made = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), made)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, made.getvalue())
