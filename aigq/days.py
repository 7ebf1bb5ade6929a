"""Ranges of shop days, as the command line names them: ``A..B``, both included, or one day."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import click

from aigq.settings import UserError


@dataclass(frozen=True)
class Days:
    """Shop days from ``first`` to ``last``, both included; None where the log decides."""

    first: date | None = None
    last: date | None = None

    @property
    def text(self) -> str | None:
        """As on the command line; None for every day."""
        return None if self == EVERY_DAY else f"{self.first or ''}..{self.last or ''}"

    @classmethod
    def of(cls, day: date) -> "Days":
        """One day alone."""
        return cls(day, day)

    @property
    def condition(self) -> str:
        """As SQL, of a column ``session_date``."""
        bounds = [(">=", self.first), ("<=", self.last)]
        parts = [f"session_date {sign} DATE '{day}'" for sign, day in bounds if day]
        return " AND ".join(parts) or "true"

    @property
    def to_train_on(self) -> str:
        """As SQL, of columns ``session_date`` and ``split``: these days whatever their split; of
        every day, those of the training split."""
        return "split = 'train'" if self == EVERY_DAY else self.condition

    @property
    def named(self) -> str:
        """:attr:`to_train_on` in words, for ``no row ...``."""
        return "with split 'train'" if self == EVERY_DAY else f"of the days {self.text}"


EVERY_DAY = Days()


def parse_day(text: str, option: str = "--day") -> date:
    """The day ``YYYY-MM-DD``. Raises :class:`UserError`, naming ``option``, for anything else."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"{option}: expected days as YYYY-MM-DD: {error}") from None


def parse_days(text: str, option: str = "--days") -> Days:
    """The range ``A..B``, of which an end may lack, or the one day ``A``. Raises
    :class:`UserError` for what is neither."""
    ends = text.split("..")
    if len(ends) == 1 and text.count("-") == 2:
        return Days.of(parse_day(text, option))
    if len(ends) != 2:
        raise UserError(
            f"{option}: expected A..B, for instance 2026-01-05..2026-02-03, or one day,"
            f" got {text!r}"
        )
    first, last = (parse_day(end, option) if end else None for end in ends)
    if first and last and first > last:
        raise UserError(f"{option}: {first} is after {last}")
    return Days(first, last)


def days_option(about: str) -> Any:
    """A ``--days A..B`` option, parsed; every day where not given."""
    return click.option(
        "--days",
        metavar="A..B",
        callback=lambda _ctx, _parameter, text: parse_days(text) if text else EVERY_DAY,
        help=about,
    )
