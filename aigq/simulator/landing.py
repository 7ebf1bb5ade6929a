"""Writes the shop's log as files of the raw contract, one parquet file per table.

Files grow in ``DIR/.partial-*`` and are renamed when all are whole. ``events.parquet`` of an
earlier run goes first and the new one comes last: while it is there, so is all it refers to.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aigq.settings import UserError
from aigq.simulator import queries, words
from aigq.simulator.catalog import Catalog
from aigq.simulator.population import Population
from aigq.simulator.ranker import DISPLAYED, SOURCES
from aigq.simulator.sessions import ACTIONS, CART, ORDER, Day, EventBatch, RequestBatch

_TIME = pa.timestamp("us", tz="UTC")
SCHEMAS = {
    "users": pa.schema(
        {
            "user_id": pa.string(),
            "age_band": pa.string(),
            "gender": pa.string(),
            "region": pa.string(),
            "registered_at": _TIME,
        }
    ),
    "items": pa.schema(
        {
            "item_id": pa.string(),
            "title": pa.string(),
            "leaf_category_id": pa.string(),
            "leaf_category": pa.string(),
            "category_path": pa.string(),
            "brand": pa.string(),
            "attributes": pa.map_(pa.string(), pa.string()),
            "tags": pa.list_(pa.string()),
            "price": pa.float64(),
        }
    ),
    "hint_requests": pa.schema(
        {"request_id": pa.string(), "user_id": pa.string(), "requested_at": _TIME}
    ),
    "hint_candidates": pa.schema(
        {
            "request_id": pa.string(),
            "rank": pa.int32(),
            "query_text": pa.string(),
            "rank_score": pa.float64(),
            "recall_source": pa.string(),
            "displayed": pa.bool_(),
            "position": pa.int32(),
            "clicked_at": _TIME,
        }
    ),
    "events": pa.schema(
        {
            "event_id": pa.string(),
            "user_id": pa.string(),
            "occurred_at": _TIME,
            "action": pa.string(),
            "query_text": pa.string(),
            "item_id": pa.string(),
            "quantity": pa.int32(),
            "price": pa.float64(),
        }
    ),
}


@contextmanager
def publish(folder: Path) -> Iterator[Path]:
    """A folder to write the tables into; they appear in ``folder`` when the block ends well.

    Raises :class:`UserError` where another run writes there, where ``folder`` holds other contract
    files, which ingest would take for the same shop's, or where it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another `aigq simulate` is writing to {folder}") from None
        for path in sorted(folder.iterdir()):
            table, _, suffix = path.name.partition(".")
            if table in SCHEMAS and suffix != "parquet":
                raise UserError(
                    f"{path} is not the simulator's: give another --out, or move it away"
                )
        for leftover in folder.glob(".partial-*"):
            shutil.rmtree(leftover)
        try:
            partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}") from None
        try:
            yield partial
            (folder / "events.parquet").unlink(missing_ok=True)
            for table in SCHEMAS:
                (partial / f"{table}.parquet").replace(folder / f"{table}.parquet")
        finally:
            shutil.rmtree(partial)
    finally:
        os.close(handle)


class Writer:
    """Writes whole tables and days of log into ``folder``; ``rows`` counts them by table."""

    def __init__(self, folder: Path, catalog: Catalog, people: Population):
        self._catalog, self._people = catalog, people
        self._files = {
            name: pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd")
            for name, schema in SCHEMAS.items()
        }
        self.rows = dict.fromkeys(SCHEMAS, 0)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        for file in self._files.values():
            file.close()

    def _write(self, name: str, columns: dict) -> None:
        schema = SCHEMAS[name]
        arrays = [
            column.cast(field.type)
            if isinstance(column := columns[field.name], pa.Array | pa.ChunkedArray)
            else pa.array(column, field.type)
            for field in schema
        ]
        table = pa.Table.from_arrays(arrays, schema=schema)
        self._files[name].write_table(table, row_group_size=1 << 20)
        self.rows[name] += len(table)

    def users(self) -> None:
        """The people; fields that the shop does not know are null."""
        p = self._people
        fields = {
            "age_band": (words.AGE_BANDS, p.age),
            "gender": (words.GENDERS, p.gender),
            "region": (words.REGIONS, p.region),
        }
        columns = {
            name: pa.array(values).take(pa.array(index, mask=hidden))
            for (name, (values, index)), hidden in zip(fields.items(), p.hidden, strict=True)
        }
        columns["user_id"] = _ids("u", np.arange(len(p.age)), 7)
        columns["registered_at"] = _times(p.registered)
        self._write("users", columns)

    def items(self) -> None:
        """The catalog's items."""
        c = self._catalog
        leaves = [c.leaves[leaf] for leaf in c.leaf]
        size = len(c.leaves[0].attributes) // len(c.leaves[0].groups)
        attributes = [
            [(leaf.groups[a // size], leaf.attributes[a]) for a in sorted(pair)]
            for leaf, pair in zip(leaves, c.attributes.tolist(), strict=True)
        ]
        self._write(
            "items",
            {
                "item_id": _ids("i", np.arange(len(c.leaf)), 6),
                "title": c.titles,
                "leaf_category_id": _ids("c", c.leaf, 3),
                "leaf_category": [leaf.path.rsplit(" > ", 1)[1] for leaf in leaves],
                "category_path": [leaf.path for leaf in leaves],
                "brand": [
                    leaf.brands[b].title() for leaf, b in zip(leaves, c.brand.tolist(), strict=True)
                ],
                "attributes": attributes,
                "tags": c.tags,
                "price": c.price,
            },
        )

    def day(self, day: Day) -> None:
        """The events and hint requests of one day, in order of time."""
        if day.requests:
            self._events(day.events)
            self._hints(day.requests)

    def _events(self, batches: list[EventBatch]) -> None:
        parts = {k: np.concatenate([vars(b)[k] for b in batches]) for k in vars(batches[0])}
        order = np.lexsort((parts["user"], parts["time"]))
        e = EventBatch(**{name: values[order] for name, values in parts.items()})
        item = pa.array(e.item, mask=e.item < 0)
        paid = (e.action == CART) | (e.action == ORDER)
        self._write(
            "events",
            {
                "event_id": _ids("e", self.rows["events"] + np.arange(len(e.time)), 9),
                "user_id": _ids("u", e.user, 7),
                "occurred_at": _times(e.time),
                "action": pa.array(ACTIONS).take(pa.array(e.action)),
                "query_text": self._texts(e.code, e.case),
                "item_id": _ids("i", item, 6),
                "quantity": pa.array(e.quantity, mask=~paid),
                "price": pa.array(self._catalog.price[e.item], mask=~paid),
            },
        )

    def _hints(self, batches: list[RequestBatch]) -> None:
        time = np.concatenate([b.time for b in batches])
        user = np.concatenate([b.user for b in batches])
        order = np.lexsort((user, time))
        n = len(order)
        request = self.rows["hint_requests"] + np.arange(n)
        self._write(
            "hint_requests",
            {
                "request_id": _ids("r", request, 8),
                "user_id": _ids("u", user[order], 7),
                "requested_at": _times(time[order]),
            },
        )
        code, score, source, shown = (
            np.concatenate(part)[order] for part in zip(*(b.ranked for b in batches), strict=True)
        )
        clicked_at = np.concatenate([b.clicked for b in batches])[order]
        position = np.zeros(code.shape, np.int32)
        clicked = np.zeros(code.shape, np.int64)
        np.put_along_axis(position, shown, np.arange(1, DISPLAYED + 1, dtype=np.int32), axis=1)
        np.put_along_axis(clicked, shown, clicked_at, axis=1)
        at = row, column = np.nonzero(code >= 0)
        self._write(
            "hint_candidates",
            {
                "request_id": _ids("r", request[row], 8),
                "rank": column + 1,
                "query_text": self._texts(code[at], np.zeros(len(row), np.int64)),
                "rank_score": np.round(score[at], 6),
                "recall_source": pa.array(SOURCES).take(pa.array(source[at])),
                "displayed": position[at] > 0,
                "position": pa.array(position[at], mask=position[at] == 0),
                "clicked_at": _times(clicked[at], clicked[at] == 0),
            },
        )

    def _texts(self, codes: np.ndarray, cases: np.ndarray) -> pa.Array:
        """The texts of ``codes``; null where the code is -1."""
        asked = codes >= 0
        keys, place = np.unique(codes[asked] * 4 + cases[asked], return_inverse=True)
        texts = pa.array(queries.texts(self._catalog, keys // 4, keys % 4), pa.string())
        index = np.zeros(len(codes), np.int64)
        index[asked] = place
        return texts.take(pa.array(index, mask=~asked))


def _ids(prefix: str, numbers, digits: int) -> pa.Array:
    """``prefix`` and the number with leading zeros; null stays null."""
    text = pc.utf8_lpad(pc.cast(pa.array(numbers), pa.string()), digits, "0")
    return pc.binary_join_element_wise(prefix, text, "")


def _times(milliseconds: np.ndarray, mask: np.ndarray | None = None) -> pa.Array:
    return pa.array(milliseconds * 1000, pa.int64(), mask=mask).cast(_TIME)
