"""`aigq diff` against changes made by hand, and against any two states."""

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigq import warehouse
from aigq.cli import main
from aigq.diff import compare, grain
from aigq.settings import UserError


def write(home, *statements: str) -> int:
    def work(con) -> None:
        for statement in statements:
            con.execute(statement)

    warehouse.write(home, work)
    with warehouse.connect(home, read_only=True) as con:
        return warehouse.current_snapshot(con)


def diff(*arguments: str):
    return CliRunner().invoke(main, ["diff", *arguments])


def test_added_removed_and_changed_rows_by_hand(home):
    old = write(
        home,
        "INSERT INTO lake.raw.items (item_id, title, price, tags) VALUES"
        " ('i1', 'Tent', 5, ['a']), ('i2', 'Lamp', NULL, NULL), ('i3', 'Rope', 1, []),"
        " ('i4', 'Map', 2, NULL)",
    )
    new = write(
        home,
        "DELETE FROM lake.raw.items WHERE item_id = 'i1'",
        "UPDATE lake.raw.items SET title = 'Big lamp', price = 7 WHERE item_id = 'i2'",
        "UPDATE lake.raw.items SET price = NULL WHERE item_id = 'i3'",
        "INSERT INTO lake.raw.items (item_id, title) VALUES ('i5', 'Axt für 木')",
    )
    write(home, "DELETE FROM lake.raw.items")
    result = diff("raw.items", "--from", str(old), "--to", str(new), "--rows", "1")
    lines = result.output.splitlines()
    assert lines[:7] == [
        f"raw.items, snapshot {old} to {new}, by item_id",
        "added              1 rows",
        "removed            1 rows",
        "changed            2 rows",
        "same               1 rows",
        "  price differs in 2 rows",
        "  title differs in 1 rows",
    ]
    assert [line.split()[0] for line in lines[7:]] == ["added", "removed", "was", "is"]
    assert '"title": "Axt für 木"' in lines[7]
    assert '"title": "Tent"' in lines[8]
    assert '"title": "Lamp"' in lines[9] and '"title": "Big lamp"' in lines[10]
    # Until now by default.
    assert "removed            4 rows" in diff("raw.items", "--from", str(old)).output


ROWS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([None, 1, 2]))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(before=ROWS, after=ROWS)
def test_any_two_states(home, before, after):
    snapshots = []
    for state in (before, after):
        values = ", ".join(f"('{k}', {'NULL' if v is None else v})" for k, v in state.items())
        inserts = [f"INSERT INTO lake.raw.items (item_id, price) VALUES {values}"] if state else []
        snapshots.append(write(home, "DELETE FROM lake.raw.items", *inserts))
    with warehouse.connect(home, read_only=True) as con:
        found = compare(con, "raw.items", ["item_id"], *snapshots, rows=9)
    both = before.keys() & after.keys()
    changed = {k for k in both if before[k] != after[k]}
    assert found["added"] == len(after.keys() - before.keys())
    assert found["removed"] == len(before.keys() - after.keys())
    assert found["changed"] == len(changed)
    assert found["same"] == len(both - changed)
    assert found["changed_columns"] == ({"price": len(changed)} if changed else {})
    shown = {(label, row["item_id"], row["price"]) for label, row in found["examples"]}
    assert shown == (
        {("added", k, after[k]) for k in after.keys() - before.keys()}
        | {("removed", k, before[k]) for k in before.keys() - after.keys()}
        | {("was", k, before[k]) for k in changed}
        | {("is", k, after[k]) for k in changed}
    )


def test_columns_may_have_any_name(home):
    columns = "1 AS kind, 2 AS change, 3 AS is_there, 4 AS key_0"
    old = write(home, f"CREATE TABLE lake.raw.own AS SELECT {columns}, 5 AS differs_0")
    new = write(home, "UPDATE lake.raw.own SET is_there = 7, differs_0 = 6")
    for key in ("kind", "change,key_0"):
        result = diff("raw.own", "--from", str(old), "--to", str(new), "--key", key)
        assert "changed            1 rows" in result.output, result.output
        assert "  differs_0 differs in 1 rows\n  is_there differs in 1 rows\n" in result.output
        assert '"is_there": 7, "key_0": 4, "differs_0": 6}' in result.output


def test_a_table_of_one_row_needs_no_key(home):
    create = "CREATE TABLE lake.meta.shop AS SELECT 'UTC' AS shop_timezone, 30 AS train_days"
    old = write(home, create)
    new = write(home, "UPDATE lake.meta.shop SET train_days = 7")
    result = diff("meta.shop", "--from", str(old), "--to", str(new))
    assert result.output.splitlines() == [
        f"meta.shop, snapshot {old} to {new}",
        "added              0 rows",
        "removed            0 rows",
        "changed            1 rows",
        "same               0 rows",
        "  train_days differs in 1 rows",
        'was {"shop_timezone": "UTC", "train_days": 30}',
        'is {"shop_timezone": "UTC", "train_days": 7}',
    ]
    write(home, "INSERT INTO lake.meta.shop VALUES ('UTC', 1)")
    result = diff("meta.shop", "--from", str(old))
    assert result.exit_code == 1 and "meta.shop has several rows; expected one" in result.output


def test_every_table_can_be_compared(served_shop):
    with warehouse.connect(served_shop, read_only=True) as con:
        tables = con.execute(
            "SELECT table_schema || '.' || table_name FROM information_schema.tables"
            " WHERE table_catalog = 'lake' AND table_type = 'BASE TABLE'"
        ).fetchall()
        now = warehouse.current_snapshot(con)
        assert len(tables) > 60
        for (table,) in tables:
            # Of this one it is an expression: a row without a user is of all of them.
            key = grain(table) if table != "staging.changed_user_days" else ["user_id", "shop_date"]
            if table.split(".")[0] in ("items", "samples", "think", "eval"):
                continue  # as any other, and each takes its time
            found = compare(con, table, key, now, now, rows=1)
            rows = con.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            assert (found["same"], found["changed"]) == (rows, 0), table


def test_a_changed_set_of_columns_is_said(home):
    old = write(home, "CREATE TABLE lake.raw.own AS SELECT 1 AS id, 2 AS a, 3 AS b")
    new = write(home, "CREATE OR REPLACE TABLE lake.raw.own AS SELECT 1 AS id, 2 AS a, 4 AS c")
    result = diff("raw.own", "--from", str(old), "--to", str(new), "--key", "id")
    assert "same               1 rows\nnew columns: c\nlost columns: b\n" in result.output


def test_what_cannot_be_compared_is_an_error(home):
    old = write(home, "CREATE TABLE lake.raw.own AS SELECT 1 AS id, 2 AS a FROM range(2)")
    for arguments, message in (
        (["raw.own"], "raw.own: its grain is not known here; name its columns with --key"),
        (["raw.own", "--key", "id"], "id do not name a row; several have id 1"),
        (["raw.own", "--key", "x"], "raw.own has no column 'x' in both states"),
        (["raw.none"], f"raw.none: there is no such table in snapshot {old}"),
        (["none.own"], f"none.own: there is no such table in snapshot {old}"),
        (["raw.own; x", "--key", "id"], "expected a table as SCHEMA.NAME"),
        (["raw.own", "--key", "id", "--to", "999"], "no snapshot 999"),
    ):
        result = diff(*arguments, "--from", str(old))
        assert result.exit_code == 1 and message in result.output, result.output


def test_grains_are_those_that_dbt_tests():
    assert grain("labels.label_lists") == ["session_id", "variant", "position"]
    assert grain("labels.label_lists_v1") == ["session_id", "variant", "position"]
    assert grain("samples.samples_direct") == ["session_id"]
    assert grain("raw.hint_candidates") == ["request_id", "rank"]
    assert grain("think.alignments") == ["session_id", "query_text", "run_id"]
    with pytest.raises(UserError, match="its grain is not known here"):
        grain("staging.changed_user_days")
