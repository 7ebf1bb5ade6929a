"""Every analysis compiles, runs with a limit put after it, as README says, and returns rows."""

import csv
import io

import pytest
from click.testing import CliRunner

from aigq.settings import PROJECT_ROOT

ANALYSES = sorted((PROJECT_ROOT / "dbt_project" / "analyses").glob("*.sql"))


@pytest.fixture(scope="session")
def compiled(random_shop, run_dbt):
    home, reference = random_shop
    run_dbt(home, "compile", variables=reference.variables)
    return home.root / "target" / "compiled" / "aigq" / "dbt_project" / "analyses"


def test_there_are_enough():
    assert len(ANALYSES) >= 5


@pytest.mark.parametrize("path", ANALYSES, ids=lambda p: p.stem)
def test_analysis_returns_rows(path, compiled, random_shop, monkeypatch):
    from aigq.sql import command

    home, _ = random_shop
    monkeypatch.setenv("AIGQ_HOME", str(home.root))
    query = f"{(compiled / path.name).read_text()}\nlimit 1000"
    result = CliRunner().invoke(command, [query, "--format", "csv"])
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert rows
    for name in rows[0]:
        assert any(row[name] for row in rows), f"column {name} is empty throughout"
