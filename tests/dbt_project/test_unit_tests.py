"""What `dbt build` leaves to us: unit tests, and tests that others imply."""

import shutil

import yaml

from aigq.settings import PROJECT_ROOT, Home


def test_what_a_build_leaves_out_passes(random_shop, run_dbt, tmp_path):
    original, reference = random_shop
    shutil.copytree(original.root / "lake", tmp_path / "lake")
    home = Home(tmp_path)
    paths = (PROJECT_ROOT / "dbt_project" / "models").rglob("*.yml")
    properties = [yaml.safe_load(path.read_text()) for path in paths]
    written = sum(len(of.get("unit_tests", [])) for of in properties)
    assert written > 50

    rest = ("-s", "test_type:unit", "tag:implied")
    result = run_dbt(home, "test", *rest, variables=reference.variables)
    assert "unique_grain_label_queries_think" in result.stdout
    assert f"{written} unit tests" in result.stdout

    listed = run_dbt(home, "ls", "--output", "name").stdout
    assert "stg_users" in listed and "unique_grain_stg_users" in listed
    assert "an_action_credits_the_latest_search" not in listed
    assert "unique_grain_label_queries_think" not in listed
    of_model = run_dbt(home, "ls", "--output", "name", "-s", "behavior_events").stdout
    assert "an_action_credits_the_latest_search" in of_model
