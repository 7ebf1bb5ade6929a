"""Shops that several tests read: small ones, and one of default size (a few seconds)."""

import duckdb
import numpy as np
import pytest

from aigq.contract import TRUTH
from aigq.simulator import sessions
from aigq.simulator.job import simulate
from aigq.simulator.landing import SCHEMAS, TRUTH_SCHEMAS
from aigq.simulator.settings import ShopSettings


class Log:
    """The files in ``folder`` as views, the truth's in a schema of that name."""

    def __init__(self, folder):
        self.folder = folder
        self._con = _tables(folder)

    def execute(self, query):
        return self._con.execute(query)


def _tables(folder) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    for name in SCHEMAS:
        con.execute(f"CREATE VIEW {name} AS FROM '{folder}/{name}.parquet'")
    con.execute(f"CREATE SCHEMA {TRUTH}")
    for name in TRUTH_SCHEMAS:
        con.execute(f"CREATE VIEW {TRUTH}.{name} AS FROM '{folder}/{TRUTH}/{name}.parquet'")
    return con


@pytest.fixture(scope="session")
def small_shop(tmp_path_factory):
    """400 users, 8 days, no typos, so that what is typed can be compared with what is shown."""
    folder = tmp_path_factory.mktemp("small")
    simulate(ShopSettings(users=400, days=8, seed=3, typo_share=0), folder)
    return Log(folder)


@pytest.fixture(scope="session")
def late_shop(tmp_path_factory):
    """The small shop with all sessions in the last hour: many go on after midnight."""
    folder = tmp_path_factory.mktemp("late")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "_HOURS", np.eye(24)[23])
        settings = ShopSettings(users=400, days=8, sessions_per_day=2, seed=3, typo_share=0)
        simulate(settings, folder)
    return Log(folder)


@pytest.fixture(scope="session")
def default_shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("default")
    simulate(ShopSettings(), folder)
    return Log(folder)
