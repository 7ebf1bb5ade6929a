"""Adapters: a shop's own log, brought to the raw contract by a folder of SQL.

A folder holds one ``<table>.sql`` per contract table it can fill, each one SELECT over the table
``input``: the rows of the given files, in file order. CSV and JSON lines columns are text there,
parquet columns keep their types. What comes out is judged like any landing file.
"""

from pathlib import Path

import duckdb

from aigq.contract import TABLES
from aigq.ingest.files import (
    Source,
    broken,
    file_format,
    identifier,
    nearest,
    open_source,
    relation_source,
)
from aigq.settings import PROJECT_ROOT, UserError

SHIPPED = PROJECT_ROOT / "aigq" / "adapters"


def find_adapter(name: str) -> dict[str, Path]:
    """The queries of a shipped adapter or of a folder, by contract table.

    Raises :class:`UserError` listing the shipped ones, or naming the file that is no table's.
    """
    shipped = sorted(path.name for path in SHIPPED.iterdir() if path.is_dir())
    folder = SHIPPED / name if name in shipped else Path(name)
    if not folder.is_dir():
        raise UserError(
            f"no adapter {name!r}: neither a folder nor one of those shipped: {', '.join(shipped)}"
        )
    queries = {path.stem: path for path in sorted(folder.glob("*.sql"))}
    for table, path in queries.items():
        if table not in TABLES:
            raise UserError(f"{path}: unknown table {table!r}{nearest(table, TABLES)}")
    if not queries:
        raise UserError(f"{folder}: no <table>.sql there; tables: {', '.join(TABLES)}")
    return {table: queries[table] for table in TABLES if table in queries}


def load_input(con: duckdb.DuckDBPyConnection, files: list[Path], scratch: Path) -> int:
    """Create ``stage.input`` from the files' rows, matched by column name; returns the rows."""
    parts = []
    for path in files:
        if file_format(path) is None:
            raise UserError(f"{path}: expected a .parquet, .csv or .jsonl file (each also as .gz)")
        source = open_source(con, path, scratch)
        if source is not None:
            parts.append((path, _input_query(path, source)))
    if not parts:
        raise UserError(f"{', '.join(map(str, files))}: no rows for the adapter to read")
    # One file at a time, so that an error names its file and the order is the files' order.
    names = []
    for index, (path, query) in enumerate(parts):
        names.append(f"stage.input_{index}")
        try:
            con.execute(f"CREATE TABLE {names[-1]} AS {query}")
        except duckdb.Error as error:
            raise broken(path, error) from None
    con.execute(
        "CREATE TABLE stage.input AS " + " UNION ALL BY NAME ".join(f"FROM {n}" for n in names)
    )
    for name in names:
        con.execute(f"DROP TABLE {name}")
    return con.execute("SELECT count(*) FROM stage.input").fetchone()[0]


def _input_query(path: Path, source: Source) -> str:
    typed = file_format(path) == "parquet"
    columns = ", ".join(
        identifier(name) if typed else f"{text} AS {identifier(name)}"
        for name, text in source.texts.items()
    )
    return f"SELECT {columns} FROM {source.sql}"


def query_source(con: duckdb.DuckDBPyConnection, path: Path) -> Source:
    """The rows of an adapter's query; raises :class:`UserError` with the file and what is wrong."""
    text = path.read_text(encoding="utf-8")
    try:
        statements = duckdb.extract_statements(text)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise UserError(f"{path}: expected one SELECT over the table input")
        result = f"stage.result_{path.stem}"
        con.execute(f"CREATE TABLE {result} AS {statements[0].query}")
    except duckdb.Error as error:
        raise UserError(f"{path}: {error}") from None
    return relation_source(con, str(path), result, is_file=False)
