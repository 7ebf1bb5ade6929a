"""``make ladder``: from popularity to Think, every rung trained and judged on one shop.

Jobs that do not wait for one another run side by side. Run again after an interruption, it goes on:
jobs are safe to repeat, and models that are already trained are not trained again. Models of one
variant differ in what their name says only: the same base model, sessions, steps and samples a
step. (A verbose prompt takes about three times the tokens of a compressed one and its budgets are
two and a half times as large, so it shows fewer behaviours; a Think sample whose triggers it does
not show is left out, see training/LOG.md.)
"""

import click

from aigq.settings import Home, UserError
from aigq.steps import Job, lanes_option, run_jobs, unless_published

# Think sessions that the teacher explains: more than 800 steps see once.
_SESSIONS = "10000"
_VERBOSE_DIRECT = ["--max-prompt-tokens", "448", "--batch-tokens", "4736"]
_VERBOSE_THINK = ["--max-prompt-tokens", "480", "--batch-tokens", "5632"]
_THINK = ["--variant", "think", "--base-model", "base_think"]
_GRPO = {
    "direct": ["--variant", "direct", "--base-model", "direct_il_sft"],
    "think": ["--variant", "think", "--base-model", "think_il_sft"],
}

# The rows of the paper's tables, and what tells them apart; what takes longest comes first.
_MODELS = {
    "think_il_sft": ["sft", *_THINK],
    "think_sft": ["sft", *_THINK, "--objective", "sft", *_VERBOSE_THINK],
    "direct_il_sft": ["sft", "--variant", "direct"],
    "direct_sft": ["sft", "--variant", "direct", "--objective", "sft", *_VERBOSE_DIRECT],
    "direct_il_sft_verbose": [
        *("sft", "--variant", "direct", "--prompt-style", "verbose"),
        *_VERBOSE_DIRECT,
    ],
    "think_grpo": ["grpo", *_GRPO["think"], "--algorithm", "grpo"],
    "think_il_grpo": ["grpo", *_GRPO["think"]],
    "direct_grpo": ["grpo", *_GRPO["direct"], "--algorithm", "grpo"],
    "direct_il_grpo": ["grpo", *_GRPO["direct"]],
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
@click.option(
    "--instances",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    help="Test user-days to judge by.",
)
@lanes_option
def main(shop: str, train_days: int | None, models: str, instances: int, lanes: int) -> None:
    """Train and judge every rung on one shop."""
    names = models.split(",")
    if unknown := [name for name in names if name not in _MODELS]:
        raise UserError(f"--models: no {unknown[0]!r} in the ladder, but {', '.join(_MODELS)}")
    for name in names:
        if name.endswith("grpo") and _start(name) not in names:
            raise UserError(f"--models: {name} starts from {_start(name)}, which is not among them")
    home = Home.from_environment()
    log = shop if train_days is None else f"{shop}, {train_days} days to train on"
    jobs = _jobs(home, shop, train_days, names, instances)
    run_jobs(home, "ladder", jobs, lanes=lanes, log=log)
    click.echo((home.reports / "ladder" / "evaluation.log").read_text())


def _jobs(
    home: Home, shop: str, train_days: int | None, names: list[str], instances: int
) -> list[Job]:
    """What comes first starts first where several could: reasons and Think take longest."""
    build = ["dbt", "build"]
    if train_days is not None:
        build += ["--vars", f"{{train_days: {train_days}}}"]

    def teacher(task: str) -> list[str]:
        return ["aigq", "generate", task, "--teacher", "rules", "--sessions", _SESSIONS]

    def train(name: str, command: list[str], *after: str) -> Job:
        return Job(name, lambda: unless_published(home, name, ["aigq", "train", *command]), after)

    def lists(name: str, *options: str) -> Job:
        command = ["aigq", "generate", "lists", "--model", name, *options]
        return Job(f"lists_{name}", [[*command, "--instances", str(instances)]], (name,))

    jobs = [Job("shop", _log(home, shop)), Job("samples", [build], ("shop",))]
    if any(name.startswith("think") for name in names):
        jobs += [
            Job("candidates", [teacher("candidates"), build], ("samples",)),
            # A model this small has to meet the grammar of interest points before it reasons in it.
            train(
                "base_think", ["base", "--name", "base_think", "--think-share", "0.5"], "samples"
            ),
            Job("alignments", [teacher("alignments"), build], ("candidates",)),
            Job("rationales", [teacher("rationales")], ("alignments",)),
        ]
    jobs.append(train("base", ["base", "--recipe", "tiny"], "samples"))
    taught = [name for name in names if not name.endswith("grpo")]
    is_any_rewarded = len(taught) < len(names)
    for name in taught:
        after = ["base"] if name.startswith("direct") else ["base_think", "rationales"]
        jobs += [train(name, [*_MODELS[name], "--name", name], *after), lists(name)]
    if is_any_rewarded:
        jobs.append(train("ctr", ["ctr"], "samples"))
    for name in names:
        if name not in taught:
            train_it = train(name, [*_MODELS[name], "--name", name], _start(name), "ctr")
            jobs += [train_it, lists(name)]
    jobs += [train("ebr", ["ebr"], "samples"), lists("ebr"), lists("base", "--zero-shot")]
    judged = [part for name in ["ebr", *names] for part in ("--model", name)]
    judged += ["--zero-shot", "base", "--instances", str(instances)]
    if is_any_rewarded:
        judged += ["--ctr", "ctr"]
    written = [job.name for job in jobs if job.name.startswith("lists_")]
    return [*jobs, Job("evaluation", [["aigq", "evaluate", *judged]], written)]


def _start(name: str) -> str:
    """What the rewarded model ``name`` starts from."""
    return name.partition("_")[0] + "_il_sft"


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
