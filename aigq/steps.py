"""Long sequences of plain commands: `make demo` and `make ladder`."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click

from aigq import models, warehouse
from aigq.settings import PROJECT_ROOT, Home, UserError
from aigq.tables import RAW_TABLES

Commands = Sequence[list[str]]
Step = tuple[str, Commands | Callable[[], Commands]]


def run_steps(home: Home, mark: str, steps: Iterable[Step], *, log: str | None = "default") -> None:
    """Run the commands of each step (title, commands or what makes them when it is their turn),
    each printed as one would type it.

    ``mark``: a file that tells the homes where these steps may run, and on which ``log``; None goes
    on with whichever is there. Raises :class:`UserError` for a home that holds another shop, or
    none to go on with, and where a command fails.
    """
    _refuse_another_shop(home, mark, log)
    started = time.monotonic()
    for number, (title, commands) in enumerate(steps, start=1):
        click.secho(f"\n== {number}. {title}", bold=True)
        for command in commands() if callable(commands) else commands:
            _run(command)
    click.secho(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes.", bold=True)


def unless_published(home: Home, name: str, command: list[str]) -> Commands:
    """``command``, or nothing where the model ``name`` that it trains is there already."""
    found = models.versions(home, name)
    if found:
        click.echo(f"model {name!r} is there already: {found[-1].path} (remove it to train again)")
        return []
    return [command]


def _refuse_another_shop(home: Home, mark: str, log: str | None) -> None:
    """A made-up shop must not be poured into a real one's lake, nor into another made-up one's."""
    path = home.root / f".{mark}"
    if log is None:
        if not path.exists():
            raise UserError(f"{home.root} holds no {mark} to go on with: run make {mark} first")
        return
    known = (path.read_text() or "default") if path.exists() else log
    if known != log:
        raise UserError(
            f"{home.root} holds the {mark} of another log ({known}, not {log}); run"
            f" AIGQ_HOME=elsewhere make {mark}"
        )
    if home.catalog.exists() and not path.exists() and _has_rows(home):
        raise UserError(
            f"{home.root} holds a shop that is not the {mark}'s; run AIGQ_HOME=elsewhere"
            f" make {mark}"
        )
    home.root.mkdir(parents=True, exist_ok=True)
    path.write_text(log)


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
