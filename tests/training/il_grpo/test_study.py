"""The study's commands, and its tables and curves from figures that are known."""

import json
import xml.etree.ElementTree as ET

import click
import pytest
from click.testing import CliRunner

from aigq import ladder, models
from aigq.cli import main
from aigq.settings import Home, UserError
from training.il_grpo import study


@pytest.fixture
def commands(monkeypatch):
    """``commands(home, rows)``, as if whatever is trained were there."""

    def trained(home: Home, name: str) -> models.Model:
        (home.models / name).mkdir(parents=True, exist_ok=True)
        (home.models / name / "manifest.json").write_text('{"ctr_model": "ctr@7"}')
        return models.Model(name, "1", home.models / name)

    monkeypatch.setattr(study, "trained", trained)
    return _commands


def _commands(home: Home, rows) -> list[list[str]]:
    found = [job.commands for job in study._jobs(home, rows, 1000, 6)]
    return [c for of in found for c in (of() if callable(of) else of)]


def test_policies_of_different_rewards_are_not_compared(tmp_path, commands, monkeypatch):
    rows = {"direct": study.table_rows("direct", [1], False)}
    found = study.trained

    def trained(home, name):
        model = found(home, name)
        ctr = "ctr@8" if name == "direct_grpo" else "ctr@7"
        (model.path / "manifest.json").write_text(json.dumps({"ctr_model": ctr}))
        return model

    monkeypatch.setattr(study, "trained", trained)
    with pytest.raises(UserError, match="direct_grpo by ctr@8, direct_il_grpo by ctr@7"):
        commands(Home(tmp_path), rows)


def _training(commands: list[list[str]]) -> list[list[str]]:
    return [c for c in commands if c[1] == "train"]


@pytest.mark.parametrize("variant", ["direct", "think"])
def test_every_command_is_one(tmp_path, commands, variant):
    found = commands(Home(tmp_path), {variant: study.table_rows(variant, [1, 2, 3], True)})
    assert len(_training(found)) == 2 * 3 + 4
    for command in found:
        group, arguments = main, command[1:]
        context = click.Context(group)
        while isinstance(group, click.Group):
            _, group, arguments = group.resolve_command(context, arguments)
        group.make_context("command", list(arguments))
    assert found[-1][found[-1].index("--ctr") + 1] == "ctr@7", "what rewarded them"
    judged = [b for a, b in zip(found[-1], found[-1][1:], strict=False) if a == "--model"]
    trained = [c[c.index("--name") + 1] for c in _training(found)]
    lists = [c[c.index("--model") + 1] for c in found if c[1:3] == ["generate", "lists"]]
    assert sorted(lists) == sorted(judged)
    assert sorted(judged) == sorted(f"{name}@1" for name in (f"{variant}_il_sft", *trained))
    assert {f"{variant}_{of}" for of in ("grpo", "il_grpo")} <= set(trained), "the ladder's rows"
    seeds = {c[c.index("--name") + 1]: c[c.index("--seed") + 1] for c in _training(found)}
    assert seeds[f"{variant}_il_grpo"] == "1" and seeds[f"{variant}_il_grpo_s3"] == "3"


def settings(options: list[str]) -> dict:
    from training.il_grpo.settings import GrpoSettings

    context = click.Context(main)
    _, group, rest = main.resolve_command(context, ["train", *options])
    _, job, rest = group.resolve_command(click.Context(group), rest)
    given = job.make_context("grpo", rest).params
    fields = {k: v for k, v in given.items() if k in GrpoSettings.model_fields}
    return GrpoSettings(**{k: v for k, v in fields.items() if v is not None}).model_dump()


@pytest.mark.parametrize("variant", ["direct", "think"])
def test_seed_1_is_trained_as_the_ladder_trains_it(tmp_path, commands, variant):
    found = commands(Home(tmp_path), {variant: study.table_rows(variant, [1, 2, 3], False)})
    options = {c[c.index("--name") + 1]: c[2:] for c in _training(found)}
    for name in (f"{variant}_grpo", f"{variant}_il_grpo"):
        assert settings(options[name]) == settings([*ladder._command(name, "tiny"), "--name", name])


def test_ablations_take_one_thing_away():
    whole = settings(["grpo"])
    changed = {
        name: {key for key, value in settings(["grpo", *options]).items() if value != whole[key]}
        for name, options in study.ABLATIONS.items()
    }
    assert changed == {
        "no_slots": {"algorithm"},
        "no_entropy": {"entropy_weight", "wide_below", "wide_above"},
        "no_ctr": {"weight_ctr", "keep_low", "keep_high"},
    }


@pytest.fixture
def studied(make_home, insert_raw, tmp_path) -> tuple[Home, dict[str, list[study.Row]]]:
    """Two seeds and the ablations, judged: each model's Query HR@30 is a number of its own, each
    rollout batch holds one query worth .1, .2, ... more a batch."""
    home = make_home(tmp_path / "shop")
    rows = {"direct": study.table_rows("direct", [1, 2], True)}
    names = [name for row in rows["direct"] for name in row.names]
    hit = {name: 0.1 + 0.01 * place for place, name in enumerate(names)}
    for name in names:
        build = home.models / "build"
        build.mkdir(parents=True)
        log = [
            {
                "reward": 9.0,
                "queries": 2.0,
                "distinct_share": 0.5,
                "malformed": 0.0,
                "rewards/ctr/mean": 0.2 * batch,
                "rewards/rouge/mean": 0.1,
                "rewards/length/mean": 0.1,
                "slots/0/reward": 0.5,
            }
            for batch in range(1, 8)
        ]
        del log[6]["slots/0/reward"]  # not one list parses
        (build / "training_log.json").write_text(json.dumps([*log, {"train_loss": 1.0}]))
        seed = int(name[-1]) if name[-1].isdecimal() else 1
        first = 0.25 if "_il_grpo" in name else 0.125
        before, after = ({key: value for key, *_ in study.HELD_OUT} for value in (first, 0.5))
        metrics = {} if name == "direct_il_sft" else {"before": before, "after": after}
        models.publish(home, name, "1", build, {"seed": seed, "metrics": metrics})
    of = {"model_version": "1", "metric": "query_hr", "k": 30, "slice": "all"}
    insert_raw(
        home, schema="eval", metrics=[{**of, "model": n, "value": v} for n, v in hit.items()]
    )
    # As `aigq evaluate` leaves them: each pair once, in the order the models were named.
    insert_raw(
        home,
        schema="eval",
        comparisons=[
            {
                **of,
                "model": one,
                "other_model": other,
                "other_version": "1",
                "difference": hit[one] - hit[other],
                "interval_low": hit[one] - hit[other] - 0.005,
                "interval_high": hit[one] - hit[other] + 0.005,
            }
            for place, one in enumerate(names)
            for other in names[place + 1 :]
        ],
    )
    return home, rows


def test_report_has_means_ranges_and_differences(studied, capsys):
    home, rows = studied
    study.write_report(home, rows)
    text = (home.reports / "grpo_study_direct.md").read_text()
    assert text in capsys.readouterr().out
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if "|" in line}
    judged, held_out, differences = (
        [line for line in part.splitlines() if line.startswith("|")]
        for part in text.split("\n\n")[1::2]
    )
    assert judged[2].startswith("| IL-SFT | 0.100 |  |")
    assert judged[3].startswith("| + GRPO | 0.115 (0.110 0.120) |")
    assert judged[4].startswith("| + IL-GRPO | 0.135 (0.130 0.140) |")
    assert [line.split("|")[1].strip(" .") for line in judged[5:]] == [
        "no slots", "no entropy", "no ctr", "no filter",
    ]  # fmt: skip
    # What the policies were before training is what IL-SFT is.
    assert held_out[2].startswith("| IL-SFT | 0.250 (0.250 0.250) |")
    assert held_out[4].startswith("| + IL-GRPO | 0.500 (0.500 0.500) |")
    # Ablations are of one seed, and so is what stands beside them.
    assert held_out[5].startswith("| + IL-GRPO, seed 1 | 0.500 |")
    assert held_out[8].startswith("| ... no ctr |  |  |  | 0.500 |"), "another reward"
    assert "| +0.030 [0.025 0.035]* |" in lines["IL-GRPO - IL-SFT (seed 1)"]
    assert "| +0.020 [0.015 0.025]* |" in lines["IL-GRPO - GRPO (seed 2)"]
    assert "| +0.050 [0.045 0.055]* |" in lines["no filter - IL-GRPO"]
    assert len(differences) == 2 + 2 * 3 + 4
    titles = [[cell.strip() for cell in part[0].split("|")] for part in (judged, differences)]
    for wanted in ("Query HR@30", "... novel", "repeats", "click reward", "malformed"):
        assert wanted in titles[0] and wanted in titles[1]
    assert "... no behaviours" in titles[0] and "... with unseen items" in titles[0]
    root = ET.fromstring((home.reports / "grpo_study_direct.svg").read_text())
    assert len([g for g in root if g.tag.endswith("g")]) == len(study.CURVES)


def test_a_query_is_worth_the_terms_over_its_list(studied):
    home, _ = studied
    curve = study._curve(models.resolve(home, "direct_grpo").path)
    assert curve["query_reward"] == pytest.approx([0.1 * batch + 0.1 for batch in range(1, 8)])
    assert curve["queries"] == [2.0] * 7 and curve["reward"] == [9.0] * 7
    assert curve["slots/0/reward"] == [0.5] * 6 + [0.0]
    smooth = study._series("GRPO", [curve["query_reward"], [0.0] * 7], window=2)
    assert smooth.mean == pytest.approx([0.1, *(0.125 + 0.05 * b for b in range(6))])
    assert smooth.low == [0.0] * 7


def test_what_a_day_promoted_is_not_studied(studied, tmp_path):
    """`aigq train day` publishes under the same name, from days that are judged here."""
    home, _ = studied
    build = tmp_path / "build"
    build.mkdir()
    models.publish(home, "direct_il_grpo", "2", build, {"promoted_from": "candidate@2"})
    assert models.resolve(home, "direct_il_grpo").version == "2"
    assert study.trained(home, "direct_il_grpo").version == "1"


def test_seeds_of_another_recipe_are_refused(studied, tmp_path):
    home, rows = studied
    for name, steps in (("direct_grpo", 40), ("direct_grpo_s2", 20)):
        build = tmp_path / name
        build.mkdir()
        settings = {"steps": steps, "seed": steps, "name": name, "base_model": name}
        models.publish(home, name, "2", build, {"seed": 1, "settings": settings, "metrics": {}})
    with pytest.raises(UserError, match="GRPO: direct_grpo_s2@2 has steps 20, direct_grpo@2 40"):
        study.write_report(home, rows)


def test_a_model_that_is_missing_is_named(studied):
    home, rows = studied
    rows["direct"].append(study.Row("more", ["direct_more"]))
    with pytest.raises(UserError, match="no model 'direct_more'"):
        study.write_report(home, rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--variants", "direct,thimk"], "--variants: thimk: expected direct, think or both"),
        (["--seeds", "1,b"], "--seeds: expected numbers with commas between, got '1,b'"),
    ],
)
def test_options_that_cannot_be_meant(options, message):
    result = CliRunner().invoke(study.main, options)
    assert result.exit_code == 1
    assert message in result.output
