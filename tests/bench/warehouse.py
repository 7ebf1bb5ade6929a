"""Run the hand-written script ``warehouse.sql``:

    python tests/bench/warehouse.py LANDING OUT [MEMORY_LIMIT THREADS]

Reads the parquet files of the raw contract in LANDING and writes the final tables as
``OUT/<table>.parquet``. The limits are DuckDB's, such as ``9GB`` and ``2``.
"""

import os
import sys
from pathlib import Path

import duckdb

from aigq import warehouse
from aigq.ingest import files

# The final tables and their schemas in the lake: those that dbt fills from a log alone and others
# read, without features.item_profile, which bears the time of its build, and without views on them.
TABLES = {
    "behaviors": "behavior",
    "item_texts": "items",
    "queries": "items",
    "query_categories": "items",
    "sessions_direct": "sessions",
    "sessions_think": "sessions",
    "label_candidates": "labels",
    "label_lists": "labels",
    "samples_direct": "samples",
    "samples_think": "samples",
    "samples_ctr": "samples",
    "item_queries": "samples",
    "test_user_days": "samples",
    "baseline_lists": "eval",
    "day_metrics": "monitoring",
    "day_drift": "monitoring",
    "user_profile": "features",
    "user_behaviors": "features",
    "popular_queries": "features",
    "query_stats": "features",
}


def main(landing: Path, out: Path, *limits: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    con.execute(f"SET temp_directory = {files.literal(out.absolute() / 'tmp')}")
    for setting, limit in zip(("memory_limit", "threads"), limits, strict=False):
        con.execute(f"SET {setting} = {files.literal(limit)}")
    # As dbt's runs have them.
    con.execute("SET preserve_insertion_order = false")
    con.execute("SET block_allocator_memory = '33%'")
    warehouse.register_functions(con)
    con.execute("CREATE SCHEMA landing")
    for table, paths in files.discover(landing).items():
        names = ", ".join(files.literal(path.absolute()) for path in paths)
        con.execute(f"CREATE VIEW landing.{table} AS FROM read_parquet([{names}])")
    os.chdir(out)
    con.execute(Path(__file__).with_suffix(".sql").read_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
