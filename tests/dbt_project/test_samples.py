"""The SQL against the same rules in plain Python, on random logs full of ties and midnights."""

import re
import shutil
from datetime import UTC, datetime

import pytest
from dbt_reference import fates

from aigq import warehouse
from aigq.settings import Home


def test_samples_are_those_of_the_reference(random_shop, rows_of):
    home, reference = random_shop
    expected = reference.samples()
    found = {r["session_id"]: r for r in rows_of(home, "from samples.samples_direct")}
    assert len(expected) > 30
    assert found.keys() == expected.keys()
    for session, sample in expected.items():
        assert found[session] == sample


def test_label_candidates_are_those_of_the_reference(random_shop, rows_of):
    """The dropped ones too, each with its reason."""
    home, reference = random_shop
    expected = reference.label_candidates()
    found = fates(rows_of(home, "from labels.label_candidates"))
    reasons = {(variant, row[-1]) for (_, variant, _, _), row in expected.items()}
    assert reasons == {
        *(("direct", reason) for reason in (None, "duplicate", "beyond_length")),
        *(("think", reason) for reason in (None, "duplicate", "beyond_length", "misaligned")),
    }, "too tame"
    assert found == expected


def test_ctr_samples_are_those_of_the_reference(random_shop, rows_of):
    home, reference = random_shop
    expected = reference.ctr_samples()
    found = {r["session_id"]: r for r in rows_of(home, "from samples.samples_ctr")}
    assert found.keys() == expected.keys()
    assert found.keys() > reference.samples().keys(), "every request was clicked: too tame"
    assert {len(s["exposures"]) for s in expected.values()} > {1, 3}
    for session, sample in expected.items():
        assert found[session] == sample


def test_think_samples_are_those_of_the_reference(random_shop, rows_of):
    home, reference = random_shop
    expected = reference.think_samples()
    found = {r["session_id"]: r for r in rows_of(home, "from samples.samples_think")}
    assert len(expected) > 30
    assert found.keys() == expected.keys()
    for session, sample in expected.items():
        assert found[session] == sample


def test_think_sessions_are_those_of_the_reference(random_shop, rows_of):
    home, reference = random_shop
    found = {
        r["session_id"]: (r["user_id"], r["session_start_at"], r["session_end_at"])
        for r in rows_of(home, "from sessions.sessions_think")
    }
    assert found == reference.think_sessions()
    assert found.keys() > reference.think_samples().keys(), "no session without a label: too tame"


def test_test_user_days_are_those_of_the_reference(random_shop, rows_of):
    home, reference = random_shop
    expected = reference.test_user_days()
    query = "select * exclude session_start_at from samples.test_user_days"
    found = {r["instance_id"]: r for r in rows_of(home, query)}
    assert len(expected) > 20
    assert found.keys() == expected.keys()
    for instance, row in expected.items():
        assert found[instance] == row


def test_the_random_shop_is_nasty_enough(random_shop):
    """Without ties, cuts, clicks out of order and unknown profiles the comparisons prove little."""
    _, reference = random_shop
    samples = reference.samples().values()
    moments = [(b["user_id"], b["occurred_at"]) for b in reference.raw["events"]]
    assert len(set(moments)) < len(moments)
    assert any(len(s["behaviors"]) == 7 for s in samples)
    assert any(len(s["labels"]) == 4 for s in samples)
    assert any(s["age_band"] is None for s in samples)
    assert {s["split"] for s in samples} == {"train", "test"}
    think = reference.think_samples().values()
    assert {t for s in think for t in s["label_tiers"]} == {"click", "rank", "search", "llm"}
    assert any(len(s["labels"]) == 6 for s in think)
    at = {b["occurred_at"] for b in reference.raw["events"]}
    assert any(s["session_start_at"] in at for s in samples)


def test_a_day_begins_at_the_first_of_two_midnights(random_shop, rows_of):
    """On 2020-11-01 Havana saw 00:00 at 04:00 and again at 05:00 UTC."""
    home, _ = random_shop
    starts = rows_of(
        home,
        "select distinct session_date, session_start_at from samples.test_user_days"
        " where session_date between '2020-11-01' and '2020-11-02' order by 1",
    )
    assert [r["session_start_at"] for r in starts] == [
        datetime(2020, 11, 1, 4, tzinfo=UTC),
        datetime(2020, 11, 2, 5, tzinfo=UTC),
    ]


def test_query_categories_are_those_of_the_reference(random_shop, rows_of):
    home, reference = random_shop
    found = {
        r["query_text"]: (r["leaf_category_id"], r["support"])
        for r in rows_of(home, "from items.query_categories")
    }
    assert "lantern" in found, "no borrowed category"
    assert found == reference.query_categories()


def test_queries_keep_their_usual_spelling(random_shop, rows_of):
    """ "Tent" and the full-width one are one query; the spelling typed most often is displayed."""
    home, _ = random_shop
    shown = {r["query_text"]: r["display_text"] for r in rows_of(home, "from items.queries")}
    assert shown.keys() == {"tent", "red lamp", "stove", "寝袋", "straße", "boots", "lantern"}
    assert shown["straße"] == "Straße"
    assert shown["tent"] in {"Tent", "tent", "ＴＥＮＴ"}


def lists_of(rows_of, home, model: str) -> dict[str, list[str]]:
    """The lists of a baseline, best first, by instance."""
    rows = rows_of(
        home,
        "select instance_id, list_sort(list({'p': position, 'q': query_text})) as ranked"
        f" from eval.lists where model = '{model}' and model_version = 'sql' and list_index = 0"
        " group by instance_id",
    )
    for row in rows:
        assert [r["p"] for r in row["ranked"]] == list(range(1, len(row["ranked"]) + 1))
    return {row["instance_id"]: [r["q"] for r in row["ranked"]] for row in rows}


def test_popularity_is_that_of_the_reference(random_shop, rows_of):
    home, reference = random_shop
    expected = list(reference.popularity())
    found = lists_of(rows_of, home, "popularity")
    assert found == dict.fromkeys(reference.test_user_days(), expected)


@pytest.mark.parametrize("model", ["popularity_profile", "own_recent", "co_click", "co_click_own"])
def test_baselines_are_those_of_the_reference(random_shop, rows_of, model):
    home, reference = random_shop
    expected = {
        "popularity_profile": reference.popularity_profile,
        "own_recent": reference.own_recent,
        "co_click": reference.co_click,
        "co_click_own": reference.co_click_own,
    }[model]()
    found = lists_of(rows_of, home, model)
    assert len(found) > 20
    assert found == expected


def test_training_queries_are_those_of_the_reference(random_shop, rows_of):
    home, reference = random_shop
    found = {
        r["query_text"]: (r["searches"], r["popularity"], r["band"])
        for r in rows_of(home, "from eval.training_queries")
    }
    assert found == reference.training_queries()
    assert {band for _, _, band in found.values()} >= {"head", "torso"}


def test_what_evaluation_tells_apart_is_that_of_the_reference(random_shop, rows_of):
    home, reference = random_shop
    queries = {
        (r["instance_id"], r["query_text"]): (
            *(r["is_searched"], r["is_hint_click"], r["is_novel"], r["band"]),
        )
        for r in rows_of(home, "from eval.test_true_queries")
    }
    assert queries == reference.test_true_queries()
    assert {kinds[:3] for kinds in queries.values()} >= {
        (True, False, True),
        (False, True, True),
        (True, False, False),
    }
    instances = {
        r["instance_id"]: (r["behaviors"], r["has_unseen_item"])
        for r in rows_of(home, "from eval.test_instances")
    }
    assert instances == reference.test_instances()


def test_scores_by_blocks_of_users_are_those_of_all_at_once(
    random_shop, run_dbt, rows_of, copied_project, tmp_path
):
    original, reference = random_shop
    shutil.copytree(original.root / "lake", tmp_path / "lake")
    model = copied_project / "dbt_project" / "models" / "eval" / "co_click_scores.sql"
    sql = model.read_text()
    assert "size=10000" in sql
    model.write_text(sql.replace("size=10000", "size=3"))
    changed = Home(tmp_path)
    options = {"variables": reference.variables, "project": copied_project}
    compiled = "target/compiled/aigq/dbt_project/models/eval/co_click_scores.sql"
    rows = "from eval.co_click_scores order by all"
    of_some_days = options | {"variables": reference.variables | {"rebuild_days": ["2020-11-01"]}}
    for full, these in ((["--full-refresh"], options), ([], of_some_days)):
        run_dbt(changed, "run", *full, "-s", "co_click_scores", **these)
        assert "co_click_scores_gathered" in (changed.root / compiled).read_text(), "one block"
        assert rows_of(changed, rows) == rows_of(original, rows) != []


def test_what_is_broken_fails_its_test(random_shop, run_dbt, tmp_path):
    """A context without its newest behaviour, a doubled label, a candidate without a session and a
    kept one with a reason to drop it: each is found, and nothing else is."""
    original, reference = random_shop
    shutil.copytree(original.root / "lake", tmp_path / "lake")
    changed = Home(tmp_path)

    def spoil(lake):
        lake.execute(
            "UPDATE lake.samples.samples_think SET behaviors = behaviors[1:len(behaviors) - 1]"
            " WHERE len(behaviors) > 1"
        )
        lake.execute(
            "INSERT INTO lake.labels.label_lists_v1 FROM lake.labels.label_lists_v1 LIMIT 1"
        )
        lake.execute(
            "UPDATE lake.labels.label_candidates_v1 SET session_id = NULL WHERE session_id ="
            " (SELECT min(session_id) FROM lake.labels.label_candidates_v1)"
        )
        lake.execute(
            "UPDATE lake.labels.label_candidates_v1 SET drop_reason = 'duplicate'"
            " WHERE session_id = (SELECT max(session_id) FROM lake.labels.label_candidates_v1)"
        )

    warehouse.write(changed, spoil)
    checks = [
        "contexts_are_the_newest_past",
        "candidates_have_a_fate",
        "label_lists",
        "label_candidates",
    ]
    result = run_dbt(changed, "test", "-s", *checks, variables=reference.variables, check=False)
    failed = " ".join(re.findall(r"FAIL \d+ (\w+)", result.stdout))
    for name in ("contexts_are_the_newest_past", "candidates_have_a_fate"):
        assert name in failed, result.stdout
    for table in ("label_lists", "label_candidates"):
        assert f"unique_grain_{table}" in failed, result.stdout
    assert "accepted_values" not in failed, result.stdout


_OF_LENGTH = (
    "session_id || variant IN (SELECT session_id || variant FROM {} GROUP BY ALL HAVING {})"
)
_LABELS = "labels.label_lists_v1"


@pytest.mark.parametrize(
    "changes",
    [
        {
            f"UPDATE lake.{_LABELS} SET position = NULL WHERE "
            + _OF_LENGTH.format(f"lake.{_LABELS}", "count(*) = 1"): "unique_grain_label_lists",
            "UPDATE lake.eval.baseline_lists SET position = NULL"
            " WHERE position = 1": "unique_grain_baseline_lists",
            "UPDATE lake.samples.samples_ctr SET behaviors = NULL"
            " WHERE len(behaviors) = 0": "contexts_are_the_newest_past",
        },
        {
            f"UPDATE lake.{_LABELS} SET log_position = 1 WHERE log_position = 2 AND "
            + _OF_LENGTH.format(f"lake.{_LABELS}", "count(*) > 2"): "label_lists_are_whole",
        },
        {
            "INSERT INTO lake.labels.label_candidates_v1"
            " FROM lake.labels.label_candidates_v1 LIMIT 1": "unique_grain_label_candidates",
            f"UPDATE lake.{_LABELS} SET query_text = 'twice' WHERE position <= 2 AND "
            + _OF_LENGTH.format(f"lake.{_LABELS}", "count(*) > 1"): "unique_label",
            "INSERT INTO lake.staging.stg_hint_candidates SELECT one.* REPLACE (100 AS rank)"
            " FROM (FROM lake.staging.stg_hint_candidates LIMIT 1) AS one,"
            " range(2)": "unique_grain_stg_hint_candidates",
        },
    ],
    ids=["nulls", "one of two orders", "doubles"],
)
def test_rows_that_are_missing_or_double_fail_their_tests(random_shop, run_dbt, tmp_path, changes):
    original, reference = random_shop
    shutil.copytree(original.root / "lake", tmp_path / "lake")
    changed = Home(tmp_path)
    for change in changes:
        ((rows,),) = warehouse.write(changed, lambda lake, sql=change: lake.execute(sql).fetchall())
        assert rows, change
    checks = ["label_lists", "label_candidates", "stg_hint_candidates", "baseline_lists"]
    checks += ["contexts_are_the_newest_past"]
    result = run_dbt(changed, "test", "-s", *checks, variables=reference.variables, check=False)
    failed = " ".join(re.findall(r"FAIL \d+ (\w+)", result.stdout))
    for name in changes.values():
        assert name in failed, result.stdout


@pytest.mark.parametrize(
    "table",
    ["samples_ctr", "test_user_days", pytest.param("samples_direct", marks=pytest.mark.slow)],
)
def test_a_context_with_other_contents_fails_the_build(random_shop, run_dbt, tmp_path, table):
    """As many behaviours on the same days, but one of them is not what the user did."""
    original, reference = random_shop
    shutil.copytree(original.root / "lake", tmp_path / "lake")
    changed = Home(tmp_path)
    change = (
        f"UPDATE lake.samples.{table} SET behaviors = list_transform(behaviors, lambda b, i: "
        "struct_update(b, content_key := if(i = 1, 'item:other', b.content_key)))"
        " WHERE len(behaviors) > 1"
    )
    warehouse.write(changed, lambda lake: lake.execute(change))
    check = "contexts_are_the_newest_past"
    result = run_dbt(changed, "test", "-s", check, variables=reference.variables, check=False)
    assert check in result.stdout.partition("FAIL")[2], result.stdout


def test_every_rule_over_several_tables_can_fail(random_shop, run_dbt, tmp_path):
    original, reference = random_shop
    shutil.copytree(original.root / "lake", tmp_path / "lake")
    changed = Home(tmp_path)
    labels = f"lake.{_LABELS}"
    of_some = "WHERE session_id = (SELECT max(session_id) FROM lake.samples.{0})"
    changes = {
        "clicked_first": f"UPDATE {labels} SET position = 99 WHERE position = 1 AND tier = 'click'"
        f" AND variant = 'direct' AND {_OF_LENGTH.format(labels, 'count(*) > 1')}",
        **{
            name: f"DELETE FROM lake.samples.{table} {of_some.format(table)}"
            for name, table in {
                "every_clicked_request_has_a_sample": "samples_direct",
                "every_labelled_day_has_a_sample": "samples_think",
                "every_displayed_hint_is_an_exposure": "samples_ctr",
            }.items()
        },
        "baselines_know_only_training_days": "UPDATE lake.eval.baseline_lists"
        " SET query_text = 'never searched' WHERE position = 1",
        "replayed_only_without_requests": "UPDATE lake.meta.shop SET is_replayed = true",
        "replayed_proposals_are_past": "INSERT INTO lake.sessions.replayed_candidates BY NAME"
        " SELECT 'r' AS request_id, 'never searched' AS query_text",
        "x2q_queries_are_normalised": "INSERT INTO lake.serving.x2q_triples"
        " SELECT * REPLACE ('9' AS run_id, ['Two  Spaces'] AS queries)"
        " FROM lake.serving.x2q_triples LIMIT 1",
        "hints_fit_their_requests": "INSERT INTO lake.staging.stg_hint_candidates"
        " SELECT * REPLACE (NULL AS request_date) FROM lake.staging.stg_hint_candidates LIMIT 1",
        "some_samples_train": "UPDATE lake.samples.samples_direct SET split = 'test'",
    }
    others = [
        "UPDATE lake.samples.samples_think SET split = 'test'",
        "INSERT INTO lake.sessions.replayed_requests BY NAME"
        " SELECT 'r' AS request_id, DATE '2020-11-01' AS request_date",
    ]
    for change in (*changes.values(), *others):
        ((rows,),) = warehouse.write(changed, lambda lake, sql=change: lake.execute(sql).fetchall())
        assert rows, change
    result = run_dbt(changed, "test", "-s", *changes, variables=reference.variables, check=False)
    failed = set(re.findall(r"(?:FAIL|WARN) \d+ (\w+) \.", result.stdout))
    assert failed == changes.keys(), result.stdout
    # And each says which rows.
    assert len(re.findall(r"found(?: these and others, \d+ in all)?:\n", result.stdout)) == len(
        failed
    )
    assert "query_text two  spaces" in result.stdout.lower()
