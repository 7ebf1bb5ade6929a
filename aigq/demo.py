"""``make demo``: the whole loop on the default made-up shop, one plain command after the other.

Run again after an interruption, it goes on: every step is safe to repeat, and models that are
already trained are not trained again.
"""

import sys

import click

from aigq import warehouse
from aigq.settings import Home, UserError
from aigq.steps import run_steps, unless_published


def main() -> None:
    home = Home.from_environment()
    run_steps(home, "demo", _steps(home))
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
        lambda: unless_published(home, "base", ["aigq", "train", "base", "--recipe", "tiny"]),
    )
    yield (
        "List SFT: from behaviours to ordered queries",
        lambda: unless_published(home, "direct", ["aigq", "train", "sft", "--variant", "direct"]),
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
    # From long ago: what holds of items and users is stamped with the year 2000.
    return [[*feast, "apply"], [*feast, "materialize", "2000-01-01T00:00:00", end]]


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


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        error.show()
        sys.exit(1)
