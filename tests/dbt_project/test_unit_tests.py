"""What `dbt build` leaves to us: unit tests, and tests that others imply."""

import json
import shutil
from collections.abc import Iterable

from aigq.settings import Home


def _artifact(home: Home, name: str) -> dict:
    return json.loads((home.root / "target" / f"{name}.json").read_text())


def _implied(manifest: dict) -> set[str]:
    return {name for name, node in manifest["nodes"].items() if "implied" in node["tags"]}


def test_what_a_build_leaves_out_passes(random_shop, run_dbt, tmp_path):
    original, reference = random_shop
    shutil.copytree(original.root / "lake", tmp_path / "lake")
    home = Home(tmp_path)

    run_dbt(home, "test", "-s", "test_type:unit", "tag:implied", variables=reference.variables)
    manifest = _artifact(home, "manifest")
    results = _artifact(home, "run_results")["results"]
    ran = {result["unique_id"] for result in results}
    unit_tests = set(manifest["unit_tests"])
    implied = _implied(manifest)
    assert len(unit_tests) > 50 and len(implied) >= 8
    assert {name for name in ran if not name.startswith("operation.")} == unit_tests | implied


# Of the views and sources whose tests are tagged `implied`: the model that is asked the same.
ASKED_OF = {
    "users": "stg_users",
    "items": "stg_items",
    "events": "stg_events",
    "hint_requests": "stg_hint_requests",
    "hint_candidates": "stg_hint_candidates",
    "behaviors": "behavior_events",
    "query_clicks": "behavior_events",
    "baseline_popularity": "baseline_lists",
    "baseline_popularity_profile": "baseline_lists",
    "baseline_co_click": "baseline_lists",
    "baseline_co_click_own": "baseline_lists",
    "baseline_own_recent": "baseline_lists",
    "test_instances": "test_user_days",
    "test_contexts": "test_user_days",
}


def test_what_is_implied_is_asked_of_a_table(random_shop):
    home, _ = random_shop
    nodes = _artifact(home, "manifest")["nodes"].values()
    tests = [n for n in nodes if n["resource_type"] == "test" and n.get("test_metadata")]

    def asked(of: Iterable[dict]) -> set[tuple[str, str]]:
        return {
            (test["depends_on"]["nodes"][0].split(".")[-1], test["test_metadata"]["name"])
            for test in of
        }

    implied = asked(test for test in tests if "implied" in test["tags"])
    assert len(implied) >= 13
    others = asked(test for test in tests if "implied" not in test["tags"])
    for view, name in implied:
        assert (ASKED_OF[view], name) in others, view


def test_a_command_takes_the_rest_and_a_selection_all(home, run_dbt):
    def listed(*arguments: str) -> set[str]:
        lines = run_dbt(home, "--quiet", "ls", "--output", "json", *arguments).stdout.splitlines()
        return {json.loads(line)["unique_id"] for line in lines if line.startswith("{")}

    taken = listed("--output-keys", "unique_id")
    manifest = _artifact(home, "manifest")
    implied = _implied(manifest)
    kinds = ("model.", "test.", "source.")
    everything = manifest["nodes"].keys() | manifest["sources"].keys()
    assert taken == {name for name in everything - implied if name.startswith(kinds)}
    of_model = listed("--output-keys", "unique_id", "-s", "behavior_events query_clicks")
    assert {name.split(".")[0] for name in of_model} == {"model", "test", "unit_test"}
    assert of_model & implied

    # What compares labels with samples waits for the samples.
    of_labels = listed("--output-keys", "unique_id", "-s", "+label_lists")
    tests = {name for name in of_labels if name.startswith("test.")}
    assert len(tests) > 20
    for name in tests:
        read = {n for n in manifest["nodes"][name]["depends_on"]["nodes"] if n.startswith("model.")}
        assert read <= of_labels, name
