"""The raw contract as data: which tables a shop hands over, their columns, keys and rules.

``aigq ingest`` is driven by this module alone; the tables themselves are in :mod:`aigq.tables`.
"""

from dataclasses import dataclass

# A folder beside a shop's files that is not read: what only the simulator knows of its own shop.
TRUTH = "truth"
# A row with an earlier time (UTC) is quarantined. What stands for an unknown time is mostly a date
# long ago, up to the first day of 2000 in whatever zone, and would become the shop's first day, or
# overflow where times are counted.
EARLIEST = "2000-01-02"
ACTIONS = ("search_entry", "search", "item_click", "cart", "order", "app_exit")


@dataclass(frozen=True)
class Column:
    """A column: ``type`` is DuckDB's; a row whose ``required`` column is null is quarantined, and
    one with a time before :data:`EARLIEST`, unless it may be ``long_ago``."""

    name: str
    type: str
    required: bool = False
    long_ago: bool = False


@dataclass(frozen=True)
class Rule:
    """Rows for which ``broken`` (SQL over the table's columns) is true are quarantined.

    ``reason`` is an SQL text expression, so that it can name the offending value.
    """

    broken: str
    reason: str


@dataclass(frozen=True)
class Table:
    """A table of the raw contract.

    ``key``: the columns that name a row. ``replace``: a row with a known key and other content
    replaces the known one (else it is quarantined). ``rules``: beyond types and required columns.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    replace: bool = False
    rules: tuple[Rule, ...] = ()

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


# Only texts without any letter or digit can normalise to nothing: the others need no Python call.
_EMPTY_QUERY = Rule(
    r"NOT regexp_matches(query_text, '[\p{L}\p{N}]') AND normalize_query(query_text) = ''",
    "'query_text is empty after normalisation'",
)


def _not_below(column: str, least: int) -> Rule:
    return Rule(f"{column} < {least}", f"'{column} is below {least}'")


_USERS = Table(
    "users",
    key=("user_id",),
    columns=(
        Column("user_id", "VARCHAR", required=True),
        Column("age_band", "VARCHAR"),
        Column("gender", "VARCHAR"),
        Column("region", "VARCHAR"),
        Column("registered_at", "TIMESTAMPTZ", long_ago=True),
    ),
    replace=True,
)

_ITEMS = Table(
    "items",
    key=("item_id",),
    columns=(
        Column("item_id", "VARCHAR", required=True),
        Column("title", "VARCHAR", required=True),
        Column("leaf_category_id", "VARCHAR", required=True),
        Column("leaf_category", "VARCHAR", required=True),
        Column("category_path", "VARCHAR"),
        Column("brand", "VARCHAR"),
        Column("attributes", "MAP(VARCHAR, VARCHAR)"),
        Column("tags", "VARCHAR[]"),
        Column("price", "DOUBLE"),
    ),
    replace=True,
    rules=(_not_below("price", 0),),
)

_EVENTS = Table(
    "events",
    key=("event_id",),
    columns=(
        Column("event_id", "VARCHAR", required=True),
        Column("user_id", "VARCHAR", required=True),
        Column("occurred_at", "TIMESTAMPTZ", required=True),
        Column("action", "VARCHAR", required=True),
        Column("query_text", "VARCHAR"),
        Column("item_id", "VARCHAR"),
        Column("quantity", "INTEGER"),
        Column("price", "DOUBLE"),
    ),
    rules=(
        Rule(f"action NOT IN {ACTIONS}", "'unknown action ' || action"),
        Rule("action = 'search' AND query_text IS NULL", "'search without query_text'"),
        Rule(f"action = 'search' AND {_EMPTY_QUERY.broken}", _EMPTY_QUERY.reason),
        Rule(
            "action IN ('item_click', 'cart', 'order') AND item_id IS NULL",
            "action || ' without item_id'",
        ),
        _not_below("quantity", 1),
        _not_below("price", 0),
    ),
)

_HINT_REQUESTS = Table(
    "hint_requests",
    key=("request_id",),
    columns=(
        Column("request_id", "VARCHAR", required=True),
        Column("user_id", "VARCHAR", required=True),
        Column("requested_at", "TIMESTAMPTZ", required=True),
    ),
)

_HINT_CANDIDATES = Table(
    "hint_candidates",
    key=("request_id", "rank"),
    columns=(
        Column("request_id", "VARCHAR", required=True),
        Column("rank", "INTEGER", required=True),
        Column("query_text", "VARCHAR", required=True),
        Column("rank_score", "DOUBLE", required=True),
        Column("recall_source", "VARCHAR"),
        Column("displayed", "BOOLEAN", required=True),
        Column("position", "INTEGER"),
        Column("clicked_at", "TIMESTAMPTZ"),
    ),
    rules=(
        _EMPTY_QUERY,
        Rule(
            "clicked_at IS NOT NULL AND NOT displayed",
            "'clicked_at on a candidate not displayed'",
        ),
        _not_below("rank", 1),
        _not_below("position", 1),
    ),
)

TABLES: dict[str, Table] = {
    table.name: table for table in (_USERS, _ITEMS, _EVENTS, _HINT_REQUESTS, _HINT_CANDIDATES)
}
