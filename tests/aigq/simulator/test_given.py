"""A given catalog: its items and queries, and only those, in a made-up log."""

import csv
import gzip
import json
import re

import duckdb
import numpy as np
import pytest
from click.testing import CliRunner

from aigq.cli import main
from aigq.settings import PROJECT_ROOT, UserError
from aigq.simulator import given
from aigq.simulator.job import simulate
from aigq.simulator.settings import ShopSettings
from aigq.simulator.truth import Truth

SETTINGS = ShopSettings(users=150, days=6, sessions_per_day=0.8, seed=4)
COLORS = (
    "red",
    "blau",
    "vert",
    "白い",
    "black",
    "pink",
    "grau",
    "lime",
    "gold",
    "tan",
    "sand",
    "mint",
)
KINDS = {"mug": "Kitchen > Mugs", "tea pot": "Kitchen > Pots", "sofa": "Living", "lamp": None}
ITEM = {
    "item_id": "", "title": "", "leaf_category_id": "", "leaf_category": "", "category_path": "",
    "brand": "", "attributes": "", "tags": "", "price": "",
}  # fmt: skip


def _rows():
    """Four kinds of things in twelve colours; every mug is also a kind of tea pot to somebody."""
    items, pairs = [], []
    for kind, path in KINDS.items():
        for number, color in enumerate(COLORS):
            for size in ("S", "XL"):
                item_id = f"{kind}/{color}/{size}"
                title = f"{color} {kind}, {size}"
                items.append(
                    ITEM
                    | {"item_id": item_id, "title": title, "leaf_category_id": kind}
                    | {"leaf_category": kind.title(), "category_path": path or ""}
                    | {"price": "" if kind == "lamp" else str(5 + number)}
                )
                pairs.append({"query_text": f" {color}  {kind.upper()}", "item_id": item_id})
                pairs.append({"query_text": kind, "item_id": item_id})
                if kind == "mug":
                    pairs.append({"query_text": f"{color} tea pot", "item_id": item_id})
    items.append(
        ITEM | {"item_id": "9", "title": "x", "leaf_category_id": "z", "leaf_category": "Z"}
    )
    return items, pairs


def _put(folder, items, pairs, name="query_items.csv"):
    folder.mkdir(exist_ok=True)
    for file, rows in (("items.csv", items), (name, pairs)):
        with (folder / file).open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A log over the catalog: (landing folder, connection)."""
    folder = tmp_path_factory.mktemp("given")
    simulate(SETTINGS, folder / "landing", _put(folder / "catalog", *_rows()))
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    for table in ("items", "events", "hint_candidates", "hint_requests"):
        con.execute(f"CREATE VIEW {table} AS FROM '{folder}/landing/{table}.parquet'")
    return folder / "landing", con


def test_items_are_as_given(shop):
    _, con = shop
    items = [{k: v or None for k, v in row.items()} for row in _rows()[0]]
    written = con.execute("select item_id, title, category_path, price from items").fetchall()
    assert written == [
        (i["item_id"], i["title"], i["category_path"], i["price"] and float(i["price"]))
        for i in items
    ]


def test_what_is_shown_and_typed_are_the_given_queries(shop):
    _, con = shop
    queries = {" ".join(row["query_text"].lower().split()) for row in _rows()[1]}
    shown = con.execute("select distinct query_text from hint_candidates").fetchall()
    assert {text for (text,) in shown} <= queries
    assert len(shown) > 20
    typed = con.execute("select lower(query_text) from events where action = 'search'").fetchall()
    right = np.mean([text in queries for (text,) in typed])
    assert 0.9 < right < 1  # the others are slips


def test_clicks_answer_the_search(shop):
    _, con = shop
    pairs = {(" ".join(r["query_text"].lower().split()), r["item_id"]) for r in _rows()[1]}
    clicks = con.execute("""
        select lower(s.query_text), e.item_id from events as e
        asof join (from events where action = 'search') as s
            on e.user_id = s.user_id and e.occurred_at >= s.occurred_at
        where e.action = 'item_click' and e.occurred_at < s.occurred_at + interval 5 minute
    """).fetchall()
    assert len(clicks) > 300
    assert np.mean([click in pairs for click in clicks]) > 0.8  # others follow slips, or browse
    unanswered = "select count(*) from events where item_id = '9'"
    assert con.execute(unanswered).fetchone()[0] == 0
    prices = con.execute("""
        select i.leaf_category, count(e.price), count(*) from events as e join items as i
        using (item_id) where action = 'order' group by 1""").fetchall()
    assert {(leaf, known == (0 if leaf == "Lamp" else count)) for leaf, known, count in prices} == {
        (kind.title(), True) for kind in KINDS
    }


def test_the_truth_answers_for_it(shop):
    folder, con = shop
    users, times, aims, texts, relevance = zip(
        *con.execute(f"""
            select user_id, requested_at, any_value(aim), list(query_text order by h.position),
                list(relevance order by h.position)
            from '{folder}/truth/hints.parquet' as h join hint_candidates using (request_id, rank)
            join hint_requests using (request_id)
            join '{folder}/truth/requests.parquet' using (request_id)
            group by request_id, user_id, requested_at""").fetchall(),
        strict=True,
    )
    truth = Truth(folder)
    assert (truth.score(users, times, texts, aims).relevance == np.array(relevance)).all()
    scored = truth.score(["u0000003"], [times[0]], [["blau mug", "Blau  MUG", "blua mug", "blob"]])
    assert len(set(scored.relevance[0, :3])) == 1
    assert scored.relevance[0, 3] == 0


def test_same_bytes_in_any_format(tmp_path):
    items, pairs = _rows()
    simulate(SETTINGS, tmp_path / "a", _put(tmp_path / "csv", items, pairs))
    (tmp_path / "jsonl/query_items").mkdir(parents=True)
    parts = {
        "items.jsonl": items,
        "query_items/1.jsonl": pairs[:9],
        "query_items/2.jsonl": pairs[9:],
    }
    for name, rows in parts.items():
        lines = [json.dumps({k: v for k, v in row.items() if v != ""}) for row in rows]
        (tmp_path / "jsonl" / name).write_text("\n".join(lines))
    simulate(SETTINGS, tmp_path / "b", tmp_path / "jsonl")
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_weights_are_how_often_things_are_asked_and_clicked(tmp_path):
    items, pairs = _rows()
    weighted = [
        row | {"weight": "1000" if row["item_id"] == "sofa/gold/XL" else "1"} for row in pairs
    ]
    language = given.load(SETTINGS, _put(tmp_path, items, weighted))
    catalog = language.catalog
    sofa = catalog.leaf_ids.index("sofa")
    assert catalog.leaf_demand[sofa] > 0.9
    drawn = language.items(np.random.default_rng(1), 0, np.full(500, language.read("sofa")))
    favourite = catalog.item_ids.to_pylist().index("sofa/gold/XL")
    assert (drawn == favourite).mean() > 0.9


def test_leaves_that_answer_each_other_are_complements(tmp_path):
    catalog = given.load(SETTINGS, _put(tmp_path, *_rows())).catalog
    leaf = {name: index for index, name in enumerate(catalog.leaf_ids)}
    assert set(catalog.complements[leaf["mug"]]) == {leaf["tea pot"]}
    assert set(catalog.complements[leaf["sofa"]]) == {leaf["sofa"]}  # nothing goes with it
    assert "z" not in leaf


def test_a_shop_of_one_category(tmp_path):
    items, pairs = _rows()
    same = [row | {"leaf_category_id": "all", "category_path": ""} for row in items]
    simulate(SETTINGS, tmp_path / "landing", _put(tmp_path / "catalog", same, pairs))
    shown = duckdb.sql(
        f"select distinct query_text from '{tmp_path}/landing/hint_candidates.parquet'"
    )
    assert len(shown.fetchall()) > 20


def _change(rows, number, **values):
    return [row | values if index == number else row for index, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda i, p: (_change(i, 2, title=""), p), r"items.csv, row 3: title is null"),
        (lambda i, p: (_change(i, 2, price="much"), p), r"row 3: price is not a finite number"),
        (lambda i, p: ([*i, i[4]], p), r"items.csv, row 5: item_id stands twice"),
        (
            lambda i, p: (i, _change(p, 3, item_id="?")),
            r"query_items.csv, row 4: unknown item_id ?",
        ),
        (lambda i, p: (i, _change(p, 3, query_text=" ")), r"row 4: query_text is empty"),
        (lambda i, p: (i, [r | {"relevance": "-1"} for r in p]), r"row 1: relevance is negative"),
        (lambda i, p: (i, [r | {"weight": "x"} for r in p]), r"row 1: weight is not a finite"),
        (
            lambda i, p: (i, [r | {"weight": "1" if n else ""} for n, r in enumerate(p)]),
            r"weight is given for some pairs only \(1 have none\)",
        ),
        (lambda i, p: (i, [{"query_text": "a"}]), r"missing column 'item_id' of table query_items"),
        (lambda i, p: (i, p[:6]), r"the catalog has 3 queries with items"),
    ],
)
def test_what_is_wrong_is_told_by_file_row_and_column(tmp_path, broken, told):
    with pytest.raises(UserError, match=told):
        given.load(SETTINGS, _put(tmp_path, *broken(*_rows())))


def test_missing_and_unknown_files(tmp_path):
    _put(tmp_path, *_rows(), name="query_item.csv")
    with pytest.raises(UserError, match="did you mean 'query_items'"):
        given.load(SETTINGS, tmp_path)
    (tmp_path / "query_item.csv").unlink()
    with pytest.raises(UserError, match="no query_items there"):
        given.load(SETTINGS, tmp_path)
    with pytest.raises(UserError, match="no catalog folder"):
        given.load(SETTINGS, tmp_path / "nowhere")


def test_more_categories_than_memory(tmp_path):
    many = ShopSettings(users=5_000_000)
    items = [
        ITEM | {"item_id": str(n), "title": "t", "leaf_category_id": str(n), "leaf_category": "c"}
        for n in range(200)
    ]
    pairs = [{"query_text": f"q{n}", "item_id": str(n)} for n in range(200)]
    with pytest.raises(UserError, match="GiB, more than 3; give fewer --users"):
        given.load(many, _put(tmp_path, items, pairs))


def test_the_documented_way_from_judged_pairs_to_a_catalog(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "catalog").mkdir()
    with gzip.open("judgements.csv.gz", "wt", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["query_text", "item_id", "title", "relevance"])
        for kind in ("wall clips", "Wall clip", "sink", "sinks"):
            for number, color in enumerate(COLORS):
                writer.writerow([f"{color} {kind}", number, f"{color} thing", 1 + (kind == "sink")])
    page = (PROJECT_ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
    (query,) = re.findall(r"```sql\n(.*?)```", page, flags=re.DOTALL)
    with duckdb.connect() as con:
        con.execute(query)
    catalog = given.load(SETTINGS, tmp_path / "catalog").catalog
    # Each thing is a sink to most, and "clips" and "clip" are one category that is never the best.
    assert catalog.leaf_ids == ["sink"]
    assert len(catalog.item_ids) == len(COLORS)


@pytest.mark.e2e
def test_command(tmp_path, monkeypatch):
    monkeypatch.setenv("AIGQ_HOME", str(tmp_path / "home"))
    catalog = _put(tmp_path / "catalog", *_rows())
    run = ["simulate", "--catalog", str(catalog), "--users", "40", "--days", "2"]
    result = CliRunner().invoke(main, run)
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(main, ["ingest", str(tmp_path / "home/landing")])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(main, ["simulate", "--catalog", str(tmp_path / "no")])
    assert result.exit_code == 1
    assert "no catalog folder" in result.output
