"""``aigq generate item_texts`` with a model whose texts the test writes."""

import json

import pytest

from aigq import models, warehouse
from inference import item_text
from inference.engines import Completion

pytestmark = pytest.mark.e2e


class Engine:
    """Says "about TITLE" of an item; titles that begin with "bad" make it talk for ever."""

    name = "scripted"

    def __init__(self):
        self.asked: list[str] = []
        self.fail_after: int | None = None

    def generate(self, requests, _sampling):
        found = []
        for request in requests:
            title = bytes(request.prompt).decode().split("\n")[0].removeprefix("title: ")
            self.asked.append(title)
            if self.fail_after is not None and len(self.asked) > self.fail_after:
                raise KeyboardInterrupt
            text = f"about {title}"
            found.append(Completion(text, not title.startswith("bad"), 3))
        return found

    def close(self):
        pass


class Bytes:
    def __call__(self, texts, **_):
        return {"input_ids": [list(text.encode()) for text in texts]}


@pytest.fixture
def engine(monkeypatch):
    engine = Engine()
    monkeypatch.setattr(item_text, "open_engine", lambda *_, **__: engine)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda _: Bytes())
    return engine


def publish(home, version):
    path = home.models / "item_text" / version
    path.mkdir(parents=True)
    settings = {"max_prompt_tokens": 400, "max_target_tokens": 24}
    manifest = {"name": "item_text", "version": version, "settings": settings}
    manifest["job"] = "train item_text"
    (path / "manifest.json").write_text(json.dumps(manifest))
    return models.Model("item_text", version, path)


def set_items(home, **titles):
    def fill(con):
        con.execute(
            "CREATE OR REPLACE TABLE lake.items.item_facets (item_id VARCHAR, title VARCHAR,"
            " leaf_category VARCHAR, category_path VARCHAR, brand VARCHAR, attributes VARCHAR[],"
            " tags VARCHAR[], price_band VARCHAR, facets_hash VARCHAR)"
        )
        for item, title in titles.items():
            con.execute(
                "INSERT INTO lake.items.item_facets VALUES (?, ?, 'c', 'a > c', NULL, [], [],"
                " NULL, md5(?))",
                [item, title, title],
            )

    warehouse.write(home, fill)


@pytest.fixture
def shop(home):
    set_items(home, i1="tent", i2="lamp", i3="bad rope")
    publish(home, "v1")
    return home


NEWEST = """
SELECT item_id, item_text, error, model_version FROM items.generated_texts
QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY run_id DESC) = 1
ORDER BY item_id
"""


def test_new_and_changed_items_and_nothing_twice(shop, engine, aigq, rows_of):
    result = aigq("generate", "item_texts")
    assert engine.asked == ["tent", "lamp", "bad rope"]
    assert "2 texts, 1 malformed: 1 truncated; 0 items were done before" in result.output
    assert [tuple(r.values()) for r in rows_of(shop, NEWEST)] == [
        ("i1", "about tent", None, "v1"),
        ("i2", "about lamp", None, "v1"),
        ("i3", None, "truncated", "v1"),
    ]
    engine.asked.clear()
    aigq("generate", "item_texts")
    assert engine.asked == []
    set_items(shop, i1="tent", i2="bad lamp", i3="bad rope", i4="mug")
    aigq("generate", "item_texts")
    assert engine.asked == ["bad lamp", "mug"]
    # What the lamp was is no longer said of it.
    assert [r["item_text"] for r in rows_of(shop, NEWEST)] == [
        "about tent",
        None,
        None,
        "about mug",
    ]
    (metrics,) = rows_of(shop, "SELECT metrics FROM meta.runs ORDER BY run_id DESC LIMIT 1")
    found = json.loads(metrics["metrics"])
    assert (found["texts"], found["malformed"], found["items_done_before"]) == (
        1,
        {"truncated": 1},
        2,
    )


def test_a_past_state_is_what_is_read(shop, engine, aigq, rows_of):
    (then,) = rows_of(shop, "SELECT max(snapshot_id) AS id FROM ducklake_snapshots('lake')")
    set_items(shop, i1="another tent", i4="mug")
    aigq("generate", "item_texts", "--as-of", str(then["id"]))
    assert engine.asked == ["tent", "lamp", "bad rope"]


def test_a_new_version_takes_over_what_failed_and_all_where_asked(shop, engine, aigq, rows_of):
    aigq("generate", "item_texts")
    publish(shop, "v2")
    engine.asked.clear()
    aigq("generate", "item_texts")
    assert engine.asked == ["bad rope"]
    engine.asked.clear()
    aigq("generate", "item_texts", "--all")
    assert engine.asked == ["tent", "lamp"]
    assert {r["model_version"] for r in rows_of(shop, NEWEST)} == {"v2"}


def test_killed_between_chunks_it_goes_on(shop, engine, monkeypatch, rows_of):
    from aigq import jobs

    model = models.resolve(shop, "item_text")
    engine.fail_after = 2

    def run():
        with jobs.job(shop, "generate item_texts", {}) as run:
            item_text.generate_item_texts(run, model, engine="vllm", everything=False, chunk=1)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert len(rows_of(shop, NEWEST)) == 2
    engine.fail_after = None
    engine.asked.clear()
    run()
    assert engine.asked == ["bad rope"]
    assert len(rows_of(shop, "FROM items.generated_texts")) == 3


def test_a_model_of_lists_writes_no_item_texts(shop, engine, aigq):
    path = shop.models / "direct" / "v1"
    path.mkdir(parents=True)
    manifest = {"name": "direct", "version": "v1", "job": "train sft"}
    manifest["settings"] = {"max_prompt_tokens": 176, "max_target_tokens": 128}
    (path / "manifest.json").write_text(json.dumps(manifest))
    result = aigq("generate", "item_texts", "--model", "direct", code=1)
    assert "direct@v1 writes no item texts: it is one of `aigq train sft`" in result.output
    assert not engine.asked
