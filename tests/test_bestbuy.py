"""The loop on a cut of a real log: odd queries, hardly any history, no profiles, no hints."""

import csv
import gzip
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parent.parent
CLICKS = ROOT.parent / "shared" / "data" / "bestbuy" / "clicks.csv.gz"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A data home with a tenth of the users, built with the last days as test days."""
    if not CLICKS.exists():
        pytest.skip("the Best Buy clicks are not part of the repository and not beside it")
    home = tmp_path_factory.mktemp("bestbuy")
    cut = home / "clicks.csv.gz"
    with (
        gzip.open(CLICKS, "rt", encoding="utf-8", newline="") as source,
        gzip.open(cut, "wt", encoding="utf-8", newline="") as target,
    ):
        rows = csv.DictReader(source)
        writer = csv.DictWriter(target, rows.fieldnames)
        writer.writeheader()
        writer.writerows(r for r in rows if zlib.crc32(r["user"].encode()) % 10 == 0)
    call(home, "aigq", "ingest", str(cut), "--adapter", "bestbuy")
    call(home, "dbt", "--quiet", "build", "--vars", "{train_days: 63}")
    return home


def call(home: Path, program: str, *arguments: str) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).parent / program), *arguments],
        cwd=ROOT,
        env=os.environ | {"AIGQ_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (
        f"{program} {arguments}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    )
    return done.stdout


def rows(home: Path, query: str) -> list[dict]:
    return [
        json.loads(line)
        for line in call(home, "aigq", "sql", query, "--format", "json").splitlines()
    ]


def test_every_click_is_a_behaviour_and_a_search_stands_before_it(shop):
    (counts,) = rows(
        shop,
        """
        SELECT count(*) FILTER (WHERE action = 'item_click') AS clicks,
            count(*) FILTER (WHERE action = 'search') AS searches,
            count(*) FILTER (WHERE action = 'search_entry') AS entries
        FROM raw.events
        """,
    )
    with gzip.open(shop / "clicks.csv.gz", "rt", encoding="utf-8", newline="") as source:
        given = list(csv.DictReader(source))
    searches = {(r["user"], r["query"], r["query_time"]) for r in given}
    (quarantined,) = rows(shop, "SELECT count(*) AS n FROM raw.quarantine")
    assert counts["clicks"] + quarantined["n"] >= len({tuple(r.values()) for r in given})
    assert counts["searches"] <= len(searches)
    assert counts["searches"] == counts["entries"] > 0


def test_requests_are_replayed_and_say_so(shop):
    (shop_row,) = rows(shop, "SELECT is_replayed FROM meta.shop")
    assert shop_row["is_replayed"]
    (counts,) = rows(
        shop,
        "SELECT count(*) AS n, count(*) FILTER (WHERE is_replayed) AS replayed"
        " FROM samples.samples_direct",
    )
    assert counts["n"] == counts["replayed"] > 0


@pytest.mark.torch
def test_a_model_is_trained_generates_and_is_measured_with_and_without_context(shop):
    call(shop, "aigq", "train", "base", "--steps", "20", "--vocab-size", "1000")
    call(shop, "aigq", "train", "sft", "--variant", "direct", "--steps", "20")
    call(
        shop,
        *("aigq", "evaluate", "--model", "direct", "--instances", "60", "--lists", "2"),
        *("--engine", "transformers"),
    )
    (report,) = (shop / "reports").glob("evaluate-*.json")
    metrics = json.loads(report.read_text())["metrics"]
    counted = {m["slice"]: m["instances"] for m in metrics if m["metric"] == "query_hr"}
    assert counted["with_context"] + counted["without_context"] == counted["all"] == 60
    popular = {
        m["k"]: m["value"]
        for m in metrics
        if (m["model"], m["metric"], m["slice"]) == ("popularity", "query_hr", "without_context")
    }
    # Sixty strangers: the single most popular query may miss them all, thirty do not.
    assert popular[1] <= popular[10] <= popular[30] and popular[30] > 0
