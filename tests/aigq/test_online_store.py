"""The guarded store against Feast's own, in any order of writes and from several processes."""

import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from feast import Entity, FeatureView, Field, FileSource
from feast.infra.online_stores.sqlite import SqliteOnlineStore
from feast.protos.feast.core.Registry_pb2 import Registry
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import StringList, Value
from feast.repo_config import RepoConfig
from feast.types import Array, String
from feast.value_type import ValueType
from hypothesis import given, settings
from hypothesis import strategies as st

from aigq.online_store import GuardedSqliteOnlineStore

START = datetime(2026, 3, 1, tzinfo=UTC)
VIEW = FeatureView(
    name="lists",
    entities=[Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)],
    schema=[Field(name="queries", dtype=Array(String)), Field(name="model", dtype=String)],
    source=FileSource(name="lists", path="lists.parquet", timestamp_field="event_timestamp"),
)


def config_of(folder: Path, kind: str = "aigq.online_store.GuardedSqliteOnlineStore", **options):
    return RepoConfig(
        project="test",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": kind, "path": str(folder / "online.db"), **options},
        entity_key_serialization_version=3,
    )


def applied(folder: Path):
    store, config = GuardedSqliteOnlineStore(), config_of(folder)
    store.update(config, [], [VIEW], [], [], False)
    return store, config


def key_of(user: str) -> EntityKey:
    return EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=user)])


def row(user: str, seconds: float, text: str, created: float | None = None):
    """A row of VIEW as Feast hands it to a store."""
    values = {
        "queries": Value(string_list_val=StringList(val=[text, "more"])),
        "model": Value(string_val=text),
    }
    at = START + timedelta(seconds=seconds)
    return key_of(user), values, at, None if created is None else at + timedelta(seconds=created)


def read(store, config, *users: str) -> list:
    found = store.online_read(config, VIEW, [key_of(user) for user in users])
    return [(at, values and values["model"].string_val) for at, values in found]


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    written=st.lists(
        st.tuples(
            st.sampled_from(["ann", "bob"]),
            # Microseconds apart, and equal ones.
            st.sampled_from([0.0, 1e-6, 0.5, 1.0, 90.0]),
            st.sampled_from("abc"),
            st.sampled_from([None, 0.0, 5.0]),
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_any_order_of_writes_ends_in_the_same_state(tmp_path_factory, data, written):
    def end_of(order: list, cuts: set[int]) -> list:
        store, config = applied(tmp_path_factory.mktemp("store"))
        batch: list = []
        for place, entry in enumerate(order):
            batch.append(row(*entry))
            if place in cuts:
                store.online_write_batch(config, VIEW, batch, None)
                batch = []
        store.online_write_batch(config, VIEW, batch, None)
        state = store.online_read(config, VIEW, [key_of("ann"), key_of("bob")])
        store._conn.close()
        return state

    cuts = data.draw(st.sets(st.integers(0, 7)))
    ended = end_of(written, cuts)
    assert ended == end_of(
        data.draw(st.permutations(written)), data.draw(st.sets(st.integers(0, 7)))
    )
    for user, (_, values) in zip(("ann", "bob"), ended, strict=True):
        own = [(s, -1 if c is None else s + c, text) for u, s, text, c in written if u == user]
        newest = {text for s, c, text in own if (s, c) == max((s, c) for s, c, _ in own)}
        assert (values["model"].string_val in newest) if own else values is None
        # One row, not a mixture of two.
        assert not own or values["queries"].string_list_val.val[0] == values["model"].string_val


def test_writes_in_order_read_as_from_feasts_store(tmp_path):
    theirs, their_config = SqliteOnlineStore(), config_of(tmp_path / "theirs", "sqlite")
    (tmp_path / "theirs").mkdir()
    ours, our_config = applied(tmp_path)
    theirs.update(their_config, [], [VIEW], [], [], False)
    seen = {id(theirs): [], id(ours): []}
    for store, config in ((theirs, their_config), (ours, our_config)):
        for second in range(3):
            rows = [row(f"u{n}", second, f"{second}-{n}", created=0) for n in range(second, 700)]
            store.online_write_batch(config, VIEW, rows, seen[id(store)].append)
    assert sum(seen[id(ours)]) == sum(seen[id(theirs)]) == 700 + 699 + 698
    keys = [key_of(f"u{n}") for n in (0, 1, 2, 699, 700)]
    for features in (None, ["model"]):
        mine = ours.online_read(our_config, VIEW, keys, features)
        assert mine == theirs.online_read(their_config, VIEW, keys, features)
        assert mine[0][1] is not None and mine[-1] == (None, None)


def test_text_search_finds_what_feasts_store_finds(tmp_path):
    view = FeatureView(
        name="texts",
        entities=[Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)],
        schema=[
            Field(name="model", dtype=String),
            Field(
                name="vector",
                dtype=Array(String),
                vector_index=True,
                vector_search_metric="L2",
                vector_length=2,
            ),
        ],
        source=FileSource(name="texts", path="texts.parquet", timestamp_field="event_timestamp"),
    )
    found = []
    for store, kind in (
        (SqliteOnlineStore(), "sqlite"),
        (GuardedSqliteOnlineStore(), "aigq.online_store.GuardedSqliteOnlineStore"),
    ):
        folder = tmp_path / kind
        folder.mkdir()
        config = config_of(folder, kind, text_search_enabled=True)
        store.update(config, [], [view], [], [], False)
        rows = [
            (key_of(u), {"model": Value(string_val=text)}, START, START)
            for u, text in (("ann", "red shoes"), ("bob", "blue lamp"), ("cyd", "red lamp"))
        ]
        store.online_write_batch(config, view, rows, None)
        for _ in range(2):
            found.append(
                store.retrieve_online_documents_v2(
                    config, view, ["model"], None, 2, query_string="lamp"
                )
            )
            # It wrote its index, and does not keep others from writing.
            later = START + timedelta(seconds=1)
            new = [(key_of("dan"), {"model": Value(string_val="lamp")}, later, later)]
            store.online_write_batch(config, view, new, None)
    assert found[:2] == found[2:] and len(found[0]) == 2


def test_a_plan_is_that_of_feasts_store(tmp_path):
    wanted = Registry(feature_views=[VIEW.to_proto()])
    planned = []
    for store, kind in (
        (SqliteOnlineStore(), "sqlite"),
        (GuardedSqliteOnlineStore(), "aigq.online_store.GuardedSqliteOnlineStore"),
    ):
        config = config_of(tmp_path, kind)
        planned.append([made.to_infra_object_proto() for made in store.plan(config, wanted)])
    assert planned[0] == planned[1] and len(planned[0]) == 1
    assert planned[0][0].sqlite_table.name == "test_lists"


def test_update_and_teardown_leave_nothing(tmp_path):
    store, config = applied(tmp_path)
    store.online_write_batch(config, VIEW, [row("ann", 5, "a")], None)
    # Applied again: what is there stays.
    store.update(config, [], [VIEW], [], [], False)
    store.online_write_batch(config, VIEW, [row("ann", 1, "b")], None)
    assert read(store, config, "ann") == [(START + timedelta(seconds=5), "a")]
    store.update(config, [VIEW], [], [], [], False)
    with sqlite3.connect(tmp_path / "online.db") as con:
        assert con.execute("SELECT name FROM sqlite_master").fetchall() == []
    con.close()
    # Gone and applied anew: the old guard is gone as well.
    store.update(config, [], [VIEW], [], [], False)
    store.online_write_batch(config, VIEW, [row("ann", 1, "b")], None)
    assert read(store, config, "ann") == [(START + timedelta(seconds=1), "b")]
    store.teardown(config, [VIEW], [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/New_York"])
def test_rows_of_feasts_own_store_are_guarded_too(tmp_path, zone):
    """A store that was Feast's before, on a machine in any time zone."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_online_store import *
from pathlib import Path
folder = Path({str(tmp_path)!r})
theirs, config = SqliteOnlineStore(), config_of(folder, "sqlite")
theirs.update(config, [], [VIEW], [], [], False)
theirs.online_write_batch(config, VIEW, [row("ann", 100, "theirs")], None)
theirs._conn.close()
ours, config = applied(folder)
ours.online_write_batch(config, VIEW, [row("ann", 99, "older")], None)
print(read(ours, config, "ann")[0][1])
ours.online_write_batch(config, VIEW, [row("ann", 101, "newer")], None)
print(read(ours, config, "ann")[0][1])
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"TZ": zone, "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["theirs", "newer"]


def test_a_write_that_fails_leaves_no_guard_behind(tmp_path, monkeypatch):
    store, config = applied(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(
            "feast.infra.online_stores.sqlite.extract_text_and_num",
            lambda *_: (_ for _ in ()).throw(OSError("disk full")),
        )
        with pytest.raises(OSError, match="disk full"):
            store.online_write_batch(config, VIEW, [row("ann", 5, "a")], None)
    assert read(store, config, "ann") == [(None, None)]
    store.online_write_batch(config, VIEW, [row("ann", 1, "b")], None)
    assert read(store, config, "ann") == [(START + timedelta(seconds=1), "b")]


def test_processes_write_and_read_at_once(tmp_path):
    """Four writers in turn; none is refused, the newest row of each user stays."""
    store, config = applied(tmp_path)
    script = """
import sys
sys.path.insert(0, sys.argv[1])
from test_online_store import *
from pathlib import Path
store, config, writer = GuardedSqliteOnlineStore(), config_of(Path(sys.argv[2])), int(sys.argv[3])
for turn in range(30):
    second = (turn * 7 + writer) % 30 + writer / 10
    rows = [row(f"u{n}", second, f"{writer}-{second}") for n in range(40)]
    store.online_write_batch(config, VIEW, rows, None)
"""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path), str(n)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(4)
    ]
    while any(w.poll() is None for w in writers):
        assert len(read(store, config, *(f"u{n}" for n in range(40)))) == 40
    errors = [w.communicate()[1] for w in writers]
    assert [w.returncode for w in writers] == [0] * 4, errors
    newest = START + timedelta(seconds=29)
    for at, text in read(store, config, *(f"u{n}" for n in range(40))):
        assert (at, text) == (newest, "3-29.3")
