"""The Parquet files of a LeRobot dataset, through pyarrow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ksgen_export.disk import whole_file
from ksgen_models.errors import DatasetError

_ARROW: dict[str, pa.DataType] = {
    "float32": pa.float32(),
    "float64": pa.float64(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "string": pa.string(),
}


def frame_table(features: Mapping[str, Mapping[str, Any]], values: Mapping[str, NDArray[Any]]) -> pa.Table:
    """A row a frame; vectors are lists of fixed length, as Hugging Face datasets store them."""
    arrays, fields = [], []
    for name, feature in features.items():
        if feature["dtype"] == "video":
            continue
        kind, size = _ARROW[feature["dtype"]], feature["shape"][0]
        flat = pa.array(np.ascontiguousarray(values[name]).reshape(-1), kind)
        arrays.append(flat if size == 1 else pa.FixedSizeListArray.from_arrays(flat, size))
        fields.append(pa.field(name, arrays[-1].type))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def write_tables(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write tables of one schema to a file, a row group each; the file appears whole or not at all."""
    with whole_file(path) as partial:
        writer: pq.ParquetWriter | None = None
        try:
            for table in tables:
                writer = writer or pq.ParquetWriter(partial, table.schema, compression="snappy", use_dictionary=True)
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()


def write_names(path: Path, column: str, names: Sequence[str]) -> None:
    """Write texts and their numbers the way pandas writes a table whose index the texts are."""
    index = "__index_level_0__"
    about = {
        "index_columns": [index],
        "column_indexes": [
            {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
        ],
        "columns": [
            {"name": column, "field_name": column, "pandas_type": "int64", "numpy_type": "int64", "metadata": None},
            {"name": None, "field_name": index, "pandas_type": "unicode", "numpy_type": "object", "metadata": None},
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    table = pa.table({column: pa.array(range(len(names)), pa.int64()), index: pa.array(names, pa.string())})
    write_tables(path, [table.replace_schema_metadata({"pandas": json.dumps(about)})])


def read_names(path: Path, column: str) -> list[str]:
    """The inverse of `write_names`, of files that pandas wrote as well; empty where there is no file."""
    if not path.exists():
        return []
    table = read_table(path)
    text = next(name for name in table.column_names if name != column)
    order = np.argsort(table[column].to_numpy())
    texts = table[text].to_pylist()
    return [texts[place] for place in order]


def read_table(path: Path, filters: Any = None) -> pa.Table:
    """Read a file, or those of its rows that pass ``filters``.

    Raises:
        DatasetError: it is missing or damaged.
    """
    try:
        return pq.ParquetFile(path).read() if filters is None else pq.read_table(path, filters=filters)
    except (OSError, pa.ArrowException) as exc:
        raise DatasetError(f"{path} cannot be read ({exc}); restore the file or write the dataset anew") from exc


def column_values(table: pa.Table, name: str) -> NDArray[Any]:
    """A column as (T,) or (T, N)."""
    column = table[name].combine_chunks()
    if pa.types.is_fixed_size_list(column.type) or pa.types.is_list(column.type):
        return np.array(column.to_pylist())
    if pa.types.is_string(column.type):
        return np.array(column.to_pylist(), str)
    return column.to_numpy(zero_copy_only=False)
