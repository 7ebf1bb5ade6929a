"""The command line. Each command lives beside its job and is imported only when called."""

import importlib
import os
from pathlib import Path

import click


class LazyGroup(click.Group):
    """A group whose commands are ``name -> (module:attribute, short help)``."""

    def __init__(self, *args, lazy: dict[str, tuple[str, str]], **kwargs):
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx):
        return list(self._lazy)

    def get_command(self, ctx, name):
        if name not in self._lazy:
            return None
        module, _, attribute = self._lazy[name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not any(parameter.name == "home" for parameter in command.params):
            command.params.append(_home_option())
        return command

    def resolve_command(self, ctx, args):
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            error.message += f" Commands: {', '.join(self._lazy)}."
            raise

    def format_commands(self, ctx, formatter):
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._lazy.items()])


def _home_option() -> click.Option:
    return click.Option(
        ["--home"],
        type=click.Path(file_okay=False, path_type=Path),
        expose_value=False,
        is_eager=True,
        callback=_set_home,
        help="The shop's data home [default: $AIGQ_HOME, or data in the checkout].",
    )


def _set_home(_ctx: click.Context, _parameter: click.Parameter, home: Path | None) -> None:
    if home is not None:
        os.environ["AIGQ_HOME"] = str(home.absolute())


train = LazyGroup(
    "train",
    help="Train a model and publish it under models/.",
    lazy={
        "base": ("training.base.job:command", "A small language model on the shop's own text."),
        "sft": ("training.il_sft.job:command", "List SFT of a language model on the samples."),
        "grpo": ("training.il_grpo.job:command", "IL-GRPO: a list model rewarded slot by slot."),
        "day": ("training.il_grpo.day:command", "One more day: CTR model, policy, gate."),
        "item_text": (
            "training.item_text.job:command",
            "A model that describes items in shoppers' words.",
        ),
        "ctr": ("training.ctr.job:command", "A CTR model on the hints that were displayed."),
        "ebr": ("training.ebr.job:command", "Two-tower retrieval and its index, a baseline."),
    },
)

generate = LazyGroup(
    "generate",
    help="Generate texts, teachers' labels, lists and neighbours of queries.",
    lazy={
        "item_texts": ("inference.item_text:command", "Descriptions of new and changed items."),
        "candidates": (
            "inference.teacher.job:candidates",
            "Queries that a teacher proposes for each Think session.",
        ),
        "alignments": (
            "inference.teacher.job:alignments",
            "A teacher's judgement of each session's label candidates.",
        ),
        "rationales": (
            "inference.teacher.job:rationales",
            "A teacher's interest points behind each session's labels.",
        ),
        "neighbors": (
            "inference.neighbors:command",
            "The nearest placed query of queries without clicks.",
        ),
        "u2q": ("inference.u2q:command", "Query lists for users, into the lake and Feast."),
        "x2q": ("inference.x2q.job:command", "Interest points of rich traces, by Think."),
        "x2q_scores": ("inference.x2q.scores:command", "Scores of what Think proposed."),
        "lists": ("inference.eval_lists:command", "A model's lists for the test user-days."),
    },
)


@click.group(
    cls=LazyGroup,
    lazy={
        "simulate": ("aigq.simulator.job:command", "Write a made-up shop's log files."),
        "ingest": ("aigq.ingest:command", "Load log files into the lake."),
        "train": ("aigq.cli:train", "Train a model."),
        "generate": ("aigq.cli:generate", "Generate texts, labels, lists and neighbours."),
        "evaluate": ("training.evaluate.job:command", "Measure models on the test user-days."),
        "hints": ("inference.hints:command", "The hints a user would see now."),
        "sql": ("aigq.sql:command", "Run a query over the lake."),
        "expire": (
            "aigq.expire:command",
            "Forget old states that no run refers to; merge small files.",
        ),
        "diff": ("aigq.diff:command", "What changed in a table between two states of the lake."),
        "runs": ("aigq.runs:command", "List what ran, when, on what, with what result."),
    },
)
@click.version_option(package_name="aigq")
def main() -> None:
    """Generative query recommendation: from a shop's log to hints on its home page."""


if __name__ == "__main__":
    main()
