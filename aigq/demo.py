"""``make demo``: the whole loop on the default made-up shop, one plain command after the other.

Run again after an interruption, it goes on: every step is safe to repeat, and models that are
already trained are not trained again.
"""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import click

from aigq import models, warehouse
from aigq.settings import PROJECT_ROOT, Home, UserError
from aigq.tables import RAW_TABLES

_MARK = ".demo"


def main() -> None:
    home = Home.from_environment()
    _only_a_demo_home(home)
    started = time.monotonic()
    for number, (title, commands) in enumerate(_steps(home), start=1):
        click.secho(f"\n== {number}. {title}", bold=True)
        for command in commands() if callable(commands) else commands:
            _run(command)
    click.secho(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes.", bold=True)
    click.echo(
        f"The shop is in {home.root}; README.md explains what was seen and what to try next."
    )


def _steps(home: Home):
    landing = str(home.landing)
    yield "A made-up shop writes its logs", [["aigq", "simulate", "--out", landing]]
    yield "The logs go into the lake", [["aigq", "ingest", landing]]
    yield "SQL makes sessions, labels, samples, features", [["dbt", "build"]]
    yield "Feast serves the features", lambda: _feast(home)
    yield (
        "A small language model learns the shop's own text",
        lambda: _train(home, "base", ["aigq", "train", "base", "--recipe", "tiny"]),
    )
    yield (
        "List SFT: from behaviours to ordered queries",
        lambda: _train(home, "direct", ["aigq", "train", "sft", "--variant", "direct"]),
    )
    yield "vLLM writes a list for every user", [["aigq", "generate", "u2q", "--all"]]
    yield "Hints for three users", lambda: [["aigq", "hints", u] for u in _three_users(home)]
    yield "Evaluation on days the models have not seen", [["aigq", "evaluate", "--model", "direct"]]


def _feast(home: Home) -> list[list[str]]:
    """Apply and materialise everything the logs cover."""
    from aigq import features

    con = warehouse.connect(home, read_only=True)
    (end,) = con.execute(
        "SELECT strftime(last_event_at::TIMESTAMP + INTERVAL 1 DAY, '%Y-%m-%dT00:00:00')"
        " FROM lake.meta.shop"
    ).fetchone()
    con.close()
    feast = features.feast_command(home)
    # From long ago: profiles carry the day their users registered.
    return [[*feast, "apply"], [*feast, "materialize", "2000-01-01T00:00:00", end]]


def _train(home: Home, name: str, command: list[str]) -> list[list[str]]:
    found = models.versions(home, name)
    if found:
        click.echo(f"model {name!r} is there already: {found[-1].path} (remove it to train again)")
        return []
    return [command]


def _three_users(home: Home) -> list[str]:
    """Users with a list: one with few behaviours, one with the median number, one with many."""
    con = warehouse.connect(home, read_only=True)
    rows = con.execute(
        """
        WITH counted AS (
            SELECT user_id, count(*) AS behaviors
            FROM lake.behavior.behaviors
            SEMI JOIN lake.serving.u2q_runs USING (user_id)
            GROUP BY user_id
        ),
        ranked AS (
            SELECT user_id, percent_rank() OVER (ORDER BY behaviors, user_id) AS place FROM counted
        )
        SELECT arg_min(user_id, abs(place - wanted))
        FROM ranked, (VALUES (0.1), (0.5), (0.9)) AS t (wanted)
        GROUP BY wanted
        ORDER BY wanted
        """
    ).fetchall()
    con.close()
    return [user for (user,) in rows]


def _only_a_demo_home(home: Home) -> None:
    """Refuse to pour a made-up shop into a real one's lake."""
    mark = home.root / _MARK
    if home.catalog.exists() and not mark.exists() and _has_rows(home):
        raise UserError(
            f"{home.root} holds a shop that is not the demo's; run AIGQ_HOME=elsewhere make demo"
        )
    home.root.mkdir(parents=True, exist_ok=True)
    mark.touch()


def _has_rows(home: Home) -> bool:
    """Whether anything was ingested: any dbt or aigq command creates an empty lake."""
    con = warehouse.connect(home, read_only=True)
    try:
        return any(
            con.execute(f"SELECT 1 FROM lake.{table} LIMIT 1").fetchone()
            for table in RAW_TABLES
            if warehouse.table_exists(con, table)
        )
    finally:
        con.close()


def _run(command: list[str]) -> None:
    click.secho("$ " + shlex.join(command), fg="cyan")
    done = subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:]],
        cwd=PROJECT_ROOT,
        # Feast's libraries warn about one another.
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        check=False,
    )
    if done.returncode != 0:
        raise UserError(f"stopped: `{shlex.join(command)}` ended with code {done.returncode}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        error.show()
        sys.exit(1)
