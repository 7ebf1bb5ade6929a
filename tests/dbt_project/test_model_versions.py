"""docs/label_versions.md, done: a label table gets a second version in a copy of the project."""

import json
from datetime import UTC, datetime

import pytest
import yaml

ALPHABETICAL = """
        cast(row_number() over (
            partition by session_id, variant
            order by list_position(['click', 'rank', 'search', 'llm'], tier), query_text
        ) as integer) as position,
"""


def add_second_version(project) -> None:
    """Inside a tier, `label_lists` is from now on in alphabetical order."""
    labels = project / "dbt_project" / "models" / "labels"
    sql = (labels / "label_lists.sql").read_text()
    assert sql.count("        position,\n") == 1
    newer = sql.replace("        position,\n", ALPHABETICAL)
    (labels / "label_lists_v2.sql").write_text(newer)
    properties = yaml.safe_load((labels / "label_lists.yml").read_text())
    (model,) = properties["models"]
    model["latest_version"] = 2
    model["versions"].append({"v": 2})
    for test in properties["unit_tests"]:
        test["versions"] = {"include": [1]}
    (labels / "label_lists.yml").write_text(yaml.safe_dump(properties))


@pytest.mark.slow
def test_the_second_version_has_the_plain_name_and_the_first_keeps_its_rows(
    home, insert_raw, run_dbt, rows_of, copied_project
):
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    candidate = {"request_id": "r1", "displayed": True}
    insert_raw(
        home,
        events=[
            {
                "event_id": "e1",
                "user_id": "u1",
                "occurred_at": noon,
                "action": "search",
                "query_text": "rope",
            }
        ],
        hint_requests=[{"request_id": "r1", "user_id": "u1", "requested_at": noon}],
        hint_candidates=[
            candidate | {"rank": 1, "rank_score": 0.9, "query_text": "tent", "clicked_at": None},
            candidate | {"rank": 2, "rank_score": 0.5, "query_text": "stove", "clicked_at": noon},
            candidate | {"rank": 3, "rank_score": 0.1, "query_text": "axe", "clicked_at": None},
        ],
    )

    def labels(table):
        rows = rows_of(home, f"select query_text from labels.{table} order by position")
        return [row["query_text"] for row in rows]

    old, new = ["stove", "tent", "axe"], ["stove", "axe", "tent"]
    run_dbt(home, "run", "-s", "+label_lists", project=copied_project)
    assert labels("label_lists") == labels("label_lists_v1") == old

    add_second_version(copied_project)
    # A run that builds something else, the older version alone, or fails to build the newer leaves
    # what the plain name says.
    run_dbt(home, "run", "-s", "stg_users", project=copied_project)
    run_dbt(home, "run", "-s", "label_lists.v1", project=copied_project)
    newer = copied_project / "dbt_project" / "models" / "labels" / "label_lists_v2.sql"
    right = newer.read_text()
    newer.write_text(right.replace("tier), query_text", "tier), no_such_column"))
    failed = run_dbt(home, "run", "-s", "label_lists", project=copied_project, check=False)
    assert failed.returncode == 1 and "no_such_column" in failed.stdout
    assert labels("label_lists") == labels("label_lists_v1") == old
    newer.write_text(right)

    run_dbt(home, "build", "-s", "label_lists,version:latest", project=copied_project)
    assert (labels("label_lists"), labels("label_lists_v1")) == (new, old)
    built = run_dbt(home, "run", "-s", "label_lists", project=copied_project).stdout
    for version in ("v1", "v2"):
        assert f" model labels.label_lists_{version} ." in built
    assert (labels("label_lists"), labels("label_lists_v1")) == (new, old)
    runs = rows_of(home, "select parameters from meta.runs order by started_at")
    versions = [json.loads(run["parameters"])["versions"].get("label_lists") for run in runs]
    assert versions == ["1", None, None, "2", "2", "2"]
    before = rows_of(home, "select max(snapshot_id) as last from ducklake_snapshots('lake')")

    # And back, with the past as it was.
    properties = newer.with_name("label_lists.yml")
    properties.write_text(properties.read_text().replace("latest_version: 2", "latest_version: 1"))
    run_dbt(home, "run", "-s", "label_lists", project=copied_project)
    assert (labels("label_lists"), labels("label_lists_v2")) == (old, new)
    assert labels(f"label_lists at (version => {before[0]['last']})") == new
