"""A shop of a few hand-written rows, its landing files in any format, and ways to ingest them."""

import csv
import gzip
import io
import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from aigq import cli, warehouse
from aigq.contract import TABLES
from aigq.settings import Home

# Texts as they would stand in a CSV file; None is null.
SHOP = {
    "users": [
        {"user_id": "u1", "age_band": "25-34", "gender": "f", "region": "north",
         "registered_at": "2024-01-01T10:00:00Z"},
        {"user_id": "u2", "age_band": None, "gender": None, "region": "südwest",
         "registered_at": None},
    ],
    "items": [
        {"item_id": "i1", "title": 'Red "mug", 2 l', "leaf_category_id": "c1",
         "leaf_category": "mugs", "category_path": "home > mugs", "brand": "Ačme",
         "attributes": '{"color": "red", "size": null}', "tags": '["new", "sale"]',
         "price": "9.5"},
        {"item_id": "i2", "title": "茶壶", "leaf_category_id": "c2", "leaf_category": "pots",
         "category_path": None, "brand": None, "attributes": None, "tags": None, "price": None},
    ],
    "events": [
        {"event_id": "e1", "user_id": "u1", "occurred_at": "2024-02-01 08:00:00",
         "action": "search_entry", "query_text": None, "item_id": None, "quantity": None,
         "price": None},
        {"event_id": "e2", "user_id": "u1", "occurred_at": "2024-02-01 09:00:00.25+01",
         "action": "search", "query_text": " Red  MUG\u00a0", "item_id": None, "quantity": None,
         "price": None},
        {"event_id": "e3", "user_id": "u1", "occurred_at": "2024-02-01 08:01:00",
         "action": "item_click", "query_text": None, "item_id": "i1", "quantity": None,
         "price": None},
        {"event_id": "e4", "user_id": "u1", "occurred_at": "2024-02-01 08:02:00",
         "action": "order", "query_text": None, "item_id": "unknown item", "quantity": "2",
         "price": "19"},
        {"event_id": "e5", "user_id": "u9", "occurred_at": "2024-02-01 08:03:00",
         "action": "app_exit", "query_text": None, "item_id": None, "quantity": None,
         "price": None},
    ],
    "hint_requests": [
        {"request_id": "r1", "user_id": "u1", "requested_at": "2024-02-01 07:59:00"},
    ],
    "hint_candidates": [
        {"request_id": "r1", "rank": "1", "query_text": "mug", "rank_score": "0.75",
         "recall_source": "popular", "displayed": "true", "position": "1",
         "clicked_at": "2024-02-01 07:59:30"},
        {"request_id": "r1", "rank": "2", "query_text": "tea pot", "rank_score": "-1e-3",
         "recall_source": None, "displayed": "false", "position": None, "clicked_at": None},
    ],
}  # fmt: skip

_ARROW = {
    "VARCHAR": pa.string(),
    "TIMESTAMPTZ": pa.timestamp("us", "UTC"),
    "DOUBLE": pa.float64(),
    "INTEGER": pa.int32(),
    "BOOLEAN": pa.bool_(),
    "MAP(VARCHAR, VARCHAR)": pa.map_(pa.string(), pa.string()),
    "VARCHAR[]": pa.list_(pa.string()),
}


def to_csv(rows: list[dict]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def to_jsonl(rows: list[dict]) -> bytes:
    """Nulls left out; nested values and numbers as JSON has them."""
    lines = []
    for row in rows:
        values = {k: v for k, v in row.items() if v is not None}
        for name in ("attributes", "tags", "price", "quantity", "rank", "displayed"):
            if name in values:
                values[name] = json.loads(values[name])
        lines.append(json.dumps(values, ensure_ascii=False))
    return ("\n".join(lines) + "\n").encode()


def to_parquet(rows: list[dict], table: str) -> bytes:
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    arrays = []
    for column in TABLES[table].columns:
        arrow_type = _ARROW[column.type]
        values = [row[column.name] for row in rows]
        if column.type == "TIMESTAMPTZ":
            values = [
                v and con.execute("SELECT CAST(? AS TIMESTAMPTZ)", [v]).fetchone()[0]
                for v in values
            ]
        elif column.type != "VARCHAR":
            values = [None if v is None else json.loads(v) for v in values]
            if pa.types.is_map(arrow_type):
                values = [None if v is None else list(v.items()) for v in values]
        arrays.append(pa.array(values, arrow_type))
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays, names=TABLES[table].column_names), sink)
    return sink.getvalue()


def encode(rows: list[dict], table: str, ending: str) -> bytes:
    kind = ending.removesuffix(".gz")
    data = {
        "csv": lambda: to_csv(rows),
        "jsonl": lambda: to_jsonl(rows),
        "parquet": lambda: to_parquet(rows, table),
    }[kind]()
    return gzip.compress(data) if ending.endswith(".gz") else data


class Shop:
    """A landing folder and a home to ingest it into."""

    def __init__(self, root: Path):
        self.root = root
        self.landing = root / "landing"
        self.landing.mkdir()
        self.home = Home(root / "home")

    def put(self, name: str, data: bytes | str) -> Path:
        path = self.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def put_rows(self, table: str, rows: list[dict], ending: str = "csv") -> Path:
        return self.put(f"{table}.{ending}", encode(rows, table, ending))

    def put_shop(self, ending: str = "csv", **changed: list[dict]) -> None:
        for table, rows in (SHOP | changed).items():
            self.put_rows(table, rows, ending)

    def ingest(self, *arguments: str):
        arguments = arguments or (str(self.landing),)
        result = CliRunner().invoke(cli.main, ["ingest", *arguments, "--home", str(self.home.root)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def counts(self, result) -> dict[str, tuple[int, ...]]:
        """(rows in, new, replaced, quarantined, exact repeats) by table, as printed."""
        assert result.exit_code == 0, result.output
        printed = {}
        for line in result.stdout.splitlines():
            words = line.split()
            if words and words[0] in TABLES:
                printed[words[0]] = tuple(int(w.replace(",", "")) for w in words[1:])
        return printed

    def query(self, sql: str) -> list[tuple]:
        con = warehouse.connect(self.home, read_only=True)
        try:
            return con.execute(sql).fetchall()
        finally:
            con.close()

    def tables(self) -> dict[str, list[tuple]]:
        """All raw tables but for the columns that say which run wrote a row."""
        con = warehouse.connect(self.home, read_only=True)
        try:
            content = {
                table: sorted(con.execute(f"SELECT * FROM raw.{table}").fetchall(), key=repr)
                for table in TABLES
            }
            content["quarantine"] = con.execute(
                "SELECT table_name, reason, row_json FROM raw.quarantine ORDER BY ALL"
            ).fetchall()
            return content
        finally:
            con.close()

    def quarantine(self) -> list[tuple]:
        return self.query(
            "SELECT table_name, reason FROM raw.quarantine ORDER BY table_name, reason"
        )


@pytest.fixture
def shop(tmp_path, monkeypatch) -> Shop:
    # The command line hands --home on through the environment; undone after the test.
    monkeypatch.setenv("AIGQ_HOME", str(tmp_path / "unused"))
    return Shop(tmp_path)


@pytest.fixture
def rows() -> dict[str, list[dict]]:
    """A copy of the hand-written shop that a test may change."""
    return {table: [dict(row) for row in rows] for table, rows in SHOP.items()}


@pytest.fixture
def encoded():
    return encode
