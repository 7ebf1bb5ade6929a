"""``aigq runs``: the rows of ``lake.meta.runs``, newest first."""

import json
from datetime import datetime

import click

from aigq import warehouse
from aigq.settings import Home


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Whole rows, one JSON object a line.")
def command(limit: int, as_json: bool) -> None:
    """List runs of jobs and of dbt, newest first."""
    con = warehouse.connect(Home.from_environment(), read_only=True)
    cursor = con.execute(
        "SELECT * FROM lake.meta.runs ORDER BY started_at DESC, run_id DESC LIMIT ?", [limit]
    )
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    con.close()
    if as_json:
        for row in rows:
            row["parameters"] = json.loads(row["parameters"] or "null")
            row["metrics"] = json.loads(row["metrics"] or "null")
            click.echo(json.dumps(row, default=str))
        return
    click.echo(f"{'started (UTC)':<20}{'took':>9}  {'status':<10}{'snapshots':<13}run")
    for row in rows:
        took = _duration(row["started_at"], row["finished_at"])
        snapshots = f"{row['snapshot_read']}→{row['snapshot_written'] or '?'}"
        started = f"{row['started_at']:%Y-%m-%d %H:%M:%S}"
        click.echo(f"{started:<20}{took:>9}  {row['status']:<10}{snapshots:<13}{row['run_id']}")
    if any(row["status"] == "running" for row in rows):
        click.echo("running: no end is recorded; such a run is at work, or was killed")


def _duration(start: datetime, end: datetime | None) -> str:
    if end is None:
        return "-"
    seconds = (end - start).total_seconds()
    return f"{seconds:.1f}s" if seconds < 100 else f"{seconds / 60:.1f}min"
