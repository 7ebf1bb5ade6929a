"""Writes a made-up shop's tables, whole ones and one day of log at a time."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from aigq.contract import TRUTH
from aigq.simulator import relevance as truth
from aigq.simulator import words
from aigq.simulator.ids import ids, times
from aigq.simulator.landing import SCHEMAS, SETTINGS_FILE, TRUTH_SCHEMAS
from aigq.simulator.population import Changes, Population
from aigq.simulator.ranker import DISPLAYED, SOURCES
from aigq.simulator.sessions import ACTIONS, CART, ORDER, Day, EventBatch, RequestBatch
from aigq.simulator.settings import ShopSettings


class Writer:
    """Writes into ``folder``; ``rows`` counts what it wrote by table."""

    def __init__(self, folder: Path, settings: ShopSettings, people: Population):
        self._folder, self._settings, self._people = folder, settings, people
        self._language, self._catalog = people.language, people.catalog
        self._item_ids, self._leaf_ids = self._catalog.item_ids, pa.array(self._catalog.leaf_ids)
        paths = {name: (f"{name}.parquet", schema) for name, schema in SCHEMAS.items()}
        for name, schema in TRUTH_SCHEMAS.items():
            paths[f"{TRUTH}/{name}"] = (f"{TRUTH}/{name}.parquet", schema)
        self._files = {
            name: pq.ParquetWriter(folder / path, schema, compression="zstd")
            for name, (path, schema) in paths.items()
        }
        self.rows = dict.fromkeys(paths, 0)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        for file in self._files.values():
            file.close()

    def _write(self, name: str, columns: dict) -> None:
        schema = self._files[name].schema
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
        columns["user_id"] = ids("u", np.arange(len(p.age)), 7)
        columns["registered_at"] = times(p.registered)
        self._write("users", columns)

    def items(self) -> None:
        """The catalog's items, those launched later included."""
        rows = self._catalog.item_rows()
        self._write("items", {name: rows[name] for name in rows.column_names})

    def settings(self) -> None:
        """The truth's settings and, of a given catalog, its queries."""
        truth_folder = self._folder / TRUTH
        values = yaml.safe_dump(self._settings.model_dump(mode="json"), sort_keys=False)
        (truth_folder / SETTINGS_FILE).write_text(values, encoding="utf-8")
        self._language.save(truth_folder)

    def day(self, day: Day) -> None:
        """The events and hint requests of one day, in order of time, and the truth of it."""
        self._interests(self._people.changes())
        if day.requests:
            self._events(day.events)
            self._hints(day.requests)

    def _interests(self, changes: Changes) -> None:
        known = changes.interests
        n, width = known.taste.shape
        offsets = pa.array(np.arange(0, n * width + 1, width, dtype=np.int32))
        values = pa.array(known.taste.ravel().astype(np.int32))
        self._write(
            f"{TRUTH}/interests",
            {
                "user_id": ids("u", changes.user, 7),
                "slot": changes.slot,
                "changed_at": times(changes.time),
                "leaf_category_id": self._leaf_ids.take(pa.array(known.leaf)),
                "taste": pa.ListArray.from_arrays(offsets, values),
                "strength": known.strength,
                "half_life_days": known.half_life,
            },
        )

    def _events(self, batches: list[EventBatch]) -> None:
        parts = {k: np.concatenate([vars(b)[k] for b in batches]) for k in vars(batches[0])}
        order = np.lexsort((parts["user"], parts["time"]))
        e = EventBatch(**{name: values[order] for name, values in parts.items()})
        item = pa.array(e.item, mask=e.item < 0)
        price = self._catalog.price[e.item]
        paid = (e.action == CART) | (e.action == ORDER)
        self._write(
            "events",
            {
                "event_id": ids("e", self.rows["events"] + np.arange(len(e.time)), 9),
                "user_id": ids("u", e.user, 7),
                "occurred_at": times(e.time),
                "action": pa.array(ACTIONS).take(pa.array(e.action)),
                "query_text": self._texts(e.code, e.case),
                "item_id": self._item_ids.take(item),
                "quantity": pa.array(e.quantity, mask=~paid),
                "price": pa.array(price, mask=~paid | np.isnan(price)),
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
                "request_id": ids("r", request, 8),
                "user_id": ids("u", user[order], 7),
                "requested_at": times(time[order]),
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
                "request_id": ids("r", request[row], 8),
                "rank": column + 1,
                "query_text": self._texts(code[at], np.zeros(len(row), np.int64)),
                "rank_score": np.round(score[at], 6),
                "recall_source": pa.array(SOURCES).take(pa.array(source[at])),
                "displayed": position[at] > 0,
                "position": pa.array(position[at], mask=position[at] == 0),
                "clicked_at": times(clicked[at], clicked[at] == 0),
            },
        )
        aim, browsing, relevance, examined = (
            np.concatenate([getattr(b, name) for b in batches])[order]
            for name in ("aim", "browsing", "relevance", "examined")
        )
        self._write(
            f"{TRUTH}/requests",
            {"request_id": ids("r", request, 8), "aim": aim, "is_browsing": browsing},
        )
        positions = np.arange(DISPLAYED)
        click = truth.click(self._settings, relevance)[:, positions, positions]
        self._write(
            f"{TRUTH}/hints",
            {
                "request_id": ids("r", np.repeat(request, DISPLAYED), 8),
                "rank": shown.ravel() + 1,
                "position": np.tile(np.arange(1, DISPLAYED + 1), n),
                "relevance": relevance.ravel(),
                "is_examined": examined.ravel(),
                "click_probability": click.ravel(),
                "purchase_probability": truth.purchase(self._settings, relevance).ravel(),
            },
        )

    def _texts(self, codes: np.ndarray, cases: np.ndarray) -> pa.Array:
        """The texts of ``codes``; null where the code is -1."""
        asked = codes >= 0
        keys, place = np.unique(codes[asked] * 4 + cases[asked], return_inverse=True)
        texts = pa.array(self._language.texts(keys // 4, keys % 4), pa.string())
        index = np.zeros(len(codes), np.int64)
        index[asked] = place
        return texts.take(pa.array(index, mask=~asked))
