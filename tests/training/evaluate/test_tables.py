"""How the report looks: a person should read these by eye."""

from training.evaluate import paper
from training.evaluate.bootstrap import Comparison, Estimate
from training.evaluate.tables import Table, as_markdown, as_text, number

TABLE = Table(
    "Two models",
    ["", "Query HR@10", "Unique Cates"],
    [["popularity", ".120 [.102 .138]", "14.0 [13.8 14.2]"], ["a|b", "-", "9.0 [8.5 9.5]"]],
    ["A note."],
)


def test_on_the_screen():
    assert (
        as_text(TABLE)
        == """\
Two models
----------------------------------------------
                 Query HR@10      Unique Cates
----------------------------------------------
popularity  .120 [.102 .138]  14.0 [13.8 14.2]
a|b                        -     9.0 [8.5 9.5]
A note."""
    )


def test_in_markdown():
    assert (
        as_markdown(TABLE)
        == """\
## Two models

|  | Query HR@10 | Unique Cates |
| --- | ---: | ---: |
| popularity | .120 [.102 .138] | 14.0 [13.8 14.2] |
| a\\|b | - | 9.0 [8.5 9.5] |

A note."""
    )


def test_numbers():
    assert [number(x, 3) for x in (0.1234, 1.0, 0.0, -0.05)] == [".123", "1.000", ".000", "-.050"]
    assert [number(x, 1) for x in (0.5, 14.04, -0.01)] == ["0.5", "14.0", "0.0"]
    assert number(-0.0001, 3) == ".000"
    assert paper.difference(Comparison(-0.0001, -0.01, 0.01, 0.9, 9), 3) == ".000 [-.010 .010]"


def figures(cate_hr: float, unique: float) -> dict:
    return {
        ("cate_hr", 30, "all"): Estimate(cate_hr, cate_hr - 0.01, cate_hr + 0.01, 100),
        ("unique_cates", 30, "all"): Estimate(unique, unique - 1, unique + 1, 100),
    }


def test_the_papers_first_table_beside_ours():
    table = paper.table_1(
        {"direct_il_sft": figures(0.5, 8.0), "think_il_sft": figures(0.6, 9.0)},
        {"direct_il_sft": "direct", "think_il_sft": "think_il_sft"},
    )
    rows = {row[0]: row[1:] for row in table.rows}
    assert list(rows) == [
        "EBR",
        "zero-shot LM",
        "Direct SFT",
        "Direct IL-SFT (direct)",
        "Direct IL-SFT+GRPO",
        "Direct IL-SFT+IL-GRPO",
        "Think SFT",
        "Think IL-SFT",
        "Think IL-SFT+GRPO",
        "Think IL-SFT+IL-GRPO",
    ]
    assert table.header == [
        *("", "Cate HR@30", "paper", "Sem. Sim.", "paper"),
        *("Query HR@30", "paper", "Unique Cates", "paper"),
    ]
    assert rows["EBR"] == [
        *("not run", ".1998", "not run", ".5198", "not run", ".0100", "not run", "8.4"),
    ]
    assert rows["Direct IL-SFT (direct)"] == [
        *(".500 [.490 .510]", ".4305", "-", ".5946", "-", ".0442", "8.0 [7.0 9.0]", "7.5"),
    ]


def test_the_ladder_shows_steps_between_the_rows_that_were_run():
    present = ["think_il_sft", "direct_sft", "direct_il_sft", "ebr"]
    pairs = paper.ladder_pairs(present)
    assert pairs == [("direct_il_sft", "direct_sft"), ("think_il_sft", "direct_il_sft")]
    steps = {
        "direct_il_sft": {("cate_hr", 30, "all"): Comparison(0.02, 0.01, 0.03, 0.001, 100)},
        "think_il_sft": {("cate_hr", 30, "all"): Comparison(-0.01, -0.03, 0.01, 0.4, 100)},
    }
    estimates = {key: figures(0.5, 8.0) for key in present}
    table = paper.table_2(estimates, steps, {key: key for key in present})
    assert [row[:3] for row in table.rows] == [
        ["Direct SFT, verbose", ".500", ""],
        ["+ re-ranking", "not run", ""],
        ["+ compression", ".500", "+.020 [.010 .030]*"],
        ["+ reasoning", ".500", "-.010 [-.030 .010]"],
        ["+ IL-GRPO", "not run", ""],
    ]


def test_the_steps_within_think_have_a_table_of_their_own():
    present = ["direct_sft", "think_il_sft", "think_sft", "think_il_sft_verbose"]
    pairs = paper.ladder_pairs(present, paper.THINK_LADDER)
    assert pairs == [
        ("think_il_sft_verbose", "think_sft"),
        ("think_il_sft", "think_il_sft_verbose"),
    ]
    steps = {"think_il_sft": {("cate_hr", 30, "all"): Comparison(0.02, 0.01, 0.03, 0.001, 100)}}
    estimates = {key: figures(0.5, 8.0) for key in present}
    table = paper.think_steps(estimates, steps, {key: key for key in present})
    assert [row[:3] for row in table.rows] == [
        ["Think SFT, verbose", ".500", ""],
        ["+ re-ranking", ".500", ""],
        ["+ compression", ".500", "+.020 [.010 .030]*"],
        ["+ IL-GRPO", "not run", ""],
    ]
    assert not paper.think_steps({"think_sft": figures(0.5, 8.0)}, {}, {}).rows


def test_rows_by_name_or_manifest():
    def row(name: str, is_zero_shot: bool = False, **manifest) -> str | None:
        return paper.row_of(name, manifest, is_zero_shot=is_zero_shot)

    assert row("think_grpo") == row("think-grpo") == "think_grpo"
    assert row("base", is_zero_shot=True) == "zero_shot"
    assert row("towers", kind="ebr") == "ebr"
    il_sft = {"variant": "direct", "objective": "il_sft"}
    assert row("direct", **il_sft, settings={"prompt_style": "compressed"}) == "direct_il_sft"
    verbose = {"prompt_style": "verbose"}
    assert row("direct", **il_sft, settings=verbose) == "direct_il_sft_verbose"
    assert row("mine", variant="direct", objective="sft", settings=verbose) == "direct_sft"
    think = {"variant": "think", "objective": "il_sft", "settings": verbose}
    assert row("mine", **think) == "think_il_sft_verbose"
    compressed = {"prompt_style": "compressed"}
    assert row("direct_sft", variant="direct", objective="sft", settings=compressed) is None
    assert row("direct", variant="direct") is None
    assert row("base") is None
