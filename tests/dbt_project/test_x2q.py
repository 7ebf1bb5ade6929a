"""The x2q index, counted again in plain Python (AIGQ eq. 19)."""

import math
from collections import defaultdict
from datetime import date, timedelta

import pytest


def index(reference, categories, stats) -> dict[tuple[str, int], dict]:
    """``serving.x2q_index`` by trigger and position, from the rows that jobs wrote.

    ``categories``: leaf category ids of queries; ``stats``: the newest statistics of queries.
    """
    scores = {}
    for row in sorted(reference.written["serving"]["x2q_scores"], key=lambda r: r["run_id"]):
        scores[row["trigger"], row["query_text"]] = row
    leaves = {f"query:{q}": f"category:{c}" for q, c in categories.items()}
    for item in reference.raw["items"]:
        leaves[f"item:{item['item_id']}"] = f"category:{item['leaf_category_id']}"
    last_day = max(reference.day(e["occurred_at"]) for e in reference.raw["events"])

    proposals = defaultdict(list)
    for (session,), points in reference.newest_run("serving", "x2q_triples", "session_id").items():
        day = date.fromisoformat(session[-10:])
        if day <= last_day - timedelta(days=reference.variables["x2q_days"]):
            continue
        for point in points:
            for content in point["triggers"]:
                for query in point["queries"]:
                    if (content, query) not in scores or content == f"query:{query}":
                        continue
                    score = scores[content, query]
                    best = (-score["relevance"], -day.toordinal(), session, point["point_index"])
                    for trigger in {content, leaves.get(content, content)}:
                        proposals[trigger, query].append((*best, content, score, point))

    most = max((s["page_views_7d"] for s in stats.values()), default=0)
    shown = sum(s["hint_impressions_7d"] for s in stats.values())
    shop_ctr = sum(s["hint_clicks_7d"] for s in stats.values()) / shown if shown else 0
    rated = defaultdict(list)
    for (trigger, query), own in proposals.items():
        *_, score, point = min(own, key=lambda p: p[:5])
        of_query = stats.get(query, {"page_views_7d": 0, "hint_ctr_7d": shop_ctr})
        views = math.log1p(of_query["page_views_7d"]) / math.log1p(most) if most else 0
        ctr = score["predicted_ctr"]
        effectiveness = (views + (of_query["hint_ctr_7d"] if ctr is None else ctr)) / 2
        weight = reference.variables["x2q_lambda"]
        rated[trigger].append(
            {
                "query_text": query,
                "relevance": score["relevance"],
                "effectiveness": effectiveness,
                "score": weight * score["relevance"] + (1 - weight) * effectiveness,
                "support": len({p[2] for p in own}),
                "rationale": point["rationale"],
                "model_version": point["model_version"],
            }
        )
    found = {}
    for trigger, rows in rated.items():
        rows.sort(key=lambda r: (-round(r["score"], 12), -r["support"], r["query_text"]))
        for position, row in enumerate(rows[: reference.variables["x2q_length"]], start=1):
            found[trigger, position] = row
    return found


def test_the_index_is_equation_19(random_shop, rows_of):
    home, reference = random_shop
    categories = {
        r["query_text"]: r["leaf_category_id"] for r in rows_of(home, "from items.query_categories")
    }
    stats = {
        r["query_text"]: r
        for r in rows_of(
            home,
            "from features.query_stats where event_timestamp ="
            " (select max(event_timestamp) from features.query_stats)",
        )
    }
    expected = index(reference, categories, stats)
    rows = rows_of(home, "from serving.x2q_index")
    found = {(r.pop("trigger"), r.pop("position")): r for r in rows}
    assert {trigger.partition(":")[0] for trigger, _ in found} == {"item", "query", "category"}
    assert max(position for _, position in found) == reference.variables["x2q_length"]
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key] == pytest.approx(row, abs=1e-12), key


def test_the_feature_is_the_index_by_trigger(random_shop, rows_of):
    home, reference = random_shop
    lists = defaultdict(lambda: ([], [], [], []))
    for row in rows_of(home, "from serving.x2q_index order by trigger, position"):
        for column, name in zip(
            lists[row["trigger"]],
            ("query_text", "score", "rationale", "model_version"),
            strict=True,
        ):
            column.append("" if row[name] is None else row[name])
    found = {r["trigger"]: r for r in rows_of(home, "from features.x2q")}
    (built_at,) = {r["built_at_us"] for r in found.values()}
    newest_index = found.pop("index:newest")
    assert newest_index["queries"] == [] and newest_index["built_at_us"] == built_at
    columns = ("queries", "scores", "rationales", "sources")
    assert {t: tuple(r[c] for c in columns) for t, r in found.items()} == lists
    newest = max(e["occurred_at"] for e in reference.raw["events"])
    (moment,) = {r["event_timestamp"] for r in found.values()}
    (run,) = rows_of(home, "from meta.runs where job = 'dbt build'")
    # The later of two builds of the same events has the later moment, and so goes online.
    offset = (moment - newest) // timedelta(microseconds=1)
    assert run["snapshot_read"] < offset <= run["snapshot_written"] + 1


def test_triggers_have_names(random_shop, rows_of):
    home, reference = random_shop
    texts = reference.item_texts()
    leaves = {i["leaf_category_id"]: i["leaf_category"] for i in reference.raw["items"]}
    for row in rows_of(home, "from features.x2q where trigger <> 'index:newest'"):
        kind, _, name = row["trigger"].partition(":")
        known = {"item": texts, "category": leaves}.get(kind, {})
        assert row["trigger_text"] == known.get(name, name)
