"""The feature repository against the warehouse, and Feast's own commands as a user types them."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from aigq import features
from aigq.settings import PROJECT_ROOT, Home

FEAST_TYPE = {
    "VARCHAR": "String",
    "BIGINT": "Int64",
    "DOUBLE": "Float64",
    "VARCHAR[]": "Array(String)",
    "DOUBLE[]": "Array(Float64)",
    "BIGINT[]": "Array(Int64)",
}


@pytest.fixture(scope="module")
def store(served_shop):
    return features.open_store(served_shop)


def test_types_of_the_registry_are_those_of_the_warehouse(served_shop, store, rows_of):
    """Lists stay lists: Feast would take a list column for a String without complaint."""
    views = store.list_feature_views()
    assert {v.name for v in views} == {
        "user_profile",
        "user_behaviors",
        "item_profile",
        "query_stats",
        "u2q",
        "x2q",
        "popular_queries",
    }
    for view in views:
        columns = {
            row["column_name"]: row["column_type"]
            for row in rows_of(served_shop, f"SELECT * FROM (DESCRIBE features.{view.name})")
        }
        assert columns.pop("event_timestamp") == "TIMESTAMP WITH TIME ZONE"
        if view.batch_source.created_timestamp_column:
            created = view.batch_source.created_timestamp_column
            assert columns.pop(created) == "TIMESTAMP WITH TIME ZONE"
        (key,) = (column.name for column in view.entity_columns)
        assert columns.pop(key) == "VARCHAR"
        declared = {field.name: str(field.dtype) for field in view.features}
        assert declared == {name: FEAST_TYPE[kind] for name, kind in columns.items()}


def test_services_and_entities(store):
    assert {e.name: e.join_key for e in store.list_entities()} == {
        "user": "user_id",
        "item": "item_id",
        "trigger": "trigger",
        "surface": "surface",
        "query": "query_text",
    }
    views = {
        s.name: {p.name for p in s.feature_view_projections} for s in store.list_feature_services()
    }
    assert views == {
        "direct_context": {"user_profile", "user_behaviors"},
        "hint_recall": {"u2q", "user_profile", "user_behaviors", "popular_queries"},
        "clicked_recall": {
            "u2q",
            "user_profile",
            "user_behaviors",
            "popular_queries",
            "item_profile",
        },
        "x2q_recall": {"x2q"},
        "ctr_ranking": {"user_profile", "user_behaviors", "query_stats"},
    }


def test_materialised_values_are_the_newest(served_shop, store):
    row = features.read_online(store, "hint_recall", {"user_id": "u3", "surface": "home"})
    # Days 6 % 3 == 0 and 6 % 2 == 0: the last event of u3.
    assert row["user_behaviors__content_keys"][-2:] == ["query:red shoes", "item:i0"]
    assert row["user_behaviors__occurred_at_us"][-1] == 1_000_000 * int(
        datetime(2026, 3, 6, 8, tzinfo=UTC).timestamp()
    )
    assert row["u2q__queries"] is None and row["u2q__queries__ts"] is None
    # Three texts by five users; the third differs by user.
    assert row["popular_queries__queries"][:2] == ["blue lamp", "red shoes"]


def test_several_triggers_in_one_read(served_shop, store):
    """Of i0's queries "red shoes" is less relevant but often searched, and ahead. Clicks have put
    the query "red shoes" into c1. A trigger that is not in the index has nothing."""
    keys = ["item:i0", "category:c0", "query:red shoes", "category:c1", "item:i1"]
    rows = features.read_online_rows(store, "x2q_recall", [{"trigger": key} for key in keys])
    of_item = ["red shoes", "tea pot"]
    queries = [row["x2q__queries"] for row in rows]
    assert queries == [of_item, of_item, ["scarf"], ["scarf"], None]
    assert rows[0]["x2q__rationales"] == ["Tea is made in a kettle."] * 2
    assert rows[0]["x2q__scores"][0] > rows[0]["x2q__scores"][1] > 0
    assert rows[2]["x2q__sources"] == ["think-1"]
    names = [row["x2q__trigger_text"] for row in rows]
    assert names == ["Kettle 2000, Kettle", "Kettle", "red shoes", "Chair", None]
    assert rows[4]["x2q__queries__ts"] is None
    # The index itself has a row, as old as all others of one build.
    (newest,) = features.read_online_rows(store, "x2q_recall", [{"trigger": "index:newest"}])
    assert newest["x2q__built_at_us"] == rows[0]["x2q__built_at_us"] > 0


def test_get_online_features_as_typed(served_shop, run_feast):
    arguments = ["-e", "user_id=u1", "-f", "user_behaviors:actions", "-f", "user_profile:age_band"]
    out = run_feast(served_shop, "get-online-features", *arguments).stdout
    found = json.loads(out)
    assert found["age_band"] == ["25-34"]
    assert found["actions"][0] == ["search", "item_click"] * 6


def test_apply_before_dbt_build_says_what_is_missing(tmp_path, make_home, run_feast):
    home = make_home(tmp_path)
    result = run_feast(home, "apply", check=False)
    assert result.returncode != 0
    assert f"no feature files in {home.features}: run `dbt build` first" in result.stderr
    assert "Traceback" not in result.stderr


def test_one_shop_is_not_registered_as_another(served_shop, tmp_path):
    """AIGQ_HOME says where the features are, -f whose registry and which store are written."""
    other = features.config_path(Home(tmp_path / "other"))
    own = features.config_path(served_shop)
    for path, variables in (
        (None, {}),
        (other, {}),
        (own, {"AIGQ_REDIS": "localhost:1,password=secret"}),
    ):
        options = ["-f", str(path)] if path else []
        result = subprocess.run(
            [sys.executable, "-m", "feast.cli.cli", "-c", "feature_repo", *options, "apply"],
            cwd=PROJECT_ROOT,
            env=os.environ | {"AIGQ_HOME": str(served_shop.root)} | variables,
            capture_output=True,
            text=True,
        )
        assert result.returncode != 0
        assert "use the command that `python -m aigq.features` prints" in result.stderr
        assert "secret" not in result.stderr


def test_nothing_in_the_folder_but_definitions():
    """`feast apply` imports every .py file there."""
    assert [p.name for p in (PROJECT_ROOT / "feature_repo").rglob("*.py")] == ["definitions.py"]
