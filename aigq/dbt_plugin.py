"""dbt-duckdb plugin: makes every connection of dbt's ready for the lake.

Runs before dbt attaches the databases of ``profiles.yml``: puts the packaged extensions in place,
creates the lake, its job tables and the folder of exported features where they are missing,
registers the SQL functions, and lets DuckDB spill into the data home.
"""

from collections.abc import Callable

from dbt.adapters.duckdb.plugins import BasePlugin
from duckdb import DuckDBPyConnection

from aigq import features, jobs, warehouse
from aigq.settings import Home


def _true_after(act: Callable[[], None]) -> Callable[[], bool]:
    def function() -> bool:
        act()
        return True

    return function


class Plugin(BasePlugin):
    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        home = Home.from_environment()
        local = any(lake.path.startswith("ducklake:sqlite:") for lake in self.creds.attach or ())
        if local:
            warehouse.ensure_lake(home)
        home.features.mkdir(parents=True, exist_ok=True)
        # What is built here is served by `feast -f`: its configuration of this home.
        features.config_path(home)
        warehouse.register_functions(conn)
        # What does not fit into memory; by itself DuckDB would take the current folder. Settings of
        # profiles.yml are made again for every model, which DuckDB refuses for this one once
        # something lies there.
        conn.execute("SET temp_directory = ?", [str(home.root / "spilled")])
        # For the run's hooks. Released by the end of the process at the latest. Other catalogs than
        # SQLite sort their writers out themselves.
        lock = warehouse.WriteLock(home) if local else None
        for name in ("acquire", "release"):
            conn.create_function(
                f"aigq_{name}_write_lock",
                _true_after(getattr(lock, name) if lock else lambda: None),
                [],
                "BOOLEAN",
                side_effects=True,
            )
        conn.execute(f"CREATE OR REPLACE MACRO aigq_code_version() AS '{jobs.code_version()}'")
