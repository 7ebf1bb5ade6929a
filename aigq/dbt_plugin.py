"""dbt-duckdb plugin: makes every connection of dbt's ready for the lake.

Runs before dbt attaches the databases of ``profiles.yml``: puts the packaged extensions in place,
creates the lake, its job tables and the folder of exported features where they are missing, and
registers the SQL functions.
"""

from dbt.adapters.duckdb.plugins import BasePlugin
from duckdb import DuckDBPyConnection

from aigq import features, jobs, warehouse
from aigq.settings import Home


class Plugin(BasePlugin):
    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        home = Home.from_environment()
        if any(lake.path.startswith("ducklake:sqlite:") for lake in self.creds.attach or ()):
            warehouse.ensure_lake(home)
        home.features.mkdir(parents=True, exist_ok=True)
        # What is built here is served by `feast -f`: its configuration of this home.
        features.config_path(home)
        warehouse.register_functions(conn)
        conn.execute(f"CREATE OR REPLACE MACRO aigq_code_version() AS '{jobs.code_version()}'")
