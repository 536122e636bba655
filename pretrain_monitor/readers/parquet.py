"""Parquet tables, read in batches with pyarrow where that is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .columns import NamedRows
from .errors import LogError
from .source import LogSource

MAGIC = b"PAR1"


def parquet_rows(source: LogSource) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a table, numbered from 1.

    Raises:
        LogError: pyarrow is not installed, the file is damaged, there is no step or no loss.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise LogError(
            f"{source.name}: reading a Parquet file needs pyarrow: pip install pyarrow, or export it as CSV or JSONL"
        ) from None
    try:
        table = parquet.ParquetFile(source.seekable())
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise LogError(f"{source.name}: a damaged Parquet file: {_one_line(error)}") from None
    return _rows(source.name, table, pyarrow)


def _rows(log: str, table: Any, pyarrow: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = NamedRows(log)
    number = 0
    try:
        for batch in table.iter_batches(batch_size=4096):
            for record in batch.to_pylist():
                number += 1
                plain = {name: value for name, value in record.items() if isinstance(value, int | float | str)}
                yield number, rows.row(plain, f"row {number}")
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        if isinstance(error, LogError):
            raise
        raise LogError(f"{log}: damaged after row {number}: {_one_line(error)}") from None
    rows.check("the columns are")


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
