"""Entities, sources, feature views and services of the shop.

`dbt build` writes the parquet files that the sources read; then, from the repository root,

    feast -c feature_repo apply
    feast -c feature_repo materialize 2000-01-01T00:00:00 2026-03-01T00:00:00
    feast -c feature_repo get-online-features -f user_behaviors:content_texts -e user_id=u1

or the same without `-c feature_repo` inside this folder. That is the shop in ./data. For a shop in
another AIGQ_HOME the environment variable says where the parquet files are, and a configuration of
its own where registry and online store are (Feast's configuration knows no defaults for
variables); `python -m aigq.features` writes it and prints the command:

    export AIGQ_HOME=/shops/berlin
    python -m aigq.features
    feast -f $AIGQ_HOME/online/feature_store.yaml -c feature_repo apply

Every .py file in this folder is imported by `feast apply`: no scripts and no tests here.
"""

import os
import sys
from pathlib import Path

import yaml
from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource
from feast.types import Array, Float64, Int64, String
from feast.value_type import ValueType

# A relative AIGQ_HOME counts from the repository root: Feast changes into this folder.
_ROOT = Path(__file__).resolve().parent.parent
_HOME = (_ROOT / (os.environ.get("AIGQ_HOME") or "data")).resolve()
_FEATURES = _HOME / "features"


def _configuration() -> tuple[Path, Path]:
    """The configuration that the `feast` command line at work names, and whose home it is of."""
    given = os.environ.get("FEAST_FS_YAML_FILE_PATH")
    for option, value in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        if option in ("-f", "--feature-store-yaml"):
            given = value
        elif option.startswith("--feature-store-yaml="):
            given = option.partition("=")[2]
    if not given:
        return _ROOT / "feature_repo" / "feature_store.yaml", (_ROOT / "data").resolve()
    # Feast has changed folders since: a relative path counts from where it was started.
    paths = [_ROOT / given, Path(os.environ.get("PWD", ".")) / given]
    path = next((p for p in paths if p.exists()), paths[0])
    return path, path.resolve().parent.parent


_PATH, _CONFIGURED = _configuration()
_PRINTED = "use the command that `python -m aigq.features` prints"
if _CONFIGURED != _HOME:
    raise SystemExit(
        f"feature_repo: AIGQ_HOME is {_HOME}, but this command configures {_CONFIGURED}: {_PRINTED}"
    )
_STORE = yaml.safe_load(_PATH.read_text(encoding="utf-8"))["online_store"]
# Neither is printed: a connection string may hold a password.
if _STORE.get("connection_string", "") != os.environ.get("AIGQ_REDIS", ""):
    raise SystemExit(
        f"feature_repo: the online store of {_PATH} is another than AIGQ_REDIS says: {_PRINTED}"
    )

if not (_FEATURES / "user_behaviors.parquet").is_file():
    raise SystemExit(
        f"feature_repo: no feature files in {_FEATURES}: run `dbt build` first"
        " (AIGQ_HOME says which shop's)"
    )


def _source(name: str) -> FileSource:
    return FileSource(
        name=name,
        path=str(_FEATURES / f"{name}.parquet"),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_at",
    )


def _fields(**types) -> list[Field]:
    return [Field(name=name, dtype=dtype) for name, dtype in types.items()]


user = Entity(
    name="user", join_keys=["user_id"], value_type=ValueType.STRING, description="A shopper."
)
trigger = Entity(
    name="trigger",
    join_keys=["trigger"],
    value_type=ValueType.STRING,
    description="What queries are recalled from: an item, a query or a category, as content key.",
)
item = Entity(
    name="item", join_keys=["item_id"], value_type=ValueType.STRING, description="An item."
)
query = Entity(
    name="query",
    join_keys=["query_text"],
    value_type=ValueType.STRING,
    description="A query, by its normalised text.",
)
# Feast's entity-less views cannot be materialised from the DuckDB offline store (0.67).
surface = Entity(
    name="surface",
    join_keys=["surface"],
    value_type=ValueType.STRING,
    description="Where hints are shown: `home`, the home page.",
)

user_profile = FeatureView(
    name="user_profile",
    entities=[user],
    schema=_fields(age_band=String, gender=String, region=String),
    source=_source("user_profile"),
    description="Profile, null where unknown. One row per user.",
)

# An event_timestamp is the newest behaviour's time + 1 µs: Feast joins with <=, contexts with <.
# A user's newest row comes a second time, later in each later build: the one that goes online.
user_behaviors = FeatureView(
    name="user_behaviors",
    entities=[user],
    schema=_fields(
        content_keys=Array(String),
        content_texts=Array(String),
        leaf_category_ids=Array(String),
        actions=Array(String),
        occurred_at_us=Array(Int64),
    ),
    source=_source("user_behaviors"),
    description=(
        "The newest behaviours, oldest first: parallel lists of `item:ID` or `query:TEXT`, text, an"
        " item's leaf category, action and time in µs since the epoch (UTC). One row per user and"
        " time."
    ),
)

item_profile = FeatureView(
    name="item_profile",
    entities=[item],
    schema=_fields(item_text=String, leaf_category_id=String),
    source=_source("item_profile"),
    description="Text and leaf category, as of the newest build. One row per item and time.",
)

query_stats = FeatureView(
    name="query_stats",
    entities=[query],
    schema=_fields(
        **{
            f"{count}_{days}d": kind
            for days in (1, 7, 30)
            for count, kind in {
                "page_views": Int64,
                "hint_impressions": Int64,
                "hint_clicks": Int64,
                "hint_ctr": Float64,
            }.items()
        }
    ),
    source=_source("query_stats"),
    description=(
        "Searches, displays as a hint, clicks and smoothed click-through rate over 1, 7 and 30 shop"
        " days. One row per query and day."
    ),
)

popular_queries = FeatureView(
    name="popular_queries",
    entities=[surface],
    schema=_fields(queries=Array(String), shop_timezone=String),
    source=_source("popular_queries"),
    description=(
        "What many search for now, best first, and the zone that cuts the shop's days. One row per"
        " surface and time."
    ),
)

# `aigq generate u2q` pushes to the online store; the history on the offline side is the lake's.
u2q = FeatureView(
    name="u2q",
    entities=[user],
    schema=_fields(queries=Array(String), model_version=String, run_id=String),
    source=PushSource(name="u2q_push", batch_source=_source("u2q")),
    description="The list a model wrote for the user, best first. One row per user and time.",
)

x2q = FeatureView(
    name="x2q",
    entities=[trigger],
    schema=_fields(
        trigger_text=String,
        queries=Array(String),
        scores=Array(Float64),
        rationales=Array(String),
        sources=Array(String),
        built_at_us=Int64,
    ),
    source=_source("x2q"),
    description=(
        "The queries that an item, a query or a category leads to, best first, with score, why, and"
        " the model version that said so. Rows built before the row `index:newest` have left the"
        " index. One row per trigger and time."
    ),
)

direct_context = FeatureService(
    name="direct_context",
    features=[user_profile, user_behaviors],
    description="What the Direct model's prompt is made from.",
)
hint_recall = FeatureService(
    name="hint_recall",
    features=[u2q, user_profile, user_behaviors, popular_queries],
    description="Everything a hint request reads of the user, at once.",
)
clicked_recall = FeatureService(
    name="clicked_recall",
    features=[u2q, user_profile, user_behaviors, popular_queries, item_profile],
    description="The same right after a click on an item.",
)
# A service of its own: a request knows its triggers only once hint_recall has told it the user's
# behaviours, and asks for several at once.
x2q_recall = FeatureService(
    name="x2q_recall",
    features=[x2q],
    description="What the user's freshest triggers lead to.",
)
ctr_ranking = FeatureService(
    name="ctr_ranking",
    features=[user_profile, user_behaviors, query_stats],
    description="What the CTR model scores a user's candidate queries with.",
)
