"""``aigq evaluate`` on a lake made by hand, without models and sentence embeddings."""

import json
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from aigq import ctr, embeddings, jobs, models, warehouse
from aigq.cli import main
from aigq.context import CONTEXT_KEY, Behavior, Context
from aigq.ctr import CtrScorer
from aigq.ctr_network import CtrConfig, CtrNetwork
from training.evaluate import job, metrics

VERSIONS = ["20260101T000000-train-sft-aaa111", "20260102T000000-train-sft-bbb222"]


@pytest.fixture
def shop(home, monkeypatch):
    """Six user-days; "tent" is placed by clicks, the others by nothing yet."""

    def build(con):
        con.execute("CREATE SCHEMA IF NOT EXISTS lake.samples")
        con.execute(
            """
            CREATE TABLE lake.samples.test_user_days AS
            SELECT
                'u' || i || ':2026-03-05' AS instance_id,
                'u' || i AS user_id,
                DATE '2026-03-05' AS session_date,
                TIMESTAMPTZ '2026-03-05 00:00:00+00' AS session_start_at,
                ['rare ' || i] AS true_queries,
                NULL::VARCHAR AS age_band, NULL::VARCHAR AS gender, 'north' AS region,
                [{
                    'days_ago': 1, 'action': 'search', 'content_text': 'tent',
                    'content_key': 'query:tent'
                }] AS behaviors,
                true AS is_replayed
            FROM range(6) AS t (i)
            """
        )
        con.execute(
            """
            CREATE VIEW lake.eval.test_instances AS
            SELECT
                instance_id, user_id, session_date, 1 AS behaviors, false AS has_unseen_item,
                is_replayed
            FROM lake.samples.test_user_days
            """
        )
        con.execute(
            """
            CREATE VIEW lake.eval.test_true_queries AS
            SELECT
                instance_id, unnest(true_queries) AS query_text, true AS is_searched,
                false AS is_hint_click, true AS is_novel, 'unseen' AS band
            FROM lake.samples.test_user_days
            """
        )
        con.execute(
            "CREATE TABLE lake.items.query_categories AS"
            " SELECT 'tent' AS query_text, 'c1' AS leaf_category_id, 'clicks' AS source"
        )
        models = [(name, "sql") for name in ("popularity", "popularity_profile", "co_click_own")]
        models += [("direct", version) for version in VERSIONS]
        con.execute(
            f"""
            CREATE TABLE lake.eval.all_lists AS
            SELECT
                instance_id, model, model_version, 0 AS list_index, 1 AS position,
                'tent' AS query_text
            FROM lake.samples.test_user_days
            CROSS JOIN (VALUES {", ".join(map(str, models))}) AS m (model, model_version)
            """
        )
        con.execute("CREATE VIEW lake.eval.lists AS SELECT * FROM lake.eval.all_lists")
        con.execute(
            """
            INSERT INTO lake.eval.list_draws BY NAME
            SELECT instance_id, model, model_version, list_index, 'run-of-lists' AS run_id
            FROM lake.eval.all_lists WHERE model = 'direct'
            """
        )
        con.execute(
            """
            INSERT INTO lake.meta.runs (run_id, job, parameters, metrics) VALUES (
                'run-of-lists', 'generate lists',
                '{"seed": 5, "temperature": 1.0, "top_k": 100}', '{"engine": "vllm"}'
            )
            """
        )

    warehouse.write(home, build)
    for version in VERSIONS:
        publish(home, "direct", version)
    monkeypatch.setattr(job, "_have_lists_generated", lambda *_: None)
    monkeypatch.setattr(embeddings, "embed", lambda texts, **_: np.eye(len(texts), dtype="f4"))
    return home


def publish(home, name: str, version: str, **manifest) -> None:
    folder = home.models / name / version
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def evaluate(*models: str, options: tuple[str, ...] = (), code: int = 0) -> str:
    options = (*(part for model in models for part in ("--model", model)), *options)
    result = CliRunner().invoke(main, ["evaluate", "--instances", "2", "--lists", "1", *options])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.output


def write_lists(home, name: str, version: str, query: str) -> None:
    """A model whose every list is ``query``, written twice; user u3's list is malformed."""

    def insert(con):
        con.execute(
            "INSERT INTO lake.eval.all_lists SELECT instance_id, ?, ?, 0, 1, ?"
            " FROM lake.samples.test_user_days WHERE user_id <> 'u3'",
            [name, version, query],
        )
        con.execute(
            "INSERT INTO lake.eval.list_draws BY NAME SELECT instance_id, ? AS model,"
            f" ? AS model_version, 0 AS list_index, {CONTEXT_KEY} AS context_key,"
            " if(user_id = 'u3', 'truncated', NULL) AS error,"
            " if(user_id = 'u3', 0, 1) AS duplicates, 'run-of-lists' AS run_id"
            " FROM lake.samples.test_user_days",
            [name, version],
        )

    warehouse.write(home, insert)


def rows_down(page: str) -> list[str]:
    """The first column of the first table."""
    lines = page.split("\n\n")[0].splitlines()[4:]
    return [line.split()[0] for line in lines]


def test_measured_again_the_metrics_are_replaced(shop, rows_of):
    figures = "SELECT * EXCLUDE run_id FROM eval.metrics ORDER BY ALL"
    compared = "SELECT * EXCLUDE run_id FROM eval.comparisons ORDER BY ALL"
    evaluate("direct")
    first, pairs = rows_of(shop, figures), rows_of(shop, compared)
    assert {r["model"] for r in first} >= {"direct", "popularity"}
    assert ("co_click", "direct") in {(r["model"], r["other_model"]) for r in pairs}
    evaluate("direct")
    assert rows_of(shop, figures) == first
    assert rows_of(shop, compared) == pairs
    evaluate(f"direct@{VERSIONS[0]}")
    versions = {r["model_version"] for r in rows_of(shop, figures)}
    assert versions == {"sql", *VERSIONS}, "another version's figures stay"
    others = {r["other_version"] for r in rows_of(shop, compared)}
    assert others == {"sql", *VERSIONS}, "and its comparisons"


def test_every_figure_names_its_run(shop, rows_of):
    evaluate("direct")
    (run,) = rows_of(shop, "SELECT run_id FROM meta.runs WHERE job = 'evaluate'")
    for table in ("metrics", "comparisons"):
        assert rows_of(shop, f"SELECT DISTINCT run_id FROM eval.{table}") == [run]


def test_two_versions_of_a_model_are_told_apart(shop, rows_of):
    page = evaluate(*(f"direct@{v}" for v in VERSIONS), "direct")
    assert rows_down(page) == [*models.BASELINES, "direct@aaa111", "direct@bbb222"]
    (row,) = rows_of(shop, "SELECT parameters FROM meta.runs WHERE job = 'evaluate'")
    assert json.loads(row["parameters"])["models"] == [f"direct@{v}" for v in VERSIONS]
    assert rows_down(evaluate("direct"))[-1] == "direct"


def test_a_baseline_that_the_lake_was_built_without_is_no_miss(shop):
    """An older software built the day, and a newer one may have built others since."""
    older = (
        "DELETE FROM lake.eval.all_lists WHERE model = 'popularity_profile' AND instance_id ="
        " (SELECT min_by(instance_id, md5(instance_id)) FROM lake.samples.test_user_days)"
    )
    warehouse.write(shop, lambda lake: lake.execute(older))
    said = evaluate("direct", code=1)
    assert "the baseline popularity_profile has no list for some of these user-days" in said
    with jobs.job(shop, "train x", {}) as run:
        then = str(run.snapshot_read)
    page = evaluate("direct", options=("--as-of", then))
    assert {*models.BASELINES} - {*rows_down(page)} == {"popularity_profile"}


def test_baselines_alone_can_be_asked_for(shop):
    page = evaluate("popularity", "co_click")
    assert rows_down(page) == [*models.BASELINES], "no direct where others are named"


def test_a_report_says_that_requests_are_replayed(shop):
    assert "The requests of this shop are replayed." in evaluate("direct")
    (path,) = shop.reports.glob("evaluate-*.json")
    assert json.loads(path.read_text())["is_replayed"] is True
    warehouse.write(
        shop, lambda con: con.execute("UPDATE lake.samples.test_user_days SET is_replayed = false")
    )
    assert "replayed" not in evaluate("direct")


def test_the_foot_says_how_lists_were_made(shop):
    write_lists(shop, "direct", "late", "tent")
    publish(shop, "direct", "late")
    page = evaluate("direct@late", options=("--instances", "6"))
    assert "direct@late: 1 list an instance; 1 of 6 malformed (1 truncated)." in page
    assert "by run run-of-lists: lists 6, seed 5, temperature 1.0, top-k 100, engine vllm" in page
    (run,) = (line for line in page.splitlines() if line.startswith("Run "))
    assert "lake snapshot" in run and "seed 0" in run


def test_true_queries_of_all_user_days_are_placed(shop, rows_of):
    evaluate("direct")
    placed = rows_of(shop, "SELECT query_text FROM items.query_neighbors ORDER BY 1")
    assert [r["query_text"] for r in placed] == [f"rare {i}" for i in range(6)]


def test_what_is_committed_meanwhile_is_not_read(shop, monkeypatch):
    original = job.evaluate

    def overtaken(run, *arguments, **options):
        def rebuild(con):
            con.execute("DELETE FROM lake.samples.test_user_days")
            con.execute("DELETE FROM lake.eval.all_lists")

        warehouse.write(shop, rebuild)
        return original(run, *arguments, **options)

    monkeypatch.setattr(job, "evaluate", overtaken)
    assert "2 test user-days" in evaluate("direct")


def test_as_of_an_old_state_with_lists_that_came_later(shop, rows_of):
    """Instances and baselines are the old ones; the models' lists were generated afterwards."""
    evaluate("direct")
    (old,) = rows_of(shop, "SELECT run_id FROM meta.runs WHERE job = 'evaluate'")
    metrics = (
        "SELECT model, value FROM eval.metrics WHERE metric = 'query_hr' AND k = 1"
        " AND slice = 'all' AND model IN ('direct', 'popularity') ORDER BY model"
    )
    assert [r["value"] for r in rows_of(shop, metrics)] == [0.0, 0.0]

    def move_on(con):
        # The model writes the first day's true query; later days ask for what popularity has.
        con.execute(
            "UPDATE lake.eval.all_lists SET query_text = 'rare ' || instance_id[2]"
            " WHERE model = 'direct'"
        )
        con.execute("UPDATE lake.samples.test_user_days SET true_queries = ['tent']")

    warehouse.write(shop, move_on)
    evaluate("direct")
    assert [r["value"] for r in rows_of(shop, metrics)] == [0.0, 1.0]
    page = evaluate(options=("--as-of", old["run_id"]))
    found = {line.split()[0]: line.split()[1] for line in page.split("\n\n")[0].splitlines()[4:]}
    assert (found["popularity"], found["direct"]) == (".000", "1.000")
    # What is stored is about the present.
    assert [r["value"] for r in rows_of(shop, metrics)] == [0.0, 1.0]

    def late(con):
        keys = f"SELECT DISTINCT {CONTEXT_KEY} FROM lake.samples.test_user_days"
        con.execute(f"UPDATE lake.eval.list_draws SET context_key = ({keys})")
        con.execute("UPDATE lake.samples.test_user_days SET region = 'south'")

    # Lists of the old contexts are right for the old state, and for no other.
    warehouse.write(shop, late)
    assert "direct" in evaluate(options=("--as-of", old["run_id"]))
    assert "lack lists" in evaluate(code=1)


@pytest.mark.parametrize(("end", "is_refused"), [("05T00:00:00", False), ("05T00:00:01", True)])
def test_a_model_is_not_measured_on_days_it_has_seen(shop, end, is_refused):
    publish(shop, "direct", VERSIONS[1], train_end_at=f"2026-03-{end}+00:00")
    page = evaluate(code=int(is_refused))
    assert ("was trained on days until 2026-03-05T00:00:01+00:00" in page) == is_refused


def test_what_lists_are_rewarded_for(shop, rows_of, monkeypatch):
    """Each list's one query, twice written, for the context that it was written for."""
    torch.manual_seed(1)
    network = CtrNetwork(CtrConfig(width=8, heads=2, hidden=8, buckets=128))
    publish(shop, "ctr", "1")
    ctr.save(network, shop.models / "ctr" / "1")
    monkeypatch.setattr(metrics, "CTR_SCALE", 1.0)  # of a model that has learned nothing
    change_u0 = "UPDATE lake.samples.test_user_days SET behaviors = [] WHERE user_id = 'u0'"
    warehouse.write(shop, lambda con: con.execute(change_u0))
    write_lists(shop, "direct", "late", "boots")
    publish(shop, "direct", "late")
    page = evaluate("direct@late", options=("--instances", "6", "--ctr", "ctr"))
    assert "Click rewards are of ctr@1." in page
    profile = None, None, "north"
    contexts = [Context(profile), Context(profile, (Behavior(1, "search", "tent"),))]
    of_u0, of_others = CtrScorer(network).score(contexts, [["boots", "tent"]] * 2)
    assert len({*of_u0.round(4), *of_others.round(4)}) == 4
    rewards = rows_of(shop, "SELECT * FROM eval.metrics WHERE metric = 'click_reward'")
    found = {row["model"]: row["value"] for row in rewards}
    # Of u0 and four others, written twice, and u3's malformed list.
    assert found["direct"] == pytest.approx((of_u0[0] + 4 * of_others[0]) / 2 / 6, abs=1e-5)
    assert found["popularity"] == pytest.approx((of_u0[1] + 5 * of_others[1]) / 6, abs=1e-5)
    assert found["own_recent"] == 0, "it has no list"
    repeats = rows_of(shop, "SELECT * FROM eval.metrics WHERE metric = 'repeats'")
    found = {row["model"]: (row["value"], row["instances"]) for row in repeats}
    assert found.pop("direct") == (0.5, 5)
    assert found == dict.fromkeys(("popularity", "popularity_profile", "co_click_own"), (0, 6))
    assert ".500 [.500 .500] (5)" in page and ".000 [.000 .000] (6)" in page

    evaluate("direct@late", options=("--instances", "6"))
    assert not rows_of(shop, "SELECT * FROM eval.metrics WHERE metric = 'click_reward'")
    publish(shop, "ctr", "2", train_end_at="2026-03-06T00:00:00+00:00")
    assert "ctr@2 was trained on days" in evaluate(options=("--ctr", "ctr"), code=1)


def test_sampled_lists_are_merged_with_the_greedy_one(shop, rows_of):
    """Of every user-day the same five lists, the last of which has no end. "tent" and "map" are in
    two of the sampled ones, "lamp" is first in one: boots, tent, map, lamp, rare 0."""
    lists = [["boots"], ["lamp", "rare 0"], ["tent", "map"], ["tent", "map"]]
    rows = [
        (index, position, query)
        for index, of in enumerate(lists)
        for position, query in enumerate(of, 1)
    ]
    values = ", ".join(map(str, rows))
    publish(shop, "direct", "mixed")

    def insert(con):
        con.execute(
            "INSERT INTO lake.eval.all_lists SELECT instance_id, 'direct', 'mixed', index, place,"
            " query FROM lake.samples.test_user_days CROSS JOIN"
            f" (VALUES {values}) AS t (index, place, query)"
        )
        con.execute(
            "INSERT INTO lake.eval.list_draws BY NAME SELECT instance_id, 'direct' AS model,"
            f" 'mixed' AS model_version, i AS list_index, {CONTEXT_KEY} AS context_key,"
            " if(i = 4, 'truncated', NULL) AS error, 0 AS duplicates"
            " FROM lake.samples.test_user_days CROSS JOIN range(5) AS t (i)"
        )

    warehouse.write(shop, insert)

    def figures(lists: int) -> dict:
        evaluate("direct@mixed", options=("--instances", "6", "--lists", str(lists)))
        query = "SELECT metric, k, value FROM eval.metrics WHERE model = 'direct' AND slice = 'all'"
        return {(row["metric"], row["k"]): row["value"] for row in rows_of(shop, query)}

    whole = figures(5)
    # Only u0 looks for "rare 0".
    assert (whole["query_hr", 3], whole["query_hr", 10]) == (0, pytest.approx(1 / 6))
    assert whole["candidates", 30] == 5
    assert whole["list_length", 0] == pytest.approx((1 + 2 + 2 + 2 + 0) / 5)
    assert whole["malformed", 0] == pytest.approx(1 / 5)
    two = figures(2)
    assert two["query_hr", 3] == pytest.approx(1 / 6), "boots, lamp, rare 0"
    assert two["list_length", 0] == 1.5 and two["malformed", 0] == 0


def test_a_query_without_a_category_borrows_that_of_the_nearest_clicked_one(
    shop, rows_of, monkeypatch
):
    """True queries are near "tent", and nearer to "rope", whose own category is borrowed."""
    vectors = {"lamp": [1, 0], "tent": [0, 1]}
    monkeypatch.setattr(
        embeddings,
        "embed",
        lambda texts, **_: np.array([vectors.get(text, [0.6, 0.8]) for text in texts], dtype="f4"),
    )
    warehouse.write(
        shop,
        lambda con: con.execute(
            "INSERT INTO lake.items.query_categories VALUES ('lamp', 'c2', 'clicks'),"
            " ('rope', 'c3', 'neighbor')"
        ),
    )
    for version, query in (("1", "lamp"), ("2", "rare 7")):
        publish(shop, "direct", version)
        write_lists(shop, "direct", version, query)
    evaluate("direct@1", "direct@2", options=("--instances", "6"))
    rows = rows_of(shop, "SELECT * FROM eval.metrics WHERE k = 30 AND slice = 'all'")
    found = {(row["metric"], row["model"], row["model_version"]): row["value"] for row in rows}
    assert found["cate_hr", "popularity", "sql"] == 1, "it has tent for everyone"
    assert found["cate_hr", "direct", "1"] == 0
    # Five of the six have a list.
    assert found["cate_hr", "direct", "2"] == pytest.approx(5 / 6)
    assert found["unique_cates", "direct", "2"] == pytest.approx(5 / 6)
    neighbors = rows_of(shop, "SELECT DISTINCT neighbor_text FROM items.query_neighbors")
    assert [row["neighbor_text"] for row in neighbors] == ["tent"]


def add_a_later_day(home) -> None:
    """Users u0 and u1 come again the day after."""
    later = (
        "INSERT INTO lake.samples.test_user_days SELECT * REPLACE (user_id || ':2026-03-06' AS"
        " instance_id, session_date + 1 AS session_date, session_start_at + INTERVAL 1 DAY AS"
        " session_start_at) FROM lake.samples.test_user_days WHERE user_id < 'u2'"
    )
    warehouse.write(home, lambda con: con.execute(later))


def test_one_day_s_user_days(shop, monkeypatch):
    calls = []
    monkeypatch.setattr(job, "_have_lists_generated", lambda *call: calls.append(call[2]))
    add_a_later_day(shop)
    # It has seen the first of the test days, but not the one asked for.
    publish(shop, "late", "v1", train_end_at="2026-03-06T00:00:00+00:00")
    write_lists(shop, "late", "v1", "rare 0")
    day = ("--days", "2026-03-06..2026-03-06", "--instances", "100")
    page = evaluate("late", options=day)
    assert "2 test user-days" in page
    assert calls == [["--instances", "100", "--days", day[1], "--lists", "1", "--seed", "0"]]
    (path,) = shop.reports.glob("evaluate-*.json")
    found = json.loads(path.read_text())
    assert found["parameters"]["days"] == day[1]
    (row,) = (
        row
        for row in found["metrics"]
        if (row["model"], row["metric"], row["k"], row["slice"]) == ("late", "query_hr", 1, "all")
    )
    assert (row["value"], row["instances"]) == (0.5, 2), "u0 finds it, u1 does not"


@pytest.mark.parametrize("days", [(), ("--days", "2026-03-05..2026-03-06"), ("--days", "..")])
def test_the_first_of_the_days_asked_for_must_be_unseen(shop, days):
    add_a_later_day(shop)
    publish(shop, "direct", VERSIONS[1], train_end_at="2026-03-06T00:00:00+00:00")
    assert "the test user-days begin at 2026-03-05" in evaluate(options=days, code=1)


def test_two_models_are_compared(shop):
    for name in ("one", "other"):
        publish(shop, name, "v1")
    write_lists(shop, "one", "v1", "rare 0")
    write_lists(shop, "other", "v1", "tent")
    page = evaluate(options=("--instances", "6", "--compare", "one", "other"))
    assert rows_down(page) == [*models.BASELINES, "one", "other"], (
        "no direct where others are named"
    )
    block = page[page.index("one minus other") :].split("\n\n")[0].splitlines()
    (line,) = (line for line in block if line.startswith("Query HR@10 "))
    # u0 of six finds it: 1/6. Without u0 a resample differs by nothing.
    assert line.split()[2] == "+.167"
    turned = evaluate(options=("--instances", "6", "--compare", "popularity", "one"))
    assert re.search(r"^Query HR@10 +-\.167", turned, re.MULTILINE)


def test_the_papers_rows_are_found_by_name_manifest_and_option(shop):
    publish(shop, "direct_sft", "v1")
    publish(shop, "mine", "v1", variant="think", objective="il_sft")
    publish(shop, "other", "v1")
    publish(shop, "ebr", "v1", kind="ebr")
    for name in ("direct_sft", "mine", "other", "ebr"):
        write_lists(shop, name, "v1", "rare 0")
    models = ("direct_sft", "mine", "other", "ebr")
    page = evaluate(*models, options=("--row", "direct_il_sft=other"))
    block = page[page.index("Table 1 of the paper") :].split("\n\n")[0].splitlines()
    run = [line.split("  ")[0] for line in block if "[" in line]
    assert run == ["EBR", "Direct SFT", "Direct IL-SFT (other)", "Think IL-SFT (mine)"]
    assert sum("not run" in line for line in block) == 6
    ladder = page[page.index("Table 2 of the paper") :].split("\n\n")[0]
    assert "+ reasoning (mine)" in ladder and ".000 [.000 .000]" in ladder
    (path,) = shop.reports.glob("*.md")
    assert "| Think IL-SFT (mine) |" in path.read_text()


def test_lists_of_another_context_are_not_measured(shop):
    """A late event changes what a user had done: its lists answer another question."""
    write_lists(shop, "think", "v1", "rare 1")
    publish(shop, "think", "v1")
    evaluate("think")
    late = "UPDATE lake.samples.test_user_days SET region = 'south' WHERE user_id = 'u1'"
    warehouse.write(shop, lambda con: con.execute(late))
    said = evaluate("think", options=("--instances", "6"), code=1)
    assert "think@v1: 1 of 6 test user-days lack lists (u1:2026-03-05 is the first)" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--row", "think=direct"), "expected ROW=NAME, ROW one of ebr, zero_shot"),
        (("--row", "think_sft=nobody"), "'nobody' is not evaluated; there are: direct"),
        (("--compare", "direct", "nobody"), "no model 'nobody'"),
        (("--zero-shot", "nobody"), "no model 'nobody'"),
        (
            ("--days", "2026-04-01.."),
            "no test user-day in 2026-04-01..; there are days 2026-03-05 to 2026-03-05",
        ),
    ],
)
def test_refusals(shop, options, message):
    assert message in evaluate(options=options, code=1)


def test_missing_lists_are_asked_for_alike(shop, monkeypatch):
    """Every model by one command each, with the same numbers; zero-shot where that was asked."""
    calls = []
    monkeypatch.setattr(
        job,
        "_have_lists_generated",
        lambda home, reference, options: calls.append((reference, options)),
    )
    publish(shop, "base", "v1")
    # None of the asked model's lists were drawn: they must not count as lists without hits.
    said = evaluate("direct", options=("--zero-shot", "base", "--seed", "3"), code=1)
    assert "base@v1: 2 of 2 test user-days lack lists" in said
    assert [reference for reference, _ in calls] == [f"direct@{VERSIONS[1]}", "base@v1"]
    same = ["--instances", "2", "--lists", "1", "--seed", "3"]
    assert [options for _, options in calls] == [same, [*same, "--zero-shot"]]
