"""A past state of the lake, named the way people know it."""

from datetime import UTC, datetime

import click
import duckdb

from aigq import warehouse
from aigq.settings import Home, UserError

as_of_option = click.option(
    "--as-of",
    metavar="RUN|SNAPSHOT|TIME",
    help="Read the tables as they were after this run (its id or the beginning of it), at this"
    " snapshot or at this time (ISO 8601, UTC where it names no zone). [default: now]",
)


def resolve_snapshot(con: duckdb.DuckDBPyConnection, text: str) -> int:
    """The lake snapshot that ``text`` names: a snapshot's number, a run's id, or a time.

    A run stands for the snapshot in which it ended. Digits alone are a snapshot's number as long as
    the lake has come that far, else the beginning of a run's id. Raises :class:`UserError` for a
    snapshot that is not (or no longer) there, a run that is unknown, ambiguous or has not ended,
    and a time before the first snapshot or among expired ones.
    """
    text = text.strip()
    # Of an expired number no run is taken in its place, though its id may begin so.
    if text.isdecimal() and int(text) <= warehouse.current_snapshot(con):
        return _existing(con, int(text), text)
    runs = con.execute(
        "SELECT run_id, snapshot_written FROM lake.meta.runs WHERE starts_with(run_id, ?)"
        " ORDER BY run_id = ? DESC, run_id LIMIT 2",
        [text, text],
    ).fetchall()
    if runs and (len(runs) == 1 or runs[0][0] == text):
        run_id, snapshot = runs[0]
        if snapshot is None:
            raise UserError(f"run {run_id} has not ended: name the snapshot it read")
        return _existing(con, snapshot, run_id)
    if runs:
        raise UserError(f"several runs begin with {text!r}: {runs[0][0]}, {runs[1][0]} ...")
    if text.isdecimal():
        return _existing(con, int(text), text)
    return _at(con, text)


def find_snapshot(home: Home, text: str) -> int:
    """:func:`resolve_snapshot` in the lake of ``home``, on a connection of its own."""
    con = warehouse.connect(home, read_only=True)
    try:
        return resolve_snapshot(con, text)
    finally:
        con.close()


def _existing(con: duckdb.DuckDBPyConnection, snapshot: int, name: str) -> int:
    oldest, newest, there = con.execute(
        "SELECT min(snapshot_id), max(snapshot_id), count(*) FILTER (snapshot_id = ?)"
        " FROM ducklake_snapshots('lake')",
        [snapshot],
    ).fetchone()
    if not there:
        raise UserError(
            f"{name}: the lake has no snapshot {snapshot} (any more); its oldest is {oldest}, its"
            f" newest {newest}"
        )
    return snapshot


def _at(con: duckdb.DuckDBPyConnection, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(
            f"expected a run, a snapshot's number or an ISO 8601 time, got {text!r}"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    snapshot, first = con.execute(
        "SELECT max(snapshot_id) FILTER (snapshot_time <= ?), min(snapshot_time)"
        " FROM ducklake_snapshots('lake')",
        [moment],
    ).fetchone()
    if snapshot is None:
        raise UserError(f"{text}: the lake's first snapshot is of {first.astimezone(UTC)}")
    (following,) = con.execute(
        "SELECT min(snapshot_id) FROM ducklake_snapshots('lake') WHERE snapshot_id > ?", [snapshot]
    ).fetchone()
    if following is not None and following != snapshot + 1:
        raise UserError(
            f"{text}: states between snapshots {snapshot} and {following} were expired; name one of"
            " the two"
        )
    return snapshot
