"""``make ladder``: from popularity to Think, every rung trained and judged on one made-up shop.

Run again after an interruption, it goes on: jobs are safe to repeat, and models that are already
trained are not trained again. Models of one variant differ in what their name says only: the same
base model, samples, steps and samples a step. (A verbose prompt holds the behaviours of a
compressed one in two and a half times the tokens; its budgets are that much larger.)
"""

import sys

from aigq.settings import Home, UserError
from aigq.steps import Step, run_steps, unless_published

# Think sessions that the teacher explains: more than 800 steps see once.
_SESSIONS = "10000"
_VERBOSE_DIRECT = ["--max-prompt-tokens", "448", "--batch-tokens", "4736"]
_VERBOSE_THINK = ["--max-prompt-tokens", "480", "--batch-tokens", "5632"]
_THINK = ["--variant", "think", "--base-model", "base_think"]

# Models of `aigq train sft`: the rows of the paper's tables, and what tells them apart.
_MODELS = {
    "direct_sft": ["--variant", "direct", "--objective", "sft", *_VERBOSE_DIRECT],
    "direct_il_sft_verbose": ["--variant", "direct", "--prompt-style", "verbose", *_VERBOSE_DIRECT],
    "direct_il_sft": ["--variant", "direct"],
    "think_sft": [*_THINK, "--objective", "sft", *_VERBOSE_THINK],
    "think_il_sft": _THINK,
}


def main() -> None:
    home = Home.from_environment()
    run_steps(home, "ladder", _steps(home))


def _steps(home: Home) -> list[Step]:
    landing = str(home.landing)

    def teacher(task: str) -> list[str]:
        return ["aigq", "generate", task, "--teacher", "rules", "--sessions", _SESSIONS]

    def train(name: str, *command: str) -> Step:
        return f"Training: {name}", lambda: unless_published(
            home, name, ["aigq", "train", *command]
        )

    models = [part for name in ["ebr", *_MODELS] for part in ("--model", name)]
    return [
        ("A made-up shop", [["aigq", "simulate", "--out", landing], ["aigq", "ingest", landing]]),
        ("Samples", [["dbt", "build"]]),
        train("base", "base", "--recipe", "tiny"),
        # A model this small has to meet the grammar of interest points before it reasons in it.
        train("base_think", "base", "--name", "base_think", "--think-share", "0.5"),
        train("ebr", "ebr"),
        ("Candidates of a teacher", [teacher("candidates"), ["dbt", "build"]]),
        ("Its judgement of all candidates", [teacher("alignments"), ["dbt", "build"]]),
        ("Its reasons for what is left", [teacher("rationales")]),
        *(train(name, "sft", "--name", name, *options) for name, options in _MODELS.items()),
        (
            "Evaluation on days that no model has seen",
            [["aigq", "evaluate", *models, "--zero-shot", "base"]],
        ),
    ]


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        error.show()
        sys.exit(1)
