"""What `make ladder` would run: commands that exist, with options that they take."""

from pathlib import Path

import click
import pytest

from aigq import ladder
from aigq.cli import main
from aigq.settings import Home, UserError, recipe_path


def jobs(tmp_path, shop="default", train_days=None, size="tiny", names=ladder._MODELS):
    return ladder._jobs(Home(tmp_path), shop, train_days, size, names, instances=20)


def commands(*args, **kwargs):
    found = [job.commands for job in jobs(*args, **kwargs)]
    return [c for of in found for c in (of() if callable(of) else of)]


def check(command: list[str]) -> None:
    """Parse an ``aigq`` command as far as its settings; fails on what it does not know."""
    group, arguments = main, command[1:]
    context = click.Context(group)
    while isinstance(group, click.Group):
        _, group, arguments = group.resolve_command(context, arguments)
    group.make_context("command", list(arguments))


@pytest.mark.parametrize(
    ("shop", "size"), [("default", "tiny"), ("paper", "small"), ("clicks.csv.gz", "tiny")]
)
def test_every_command_is_one(tmp_path, shop, size):
    for command in commands(tmp_path, shop, 63, size):
        if command[0] == "aigq" and "ingest" not in command:  # its files need not be there yet
            check(command)
        elif command[0] == "dbt":
            assert command == ["dbt", "build", "--vars", "{train_days: 63}"]
    with pytest.raises(click.UsageError):
        check(["aigq", "train", "sft", "--no-such-option"])


def test_what_is_trained_where_nothing_is_named():
    rows = ["think_il_sft", "think_sft", "direct_il_sft", "direct_sft", "direct_il_sft_verbose"]
    assert ladder._chosen("small") == rows
    rewarded = ["think_grpo", "think_il_grpo", "direct_grpo", "direct_il_grpo"]
    assert ladder._chosen("tiny") == [*rows, *rewarded]


def test_what_is_trained_is_judged(tmp_path):
    whole = commands(tmp_path)
    assert whole[-1][:2] == ["aigq", "evaluate"]
    judged = [b for a, b in zip(whole[-1], whole[-1][1:], strict=False) if a == "--model"]
    trained = [c[c.index("--name") + 1] for c in whole if "--name" in c and {"sft", "grpo"} & {*c}]
    assert judged == ["ebr", *trained] == ["ebr", *ladder._MODELS]
    # Lists that were drawn for other user-days would be drawn once more by the evaluation, alone.
    lists = {c[c.index("--model") + 1]: c for c in whole if c[:3] == ["aigq", "generate", "lists"]}
    assert set(lists) == {*judged, "base"} and "--zero-shot" in lists["base"]
    assert all(c[-2:] == ["--instances", "20"] for c in lists.values())
    assert whole[-1][-4:] == ["--instances", "20", "--ctr", "ctr"]
    assert "--ctr" not in commands(tmp_path, names=["direct_il_sft"])[-1], "none is trained"


def test_rows_differ_in_what_they_are_called_after(tmp_path):
    of = {c[c.index("--name") + 1]: c for c in commands(tmp_path) if "--name" in c}
    assert of["think_il_sft_verbose"] == [
        *("aigq", "train", "sft", "--variant", "think", "--recipe", "think-tiny"),
        *("--base-model", "base_think", "--prompt-style", "verbose"),
        *("--max-prompt-tokens", "480", "--batch-tokens", "5632", "--name", "think_il_sft_verbose"),
    ]
    assert of["direct_sft"] == [
        *("aigq", "train", "sft", "--variant", "direct", "--recipe", "direct-tiny"),
        *("--base-model", "base", "--objective", "sft"),
        *("--max-prompt-tokens", "448", "--batch-tokens", "4736"),
        *("--name", "direct_sft"),
    ]
    assert of["direct_grpo"] == [
        *("aigq", "train", "grpo", "--variant", "direct", "--base-model", "direct_il_sft"),
        *("--algorithm", "grpo", "--name", "direct_grpo"),
    ]


def test_the_size_for_a_gpu(tmp_path):
    names = [name for name in ladder._MODELS if not name.endswith("grpo")]
    found = commands(tmp_path, "paper", size="small", names=names)
    recipes = {c[c.index("--recipe") + 1] for c in found if "--recipe" in c}
    assert recipes == {"small", "direct-small", "think-small"}
    with pytest.raises(UserError, match="no 'direct_grpo' in the ladder, but think_il_sft, "):
        ladder.main.main(["--recipe", "small", "--models", "direct_grpo"], standalone_mode=False)


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_what_a_model_is_asked_has_room_in_it(tmp_path, size):
    from training.base.job import POSITIONS
    from training.il_sft.settings import SftSettings

    names = [name for name in ladder._MODELS if not name.endswith("grpo")]
    found = [c for c in commands(tmp_path, size=size, names=names) if c[1:3] == ["train", "sft"]]
    assert len(found) == 6
    for command in found:
        given = dict(zip(command[3::2], command[4::2], strict=True))
        path = recipe_path("training/il_sft", given["--recipe"])
        budgets = {
            name: int(given[f"--{name.replace('_', '-')}"])
            for name in ("max_prompt_tokens", "batch_tokens")
            if f"--{name.replace('_', '-')}" in given
        }
        settings = SftSettings.load(path, budgets)
        assert settings.max_prompt_tokens + settings.max_target_tokens <= POSITIONS


def test_no_job_starts_before_what_it_reads(tmp_path):
    after = {job.name: set(job.after) for job in jobs(tmp_path)}
    assert after["direct_il_sft"] == {"base"}
    assert after["think_sft"] == after["think_il_sft_verbose"] == {"base_think", "rationales"}
    assert after["think_il_grpo"] == {"think_il_sft", "ctr"}
    assert after["lists_ebr"] == {"ebr"} and after["ebr"] == {"samples"}
    assert after["evaluation"] == {name for name in after if name.startswith("lists_")}
    names = [*after]
    for name, needed in after.items():
        assert all(names.index(n) < names.index(name) for n in needed), name


def test_direct_alone_needs_no_teacher(tmp_path):
    part = commands(tmp_path, names=["direct_il_sft"])
    assert not any("--teacher" in c or "base_think" in c for c in part)
    with pytest.raises(UserError, match="no 'direkt' in the ladder, but think_il_sft, "):
        ladder.main.main(["--models", "direkt"], standalone_mode=False)
    with pytest.raises(UserError, match="think_grpo starts from think_il_sft, which is not among"):
        ladder.main.main(["--models", "direct_sft,think_grpo"], standalone_mode=False)


def test_models_that_are_there_are_not_trained_again(tmp_path):
    path = Path(tmp_path, "models", "ebr", "1")
    path.mkdir(parents=True)
    (path / "manifest.json").write_text("{}")
    assert ["aigq", "train", "ebr"] not in commands(tmp_path)
    assert ["aigq", "train", "base", "--recipe", "tiny", "--name", "base"] in commands(tmp_path)
