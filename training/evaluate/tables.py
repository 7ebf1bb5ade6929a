"""Tables as text for the screen and as markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """A titled table; the first column of ``rows`` names them. ``notes`` stand below it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default=())


def as_text(table: Table) -> str:
    """For the screen: columns aligned by blanks, the first to the left, the others to the right."""
    lines = [table.header, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.header))]
    rendered = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "-" * max(map(len, rendered))
    return "\n".join([table.title, rule, rendered[0], rule, *rendered[1:], *table.notes])


def as_markdown(table: Table) -> str:
    """The same as a section of a markdown page."""
    lines = [_row(table.header), _row(["---"] + ["---:"] * (len(table.header) - 1))]
    lines += [_row(row) for row in table.rows]
    return "\n".join([f"## {table.title}", "", *lines, *(f"\n{note}" for note in table.notes)])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def number(value: float, digits: int) -> str:
    """``.123`` for shares (three digits), ``14.0`` for counts (one)."""
    text = f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no -0
    if digits < 3:
        return text
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def with_interval(value: float, low: float, high: float, digits: int) -> str:
    """``.120 [.102 .138]``"""
    return f"{number(value, digits)} [{number(low, digits)} {number(high, digits)}]"
