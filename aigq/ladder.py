"""``make ladder``: from popularity to Think, every rung trained and judged on one shop.

Jobs that do not wait for one another run side by side. Run again after an interruption, it goes on:
jobs are safe to repeat, and models that are already trained are not trained again. Models of one
variant differ in what their name says: the same base model, sessions, steps and about as many
samples a step. A verbose prompt takes about three times the tokens of a compressed one and its
budget is two to two and a half times as large, so it shows fewer behaviours; a Think sample whose
triggers it does not show is left out, so that Think learns from fewer samples by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import click

from aigq.settings import Home, UserError
from aigq.steps import Job, lanes_option, run_jobs, unless_published


@dataclass(frozen=True)
class _Size:
    """What differs between sizes. ``sessions``: of Think, that the teacher explains, more than
    training sees once. ``verbose``: budgets of the verbose prompt, by variant."""

    sessions: int
    ebr: Sequence[str]
    verbose: dict[str, Sequence[str]]
    is_rewarded: bool


def _budgets(prompt: int, batch: int) -> list[str]:
    return ["--max-prompt-tokens", str(prompt), "--batch-tokens", str(batch)]


_SIZES = {
    "tiny": _Size(10_000, [], {"direct": _budgets(448, 4736), "think": _budgets(480, 5632)}, True),
    # No recipe of IL-GRPO is made for this size.
    "small": _Size(
        250_000,
        ["--steps", "6000"],
        {"direct": _budgets(1280, 40_960), "think": _budgets(1024, 60_416)},
        False,
    ),
}
# The rows of the paper's tables; what takes longest comes first.
_MODELS = (
    "think_il_sft",
    "think_sft",
    "think_il_sft_verbose",
    "direct_il_sft",
    "direct_sft",
    "direct_il_sft_verbose",
    "think_grpo",
    "think_il_grpo",
    "direct_grpo",
    "direct_il_grpo",
)
# No row of the paper's, and a seventh of the whole time: what the prompt alone does to Think.
_BY_REQUEST = "think_il_sft_verbose"


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
    "--recipe",
    "size",
    type=click.Choice([*_SIZES]),
    default="tiny",
    show_default=True,
    help="Size of the models: tiny for 2 CPU cores; small for a GPU, without rewarded models.",
)
@click.option(
    "--models",
    help="Which of the list models to train, with commas between."
    f" [default: all of that size but {_BY_REQUEST}]",
)
@click.option(
    "--instances",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    help="Test user-days to judge by.",
)
@lanes_option
def main(
    shop: str, train_days: int | None, size: str, models: str | None, instances: int, lanes: int
) -> None:
    """Train and judge every rung on one shop."""
    there = _of_size(size)
    names = _chosen(size) if models is None else models.split(",")
    if unknown := [name for name in names if name not in there]:
        raise UserError(f"--models: no {unknown[0]!r} in the ladder, but {', '.join(there)}")
    for name in names:
        if name.endswith("grpo") and _start(name) not in names:
            raise UserError(f"--models: {name} starts from {_start(name)}, which is not among them")
    home = Home.from_environment()
    log = shop if train_days is None else f"{shop}, {train_days} days to train on"
    log += "" if size == "tiny" else f", recipe {size}"
    jobs = _jobs(home, shop, train_days, size, names, instances)
    run_jobs(home, "ladder", jobs, lanes=lanes, log=log)
    click.echo((home.reports / "ladder" / "evaluation.log").read_text())


def _of_size(size: str) -> list[str]:
    return [m for m in _MODELS if _SIZES[size].is_rewarded or not m.endswith("grpo")]


def _chosen(size: str) -> list[str]:
    """The models that are trained where none are named."""
    return [name for name in _of_size(size) if name != _BY_REQUEST]


def _jobs(
    home: Home,
    shop: str,
    train_days: int | None,
    size: str,
    names: Sequence[str],
    instances: int,
) -> list[Job]:
    """What comes first starts first where several could: reasons and Think take longest."""
    build = ["dbt", "build"]
    if train_days is not None:
        build += ["--vars", f"{{train_days: {train_days}}}"]

    def teacher(task: str) -> list[str]:
        sessions = str(_SIZES[size].sessions)
        return ["aigq", "generate", task, "--teacher", "rules", "--sessions", sessions]

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
                "base_think",
                ["base", "--recipe", size, "--name", "base_think", "--think-share", "0.5"],
                "samples",
            ),
            Job("alignments", [teacher("alignments"), build], ("candidates",)),
            Job("rationales", [teacher("rationales")], ("alignments",)),
        ]
    jobs.append(train("base", ["base", "--recipe", size, "--name", "base"], "samples"))
    taught = [name for name in names if not name.endswith("grpo")]
    is_any_rewarded = len(taught) < len(names)
    for name in taught:
        after = ["base"] if name.startswith("direct") else ["base_think", "rationales"]
        jobs += [train(name, [*_command(name, size), "--name", name], *after), lists(name)]
    if is_any_rewarded:
        jobs.append(train("ctr", ["ctr"], "samples"))
    for name in names:
        if name not in taught:
            train_it = train(name, [*_command(name, size), "--name", name], _start(name), "ctr")
            jobs += [train_it, lists(name)]
    ebr = train("ebr", ["ebr", *_SIZES[size].ebr], "samples")
    jobs += [ebr, lists("ebr"), lists("base", "--zero-shot")]
    judged = [part for name in ["ebr", *names] for part in ("--model", name)]
    judged += ["--zero-shot", "base", "--instances", str(instances)]
    if is_any_rewarded:
        judged += ["--ctr", "ctr"]
    written = [job.name for job in jobs if job.name.startswith("lists_")]
    return [*jobs, Job("evaluation", [["aigq", "evaluate", *judged]], written)]


def _command(name: str, size: str) -> list[str]:
    """What tells the model ``name`` apart, as options of `aigq train`."""
    variant, _, objective = name.partition("_")
    if name.endswith("grpo"):
        command = ["grpo", "--variant", variant, "--base-model", _start(name)]
        return [*command, "--algorithm", objective]
    base = "base_think" if variant == "think" else "base"
    command = ["sft", "--variant", variant, "--recipe", f"{variant}-{size}", "--base-model", base]
    if objective == "il_sft":
        return command
    command += ["--objective", "sft"] if objective == "sft" else ["--prompt-style", "verbose"]
    return [*command, *_SIZES[size].verbose[variant]]


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
