"""``aigq expire``: forget states of the lake that nobody can ask for by name; merge small files.

    aigq expire --older-than-days 30

Every commit is a snapshot, and a build makes one per table: most of them are steps on the way.
What a run in ``meta.runs`` read or left is never removed (so neither is what a model was trained
on), nor is the newest state.

Each load and each build adds a file to most tables, and who reads all of a table opens them all.
Small ones are merged, but for those of which rows are gone; every state that can be read stays as
it was. What was merged goes with a later ``aigq expire``.
"""

from datetime import UTC, datetime, timedelta

import click

from aigq import jobs, warehouse
from aigq.settings import Home

# Files of an expired snapshot stay this long: a query that began before may still read them. So do
# files that no snapshot refers to: a transaction that is not over yet may have written them.
_GRACE = timedelta(days=1)


@click.command()
@click.option(
    "--older-than-days",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Only snapshots of this age.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed, remove nothing.")
def command(older_than_days: float, dry_run: bool) -> None:
    """Remove old snapshots that no run refers to and files nobody reads any more; merge small
    files. Files of a removed snapshot stay for a day, for whoever reads it."""
    home = Home.from_environment()
    before = datetime.now(UTC) - timedelta(days=older_than_days)
    if dry_run:
        with warehouse.connect(home, read_only=True) as con:
            chosen, kept = expirable(con, before)
        click.echo(f"would remove {len(chosen):,} snapshots and keep {kept:,}")
        return
    with jobs.job(home, "expire", {"older_than_days": older_than_days}) as run:
        expire(run, before)


def expire(run: jobs.Run, before: datetime) -> None:
    """Remove the expirable snapshots from before ``before``, merge what small files are left, then
    remove the files due for it."""

    def remove(con) -> tuple[int, int]:
        chosen, kept = expirable(con, before)
        if chosen:
            con.execute("CALL ducklake_expire_snapshots('lake', versions => ?)", [chosen])
        return len(chosen), kept

    removed, kept = warehouse.write(run.home, remove)

    def merge(con) -> int:
        merged = con.execute("CALL ducklake_merge_adjacent_files('lake')").fetchall()
        return sum(before for _, _, before, _ in merged)

    merged = warehouse.write(run.home, merge)

    def clean_up(con) -> int:
        due = datetime.now(UTC) - _GRACE
        # Of expired snapshots, and what killed transactions left.
        return sum(
            len(con.execute(f"CALL {function}('lake', older_than => ?)", [due]).fetchall())
            for function in ("ducklake_cleanup_old_files", "ducklake_delete_orphaned_files")
        )

    files = warehouse.write(run.home, clean_up)
    run.metrics |= {"snapshots_removed": removed, "snapshots_kept": kept}
    run.metrics |= {"files_merged": merged, "files_removed": files}
    run.summary.append(
        f"  removed {removed:,} snapshots (kept {kept:,}) and {files:,} files that were due (a day"
        f" after their snapshot went); merged {merged:,}"
    )


def expirable(con, before: datetime) -> tuple[list[int], int]:
    """Snapshots from before ``before`` that nothing refers to, and how many others there are."""
    referred = {
        snapshot
        for row in con.execute(
            "SELECT snapshot_read, snapshot_written FROM lake.meta.runs"
        ).fetchall()
        for snapshot in row
    }
    snapshots = con.execute(
        "SELECT snapshot_id, snapshot_time < ? FROM ducklake_snapshots('lake') ORDER BY 1", [before]
    ).fetchall()
    newest = snapshots[-1][0]
    chosen = [s for s, is_old in snapshots if is_old and s not in referred and s != newest]
    return chosen, len(snapshots) - len(chosen)
