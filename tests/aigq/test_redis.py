"""The loop's online side on a Redis of its own, chosen by one setting."""

import json
import shutil
import socket
import subprocess
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest

from aigq import features, warehouse
from aigq.settings import Home

pytestmark = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="no redis-server (Debian package redis-server)"
)


@pytest.fixture
def redis(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(
        ["redis-server", *options, "--dir", str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    for line in server.stdout:
        if "Ready to accept connections" in line:
            break
    monkeypatch.setenv("AIGQ_REDIS", f"127.0.0.1:{port}")
    yield port
    server.terminate()
    server.communicate()


def test_features_are_served_from_redis(redis, served_shop, tmp_path, run_feast):
    home = Home(tmp_path / "home")
    shutil.copytree(served_shop.root / "features", home.features)
    run_feast(home, "apply")
    period = ("2000-01-01T00:00:00", "2026-03-08T00:00:00")
    run_feast(home, "materialize", *period)
    store = features.open_store(home)
    row = features.read_online(store, "hint_recall", {"user_id": "u3", "surface": "home"})
    assert row["user_behaviors__content_keys"][-2:] == ["query:red shoes", "item:i0"]
    assert row["popular_queries__queries"][:2] == ["blue lamp", "red shoes"]
    assert not (home.online / "online_store.db").exists()

    now = datetime(2026, 3, 7, tzinfo=UTC)
    for moment, text in ((now, "now"), (now - timedelta(microseconds=1), "older")):
        times = pa.array([moment], pa.timestamp("us", "UTC"))
        rows = {"user_id": ["u3"], "queries": [[text]], "model_version": ["v"], "run_id": ["r"]}
        columns = rows | {"event_timestamp": times, "created_at": times}
        features.push_online(store, "u2q_push", pa.table(columns))
    row = features.read_online(store, "hint_recall", {"user_id": "u3", "surface": "home"})
    assert row["u2q__queries"] == ["now"], "Feast's Redis store has a guard of its own"
    arguments = ["-e", "user_id=u1", "-f", "user_behaviors:actions"]
    found = json.loads(run_feast(home, "get-online-features", *arguments).stdout)
    assert found["actions"][0] == ["search", "item_click"] * 6

    # A build of the same events, between which and the last a user moved.
    path = home.features / "user_profile.parquet"
    later = "event_timestamp + INTERVAL 1 MICROSECOND AS event_timestamp, 'west' AS region"
    with duckdb.connect() as con:
        warehouse.export_parquet(con, f"SELECT * REPLACE ({later}) FROM '{path}'", path)
    run_feast(home, "materialize", "-v", "user_profile", "--", *period)
    row = features.read_online(store, "hint_recall", {"user_id": "u3", "surface": "home"})
    assert row["user_profile__region"] == "west"
