"""Feast access for jobs."""

import shutil
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
import yaml

from aigq import features
from aigq.settings import PROJECT_ROOT, Home, UserError


def test_the_checkouts_own_shop_needs_no_configuration():
    home = Home(PROJECT_ROOT / "data")
    assert features.config_path(home) == PROJECT_ROOT / "feature_repo" / "feature_store.yaml"
    assert features.feast_command(home) == ["feast", "-c", "feature_repo"]


def test_another_home_gets_its_own_paths_and_all_other_settings(tmp_path):
    home = Home(tmp_path / "shop with blanks")
    path = features.config_path(home)
    assert features.feast_command(home) == ["feast", "-f", str(path), "-c", "feature_repo"]
    own = yaml.safe_load(path.read_text())
    assert own.pop("registry") == str(home.online / "registry.db")
    assert own["online_store"].pop("path") == str(home.online / "online_store.db")
    checked_in = yaml.safe_load((PROJECT_ROOT / "feature_repo" / "feature_store.yaml").read_text())
    del checked_in["registry"], checked_in["online_store"]["path"]
    assert own == checked_in


def test_redis_has_a_configuration_beside_the_other(tmp_path, monkeypatch):
    other = features.config_path(Home(tmp_path))
    text = other.read_text()
    monkeypatch.setenv("AIGQ_REDIS", "shop:6379")
    path = features.config_path(Home(tmp_path))
    assert yaml.safe_load(path.read_text())["online_store"] == {
        "type": "redis",
        "connection_string": "shop:6379",
    }
    assert path != other and other.read_text() == text
    with pytest.raises(UserError, match=r"no feature registry in .* -f .*redis.yaml .* apply"):
        features.open_store(Home(tmp_path))


def test_a_home_that_moved_gets_new_paths(tmp_path):
    features.config_path(Home(tmp_path / "old"))
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    config = yaml.safe_load(features.config_path(Home(tmp_path / "new")).read_text())
    assert config["registry"] == str(tmp_path / "new" / "online" / "registry.db")


def test_a_home_that_was_not_applied_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match=r"run `feast -f .* -c feature_repo apply` first"):
        features.open_store(Home(tmp_path))


def test_nothing_goes_to_sqlite_where_redis_is_read(served_shop, tmp_path, monkeypatch):
    home = Home(tmp_path / "copy")
    shutil.copytree(served_shop.root, home.root)
    store = features.open_store(home)
    monkeypatch.setenv("AIGQ_REDIS", "shop:6379")
    moment = pa.array([datetime(2026, 3, 7, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    row = {"user_id": ["u1"], "queries": [["lamp"]], "model_version": ["v"], "run_id": ["r"]}
    rows = pa.table(row | {"event_timestamp": moment, "created_at": moment})
    with pytest.raises(UserError, match="AIGQ_REDIS is set"):
        features.push_online(store, "u2q_push", rows)


def test_push_replaces_the_row_and_keeps_lists_lists(served_shop, tmp_path):
    home = Home(tmp_path / "copy")
    shutil.copytree(served_shop.root, home.root)
    store = features.open_store(home)
    moment = datetime(2026, 3, 7, tzinfo=UTC)

    def push(created_at, **queries):
        rows = pa.table(
            {
                "user_id": list(queries),
                "queries": pa.array(queries.values(), pa.list_(pa.string())),
                "model_version": ["v"] * len(queries),
                "run_id": ["r"] * len(queries),
                "event_timestamp": pa.array([moment] * len(queries), pa.timestamp("us", "UTC")),
                "created_at": pa.array([created_at] * len(queries), pa.timestamp("us", "UTC")),
            }
        )
        features.push_online(store, "u2q_push", rows)

    def read(user):
        return features.read_online(store, "hint_recall", {"user_id": user, "surface": "home"})

    push(moment, u1=["日本 茶", "red shoes"], u2=["x"])
    push(moment + timedelta(seconds=2), u1=["red shoes"])
    # Made before the list that is there, for the same moment: it came too late.
    push(moment + timedelta(seconds=1), u1=["late"])
    assert read("u1")["u2q__queries"] == ["red shoes"]
    assert read("u1")["u2q__queries__ts"] == moment
    assert read("u2")["u2q__queries"] == ["x"]
    assert read("u3")["u2q__queries"] is None
