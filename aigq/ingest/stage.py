"""Staging: every landing row typed and judged by itself, before anything touches the lake.

A staging table ``stage.rows_<table>`` holds the rows in the order they were read (its ``rowid``),
the contract's columns, ``reason`` (why the row is broken, else null) and, for broken rows only,
the row as it was given, as JSON. ``stage.files_<table>`` has the first row (its ``rowid``) of each
file.
"""

import duckdb

from aigq.contract import EARLIEST, Column, Table
from aigq.ingest.files import Source, broken, identifier, literal, nearest
from aigq.settings import UserError

# SQL for the value of a column from its text {t}; null where the text is no such value.
_PARSERS = {
    "VARCHAR": "{t}",
    "TIMESTAMPTZ": (
        "CASE WHEN isfinite(try_cast({t} AS TIMESTAMPTZ)) THEN try_cast({t} AS TIMESTAMPTZ) END"
    ),
    "DOUBLE": "CASE WHEN isfinite(try_cast({t} AS DOUBLE)) THEN try_cast({t} AS DOUBLE) END",
    # Not try_cast alone: it rounds 1.5 to 2. A whole number in a float column ends in '.0'.
    "INTEGER": (
        r"CASE WHEN regexp_full_match({t}, '\s*[+-]?[0-9]+(\.0*)?\s*')"
        " THEN try_cast(try_cast({t} AS DOUBLE) AS INTEGER) END"
    ),
    "BOOLEAN": "try_cast({t} AS BOOLEAN)",
    # Sorted by key: the same attributes are the same content in whatever order they were written.
    # A key that stands twice would abort the whole query, hence the look at the keys first.
    "MAP(VARCHAR, VARCHAR)": (
        "CASE WHEN len(json_keys(try_cast({t} AS JSON)))"
        " = len(list_distinct(json_keys(try_cast({t} AS JSON)))) THEN map_from_entries(list_sort("
        "map_entries(try_cast(try_cast({t} AS JSON) AS MAP(VARCHAR, VARCHAR))))) END"
    ),
    "VARCHAR[]": "try_cast(try_cast({t} AS JSON) AS VARCHAR[])",
}

_TYPE_WORDS = {
    "TIMESTAMPTZ": "a time",
    "DOUBLE": "a finite number",
    "INTEGER": "a whole number",
    "BOOLEAN": "true or false",
    "MAP(VARCHAR, VARCHAR)": "a JSON object",
    "VARCHAR[]": "a JSON list",
}


def create_table(con: duckdb.DuckDBPyConnection, table: Table) -> None:
    """An empty staging table for ``table``."""
    columns = ", ".join(f"{column.name} {column.type}" for column in table.columns)
    con.execute(
        f"CREATE TABLE stage.rows_{table.name}"
        f" ({columns}, reason VARCHAR, row_json VARCHAR, source_file VARCHAR)"
    )
    con.execute(f"CREATE TABLE stage.files_{table.name} (source_file VARCHAR, first_row BIGINT)")


def add_rows(con: duckdb.DuckDBPyConnection, table: Table, source: Source) -> int:
    """Append the rows of ``source``, judged; returns how many it has.

    ``now``, against which times are judged, is the connection's transaction time.
    Raises :class:`UserError` for a missing column and for a file that cannot be read to its end.
    """
    _check_columns(table, source)
    texts = ", ".join(
        f"nullif({source.texts.get(name, 'NULL::VARCHAR')}, '') AS t_{name}"
        for name in table.column_names
    )
    typed = ", ".join(
        f"{_PARSERS[c.type].format(t=f't_{c.name}')} AS {c.name}" for c in table.columns
    )
    given = ", ".join(f"'{name}': t_{name}" for name in table.column_names)
    query = f"""
        INSERT INTO stage.rows_{table.name}
        WITH texts AS (SELECT {texts} FROM {source.sql}),
        typed AS (SELECT *, {typed} FROM texts),
        judged AS (SELECT *, nullif(concat_ws('; ', {_reasons(table)}), '') AS reason FROM typed)
        SELECT {", ".join(table.column_names)}, reason,
            CASE WHEN reason IS NOT NULL THEN to_json({{{given}}})::VARCHAR END,
            {literal(source.label)}
        FROM judged"""
    if source.is_file:
        con.execute(
            f"INSERT INTO stage.files_{table.name}"
            f" SELECT {literal(source.label)}, count(*) FROM stage.rows_{table.name}"
        )
    try:
        return con.execute(query).fetchone()[0]
    except duckdb.Error as error:
        raise broken(source.label, error) from None


def _check_columns(table: Table, source: Source) -> None:
    for column in table.columns:
        absent_is_null = source.absent_is_null and not column.required
        if column.name not in source.texts and not absent_is_null:
            unknown = [name for name in source.texts if name not in table.column_names]
            raise UserError(
                f"{source.label}: missing column {column.name!r} of table {table.name}"
                f"{nearest(column.name, unknown) if unknown else ''}"
            )


def ignored_columns(table: Table, source: Source) -> list[str]:
    """The columns of ``source`` that the contract does not know."""
    return [name for name in source.texts if name not in table.column_names]


def _reasons(table: Table) -> str:
    """SQL arguments: one text per thing that is wrong with a row, null where it is not."""
    broken_columns = [reason for column in table.columns for reason in _column_reasons(column)]
    rules = [f"CASE WHEN {rule.broken} THEN {rule.reason} END" for rule in table.rules]
    return ", ".join(broken_columns + rules)


def _column_reasons(column: Column) -> list[str]:
    name = identifier(column.name)
    reasons = []
    if column.required:
        reasons.append(f"CASE WHEN t_{column.name} IS NULL THEN '{column.name} is null' END")
    if column.type in _TYPE_WORDS:
        reasons.append(
            f"CASE WHEN t_{column.name} IS NOT NULL AND {name} IS NULL"
            f" THEN '{column.name} is not {_TYPE_WORDS[column.type]}' END"
        )
    if column.type == "TIMESTAMPTZ":
        if not column.long_ago:
            reasons.append(
                f"CASE WHEN {name} < TIMESTAMPTZ '{EARLIEST} 00:00:00+00'"
                f" THEN '{column.name} is before {EARLIEST}' END"
            )
        reasons.append(
            f"CASE WHEN {name} > now() + INTERVAL 1 DAY"
            f" THEN '{column.name} is later than now + 1 day' END"
        )
    return reasons
