"""The contexts that Think reads for the x2q index: rich traces, each at the end of a user-day."""

from datetime import date

import pyarrow as pa

from aigq import warehouse
from aigq.days import EVERY_DAY, Days
from aigq.settings import UserError
from inference.users import known_users

_BUILT = ("meta.shop", "behavior.behaviors", "features.user_profile")


def read_contexts(
    con, *, days: Days, users: str | None, least: int, max_tokens: int
) -> tuple[date, date]:
    """Rich user-days of ``days`` (every day stands for the shop's newest) into the temporary table
    ``contexts``; returns the first and last day.

    Columns: session_id, session_date, profile, behaviors (oldest first, with content keys), and
    prompt_key, which stands for all that a model's answer of up to ``max_tokens`` depends on. At
    once: a result that stays open while answers are generated would keep the catalog locked against
    writers. Raises :class:`UserError` for an unknown user or day, and where no user-day is rich.
    """
    for table in _BUILT:
        if not warehouse.table_exists(con, table):
            raise UserError(f"the lake has no {table}: run `dbt build` first")
    first, last = _window(con, days)
    chosen = known_users(con, users) if users is not None else None
    con.register("chosen", pa.table({"user_id": pa.array(chosen or [], "str")}))
    con.execute(
        f"""
        CREATE TEMP TABLE contexts AS
        WITH user_days AS (
            SELECT DISTINCT user_id, behavior_date AS session_date
            FROM lake.behavior.behaviors
            WHERE behavior_date BETWEEN $first AND $last
                {"AND user_id IN (FROM chosen)" if chosen else ""}
        ),
        traces AS (
            SELECT
                user_id,
                session_date,
                list_reverse(max_by(
                    {{
                        -- Seen from the midnight that ends the day.
                        'days_ago': session_date + 1 - behavior_date,
                        'action': action,
                        'content_text': content_text,
                        'content_key': content_key
                    }},
                    behavior_order,
                    $newest
                )) AS behaviors
            FROM user_days
            INNER JOIN lake.behavior.behaviors USING (user_id)
            WHERE behavior_date <= session_date
            GROUP BY user_id, session_date
        )
        SELECT
            user_id || ':' || session_date AS session_id,
            session_date,
            age_band,
            gender,
            region,
            behaviors,
            md5({{
                p: [age_band, gender, region], b: behaviors, m: $max_tokens
            }}::JSON::VARCHAR) AS prompt_key
        FROM traces
        LEFT JOIN lake.features.user_profile USING (user_id)
        WHERE len(behaviors) >= $least
        """,
        {
            "first": first,
            "last": last,
            "least": least,
            "max_tokens": max_tokens,
            "newest": con.execute("SELECT max_behaviors FROM lake.meta.shop").fetchone()[0],
        },
    )
    if not con.execute("SELECT 1 FROM contexts LIMIT 1").fetchone():
        raise UserError(
            f"no user-day from {first} to {last} has a trace of {least} behaviours: set"
            " --min-behaviors lower, or name other days"
        )
    return first, last


def _window(con, days: Days) -> tuple[date, date]:
    begin, end = con.execute(
        "SELECT first_date, (last_event_at AT TIME ZONE shop_timezone)::DATE FROM lake.meta.shop"
    ).fetchone()
    if end is None:
        raise UserError("the shop has no event: ingest its log, run `dbt build`")
    if days == EVERY_DAY:
        return end, end
    first, last = max(begin, days.first or begin), min(end, days.last or end)
    if first > last:
        raise UserError(f"--days: the shop's days are {begin} to {end}, got {days.text}")
    return first, last
