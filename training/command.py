"""The command of a training job that takes a recipe and settings, and nothing else."""

from collections.abc import Callable
from typing import Any

import click

from aigq import jobs
from aigq.as_of import as_of_option
from aigq.settings import Home, Settings, UserError, recipe_path, settings_options
from training import distributed


def train_command(
    name: str, settings: type[Settings], train: Callable[..., None], *, about: str
) -> click.Command:
    """``aigq train NAME``: settings from the options, else the recipe in ``training/NAME``, else
    the defaults; then ``train(run, settings, recipe=...)`` as the job ``train NAME``, in one
    process."""

    @click.command(name, help=about)
    @click.option("--recipe", default="tiny", show_default=True, help="Recipe name or YAML file.")
    @as_of_option
    @settings_options(settings)
    def command(recipe: str, as_of: str | None, **options: Any) -> None:
        if distributed.world_size() > 1:
            raise UserError(
                f"aigq train {name} runs in one process: `accelerate launch` is for aigq train sft"
                " and aigq train grpo"
            )
        path = recipe_path(f"training/{name}", recipe)
        chosen = settings.load(path, options)
        parameters = {"recipe": path.stem, **chosen.model_dump()}
        with jobs.job(Home.from_environment(), f"train {name}", parameters, as_of=as_of) as run:
            train(run, chosen, recipe=path.stem)

    return command
