"""``make ladder``: from popularity to Think, every rung trained and judged on one shop.

Run again after an interruption, it goes on: jobs are safe to repeat, and models that are already
trained are not trained again. Models of one variant differ in what their name says only: the same
base model, sessions, steps and samples a step. (A verbose prompt takes about three times the tokens
of a compressed one and its budgets are two and a half times as large, so it shows fewer behaviours;
a Think sample whose triggers it does not show is left out, see training/LOG.md.)
"""

import click

from aigq.settings import Home, UserError
from aigq.steps import Step, run_steps, unless_published

# Think sessions that the teacher explains: more than 800 steps see once.
_SESSIONS = "10000"
_VERBOSE_DIRECT = ["--max-prompt-tokens", "448", "--batch-tokens", "4736"]
_VERBOSE_THINK = ["--max-prompt-tokens", "480", "--batch-tokens", "5632"]
_THINK = ["--variant", "think", "--base-model", "base_think"]
_GRPO = {
    "direct": ["--variant", "direct", "--base-model", "direct_il_sft"],
    "think": ["--variant", "think", "--base-model", "think_il_sft"],
}

# The rows of the paper's tables, and what tells them apart.
_MODELS = {
    "direct_sft": ["sft", "--variant", "direct", "--objective", "sft", *_VERBOSE_DIRECT],
    "direct_il_sft_verbose": [
        *("sft", "--variant", "direct", "--prompt-style", "verbose"),
        *_VERBOSE_DIRECT,
    ],
    "direct_il_sft": ["sft", "--variant", "direct"],
    "direct_grpo": ["grpo", *_GRPO["direct"], "--algorithm", "grpo"],
    "direct_il_grpo": ["grpo", *_GRPO["direct"]],
    "think_sft": ["sft", *_THINK, "--objective", "sft", *_VERBOSE_THINK],
    "think_il_sft": ["sft", *_THINK],
    "think_grpo": ["grpo", *_GRPO["think"], "--algorithm", "grpo"],
    "think_il_grpo": ["grpo", *_GRPO["think"]],
}


@click.command()
@click.option(
    "--shop",
    default="default",
    show_default=True,
    help="A preset of `aigq simulate`, or a log of the Best Buy competition (CSV).",
)
@click.option(
    "--train-days",
    type=click.IntRange(1),
    help="Days to train on, the later ones being the test. [default: dbt_project.yml's]",
)
@click.option(
    "--models",
    default=",".join(_MODELS),
    help="Which of the list models to train, with commas between. [default: all]",
)
def main(shop: str, train_days: int | None, models: str) -> None:
    """Train and judge every rung on one shop."""
    names = models.split(",")
    if unknown := [name for name in names if name not in _MODELS]:
        raise UserError(f"--models: no {unknown[0]!r} in the ladder, but {', '.join(_MODELS)}")
    for name in names:
        start = name.partition("_")[0] + "_il_sft"
        if name.endswith("grpo") and start not in names:
            raise UserError(f"--models: {name} starts from {start}, which is not among them")
    home = Home.from_environment()
    log = shop if train_days is None else f"{shop}, {train_days} days to train on"
    run_steps(home, "ladder", _steps(home, shop, train_days, names), log=log)


def _steps(home: Home, shop: str, train_days: int | None, names: list[str]) -> list[Step]:
    build = ["dbt", "build"]
    if train_days is not None:
        build += ["--vars", f"{{train_days: {train_days}}}"]

    def teacher(task: str) -> list[str]:
        return ["aigq", "generate", task, "--teacher", "rules", "--sessions", _SESSIONS]

    def train(name: str, *command: str) -> Step:
        return f"Training: {name}", lambda: unless_published(
            home, name, ["aigq", "train", *command]
        )

    steps: list[Step] = [
        ("The shop's log", _log(home, shop)),
        ("Samples", [build]),
        train("base", "base", "--recipe", "tiny"),
        train("ebr", "ebr"),
    ]
    if any(name.startswith("think") for name in names):
        steps += [
            # A model this small has to meet the grammar of interest points before it reasons in it.
            train("base_think", "base", "--name", "base_think", "--think-share", "0.5"),
            ("Candidates of a teacher", [teacher("candidates"), build]),
            ("Its judgement of all candidates", [teacher("alignments"), build]),
            ("Its reasons for what is left", [teacher("rationales")]),
        ]
    if any(name.endswith("grpo") for name in names):
        steps.append(train("ctr", "ctr"))
    judged = [part for name in ["ebr", *names] for part in ("--model", name)]
    return [
        *steps,
        *(train(name, *_MODELS[name], "--name", name) for name in names),
        (
            "Evaluation on days that no model has seen",
            [["aigq", "evaluate", *judged, "--zero-shot", "base"]],
        ),
    ]


def _log(home: Home, shop: str) -> list[list[str]]:
    if shop.endswith((".csv", ".csv.gz")):
        return [["aigq", "ingest", shop, "--adapter", "bestbuy"]]
    landing = str(home.landing)
    return [
        ["aigq", "simulate", "--preset", shop, "--out", landing],
        ["aigq", "ingest", landing],
    ]


if __name__ == "__main__":
    main()
