"""``aigq simulate``: a made-up shop's log, as files that ``aigq ingest`` loads."""

from pathlib import Path

import click
from tqdm import tqdm

from aigq.jobs import job
from aigq.settings import Home, recipe_path
from aigq.simulator import given
from aigq.simulator.landing import publish
from aigq.simulator.queries import made_up
from aigq.simulator.sessions import Shop
from aigq.simulator.settings import ShopSettings
from aigq.simulator.writer import Writer


def simulate(settings: ShopSettings, folder: Path, catalog: Path | None = None) -> dict[str, int]:
    """Write the shop's log into ``folder``; returns the rows by table.

    ``catalog``: a folder of own items and queries, see :mod:`aigq.simulator.given`; by default both
    are made up. The same settings (and catalog) give the same bytes.
    """
    language = given.load(settings, catalog) if catalog else made_up(settings)
    with publish(folder) as partial:
        shop = Shop(settings, language)
        with Writer(partial, settings, shop.people) as writer:
            writer.settings()
            writer.users()
            writer.items()
            for index in tqdm(range(settings.days), desc="simulate", unit="day"):
                writer.day(shop.day(index))
    return writer.rows


@click.command()
@click.option(
    "--preset",
    default="default",
    show_default=True,
    help="default, low_loyalty, high_loyalty, paper, or a YAML file: every parameter of the shop.",
)
@click.option("--users", help="People who may visit, over the preset's.", type=int)
@click.option(
    "--days",
    help="Days of log, from 2026-01-05 on, over the preset's; more of them are another shop's log.",
    type=int,
)
@click.option("--seed", help="Same seed, same bytes; over the preset's.", type=int)
@click.option(
    "--catalog",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of own items and query_items; only behaviour is made up. See docs/simulator.md.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the files. [default: landing/ in the data home]",
)
def command(preset: str, catalog: Path | None, out: Path | None, **sizes: int | None) -> None:
    """Write the log of a made-up shop: users, items, events, and hints shown and clicked.

    What only the simulator knows goes to truth/ beside them.
    """
    settings = ShopSettings.load(recipe_path("aigq/simulator", preset), overrides=sizes)
    home = Home.from_environment()
    folder = out or home.landing
    parameters = {"preset": preset, "catalog": catalog, "out": folder} | settings.model_dump()
    with job(home, "simulate", parameters) as run:
        rows = simulate(settings, folder, catalog)
        run.metrics["rows"] = rows
        for table, count in rows.items():
            run.wrote(str(folder / f"{table}.parquet"), count)
