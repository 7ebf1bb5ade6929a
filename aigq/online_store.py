"""Feast's SQLite online store for more than one process, and without a way back in time.

``feature_store.yaml`` names it: ``type: aigq.online_store.GuardedSqliteOnlineStore``.
"""

import hashlib
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal

from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig

from aigq.settings import UserError

_BUSY_MS = 60_000
_KEYS_PER_QUERY = 500

# (event time, time created, digest of the values): of two rows of an entity the larger stays.
_Stamp = tuple[int, int, bytes]


class GuardedSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """The settings of Feast's own SQLite store."""

    type: Literal["aigq.online_store.GuardedSqliteOnlineStore"] = (
        "aigq.online_store.GuardedSqliteOnlineStore"
    )


class GuardedSqliteOnlineStore(SqliteOnlineStore):
    """What Feast's SQLite store does, with write-ahead logging, a busy timeout and a guard.

    A row that is older than the one its entity has is not written: newest is the later event time,
    then the later creation time, then, for one order in all processes, the larger digest of the
    values. So any order of pushes and materialisations ends in the same state. Times count in
    microseconds (Feast's tables keep whole seconds): they stand in a table of their own beside each
    of Feast's, ``<table>_guard``, written in the same transaction. Rows are whole, with all
    features of their view, as Feast's pushes and materialisations make them.

    Text search works; vector search does not: Feast loads sqlite-vec on Python 3.10 alone, and this
    project runs on 3.11. Vectors are written and read, a search for them fails with the error of
    Feast's own store (``no such module: vec0``).
    """

    def __init__(self) -> None:
        super().__init__()
        # Feast hands one connection to all threads.
        self._write_lock = threading.Lock()

    def online_write_batch(
        self,
        config: Any,
        table: Any,
        data: list[tuple[Any, dict[str, Any], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write the rows of ``data`` that are newer than what is there, all or none.

        Raises :class:`UserError` where ``AIGQ_REDIS`` is set: nobody would read them.
        """
        if os.environ.get("AIGQ_REDIS"):
            raise UserError(
                "AIGQ_REDIS is set, but this configuration is of the SQLite store:"
                " use the command that `python -m aigq.features` prints"
            )
        guard = _guard_name(config, table)
        newest: dict[bytes, tuple[_Stamp, int]] = {}
        for place, (entity_key, values, event_at, created_at) in enumerate(data):
            key = serialize_entity_key(
                entity_key,
                entity_key_serialization_version=config.entity_key_serialization_version,
            )
            stamp = (_microseconds(event_at), _microseconds(created_at), _digest(values))
            if key not in newest or stamp > newest[key][0]:
                newest[key] = (stamp, place)
        with self._write_lock:
            con = self._get_conn(config)
            # At once: a writer that read before another one wrote could not go on after it.
            con.execute("BEGIN IMMEDIATE")
            try:
                there = _stamps(con, guard, newest)
                written = {
                    key: (stamp, place)
                    for key, (stamp, place) in newest.items()
                    if key not in there or stamp > there[key]
                }
                con.executemany(
                    f"INSERT OR REPLACE INTO {_quoted(guard)} VALUES (?, ?, ?, ?)",
                    [(key, *stamp) for key, (stamp, _) in written.items()],
                )
                rows = [data[place] for place in sorted(place for _, place in written.values())]
                # Commits what is above, too.
                super().online_write_batch(config, table, rows, None)
            except BaseException:
                con.rollback()
                raise
        if progress:
            progress(len(data))

    def update(
        self,
        config: Any,
        tables_to_delete: Sequence[Any],
        tables_to_keep: Sequence[Any],
        entities_to_delete: Sequence[Any],
        entities_to_keep: Sequence[Any],
        partial: bool,
    ) -> None:
        """Create and drop tables for ``feast apply``, guards included.

        Rows that Feast's own store left there are guarded by the whole seconds it kept.
        """
        with self._write_lock:
            super().update(
                config,
                tables_to_delete,
                tables_to_keep,
                entities_to_delete,
                entities_to_keep,
                partial,
            )
            con = self._get_conn(config)
            with con:
                for table in tables_to_keep:
                    guard = _quoted(_guard_name(config, table))
                    values = _quoted(_table_name(config, table))
                    con.execute(
                        f"CREATE TABLE IF NOT EXISTS {guard} (entity_key BLOB PRIMARY KEY,"
                        " event_us INTEGER NOT NULL, created_us INTEGER NOT NULL,"
                        " digest BLOB NOT NULL)"
                    )
                    # Through Feast's own converter: the column's numbers depend on the time zone.
                    unguarded = con.execute(
                        f'SELECT entity_key, max(event_ts) AS "event_ts [timestamp]" FROM {values}'
                        f" WHERE entity_key NOT IN (SELECT entity_key FROM {guard})"
                        " GROUP BY entity_key"
                    ).fetchall()
                    con.executemany(
                        f"INSERT INTO {guard} VALUES (?, ?, -1, x'')",
                        [(key, _microseconds(event_at)) for key, event_at in unguarded],
                    )
                for table in tables_to_delete:
                    con.execute(f"DROP TABLE IF EXISTS {_quoted(_guard_name(config, table))}")

    def retrieve_online_documents(self, config: Any, *arguments: Any, **named: Any) -> Any:
        """What Feast's store finds."""
        return self._searched(config, super().retrieve_online_documents, *arguments, **named)

    def retrieve_online_documents_v2(self, config: Any, *arguments: Any, **named: Any) -> Any:
        """What Feast's store finds."""
        return self._searched(config, super().retrieve_online_documents_v2, *arguments, **named)

    def _searched(
        self, config: Any, search: Callable[..., Any], *arguments: Any, **named: Any
    ) -> Any:
        # Feast's search fills its index and leaves the transaction open, which would keep every
        # other process from writing.
        with self._write_lock, self._get_conn(config):
            return search(config, *arguments, **named)

    def teardown(self, config: Any, tables: Sequence[Any], entities: Sequence[Any]) -> None:
        """Remove the file and what write-ahead logging left beside it."""
        super().teardown(config, tables, entities)
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(self._get_db_path(config) + suffix)

    def _get_conn(self, config: Any) -> Any:
        if self._conn is None:
            con = super()._get_conn(config)
            con.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            con.execute("PRAGMA journal_mode = WAL")
            # Safe with write-ahead logging; a power cut may cost the last push, which is repeated.
            con.execute("PRAGMA synchronous = NORMAL")
        return self._conn


def _table_name(config: Any, table: Any) -> str:
    versioned = config.registry.enable_online_feature_view_versioning
    return compute_table_id(config.project, table, versioned)


def _guard_name(config: Any, table: Any) -> str:
    return _table_name(config, table) + "_guard"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _microseconds(moment: datetime | None) -> int:
    """Since the epoch; a naive time is UTC, as everywhere in Feast. -1 for none."""
    if moment is None:
        return -1
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = moment - datetime.fromtimestamp(0, UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _digest(values: Mapping[str, Any]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(values):
        value = values[name].SerializeToString(deterministic=True)
        digest.update(f"{name}\0{len(value)}\0".encode() + value)
    return digest.digest()


def _stamps(con: Any, guard: str, keys: Iterable[bytes]) -> dict[bytes, _Stamp]:
    found: dict[bytes, _Stamp] = {}
    keys = iter(keys)
    while chunk := list(itertools.islice(keys, _KEYS_PER_QUERY)):
        rows = con.execute(
            f"SELECT entity_key, event_us, created_us, digest FROM {_quoted(guard)}"
            f" WHERE entity_key IN ({','.join('?' * len(chunk))})",
            chunk,
        )
        found.update({key: tuple(stamp) for key, *stamp in rows})
    return found
