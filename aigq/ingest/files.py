"""Landing files: finding them, and turning each into an SQL source of text columns.

Every format is reduced to the same thing, one text per column as it would stand in a CSV file, so
that one set of rules judges them all (:mod:`aigq.ingest.stage`). Whatever is wrong with a *file*
(encoding, syntax, truncation, columns) is an error that names it; what is wrong with a *row* is
not decided here.
"""

import csv
import difflib
import gzip
import shutil
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import click
import duckdb

from aigq.contract import TABLES, TRUTH
from aigq.settings import UserError
from aigq.warehouse import literal

FORMATS = ("parquet", "csv", "jsonl")
_DATA_LIKE = (*FORMATS, "json", "ndjson", "tsv", "txt", "xlsx", "xls", "avro", "orc", "feather")
_ENDINGS = ", ".join(f".{f}" for f in FORMATS) + " (each also as .gz)"


@dataclass(frozen=True)
class Source:
    """Rows to read: ``sql`` is a FROM item, ``texts`` maps each of its columns to an SQL text.

    ``label`` names the file in messages. ``absent_is_null``: the format leaves out null values, so
    a column that no row has is a column of nulls. ``is_file``: the rows are those of the file, one
    by one; else they are what the query in it makes of others.
    """

    label: str
    sql: str
    texts: dict[str, str]
    absent_is_null: bool = False
    is_file: bool = True


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean ...?``, or what there is to choose from."""
    by_lower = {k.lower(): k for k in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {by_lower[near[0]]!r}?"
    return f"; there are: {', '.join(by_lower.values())}"


def file_format(path: Path) -> str | None:
    """``parquet``, ``csv`` or ``jsonl``, from the name's ending before any ``.gz``; else None."""
    name = path.name.lower().removesuffix(".gz")
    ending = name.rpartition(".")[2] if "." in name else ""
    return ending if ending in FORMATS else None


def discover(folder: Path, tables: Collection[str] = TABLES) -> dict[str, list[Path]]:
    """The files of each of ``tables`` under ``folder``, in path order (which is row order).

    Names that start with ``.`` or ``_`` are skipped, as are files of no data format and a folder
    ``truth``, which no model may learn from.
    Raises :class:`UserError` for unknown tables and formats, and where nothing is found.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(p for p in folder.iterdir() if p.name[0] not in "._"):
        if path.is_dir() and path.name == TRUTH:
            continue
        table = path.name if path.is_dir() else path.name.split(".")[0]
        if path.is_dir():
            paths = sorted(p for p in path.rglob("*") if p.is_file() and _visible(p, path))
        elif table in tables or _looks_like_data(path):
            paths = [path]
        else:
            click.echo(f"{path}: not a data file, ignored", err=True)
            continue
        if table not in tables:
            raise UserError(f"{path}: unknown table {table!r}{nearest(table, tables)}")
        for file in paths:
            if file_format(file) is None:
                raise UserError(f"{file}: unknown format for table {table}; expected {_ENDINGS}")
        found.setdefault(table, []).extend(paths)
    if not any(found.values()):
        raise UserError(
            f"{folder}: no files of the raw contract; expected e.g. events.parquet or a folder"
            f" events/ of files ({_ENDINGS}); tables: {', '.join(tables)}"
        )
    return {name: found[name] for name in tables if name in found}


def _visible(path: Path, folder: Path) -> bool:
    return not any(part[0] in "._" for part in path.relative_to(folder).parts)


def _looks_like_data(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").rpartition(".")[2] in _DATA_LIKE


def open_source(con: duckdb.DuckDBPyConnection, path: Path, scratch: Path) -> Source | None:
    """The rows of ``path``, or None where the file is empty. ``.gz`` is unpacked under ``scratch``.

    Raises :class:`UserError` where the file cannot be what its name says.
    """
    plain = _unpacked(path, scratch)
    if plain.stat().st_size == 0:
        return None
    try:
        return _OPENERS[file_format(path)](con, path, plain)
    except duckdb.Error as error:
        raise broken(path, error) from None


def broken(path: Path | str, error: Exception) -> UserError:
    """The error for a file that DuckDB cannot read, without DuckDB's advice on its own options.

    Raises ``error`` itself where it is a fault of our query.
    """
    if isinstance(error, (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)):
        raise error
    lines = [line.strip() for line in str(error).splitlines()]
    said = []
    for line in lines:
        if line.startswith(("Possible", "Try ", "LINE ", "* ", "file =")):
            break
        if line:
            said.append(line)
    if "state machine reached an invalid state" in said[0]:
        said.append("expected lines that end in LF or CR LF, and no other CR outside quotes")
    return UserError(f"{path}: broken file, nothing was taken from it: {' / '.join(said)}")


def _unpacked(path: Path, scratch: Path) -> Path:
    """Unpack with zlib's checks: DuckDB reads a truncated .gz without a word in some cases."""
    if path.suffix.lower() != ".gz" or path.stat().st_size == 0:
        return path
    plain = scratch / f"{len(list(scratch.iterdir()))}.{file_format(path)}"
    try:
        with gzip.open(path) as packed, plain.open("wb") as out:
            shutil.copyfileobj(packed, out, 1 << 20)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: broken gzip file, nothing was taken from it: {error}") from None
    return plain


def _open_parquet(con: duckdb.DuckDBPyConnection, path: Path, plain: Path) -> Source:
    # binary_as_string: some writers leave the text annotation out.
    sql = f"read_parquet({_path(plain)}, binary_as_string=true, hive_partitioning=false)"
    return relation_source(con, str(path), sql, is_file=True)


def relation_source(
    con: duckdb.DuckDBPyConnection, label: str, sql: str, *, is_file: bool
) -> Source:
    """A source of typed columns (parquet, or an adapter's query)."""
    types = con.execute(f"SELECT column_name, column_type FROM (DESCRIBE FROM {sql})").fetchall()
    texts = {}
    for name, column_type in types:
        column = identifier(name)
        nested = column_type.startswith(("MAP(", "STRUCT(")) or column_type.endswith("]")
        texts[name] = f"to_json({column})::VARCHAR" if nested else f"{column}::VARCHAR"
        _refuse_float_ids(label, name, column_type)
    return Source(label, sql, texts, is_file=is_file)


def _refuse_float_ids(label: str, name: str, column_type: str) -> None:
    """Ids that went through a float column end in '.0' and would match nothing, silently."""
    if name.endswith("_id") and column_type in ("DOUBLE", "FLOAT"):
        raise UserError(
            f"{label}: column {name!r} holds {column_type}, expected text or whole numbers"
        )


def _open_csv(con: duckdb.DuckDBPyConnection, path: Path, plain: Path) -> Source | None:
    try:
        with plain.open(encoding="utf-8-sig", newline="") as lines:
            header = next(csv.reader(lines, strict=True), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: broken file, expected CSV in UTF-8: {error}") from None
    if not header and not plain.read_bytes().strip(b"\xef\xbb\xbf \t\r\n"):
        return None
    header = [name.strip() for name in header]
    if not any(header):
        raise UserError(f"{path}: expected the column names in the first line, it is empty")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UserError(f"{path}: column {twice[0]!r} stands twice in the header")
    # Nothing is guessed: the sniffer would skip broken first lines without a word.
    columns = ", ".join(f"c{index}: 'VARCHAR'" for index in range(len(header)))
    sql = (
        f"read_csv({_path(plain)}, auto_detect=false, columns={{{columns}}}, header=true,"
        " delim=',', quote='\"', escape='\"', nullstr='', strict_mode=true,"
        " max_line_size=16777216, hive_partitioning=false)"
    )
    return Source(str(path), sql, {name: f"c{index}" for index, name in enumerate(header)})


def _open_jsonl(con: duckdb.DuckDBPyConnection, path: Path, plain: Path) -> Source | None:
    sql = (
        f"read_ndjson_objects({_path(plain)}, maximum_object_size=16777216,"
        " hive_partitioning=false)"
    )
    other = con.execute(
        f"SELECT json::VARCHAR FROM {sql} WHERE json_type(json) <> 'OBJECT' LIMIT 1"
    ).fetchone()
    if other:
        raise UserError(f"{path}: expected one JSON object a line, got {other[0][:80]!r}")
    keys = con.execute(
        f"SELECT DISTINCT unnest(keys) FROM (SELECT DISTINCT json_keys(json) AS keys FROM {sql})"
        " ORDER BY ALL"
    ).fetchall()
    if not keys and not con.execute(f"SELECT 1 FROM {sql} LIMIT 1").fetchone():
        return None
    texts = {key: f"json->>{literal(_pointer(key))}" for (key,) in keys}
    return Source(str(path), sql, texts, absent_is_null=True)


def _pointer(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1")


_OPENERS = {"parquet": _open_parquet, "csv": _open_csv, "jsonl": _open_jsonl}


def _path(path: Path) -> str:
    """A file name for DuckDB, which would take ``*``, ``?`` and ``[`` for patterns."""
    return literal("".join(f"[{c}]" if c in "*?[" else c for c in str(path)))


def identifier(name: str) -> str:
    """``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
