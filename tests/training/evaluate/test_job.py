"""``aigq evaluate`` on a lake made by hand, without models and sentence embeddings."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from aigq import embeddings, warehouse
from aigq.cli import main
from training.evaluate import job

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
                TIMESTAMPTZ '2026-03-05 00:00:00+00' AS session_start_at,
                ['rare ' || i] AS true_queries,
                [{'action': 'search', 'content_text': 'rope'}] AS behaviors,
                true AS is_replayed
            FROM range(6) AS t (i)
            """
        )
        con.execute(
            "CREATE TABLE lake.items.query_categories AS"
            " SELECT 'tent' AS query_text, 'c1' AS leaf_category_id, 'clicks' AS source"
        )
        versions = ", ".join(f"('direct', '{v}')" for v in VERSIONS)
        con.execute(
            f"""
            CREATE TABLE lake.eval.all_lists AS
            SELECT
                instance_id, model, model_version, 0 AS list_index, 1 AS position,
                'tent' AS query_text
            FROM lake.samples.test_user_days
            CROSS JOIN (VALUES ('popularity', 'sql'), {versions}) AS m (model, model_version)
            """
        )
        con.execute("CREATE VIEW lake.eval.lists AS SELECT * FROM lake.eval.all_lists")

    warehouse.write(home, build)
    for version in VERSIONS:
        folder = home.models / "direct" / version
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    monkeypatch.setattr(job, "_have_lists_generated", lambda *_: None)
    monkeypatch.setattr(embeddings, "embed", lambda texts, **_: np.eye(len(texts), dtype="f4"))
    return home


def evaluate(*models: str) -> str:
    options = [part for model in models for part in ("--model", model)]
    result = CliRunner().invoke(
        main, ["evaluate", "--instances", "2", "--lists", "1", *options], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.stdout


def test_measured_again_the_metrics_are_replaced(shop, rows_of):
    figures = "SELECT * EXCLUDE run_id FROM eval.metrics ORDER BY ALL"
    evaluate("direct")
    first = rows_of(shop, figures)
    assert {r["model"] for r in first} >= {"direct", "popularity"}
    evaluate("direct")
    assert rows_of(shop, figures) == first
    evaluate(f"direct@{VERSIONS[0]}")
    versions = {r["model_version"] for r in rows_of(shop, figures)}
    assert versions == {"sql", *VERSIONS}, "another version's figures stay"


def test_two_versions_of_a_model_are_told_apart(shop, rows_of):
    page = evaluate(*(f"direct@{v}" for v in VERSIONS), "direct")
    header = page.splitlines()[0].split()
    assert header == [*job.BASELINES, "direct@aaa111", "direct@bbb222"]
    (row,) = rows_of(shop, "SELECT parameters FROM meta.runs WHERE job = 'evaluate'")
    assert json.loads(row["parameters"])["models"] == [f"direct@{v}" for v in VERSIONS]
    assert evaluate("direct").splitlines()[0].split()[-1] == "direct"


def test_a_report_says_that_requests_are_replayed(shop):
    assert "The requests of this shop are replayed." in evaluate("direct")
    (path,) = shop.reports.glob("evaluate-*.json")
    assert json.loads(path.read_text())["is_replayed"] is True
    warehouse.write(
        shop, lambda con: con.execute("UPDATE lake.samples.test_user_days SET is_replayed = false")
    )
    assert "replayed" not in evaluate("direct")


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
    result = CliRunner().invoke(
        main, ["evaluate", "--instances", "2", "--lists", "1", "--as-of", old["run_id"]]
    )
    assert result.exit_code == 0, result.output
    (line,) = [row for row in result.stdout.splitlines() if row.startswith("Query HR@1 ")]
    figures = [figure for figure in line.split() if "[" not in figure and "]" not in figure]
    assert (figures[2], figures[-1]) == ("0.000", "1.000"), "popularity, direct"
    # What is stored is about the present.
    assert [r["value"] for r in rows_of(shop, metrics)] == [0.0, 1.0]


@pytest.mark.parametrize(("end", "is_refused"), [("05T00:00:00", False), ("05T00:00:01", True)])
def test_a_model_is_not_measured_on_days_it_has_seen(shop, end, is_refused):
    manifest = {"train_end_at": f"2026-03-{end}+00:00"}
    (shop.models / "direct" / VERSIONS[1] / "manifest.json").write_text(json.dumps(manifest))
    result = CliRunner().invoke(main, ["evaluate", "--instances", "2", "--lists", "1"])
    assert ("was trained on days until 2026-03-05T00:00:01+00:00" in result.output) == is_refused
    assert result.exit_code == is_refused
