"""``aigq simulate``: a made-up shop's log, as files that ``aigq ingest`` loads."""

from pathlib import Path

import click
from tqdm import tqdm

from aigq.jobs import job
from aigq.settings import Home
from aigq.simulator import catalog as catalogs
from aigq.simulator.landing import SCHEMAS, Writer, publish
from aigq.simulator.sessions import Shop
from aigq.simulator.settings import ShopSettings


def simulate(settings: ShopSettings, folder: Path) -> dict[str, int]:
    """Write the shop's log into ``folder``; returns the rows by table.

    The same settings give the same bytes.
    """
    with publish(folder) as partial:
        catalog = catalogs.build(settings)
        shop = Shop(settings, catalog)
        with Writer(partial, catalog, shop.people) as writer:
            writer.users()
            writer.items()
            for index in tqdm(range(settings.days), desc="simulate", unit="day"):
                writer.day(shop.day(index))
    return writer.rows


@click.command()
@click.option("--users", help="People who may visit. [default: 10000]", type=int)
@click.option("--days", help="Days of log, from 2026-01-05 on. [default: 32]", type=int)
@click.option("--seed", help="Same seed, same bytes. [default: 1]", type=int)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the files. [default: landing/ in the data home]",
)
def command(users: int | None, days: int | None, seed: int | None, out: Path | None) -> None:
    """Write the log of a made-up shop: users, items, events, and hints shown and clicked.

    Every other parameter is in aigq/simulator/settings.py.
    """
    settings = ShopSettings.load(overrides={"users": users, "days": days, "seed": seed})
    home = Home.from_environment()
    folder = out or home.landing
    with job(home, "simulate", settings.model_dump() | {"out": str(folder)}) as run:
        rows = simulate(settings, folder)
        run.metrics["rows"] = rows
        for table in SCHEMAS:
            run.wrote(str(folder / f"{table}.parquet"), rows[table])
