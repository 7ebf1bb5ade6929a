"""The command line: finding commands and homes, `aigq sql`, `aigq runs`."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from aigq import cli, jobs


@pytest.fixture
def aigq(home, monkeypatch):
    # --home reaches the jobs through the environment; undone after the test.
    monkeypatch.setenv("AIGQ_HOME", str(home.root))

    def run(*arguments: str):
        result = CliRunner().invoke(cli.main, arguments)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def test_help_lists_commands_without_importing_them():
    code = (
        "import sys\nfrom aigq import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'transformers', 'vllm', 'feast', 'dbt'} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    for name in ("simulate", "ingest", "train", "generate", "evaluate", "hints", "sql", "runs"):
        assert f"\n  {name} " in result.stdout


@pytest.mark.parametrize("arguments", [["ingst"], ["train", "bas"]])
def test_an_unknown_command_names_those_there_are(aigq, arguments):
    result = aigq(*arguments)
    assert result.exit_code == 2
    assert f"No such command '{arguments[-1]}'" in result.stderr
    known = "base, sft, grpo" if arguments[0] == "train" else "simulate, ingest"
    assert f"Commands: {known}" in result.stderr


def test_home_stands_after_the_command_and_wins_over_the_environment(aigq, home, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    result = aigq("sql", "SELECT 1", "--home", str(elsewhere))
    assert result.exit_code == 1
    assert f"no lake at {elsewhere}" in result.stderr
    assert aigq("sql", "--home", str(home.root), "SELECT 1").exit_code == 0
    assert aigq("train", "base", "--help").output.count("--home") == 1
    assert aigq("runs", "--help").output.count("--home") == 1  # asked twice, still one


QUERY = (
    "SELECT 'a,b' AS text, NULL AS nothing, ['x'] AS list, 1.5::DOUBLE AS number,"
    " TIMESTAMPTZ '2024-02-01 09:00:00+01' AS seen_at"
)


def test_sql_as_json_lines(aigq):
    result = aigq("sql", f"{QUERY} UNION ALL {QUERY}", "--format", "json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert rows == [
        {"text": "a,b", "nothing": None, "list": ["x"], "number": 1.5,
         "seen_at": "2024-02-01 08:00:00+00:00"}
    ] * 2  # fmt: skip


def test_sql_as_csv(aigq):
    assert aigq("sql", QUERY, "--format", "csv").stdout.splitlines() == [
        "text,nothing,list,number,seen_at",
        "\"a,b\",,['x'],1.5,2024-02-01 08:00:00+00:00",
    ]


def test_sql_as_table(home):
    # DuckDB prints a relation past Python's stdout, so this takes a process.
    result = subprocess.run(
        [sys.executable, "-m", "aigq.cli", "sql", QUERY],
        env=os.environ | {"AIGQ_HOME": str(home.root)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "seen_at" in result.stdout
    assert "2024-02-01 08:00:00+00" in result.stdout


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT * FROM raw.user", "users"),
        ("SELEC 1", "syntax error"),
        ("INSERT INTO raw.users (user_id) VALUES ('a')", "INSERT: `aigq sql` reads"),
        ("COPY (SELECT 1) TO 'written.csv'", "COPY: `aigq sql` reads, it does not change"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO 'written.csv'", "COPY: `aigq sql` reads"),
        ("--\nexplain (analyze) COPY (SELECT 1) TO 'written.csv'", "COPY: `aigq sql` reads"),
        ("SELECT 1; COPY (SELECT 1) TO 'written.csv'", "COPY: `aigq sql` reads"),
        ("CREATE TABLE memory.main.t (a INT); SELECT 1", "CREATE: `aigq sql` reads"),
        ("SELECT 1; SELECT 2", "2 statements: `aigq sql` runs one at a time"),
        (" ;", "the query is empty"),
        ("SET threads = 1", "`aigq sql` reads, it does not change"),
        ("SELECT error('half way')", "half way"),
    ],
)
@pytest.mark.parametrize("output", ["table", "csv", "json"])
def test_sql_mistakes_are_one_message(aigq, query, message, output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = aigq("sql", query, "--format", output)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "written.csv").exists()


@pytest.mark.parametrize(
    "query",
    [
        "FROM raw.users",
        "-- how\nEXPLAIN SELECT 1",
        "explain (format json) SELECT 1",
        "EXPLAIN ANALYZE (SELECT 1)",
        "EXPLAIN (SELECT 1)",
        "DESCRIBE raw.users",
        "SHOW TABLES",
        "SUMMARIZE SELECT 1 AS a",
        "PIVOT (SELECT 1 AS a) ON a USING count(*)",
        "SELECT 1;",
    ],
)
def test_sql_that_reads_in_other_words(aigq, query):
    result = aigq("sql", query, "--format", "csv")
    assert result.exit_code == 0, result.stderr


def test_sql_as_json_is_valid_json(aigq):
    query = (
        "SELECT 'nan'::DOUBLE AS nan, [1.5::DECIMAL(4, 1), NULL] AS list, 2.50::DECIMAL(5, 2) AS d,"
        " {'x': '-inf'::FLOAT} AS struct, MAP {DATE '2024-02-01': 1} AS map"
    )
    (line,) = aigq("sql", query, "--format", "json").stdout.splitlines()
    assert json.loads(line, parse_constant=pytest.fail) == {
        "nan": None, "list": [1.5, None], "d": 2.5, "struct": {"x": None}, "map": {"2024-02-01": 1},
    }  # fmt: skip


def test_sql_columns_of_one_name_do_not_merge(aigq):
    query = "SELECT 1 AS a, 2 AS a"
    result = aigq("sql", query, "--format", "json")
    assert result.exit_code == 1
    assert "column 'a' stands twice: rename one with AS" in result.stderr
    assert aigq("sql", query, "--format", "csv").stdout.splitlines() == ["a,a", "1,2"]


def test_sql_shows_no_rows_of_an_empty_table(aigq):
    assert (
        aigq("sql", "SELECT user_id FROM raw.users", "--format", "csv").stdout.strip() == "user_id"
    )
    assert aigq("sql", "SELECT user_id FROM raw.users", "--format", "json").stdout == ""


def test_runs(aigq, home):
    with jobs.job(home, "first", {"seed": 1}) as run:
        run.metrics["rows"] = 3
    with pytest.raises(ValueError, match="x"), jobs.job(home, "second", {}):
        raise ValueError("x")
    lines = aigq("runs").stdout.splitlines()
    assert len(lines) == 3
    assert lines[1].split()[3] == "failed"
    assert lines[1].endswith(tuple("0123456789abcdef"))
    assert "-second-" in lines[1]
    assert run.run_id == lines[2].split()[-1]
    assert aigq("runs", "--limit", "1").stdout.splitlines() == lines[:2]
    rows = [json.loads(line) for line in aigq("runs", "--json").stdout.splitlines()]
    assert rows[1]["parameters"] == {"seed": 1}
    assert rows[1]["metrics"] == {"rows": 3}
    assert rows[0]["metrics"] == {"error": "ValueError: x"}


def test_runs_of_a_job_that_still_works(aigq, home):
    with jobs.job(home, "slow", {}):
        line = aigq("runs").stdout.splitlines()[1]
    assert line.split()[2:4] == ["-", "running"]
    assert "→?" in line
