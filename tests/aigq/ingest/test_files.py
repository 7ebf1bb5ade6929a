"""What is wrong with a file or a folder is an error that names it, before anything is written."""

import gzip
import re

import duckdb
import pytest

USERS = "user_id,age_band,gender,region,registered_at\n"
GOOD = USERS + "u1,,,,\n"
MANY = USERS + "".join(f"u{i},25-34,f,north,\n" for i in range(20_000))


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


# Name, content, words of the message.
BROKEN_FILES = {
    "unknown table": ("event.csv", GOOD, "unknown table 'event'; did you mean 'events'?"),
    "unknown folder": ("clicks/a.csv", GOOD, "unknown table 'clicks'; there are: users, items"),
    "unknown format": ("users.xlsx", b"PK", "unknown format for table users; expected .parquet"),
    "no format": ("users/part-0", GOOD, "part-0: unknown format for table users"),
    "wrong encoding": (
        "users.csv", (USERS + "ü1,,,,\n").encode("latin-1"), "users.csv: broken file"),
    "latin-1 header": ("users.csv", "üser_id\n".encode("latin-1"), "expected CSV in UTF-8"),
    "wrong encoding far down": (
        "users.csv", MANY.encode() + "ü,,,,\n".encode("latin-1"), "users.csv: broken file"),
    "UTF-16": ("users.csv", GOOD.encode("utf-16"), "users.csv: broken file"),
    "UTF-16 JSON": ("users.jsonl", '{"user_id": 1}'.encode("utf-16"), "UTF-16"),
    "JSON of another encoding": (
        "users.jsonl", '{"user_id": "ü"}'.encode("latin-1"), "invalid UTF-8"),
    "too few fields": ("users.csv", GOOD + "u2\n", "users.csv: broken file.*Line: 3"),
    "too many fields": ("users.csv", GOOD + "u2,,,,,x\n", "users.csv: broken file.*Line: 3"),
    "quote never closed": ("users.csv", GOOD + 'u2,"25-34,,,\n', "unterminated quote"),
    "an end of a line turned twice": (
        "users.csv", GOOD + "u2,,,,\r\r\n", "expected lines that end in LF or CR LF"),
    "semicolons": (
        "users.csv", GOOD.replace(",", ";"), "missing column 'user_id' of table users"),
    "missing column": (
        "users.csv", GOOD.replace("user_id", "userid"),
        "missing column 'user_id' of table users; did you mean 'userid'?"),
    "case of a column": (
        "users.csv", GOOD.replace("region", "Region"),
        "missing column 'region' of table users; did you mean 'Region'?"),
    "missing optional column": (
        "users.csv", "user_id,age_band,gender,region\nu1,,,\n", "missing column 'registered_at'"),
    "column twice": ("users.csv", GOOD.replace("region", "gender"), "'gender' stands twice"),
    "blank header": ("users.csv", "\nu1,,,,\n", "expected the column names in the first line"),
    "truncated JSON": ("users.jsonl", '{"user_id": "u1"}\n{"user_id": "u2', "unexpected end"),
    "not an object": ("users.jsonl", '{"user_id": "u1"}\n["u2"]\n', "expected one JSON object"),
    "no key": ("users.jsonl", "{}\n", "missing column 'user_id'"),
    "missing key": ("users.jsonl", '{"user": "u1"}\n', "missing column 'user_id'"),
    "not gzip": ("users.csv.gz", GOOD, "users.csv.gz: broken gzip file"),
    "truncated gzip": ("users.csv.gz", gzip.compress(MANY.encode())[:-500], "broken gzip file"),
    "gzip without its check": (
        "users.csv.gz", gzip.compress(MANY.encode())[:-4], "broken gzip file"),
    "flipped bit in gzip": (
        "users.csv.gz", _flip(gzip.compress(MANY.encode())), "broken gzip file"),
    "not parquet": ("users.parquet", GOOD, "users.parquet: broken file"),
    "parquet in name only": ("users.parquet.gz", gzip.compress(b"x"), "users.parquet.gz: broken"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), BROKEN_FILES.values(), ids=BROKEN_FILES)
def test_a_broken_file_is_an_error_and_nothing_is_written(shop, rows, name, content, message):
    # A good table, so that "nothing is written" says something.
    shop.put_rows("items", rows["items"])
    path = shop.put(name, content)
    result = shop.ingest()
    assert result.exit_code == 1
    assert re.search(re.escape(message).replace(r"\.\*", ".*"), result.stderr), result.stderr
    named = path.parent if name.startswith("clicks") else path
    assert str(named) in result.stderr
    assert "Possible" not in result.stderr
    if shop.home.catalog.exists():
        assert not any(shop.tables().values())
        assert shop.query("SELECT status FROM meta.runs") == [("failed",)]


def test_truncated_parquet(shop, rows, encoded):
    data = encoded(rows["users"] * 500, "users", "parquet")
    for name, cut in {"half": data[: len(data) // 2], "flipped": data[:-30] + data[-29:]}.items():
        shop.put("users.parquet", cut)
        result = shop.ingest()
        assert result.exit_code == 1, name
        assert "users.parquet: broken file, nothing was taken from it" in result.stderr


def test_ids_in_a_float_column_are_refused(shop):
    path = shop.put("users.parquet", b"")
    duckdb.execute(
        "COPY (SELECT 1.0::DOUBLE AS user_id, NULL AS age_band, NULL AS gender, NULL AS region,"
        f" NULL::TIMESTAMPTZ AS registered_at) TO '{path}'"
    )
    result = shop.ingest()
    assert result.exit_code == 1
    assert "column 'user_id' holds DOUBLE, expected text or whole numbers" in result.stderr


@pytest.mark.parametrize("content", [None, "x"], ids=["empty", "no data file"])
def test_a_folder_without_tables_is_an_error(shop, content):
    if content:
        shop.put("notes.md", content)
    result = shop.ingest()
    assert result.exit_code == 1
    assert "no files of the raw contract; expected e.g. events.parquet" in result.stderr
    assert not shop.home.catalog.exists()


def test_a_file_without_an_adapter_is_an_error(shop):
    path = shop.put("clicks.csv", "a\n1\n")
    result = shop.ingest(str(path))
    assert result.exit_code == 1
    assert "need --adapter" in result.stderr


def test_a_path_that_is_not_there_is_an_error(shop):
    result = shop.ingest(str(shop.root / "nowhere"))
    assert result.exit_code == 2
    assert "nowhere" in result.stderr


def test_a_simulated_shops_truth_is_never_read(shop):
    shop.put_shop()
    shop.put("truth/interests.parquet", b"not even parquet")
    shop.put("truth/events.csv", "event_id\n1\n")
    assert shop.counts(shop.ingest())["events"][:2] == (5, 5)
    # A file of that name is no folder of ours: it is told like any unknown table.
    shop.put("truth.csv", "event_id\n1\n")
    assert "unknown table 'truth'" in shop.ingest().output
