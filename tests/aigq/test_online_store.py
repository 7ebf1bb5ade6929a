"""The guarded store against Feast's own, in any order of writes and from several processes."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from feast import Entity, FeatureView, Field, FileSource
from feast.filter_models import ComparisonFilter
from feast.infra.online_stores.sqlite import SqliteOnlineStore
from feast.protos.feast.core.Registry_pb2 import Registry
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import FloatList, StringList, Value
from feast.repo_config import RepoConfig
from feast.types import Array, Float32, Int64, String
from feast.value_type import ValueType
from hypothesis import given, settings
from hypothesis import strategies as st

from aigq.online_store import GuardedSqliteOnlineStore

OURS = "aigq.online_store.GuardedSqliteOnlineStore"
START = datetime(2026, 3, 1, tzinfo=UTC)
USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
VIEW = FeatureView(
    name="lists",
    entities=[USER],
    schema=[Field(name="queries", dtype=Array(String)), Field(name="model", dtype=String)],
    source=FileSource(name="lists", path="lists.parquet", timestamp_field="event_timestamp"),
)
DOCUMENTS = FeatureView(
    name="documents",
    entities=[USER],
    schema=[
        Field(name="text", dtype=String),
        Field(name="price", dtype=Int64),
        Field(
            name="vector",
            dtype=Array(Float32),
            vector_index=True,
            vector_search_metric="L2",
            vector_length=2,
        ),
    ],
    source=FileSource(name="texts", path="texts.parquet", timestamp_field="event_timestamp"),
)


def config_of(folder: Path, kind: str = OURS, **options):
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


def theirs_and_ours(folder: Path, view: FeatureView, **options) -> Iterator[tuple]:
    """Feast's own store, then the guarded one, applied, each with its configuration."""
    for kind, store in (("sqlite", SqliteOnlineStore()), (OURS, GuardedSqliteOnlineStore())):
        (folder / kind).mkdir()
        config = config_of(folder / kind, kind, **options)
        store.update(config, [], [view], [], [], False)
        yield store, config


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


def document(user: str, text: str, price: int, vector: list[float], seconds: float = 0):
    """A row of DOCUMENTS."""
    values = {
        "text": Value(string_val=text),
        "price": Value(int64_val=price),
        "vector": Value(float_list_val=FloatList(val=vector)),
    }
    at = START + timedelta(seconds=seconds)
    return key_of(user), values, at, at


SHELF = [
    document("ann", "red shoes", 40, [1, 0]),
    document("bob", "blue lamp", 10, [0, 1]),
    document("cyd", "red lamp", 30, [0.5, 0.5]),
]


def read(store, config, *users: str) -> list:
    found = store.online_read(config, VIEW, [key_of(user) for user in users])
    return [(at, values and values["model"].string_val) for at, values in found]


def stored(store) -> list:
    """All that is in the tables of VIEW."""
    tables = ("test_lists", "test_lists_guard")
    return [store._conn.execute(f"SELECT * FROM {t} ORDER BY 1, 2").fetchall() for t in tables]


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    written=st.lists(
        st.tuples(
            st.sampled_from(["ann", "bob"]),
            # Few, for ties; a microsecond apart, and more.
            st.sampled_from([0.0, 1e-6, 90.0]),
            st.sampled_from("abc"),
            st.sampled_from([None, 5.0]),
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_any_order_of_writes_ends_in_the_same_state(tmp_path_factory, data, written):
    def end_of(order: list, cuts: set[int]) -> tuple[list, list]:
        store, config = applied(tmp_path_factory.mktemp("store"))
        batch: list = []
        for place, entry in enumerate(order):
            batch.append(row(*entry))
            if place in cuts:
                store.online_write_batch(config, VIEW, batch, None)
                batch = []
        store.online_write_batch(config, VIEW, batch, None)
        found = store.online_read(config, VIEW, [key_of("ann"), key_of("bob")])
        # What is guarded, too, which decides over the writes to come.
        tables = stored(store)
        store._conn.close()
        return found, tables

    cuts = data.draw(st.sets(st.integers(0, 7)))
    ended = end_of(written, cuts)
    assert ended == end_of(
        data.draw(st.permutations(written)), data.draw(st.sets(st.integers(0, 7)))
    )
    for user, (_, values) in zip(("ann", "bob"), ended[0], strict=True):
        own = [(s, -1 if c is None else s + c, text) for u, s, text, c in written if u == user]
        newest = {text for s, c, text in own if (s, c) == max((s, c) for s, c, _ in own)}
        assert (values["model"].string_val in newest) if own else values is None
        # One row, not a mixture of two.
        assert not own or values["queries"].string_list_val.val[0] == values["model"].string_val


def test_writes_in_order_read_as_from_feasts_store(tmp_path):
    (theirs, their_config), (ours, our_config) = theirs_and_ours(tmp_path, VIEW)
    keys = [key_of(f"u{n}") for n in range(701)]
    progress = {theirs: [], ours: []}
    for store, config in ((theirs, their_config), (ours, our_config)):
        for second in range(3):
            rows = [row(f"u{n}", second, f"{second}-{n}", created=0) for n in range(second, 700)]
            store.online_write_batch(config, VIEW, rows, progress[store].append)
    # Late, and more of them than are looked up at once.
    late = [row(f"u{n}", -1, "late", created=0) for n in range(700)]
    ours.online_write_batch(our_config, VIEW, late, None)
    assert sum(progress[ours]) == sum(progress[theirs]) == 700 + 699 + 698
    for features in (None, ["model"]):
        mine = ours.online_read(our_config, VIEW, keys, features)
        assert mine == theirs.online_read(their_config, VIEW, keys, features)
        assert mine[0][1] is not None and mine[-1] == (None, None)


@pytest.mark.parametrize(
    ("filters", "users"),
    [(None, {"bob", "cyd"}), (ComparisonFilter(type="gt", key="price", value=20), {"cyd"})],
)
def test_text_search_finds_what_feasts_store_finds(tmp_path, filters, users):
    options = {"text_search_enabled": True, "enable_openai_compatible_store": True}
    found = []
    for store, config in theirs_and_ours(tmp_path, DOCUMENTS, **options):
        store.online_write_batch(config, DOCUMENTS, SHELF, None)
        for _ in range(2):
            found.append(
                store.retrieve_online_documents_v2(
                    config, DOCUMENTS, ["text"], None, 2, query_string="lamp", filters=filters
                )
            )
            new = [document("dan", "lamp", 50, [1, 1], seconds=1)]
            store.online_write_batch(config, DOCUMENTS, new, None)
    assert found[:2] == found[2:]
    assert {key.entity_values[0].string_val for _, key, _ in found[0]} == users


@pytest.mark.parametrize(
    ("query", "outcome", "indexed"),
    [
        ("lamp", nullcontext(), len(SHELF)),
        ('"', pytest.raises(sqlite3.OperationalError, match="unterminated string"), 0),
    ],
)
def test_a_search_keeps_nobody_from_writing(tmp_path, query, outcome, indexed):
    """One that fails takes back what it put into the index."""
    _, (store, config) = theirs_and_ours(tmp_path, DOCUMENTS, text_search_enabled=True)
    store.online_write_batch(config, DOCUMENTS, SHELF, None)
    with outcome:
        store.retrieve_online_documents_v2(config, DOCUMENTS, [], None, 2, query_string=query)
    with closing(sqlite3.connect(tmp_path / OURS / "online.db", timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert other.execute("SELECT count(*) FROM search_table").fetchone() == (indexed,)


@pytest.mark.parametrize(
    ("options", "error"),
    [({}, ValueError), ({"vector_enabled": True}, sqlite3.OperationalError)],
)
def test_vectors_are_written_but_not_searched_as_in_feasts_store(tmp_path, options, error):
    """Feast loads sqlite-vec on Python 3.10 alone."""
    errors, tables = [], []
    for store, config in theirs_and_ours(tmp_path, DOCUMENTS, **options):
        store.online_write_batch(config, DOCUMENTS, SHELF, None)
        for search in (store.retrieve_online_documents, store.retrieve_online_documents_v2):
            with pytest.raises(error) as raised:
                search(config, DOCUMENTS, ["text"], [1.0, 0.0], 2)
            errors.append(str(raised.value))
        rows = store._conn.execute("SELECT * FROM test_documents ORDER BY 1, 2").fetchall()
        tables.append((rows, store.online_read(config, DOCUMENTS, [key_of("cyd")])))
    assert errors[:2] == errors[2:]
    if options:
        assert errors[0] == errors[1] == "no such module: vec0"
    assert tables[0] == tables[1]
    ((_, values),) = tables[0][1]
    assert values["vector"].float_list_val.val == [0.5, 0.5]


def test_a_plan_is_that_of_feasts_store(tmp_path):
    wanted = Registry(feature_views=[VIEW.to_proto()])
    planned = []
    for store, kind in ((SqliteOnlineStore(), "sqlite"), (GuardedSqliteOnlineStore(), OURS)):
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
    # Who still reads keeps the files of write-ahead logging from going by themselves.
    with closing(sqlite3.connect(tmp_path / "online.db")) as reader:
        reader.execute("SELECT * FROM test_lists").fetchall()
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
    """Four writers at once; none is refused, the newest row of each user stays."""
    store, config = applied(tmp_path)
    script = """
import sys
sys.path.insert(0, sys.argv[1])
from test_online_store import *
from pathlib import Path
store, config, writer = GuardedSqliteOnlineStore(), config_of(Path(sys.argv[2])), int(sys.argv[3])
print("ready", flush=True)
input()
for turn in range(100):
    second = (turn * 7 + writer) % 100 + writer / 10
    rows = [row(f"u{n}", second, f"{writer}-{second}") for n in range(40)]
    store.online_write_batch(config, VIEW, rows, None)
"""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path), str(n)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(4)
    ]
    assert [w.stdout.readline() for w in writers] == ["ready\n"] * 4
    for w in writers:
        print(file=w.stdin, flush=True)
    users = [f"u{n}" for n in range(40)]
    newest = 0.0
    while any(w.poll() is None for w in writers):
        # A batch goes in whole, and no user goes back.
        (text,) = {text for _, text in read(store, config, *users)}
        second = float(text.partition("-")[2]) if text else 0.0
        assert second >= newest
        newest = second
        time.sleep(0.01)
    errors = [w.communicate()[1] for w in writers]
    assert [w.returncode for w in writers] == [0] * 4, errors
    assert set(read(store, config, *users)) == {(START + timedelta(seconds=99), "3-99.3")}


def test_threads_write_through_one_store(tmp_path):
    store, config = applied(tmp_path)

    def write(second: int) -> None:
        rows = [row(f"u{n}", second, str(second)) for n in range(20)]
        store.online_write_batch(config, VIEW, rows, None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, (turn * 7 % 60 for turn in range(60))))
    found = read(store, config, *(f"u{n}" for n in range(20)))
    assert set(found) == {(START + timedelta(seconds=59), "59")}


def test_a_reader_keeps_nobody_from_writing(tmp_path):
    store, config = applied(tmp_path)
    store.online_write_batch(config, VIEW, [row("ann", 1, "a")], None)
    with closing(sqlite3.connect(tmp_path / "online.db")) as reader:
        reader.execute("BEGIN")
        before = reader.execute("SELECT * FROM test_lists").fetchall()
        store.online_write_batch(config, VIEW, [row("ann", 2, "b")], None)
        assert reader.execute("SELECT * FROM test_lists").fetchall() == before
    assert read(store, config, "ann") == [(START + timedelta(seconds=2), "b")]
    # Python's own connections wait for another writer for five seconds.
    assert store._conn.execute("PRAGMA busy_timeout").fetchone() == (60_000,)
