"""Run the hand-written script ``warehouse.sql``: ``python tests/bench/warehouse.py LANDING OUT``.

Reads the parquet files of the raw contract in LANDING and writes the final tables as
``OUT/<table>.parquet``. The environment variable AIGQ_MEMORY_LIMIT, such as ``8GB``, is DuckDB's.
"""

import os
import sys
from pathlib import Path

import duckdb

from aigq import warehouse
from aigq.ingest import files

# The final tables and their schemas in the lake.
TABLES = {
    "label_candidates": "labels",
    "label_lists": "labels",
    "samples_direct": "samples",
    "samples_think": "samples",
    "test_user_days": "samples",
}


def main(landing: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    # As dbt's profile has it.
    con.execute("SET preserve_insertion_order = false")
    con.execute(f"SET temp_directory = {files.literal(out.absolute() / 'tmp')}")
    if limit := os.environ.get("AIGQ_MEMORY_LIMIT"):
        con.execute(f"SET memory_limit = {files.literal(limit)}")
    warehouse.register_functions(con)
    con.execute("CREATE SCHEMA landing")
    for table, paths in files.discover(landing).items():
        names = ", ".join(files.literal(path.absolute()) for path in paths)
        con.execute(f"CREATE VIEW landing.{table} AS FROM read_parquet([{names}])")
    os.chdir(out)
    con.execute(Path(__file__).with_suffix(".sql").read_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
