"""The logs that the benchmarks fill lakes with."""

import duckdb
from lake import split


def test_the_last_day_comes_alone_with_who_and_what_is_new_on_it(tmp_path):
    landing, folder = tmp_path / "landing", tmp_path / "split"
    landing.mkdir()
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        for table, rows in {
            "events": "('ann', '2026-03-01 09:00', 'i1'), ('ann', '2026-03-02 23:59', NULL),"
            " ('ann', '2026-03-03 00:00', 'i2'), ('bob', '2026-03-03 10:00', 'i1'),"
            " ('eve', '2026-03-03 10:00', 'i1'))"
            " AS t (user_id, occurred_at, item_id)",
            "hint_requests": "('r2', 'eve', '2026-03-02 09:00'), ('r3', 'bob', '2026-03-03 09:00'))"
            " AS t (request_id, user_id, requested_at)",
            "hint_candidates": "('r2', 1), ('r3', 1), ('r3', 2)) AS t (request_id, rank)",
            "users": "('ann'), ('bob'), ('cid'), ('eve')) AS t (user_id)",
            "items": "('i1'), ('i2'), ('i3')) AS t (item_id)",
        }.items():
            moment = {"events": "occurred_at", "hint_requests": "requested_at"}.get(table)
            typed = f"* REPLACE ({moment}::TIMESTAMPTZ AS {moment})" if moment else "*"
            path = landing / f"{table}.parquet"
            con.execute(f"COPY (SELECT {typed} FROM (VALUES {rows}) TO '{path}'")
        split(landing, folder, history_days=1)

        def found(part: str, column: str, table: str) -> list:
            rows = con.execute(f"SELECT {column} FROM '{folder / part / table}.parquet' ORDER BY 1")
            return [value for (value,) in rows.fetchall()]

        told = {
            part: [
                found(part, column, table)
                for column, table in (
                    ("strftime(occurred_at, '%d %H')", "events"),
                    ("request_id", "hint_candidates"),
                    ("user_id", "users"),
                    ("item_id", "items"),
                )
            ]
            for part in ("first", "last")
        }
    assert told == {
        "first": [["02 23"], ["r2"], ["ann", "cid", "eve"], ["i1", "i3"]],
        "last": [["03 00", "03 10", "03 10"], ["r3", "r3"], ["bob"], ["i2"]],
    }
