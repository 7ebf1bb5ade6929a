"""The Direct samples with Polars: ``python tests/bench/direct_samples_polars.py LANDING OUT``.

A peer from outside SQL for `make bench`: the rows of samples.samples_direct, from the parquet files
of the raw contract in LANDING to ``OUT/samples_direct.parquet``, for the variables' defaults and a
shop with hint logs. tests/bench/test_warehouse.py holds its rows against dbt's.
"""

import hashlib
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl

from aigq.ingest import files
from aigq.text import normalize_query

MAX_BEHAVIORS, LIST_LENGTH, TRAIN_DAYS = 50, 10, 30
_CONTEXT = ("days_ago", "action", "content_text", "content_key")


def main(landing: Path, out: Path) -> None:
    paths = files.discover(landing)

    def scan(table: str) -> pl.LazyFrame:
        return pl.scan_parquet(paths[table])

    texts = normalized(scan)
    events = scan("events").join(texts.lazy(), on="query_text", how="left")
    past = behaviors(events, scan("items")).collect()
    sessions, candidates = clicked_requests(scan, texts)
    first_day = scan("events").select(pl.col("occurred_at").min().dt.date()).collect().item()
    samples = (
        sessions.join(label_lists(candidates), on="request_id")
        .join(contexts(sessions, past), on="request_id", how="left")
        .join(scan("users").collect(), on="user_id", how="left")
        .select(
            pl.col("request_id").alias("session_id"),
            "user_id",
            pl.col("requested_at").alias("session_start_at"),
            pl.col("requested_at").dt.date().alias("session_date"),
            pl.when(pl.col("requested_at").dt.date() < first_day + timedelta(TRAIN_DAYS))
            .then(pl.lit("train"))
            .otherwise(pl.lit("test"))
            .alias("split"),
            "age_band",
            "gender",
            "region",
            pl.col("behaviors").fill_null([]),
            "labels",
            "log_labels",
            "label_tiers",
            pl.lit(False).alias("is_replayed"),
        )
    )
    out.mkdir(parents=True, exist_ok=True)
    samples.write_parquet(out / "samples_direct.parquet", compression="snappy")


def normalized(scan: Callable[[str], pl.LazyFrame]) -> pl.DataFrame:
    """Each text as typed (``query_text``) with its query (``query``); empty ones left out."""
    both = [scan(table).select("query_text") for table in ("events", "hint_candidates")]
    typed = pl.concat(both).unique().drop_nulls().collect()
    query = [normalize_query(text) for text in typed["query_text"]]
    return typed.with_columns(pl.Series("query", query, pl.String)).filter(pl.col("query") != "")


def behaviors(events: pl.LazyFrame, items: pl.LazyFrame) -> pl.LazyFrame:
    """What contexts are made of, by user and time; the row's number is ``place``."""
    rule = pl.concat_str("title", "leaf_category", separator=", ", ignore_nulls=True)
    text = rule.str.replace_all(r"[\t\n\f\r ]+", " ").str.strip_chars(" ")
    items = items.select(
        "item_id",
        pl.when(text != "").then(text).otherwise("item_id").alias("content_text"),
        pl.concat_str(pl.lit("item:"), "item_id").alias("content_key"),
    )
    columns = ("user_id", "occurred_at", "event_id", "action", "content_text", "content_key")
    searches = events.filter(
        pl.col("action") == "search", pl.col("query").is_not_null()
    ).with_columns(
        pl.col("query").alias("content_text"),
        pl.concat_str(pl.lit("query:"), "query").alias("content_key"),
    )
    item_actions = events.filter(pl.col("action").is_in(["item_click", "cart", "order"])).join(
        items, on="item_id"
    )
    return (
        pl.concat([searches.select(columns), item_actions.select(columns)])
        .sort("user_id", "occurred_at", "event_id")
        .drop("event_id")
        .with_row_index("place")
    )


def clicked_requests(
    scan: Callable[[str], pl.LazyFrame], texts: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The requests with a click on a displayed hint, and all their candidates."""
    candidates = (
        scan("hint_candidates")
        .join(texts.lazy(), on="query_text")
        .select(
            "request_id",
            "rank",
            "query",
            "rank_score",
            pl.when("displayed").then("clicked_at").alias("clicked_at"),
        )
    )
    clicked = candidates.filter(pl.col("clicked_at").is_not_null()).select("request_id").unique()
    sessions = scan("hint_requests").join(clicked, on="request_id", how="semi")
    return (
        sessions.collect(),
        candidates.join(sessions, on="request_id", how="semi").collect(),
    )


def label_lists(candidates: pl.DataFrame) -> pl.DataFrame:
    """Labels by request: clicked hints, then all candidates by score (AIGQ eq. 3), duplicates
    dropped, cut; and the same in the order of the log."""
    by_click = candidates.filter(pl.col("clicked_at").is_not_null()).sort("clicked_at", "rank")
    by_score = candidates.sort("rank_score", "rank", descending=[True, False], nulls_last=True)
    labels = (
        pl.concat(
            [
                by_click.select("request_id", "query", pl.lit("click").alias("tier")),
                by_score.select("request_id", "query", pl.lit("rank").alias("tier")),
            ]
        )
        .unique(["request_id", "query"], keep="first", maintain_order=True)
        .filter(pl.int_range(pl.len()).over("request_id") < LIST_LENGTH)
    )
    keys = zip(labels["request_id"], labels["query"], strict=True)
    md5 = [hashlib.md5(f"{request}{query}".encode()).hexdigest() for request, query in keys]
    return (
        labels.with_columns(pl.Series("md5", md5, pl.String))
        .group_by("request_id", maintain_order=True)
        .agg(
            pl.col("query").alias("labels"),
            pl.col("query").sort_by("md5", "query").alias("log_labels"),
            pl.col("tier").alias("label_tiers"),
        )
    )


def contexts(sessions: pl.DataFrame, past: pl.DataFrame) -> pl.DataFrame:
    """The newest behaviours strictly before each request, oldest first, as a list of structs."""
    starts = past.group_by("user_id").agg(pl.col("place").min().alias("first"))
    placed = (
        sessions.sort("requested_at")
        .join_asof(
            past.select("user_id", "occurred_at", "place").sort("occurred_at", maintain_order=True),
            left_on="requested_at",
            right_on="occurred_at",
            by="user_id",
            strategy="backward",
            allow_exact_matches=False,
            check_sortedness=False,
        )
        .drop_nulls("place")
        .join(starts, on="user_id")
        .with_columns(pl.col("place").cast(pl.Int64), pl.col("first").cast(pl.Int64))
    )
    begin = pl.max_horizontal("first", pl.col("place") - (MAX_BEHAVIORS - 1))
    rows = placed.select(
        "request_id",
        "requested_at",
        pl.int_ranges(begin, pl.col("place") + 1).alias("place"),
    ).explode("place")
    seen = past[rows["place"]].drop("place", "user_id")
    age = pl.col("requested_at").dt.date() - pl.col("occurred_at").dt.date()
    return (
        rows.drop("place")
        .hstack(seen)
        .with_columns(age.dt.total_days().cast(pl.Int32).alias("days_ago"))
        .group_by("request_id", maintain_order=True)
        .agg(pl.struct(_CONTEXT).alias("behaviors"))
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
