"""The layouts of the paper's Table 1 and Table 2, its numbers beside ours (method §6).

A row belongs to a model by what it is called, else by what its manifest says it is:

- ``--row ROW=NAME`` says so, or the name is the row's (``direct_sft``, ``think-il-grpo`` ...);
- a model that is asked zero-shot; kind ``ebr``;
- variant and objective of ``aigq train sft``: ``direct`` with ``il_sft`` is ``direct_il_sft``, with
  a verbose prompt ``direct_il_sft_verbose``; the same with ``think``. ``sft`` with a compressed
  prompt has no row, unless ``--row`` gives it one.

A row that no evaluated model belongs to says "not run".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from aigq import models
from training.evaluate.bootstrap import Comparison, Estimate
from training.evaluate.tables import Table, number, with_interval

# Metric, K, title, digits.
COLUMNS = (
    ("cate_hr", 30, "Cate HR@30", 3),
    ("sem_sim", 30, "Sem. Sim.", 3),
    ("query_hr", 30, "Query HR@30", 3),
    ("unique_cates", 30, "Unique Cates", 1),
)


@dataclass(frozen=True)
class PaperRow:
    """A row of Table 1: Cate HR@30, Sem. Sim., Query HR@30 and Unique Cates on Taobao."""

    key: str
    title: str
    numbers: tuple[float, float, float, float]


# Taobao, Qwen3-30B-A3B.
TABLE_1 = (
    PaperRow("ebr", "EBR", (0.1998, 0.5198, 0.0100, 8.4)),
    PaperRow("zero_shot", "zero-shot LM", (0.3054, 0.5554, 0.0022, 5.4)),
    PaperRow("direct_sft", "Direct SFT", (0.4181, 0.5926, 0.0428, 7.1)),
    PaperRow("direct_il_sft", "Direct IL-SFT", (0.4305, 0.5946, 0.0442, 7.5)),
    PaperRow("direct_grpo", "Direct IL-SFT+GRPO", (0.3906, 0.6116, 0.0634, 4.7)),
    PaperRow("direct_il_grpo", "Direct IL-SFT+IL-GRPO", (0.4695, 0.6341, 0.0679, 6.7)),
    PaperRow("think_sft", "Think SFT", (0.4437, 0.6358, 0.0549, 7.7)),
    PaperRow("think_il_sft", "Think IL-SFT", (0.4653, 0.6478, 0.0559, 10.3)),
    PaperRow("think_grpo", "Think IL-SFT+GRPO", (0.4438, 0.6421, 0.0614, 8.0)),
    PaperRow("think_il_grpo", "Think IL-SFT+IL-GRPO", (0.4704, 0.6624, 0.0745, 9.8)),
)

# Each step of a ladder adds one thing to the one before: the paper's, and the same within Think.
LADDER = (
    ("direct_sft", "Direct SFT, verbose"),
    ("direct_il_sft_verbose", "+ re-ranking"),
    ("direct_il_sft", "+ compression"),
    ("think_il_sft", "+ reasoning"),
    ("think_il_grpo", "+ IL-GRPO"),
)
THINK_LADDER = (
    ("think_sft", "Think SFT, verbose"),
    ("think_il_sft_verbose", "+ re-ranking"),
    ("think_il_sft", "+ compression"),
    ("think_il_grpo", "+ IL-GRPO"),
)
ROWS = tuple(dict.fromkeys([*(row.key for row in TABLE_1), *dict(LADDER), *dict(THINK_LADDER)]))


def row_of(name: str, manifest: Mapping, *, is_zero_shot: bool) -> str | None:
    """The row that a model belongs to, None where there is none for it."""
    if is_zero_shot:
        return "zero_shot"
    settings = manifest.get("settings") or {}
    if manifest.get("objective") == "sft" and settings.get("prompt_style") == "compressed":
        return None  # the paper's SFT asks verbosely, and a step changes one thing
    if name.replace("-", "_") in ROWS:
        return name.replace("-", "_")
    if manifest.get("kind") == models.EBR:
        return "ebr"
    key = f"{manifest.get('variant')}_{manifest.get('objective')}"
    if settings.get("prompt_style") == "verbose" and f"{key}_verbose" in ROWS:
        key += "_verbose"
    return key if key in ROWS else None


def table_1(
    estimates: Mapping[str, Mapping[tuple[str, int, str], Estimate]], names: Mapping[str, str]
) -> Table:
    """Ours beside the paper's. ``estimates`` and ``names``: those of the model of each row."""
    header = [""]
    for *_, title, _ in COLUMNS:
        header += [title, "paper"]
    rows = []
    for row in TABLE_1:
        cells = [_named(row.title, row.key, names)]
        for (metric, k, _, digits), theirs in zip(COLUMNS, row.numbers, strict=True):
            cells += [
                _ours(estimates.get(row.key), metric, k, digits),
                number(theirs, 4 if digits == 3 else digits),
            ]
        rows.append(cells)
    return Table(
        "Table 1 of the paper, ours beside it",
        header,
        rows,
        [
            "The paper's: Taobao's log, Qwen3-30B-A3B. On another shop, with another size of"
            " model, the order of rows compares, the numbers do not.",
        ],
    )


def table_2(
    estimates: Mapping[str, Mapping[tuple[str, int, str], Estimate]],
    steps: Mapping[str, Mapping[tuple[str, int, str], Comparison]],
    names: Mapping[str, str],
) -> Table:
    """The paper's ablation ladder. ``steps``: each row's model against that of the nearest row
    above that was run (:func:`ladder_pairs`), the same instances."""
    title = "Table 2 of the paper: the ablation ladder, ours"
    note = "The paper's own numbers of this table are not at hand."
    return _ladder_table(LADDER, title, [note], estimates, steps, names)


def think_steps(
    estimates: Mapping[str, Mapping[tuple[str, int, str], Estimate]],
    steps: Mapping[str, Mapping[tuple[str, int, str], Comparison]],
    names: Mapping[str, str],
) -> Table:
    """The same ladder within Think, which the paper has not: see :func:`table_2`. Without rows
    where fewer than two of its models were run."""
    if not ladder_pairs(list(estimates), THINK_LADDER):
        return Table("", [], [])
    return _ladder_table(THINK_LADDER, "The same steps within Think", [], estimates, steps, names)


def _ladder_table(
    ladder: Sequence[tuple[str, str]],
    caption: str,
    notes: Sequence[str],
    estimates: Mapping[str, Mapping[tuple[str, int, str], Estimate]],
    steps: Mapping[str, Mapping[tuple[str, int, str], Comparison]],
    names: Mapping[str, str],
) -> Table:
    header = [""]
    for *_, title, _ in COLUMNS:
        header += [title, "step"]
    rows = []
    for key, title in ladder:
        cells = [_named(title, key, names)]
        for metric, k, _, digits in COLUMNS:
            step = steps.get(key, {}).get((metric, k, "all"))
            estimate = estimates.get(key, {}).get((metric, k, "all"))
            missing = "-" if key in estimates else "not run"
            cells.append(missing if estimate is None else number(estimate.value, digits))
            cells.append("" if step is None else difference(step, digits))
        rows.append(cells)
    return Table(
        caption,
        header,
        rows,
        [
            "Step: less the nearest row above that was run, 95% paired bootstrap interval, * where"
            " it lies off 0.",
            *notes,
        ],
    )


def ladder_pairs(
    present: Sequence[str], ladder: Sequence[tuple[str, str]] = LADDER
) -> list[tuple[str, str]]:
    """(row, the nearest row above it that was run) of a ladder."""
    run = [key for key, _ in ladder if key in present]
    return [(below, above) for above, below in pairwise(run)]


def difference(step: Comparison, digits: int) -> str:
    """``+.012 [.003 .021]*``; of counts with a digit more than their means are shown with."""
    digits = max(digits, 2)
    sign = "+" if round(step.difference, digits) > 0 else ""
    is_clear = step.low > 0 or step.high < 0
    text = with_interval(step.difference, step.low, step.high, digits)
    return f"{sign}{text}{'*' if is_clear else ''}"


def _named(title: str, key: str, names: Mapping[str, str]) -> str:
    return f"{title} ({names[key]})" if key in names and names[key] != key else title


def _ours(estimates: Mapping | None, metric: str, k: int, digits: int) -> str:
    if estimates is None:
        return "not run"
    estimate = estimates.get((metric, k, "all"))
    if estimate is None:
        return "-"
    return with_interval(estimate.value, estimate.low, estimate.high, digits)
