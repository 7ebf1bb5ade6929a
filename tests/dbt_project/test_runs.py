"""dbt as a job: its row in meta.runs, its variables, what it does when it fails."""

import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime

import pytest
import yaml

from aigq import warehouse
from aigq.settings import PROJECT_ROOT, Home
from aigq.tables import JOB_TABLES, RAW_TABLES


def test_a_build_leaves_its_row(random_shop, rows_of):
    home, _ = random_shop
    run = rows_of(home, "from meta.runs where job = 'dbt build' order by started_at limit 1")[0]
    assert run["status"] == "succeeded"
    assert run["started_at"] < run["finished_at"]
    assert run["snapshot_read"] < run["snapshot_written"]
    assert run["code_version"]
    assert run["run_id"].startswith(f"{run['started_at']:%Y%m%dT%H%M%S.%f}-dbt-build-")
    parameters = json.loads(run["parameters"])
    assert parameters["vars"]["shop_timezone"] == "America/Havana"
    assert parameters["vars"]["train_days"] == 3
    metrics = json.loads(run["metrics"])
    assert metrics["models"] > 25
    assert metrics["tests"] > 60
    assert metrics["errors"] == metrics["skipped"] == 0


def test_nothing_is_built_of_a_folder_without_a_log(home, run_dbt, rows_of):
    result = run_dbt(home, "build", check=False)
    assert result.returncode != 0
    said = " ".join(result.stdout.split())
    assert "no event and no hint request is in the lake of" in said
    assert "load a log with `aigq ingest`, or name another folder in AIGQ_HOME" in said
    assert rows_of(home, "from meta.runs") == []


def test_a_failed_test_is_a_failed_run(home, insert_raw, run_dbt, rows_of):
    """Two users of one id, which ingest would never let through.

    Runs of dbt that were killed are told from those at work by the next one, which has waited for
    whichever was at work; other jobs may be."""
    began = datetime(2026, 3, 1, tzinfo=UTC)
    unfinished = [{"run_id": job, "job": job} for job in ("dbt build", "dbt test", "train sft")]
    insert_raw(
        home, "meta", runs=[r | {"status": "running", "started_at": began} for r in unfinished]
    )
    insert_raw(home, users=[{"user_id": "u1", "gender": "f"}, {"user_id": "u1", "gender": "m"}])
    result = run_dbt(home, "build", "-s", "stg_users", check=False)
    assert result.returncode != 0
    assert "unique_grain_stg_users_user_id" in result.stdout
    *unfinished, run = rows_of(home, "from meta.runs order by started_at, run_id")
    assert [u["status"] for u in unfinished] == ["killed", "killed", "running"]
    assert (run["job"], run["status"]) == ("dbt build", "failed")
    assert json.loads(run["metrics"])["errors"] == 1
    assert json.loads(run["parameters"])["arguments"]["select"] == ["stg_users"]


def test_a_view_is_made_again_only_where_its_query_is_another(
    home, insert_raw, run_dbt, rows_of, copied_project
):
    insert_raw(home, users=[{"user_id": "u1"}, {"user_id": "u2"}])
    model = copied_project / "dbt_project" / "models" / "staging" / "stg_users.sql"
    query = model.read_text()

    def run() -> tuple[int, list[str]]:
        """How often the view has been made so far, and its users."""
        run_dbt(home, "run", "-s", "stg_users", project=copied_project)
        (made,) = rows_of(
            home,
            "select count(*) as n from ducklake_snapshots('lake')"
            " where changes['views_created']::varchar like '%stg_users%'",
        )
        return made["n"], [r["user_id"] for r in rows_of(home, "from staging.stg_users order by 1")]

    assert run() == (1, ["u1", "u2"])
    assert run() == (1, ["u1", "u2"])
    model.write_text(f"{query} where user_id <> 'u1'")
    assert run() == (2, ["u2"])
    # What was a view may become a table, and again the view that it once was.
    model.write_text(query.replace("materialized='view'", "materialized='table'"))
    assert run()[1] == ["u1", "u2"]
    insert_raw(home, users=[{"user_id": "u3"}])
    model.write_text(query)
    assert run()[1] == ["u1", "u2", "u3"]


def test_a_table_gets_its_rows_in_place_until_its_columns_are_others(
    home, insert_raw, run_dbt, rows_of, copied_project
):
    insert_raw(home, users=[{"user_id": "u1", "region": "north"}])
    model = copied_project / "dbt_project" / "models" / "staging" / "stg_users.sql"
    query = model.read_text().replace("materialized='view'", "materialized='table'")
    assert query != model.read_text()
    model.write_text(query)

    def run() -> tuple[int, list[dict]]:
        """How many tables it has been so far, and its rows."""
        run_dbt(home, "run", "-s", "stg_users", project=copied_project)
        catalog = "from __ducklake_metadata_lake.ducklake_table where table_name like 'stg_users%'"
        tables = rows_of(home, f"select count(*) as n {catalog}")[0]["n"]
        return tables, rows_of(
            home, "select * exclude registered_at from staging.stg_users order by all"
        )

    first = {"user_id": "u1", "age_band": None, "gender": None, "region": "north"}
    second = first | {"user_id": "u2", "region": "south"}
    assert run() == (1, [first])
    insert_raw(home, users=[{"user_id": "u2", "region": "south"}])
    assert run() == (1, [first, second])
    files = rows_of(home, "from ducklake_list_files('lake', 'stg_users', schema => 'staging')")
    assert [file["delete_file"] for file in files] == [None], "what is gone stays in the way"
    model.write_text(query.replace("select", "select 1 as visits,", 1))
    tables, rows = run()
    assert tables == 2
    assert rows == [{"visits": 1} | first, {"visits": 1} | second]


# Of two models that nothing is made from together, so that no model waits for it.
BAD_EVENTS = """
{{ config(severity='error') }}
select event_id from {{ ref('behaviors') }} where content_text = 'bad'
and {{ in_tested_days('behavior_date') }}
union all
select user_id from {{ ref('stg_users') }} where false
"""


@pytest.mark.slow
def test_days_with_a_failed_test_are_built_and_tested_again(
    home, insert_raw, run_dbt, rows_of, copied_project
):
    """The next build tests what it makes anew: rows that failed must not be left out of it."""
    # A few models do, and builds of them are short.
    models, tests = (copied_project / "dbt_project" / name for name in ("models", "tests"))
    shutil.rmtree(models.with_name("analyses"))
    for folder in {p.name for p in models.iterdir()} - {"staging", "meta", "behavior", "items"}:
        shutil.rmtree(models / folder)
    for path in [*tests.glob("*.sql"), *(models / "items").iterdir()]:
        if path.stem != "item_texts":
            path.unlink()
    (tests / "bad_events.sql").write_text(BAD_EVENTS)

    def only_warn() -> None:
        (tests / "bad_events.sql").write_text(BAD_EVENTS.replace("'error'", "'warn'"))

    def search(day: int, text: str) -> None:
        at = datetime(2026, 3, day, 12, tzinfo=UTC)
        row = {"event_id": f"e{day}", "user_id": "ann", "action": "search", "query_text": text}
        insert_raw(home, events=[row | {"occurred_at": at}])

    def build(**variables) -> tuple[bool, bool, list]:
        """Whether dbt was content, whether the run is complete, and the days that it built."""
        result = run_dbt(home, "build", variables=variables, project=copied_project, check=False)
        (run,) = rows_of(home, "select metrics from meta.runs order by started_at desc limit 1")
        metrics = json.loads(run["metrics"])
        assert metrics["skipped"] == 0 and "bad_events" in result.stdout
        days = rows_of(home, "select distinct shop_date from staging.changed_user_days order by 1")
        days = [row["shop_date"].day for row in days]
        return result.returncode == 0, metrics["is_complete"], days

    search(1, "lamp")
    assert build() == (True, True, [1])
    search(2, "bad")
    assert build() == (False, False, [2])
    search(3, "lamp")
    assert build() == (False, False, [2, 3])
    only_warn()
    assert build() == (True, True, [2, 3])
    (tests / "bad_events.sql").write_text(BAD_EVENTS)
    # So are days that nothing but this name asks for.
    assert build(rebuild_days=["2026-03-02"]) == (False, False, [2])
    assert build() == (False, False, [2])


def test_variables_that_cannot_be_meant(home, run_dbt, rows_of, copied_project):
    wrong = {
        "shop_timezone": "Mars/Olympus",
        "train_days": 0,
        "rebuild_days": ["2026-02-30"],
        "x2q_lambda": 1.5,
        "rebuild_day": "2026-02-03",
    }
    settings = copied_project / "dbt_project.yml"
    project = yaml.safe_load(settings.read_text())
    project["vars"] |= {"feature_day": 5, "aigq": {"max_behaviours": 40}, "don't": 1}
    settings.write_text(yaml.safe_dump(project, sort_keys=False))
    part = ("run", "-s", "stg_users")
    result = run_dbt(home, *part, variables=wrong, check=False, project=copied_project)
    assert result.returncode != 0
    said = " ".join(result.stdout.split())
    assert "'shop_timezone' must be an IANA time zone such as Asia/Shanghai, got Mars" in said
    assert "'train_days' must be a whole number of at least 1, got 0;" in said
    assert "'rebuild_days' holds 2026-02-30, which is no day" in said
    assert "'x2q_lambda' must be a number from 0 to 1, got 1.5" in said
    for name in ("rebuild_day", "feature_day", "max_behaviours", "don't"):
        assert f"no variable '{name}', there are shop_timezone, max_behaviors," in said, name
    result = run_dbt(home, "run", "-s", "stg_users", "--empty", check=False)
    assert result.returncode != 0
    assert "--empty would leave tables empty that later builds go on from" in result.stdout
    assert (
        rows_of(home, "select * from information_schema.tables where table_schema = 'staging'")
        == []
    )


@pytest.mark.slow
def test_other_variables_than_the_shop_was_built_with_are_refused(
    home, insert_raw, run_dbt, rows_of
):
    """Variables given once with --vars are forgotten by the next run."""
    given = {"shop_timezone": "Asia/Shanghai", "train_days": 63}
    part = ("run", "-s", "+shop")
    search = {"event_id": "e1", "user_id": "ann", "action": "search", "query_text": "lamp"}
    insert_raw(home, events=[search | {"occurred_at": datetime(2026, 3, 1, 12, tzinfo=UTC)}])
    run_dbt(home, "run", variables=given)
    run_dbt(home, "run", "-s", "stg_users", variables=given | {"feature_days": 5})
    # Nor would a part with others fit the rest.
    for forgotten in (part, (*part, "--full-refresh")):
        result = run_dbt(home, *forgotten, check=False)
        assert result.returncode != 0
        said = " ".join(result.stdout.split())
        assert "other variables: shop_timezone was Asia/Shanghai and is now UTC" in said
        assert "train_days was 63 and is now 30" in said
        assert "Give --vars '{shop_timezone: Asia/Shanghai, train_days: 63}'" in said
        assert "max_behaviors was" not in said
    # Documentation is of the project, whatever the shop was built with, and whoever builds it now.
    with warehouse.WriteLock(home):
        run_dbt(home, "docs", "generate")
    run_dbt(home, "run", "--full-refresh")
    (shop,) = rows_of(home, "from meta.shop")
    assert (shop["shop_timezone"], shop["train_days"]) == ("UTC", 30)
    runs = rows_of(home, "from meta.runs where job = 'dbt run' order by started_at")
    assert [run["status"] for run in runs] == ["succeeded"] * 3
    arguments = [json.loads(run["parameters"])["arguments"] for run in runs]
    assert [a.get("full_refresh") for a in arguments] == [None, None, True]


def test_every_model_says_what_a_row_is():
    """Every model is described, ends in its grain and is tested on it."""
    folder = PROJECT_ROOT / "dbt_project" / "models"
    models = sorted(folder.rglob("*.sql"))
    assert models
    for path in models:
        (model,) = yaml.safe_load(path.with_suffix(".yml").read_text())["models"]
        assert model["name"] == path.stem
        last = model["description"].strip().split(". ")[-1]
        assert "ne row" in last, f"{path.stem}: {last}"
        tests = json.dumps(model["data_tests"])
        assert "unique_grain" in tests or "one_row" in tests, path.stem


def test_every_column_is_described(random_shop, rows_of):
    """`dbt docs` says of each what it is, also where no contract asks for it."""
    home, _ = random_shop
    there = {}
    for row in rows_of(
        home,
        "select table_name, list(column_name) as columns from information_schema.columns"
        " where table_catalog = 'lake' group by table_schema, table_name",
    ):
        there.setdefault(row["table_name"], []).append(set(row["columns"]))
    for path in (PROJECT_ROOT / "dbt_project" / "models").rglob("*.yml"):
        document = yaml.safe_load(path.read_text())
        sources = [table for source in document.get("sources", []) for table in source["tables"]]
        for table in document.get("models", []) + sources:
            described = {c["name"] for c in table["columns"] if c.get("description")}
            assert described in there[table["name"]], table["name"]


def test_a_build_ends_with_the_grades_of_the_newest_day(random_shop, run_dbt, rows_of, tmp_path):
    """As a warning, by which nothing fails."""
    original, reference = random_shop
    shutil.copytree(original.root / "lake", tmp_path / "lake")
    changed = Home(tmp_path)
    newest = "stat_date = (SELECT max(stat_date) FROM lake.monitoring.day_counts)"

    def said(*grades: tuple[str, str, str]) -> str:
        for table, grade, condition in grades:
            change = f"UPDATE lake.monitoring.{table} SET grade = '{grade}' WHERE {condition}"
            warehouse.write(changed, lambda lake, sql=change: lake.execute(sql))
        arguments = ("test", "-s", "newest_day_is_like_the_week_before")
        return run_dbt(changed, *arguments, variables=reference.variables).stdout

    def outcome(*grades: tuple[str, str, str]) -> str:
        return re.search(r"(PASS|WARN \d+) newest_day", said(*grades))[1]

    tables = ("day_metrics", "day_drift")
    earlier = [(table, "fail", "true") for table in tables]
    assert outcome(*earlier, *((table, "warn", newest) for table in tables)) == "PASS"
    assert outcome(("day_metrics", "fail", f"{newest} AND metric = 'active_users'")) == "WARN 1"
    actions = f"{newest} AND column_name = 'events.action'"
    lines = said(("day_drift", "fail", actions))
    assert "WARN 2 newest_day" in lines
    # dbt itself says no more than how many.
    metric = "select value, baseline from monitoring.day_metrics where metric = 'active_users'"
    psi = "select psi, psi_by_chance from monitoring.day_drift where column_name = 'events.action'"
    newest = " and stat_date = (select max(stat_date) from monitoring.day_counts)"
    for found, text in (
        (metric, "metric active_users, part all"),
        (psi, "metric psi, part events.action"),
    ):
        ((value, baseline),) = (row.values() for row in rows_of(changed, found + newest))
        values = f"value {round(value, 4)}, baseline {round(baseline, 4)}"
        assert f"{text}, {values}, grade fail" in lines


def test_what_others_read_has_a_contract(random_shop):
    """All tables, samples and features, and the other views that jobs and evaluation rely on."""
    home, _ = random_shop
    manifest = json.loads((home.root / "target" / "manifest.json").read_text())
    views = {"behaviors", "lists", "query_categories", "test_instances", "test_true_queries"}
    models = [
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model"
        and (
            node["config"]["materialized"] != "view"
            or node["name"] in views
            or node["schema"] in ("samples", "features")
        )
    ]
    assert len(models) > 40
    for model in models:
        assert model["config"]["contract"]["enforced"], model["name"]


def test_every_table_that_is_not_dbts_is_documented_and_tested():
    """`dbt docs` shows what jobs write, too, and their grain is tested."""
    path = PROJECT_ROOT / "dbt_project" / "models" / "staging" / "sources.yml"
    sources = yaml.safe_load(path.read_text())["sources"]
    told = {f"{of['name']}.{table['name']}" for of in sources for table in of["tables"]}
    assert told >= RAW_TABLES.keys() | JOB_TABLES.keys()
    assert all("ne row per" in table["description"] for of in sources for table in of["tables"])
    tested = {
        f"{of['name']}.{table['name']}"
        for of in sources
        for table in of["tables"]
        if any("unique_grain" in test for test in table.get("data_tests", []))
    }
    assert tested >= RAW_TABLES.keys() | JOB_TABLES.keys()


def test_the_other_target_is_complete():
    """`lake_pg` cannot be connected to here; it must at least name the same lake and plugin."""
    outputs = yaml.safe_load((PROJECT_ROOT / "profiles.yml").read_text())["aigq"]["outputs"]
    assert outputs["lake_pg"]["attach"][0]["alias"] == outputs["lake"]["attach"][0]["alias"]
    assert outputs["lake_pg"]["plugins"] == outputs["lake"]["plugins"]
    assert outputs["lake_pg"]["settings"] == outputs["lake"]["settings"]


@pytest.mark.slow
@pytest.mark.parametrize("zones", [("Asia/Tokyo", "Asia/Tokyo"), ("Asia/Tokyo", "UTC")])
def test_first_builds_that_overlap_take_turns(home, insert_raw, start_dbt, rows_of, zones):
    """What a build looks at was looked at before its turn came: it made tables that another had
    made meanwhile, or days in another zone than the other's."""
    search = {"event_id": "e1", "user_id": "ann", "action": "search", "query_text": "lamp"}
    insert_raw(home, events=[search | {"occurred_at": datetime(2026, 3, 1, 18, tzinfo=UTC)}])
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with warehouse.WriteLock(home):
        builds = [start_dbt(home, "run", variables={"shop_timezone": z}, **pipes) for z in zones]
        for build in builds:
            assert any("waiting for another writer" in line for line in build.stdout)
    said = [" ".join(build.communicate()[0].split()) for build in builds]
    failed = [out for build, out in zip(builds, said, strict=True) if build.returncode != 0]
    assert len(failed) == len(set(zones)) - 1, said
    assert all("the shop was built with other variables" in out for out in failed)
    assert {run["status"] for run in rows_of(home, "from meta.runs")} == {"succeeded"}
    (shop,) = rows_of(home, "from meta.shop")
    (event,) = rows_of(home, "from staging.stg_events")
    assert event["event_date"].day == (2 if shop["shop_timezone"] == "Asia/Tokyo" else 1)


@pytest.mark.slow
def test_a_build_and_a_job_that_keeps_writing_take_turns(home, insert_raw, run_dbt, rows_of):
    """A dbt model whose transaction another process overtook failed with "database is locked"."""
    insert_raw(home, users=[{"user_id": "u1"}])
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import itertools\n"
            "from aigq import warehouse\n"
            "from aigq.settings import Home\n"
            "home = Home.from_environment()\n"
            "for number in itertools.count():\n"
            "    insert = 'INSERT INTO lake.items.query_neighbors (run_id) VALUES (?)'\n"
            "    warehouse.write(home, lambda lake: lake.execute(insert, [str(number)]))\n",
        ]
    )
    try:
        run_dbt(home, "run", "-s", "staging")
    finally:
        writer.kill()
        writer.wait()
    (run,) = rows_of(home, "from meta.runs where job = 'dbt run'")
    assert run["status"] == "succeeded"
    written = rows_of(home, "select run_id::integer as number from items.query_neighbors")
    assert sorted(row["number"] for row in written) == list(range(len(written)))
    assert written
