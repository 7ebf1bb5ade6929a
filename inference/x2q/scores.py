"""``aigq generate x2q_scores``: how well each proposed query follows from its trigger.

    aigq generate x2q_scores

Scores the pairs of ``serving.x2q_proposals`` (the last ``x2q_days`` shop days); ``dbt build`` then
ranks them by AIGQ eq. 19. Relevance is the mean of three numbers from 0 to 1, cosines of MiniLM
embeddings below 0 counting as 0:

- cosine of the trigger's text and the query;
- mean cosine to the query of the rationales that link the two;
- of the interest points that rest on the trigger, the share that propose the query, n / (N + 1): a
  trigger that was seen once says less than one that was seen often.

Predicted CTR is that of the newest ``ctr`` model, for a shopper of whom nothing is known but that
they have just touched the trigger; null where no model is published.

A pair is scored again when its evidence (texts, rationales, counts) or the CTR model has changed;
with another CTR model alone, its relevance stays. Pairs are committed in chunks: started again, the
job goes on with those that are missing.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import click
import numpy as np
import pyarrow as pa
from tqdm import tqdm

from aigq import embeddings, jobs, models, warehouse
from aigq.context import Behavior, Context
from aigq.settings import Home, UserError

CTR_MODEL = "ctr"
_CHUNK = 4096
_VECTORS_KEPT = 200_000
# Of the formula, part of every pair's evidence: another formula scores all anew.
_FORMULA = "x2q relevance 1"

_NEWEST_SCORES = """
    SELECT trigger, query_text, relevance, evidence_key, ctr_version FROM lake.serving.x2q_scores
    QUALIFY row_number() OVER (PARTITION BY trigger, query_text ORDER BY run_id DESC) = 1"""


@click.command("x2q_scores")
def command() -> None:
    """Score the queries that Think proposed, for the x2q index."""
    home = Home.from_environment()
    published = models.versions(home, CTR_MODEL)
    ctr = published[-1] if published else None
    parameters = {"ctr_version": ctr.version if ctr else None, "formula": _FORMULA}
    with jobs.job(home, "generate x2q_scores", parameters) as run:
        generate_scores(run, ctr)


def generate_scores(run: jobs.Run, ctr: models.Model | None) -> None:
    """Write the scores that are missing. ``ctr`` None: no predicted CTR."""
    con = warehouse.connect(run.home, read_only=True, snapshot=run.snapshot_read)
    try:
        pairs, nameless = _read_pairs(con, ctr.version if ctr else None)
        (missing,) = con.execute("SELECT count(*) FROM missing").fetchone()
        scorer = _load(run.home, ctr) if ctr and missing else None
        vectors = _Vectors(run.home)
        written = embedded = 0
        with tqdm(total=pairs, initial=pairs - missing, unit=" pairs", desc="x2q scores") as bar:
            for rows in _chunks(con):
                fresh = [row for row in rows if row["relevance"] is None]
                for row, value in zip(fresh, relevances(fresh, vectors), strict=True):
                    row["relevance"] = value
                embedded += len(fresh)
                predicted = predicted_ctrs(rows, scorer) if scorer else [None] * len(rows)
                table = _table(run, rows, predicted, ctr)
                written += warehouse.write(run.home, lambda lake, table=table: _add(lake, table))
                bar.update(len(rows))
    finally:
        con.close()
    run.metrics |= {
        "pairs": pairs,
        "pairs_scored_before": pairs - missing,
        "relevances_computed": embedded,
        "pairs_without_trigger_text": nameless,
        "ctr_version": ctr.version if ctr else None,
    }
    run.read("lake.serving.x2q_proposals: pairs", pairs + nameless)
    run.wrote("lake.serving.x2q_scores", written)
    run.summary.append(
        f"  predicted CTR by {CTR_MODEL}@{ctr.version}"
        if ctr
        else f"  no model {CTR_MODEL!r} is published: predicted CTR stays null"
    )
    if nameless:
        run.summary.append(f"  {nameless:,} pairs left out: their item is no longer in the shop")


def relevances(rows: Sequence[dict[str, Any]], vectors: "_Vectors") -> list[float]:
    """rel(q, x) of each pair, from 0 to 1; see the top of this file.

    ``rows``: trigger_text, query_text, rationales (those that link them), linking and points (how
    many interest points link them, and rest on the trigger).
    """
    vectors.add(
        {row["trigger_text"] for row in rows}
        | {row["query_text"] for row in rows}
        | {text for row in rows for text in row["rationales"]}
    )
    found = []
    for row in rows:
        query = vectors[row["query_text"]]
        likeness = max(0.0, float(vectors[row["trigger_text"]] @ query))
        reasons = [max(0.0, float(vectors[text] @ query)) for text in row["rationales"]]
        reasoning = sum(reasons) / len(reasons) if reasons else 0.0
        share = row["linking"] / (row["points"] + 1)
        found.append(min(1.0, (likeness + reasoning + share) / 3))
    return found


def predicted_ctrs(rows: Sequence[dict[str, Any]], scorer: Any) -> list[float]:
    """Predicted click probability of each pair's query right after its trigger.

    ``rows``: in order of their trigger.
    """
    contexts, queries = [], []
    for _, of_trigger in groupby(rows, key=lambda row: row["trigger"]):
        of_trigger = list(of_trigger)
        contexts.append(trigger_context(of_trigger[0]["trigger"], of_trigger[0]["trigger_text"]))
        queries.append([row["query_text"] for row in of_trigger])
    scored = scorer.score(contexts, queries)
    return np.concatenate(scored).astype(float).tolist() if scored else []


def trigger_context(trigger: str, text: str) -> Context:
    """Somebody of whom nothing is known but that they have just searched or clicked ``trigger``."""
    action = "search" if trigger.startswith("query:") else "item_click"
    return Context(behaviors=(Behavior(0, action, text),))


class _Vectors:
    """Embeddings of texts, kept while there is room: the same few come again and again."""

    def __init__(self, home: Home | None = None) -> None:
        self._home = home
        self._kept: dict[str, np.ndarray] = {}

    def add(self, texts: set[str]) -> None:
        """Make sure of the embeddings of ``texts``."""
        if len(self._kept) + len(texts) > _VECTORS_KEPT:
            self._kept = {text: self._kept[text] for text in texts & self._kept.keys()}
        missing = sorted(texts - self._kept.keys())
        self._kept.update(zip(missing, embeddings.embed(missing, home=self._home), strict=True))

    def __getitem__(self, text: str) -> np.ndarray:
        return self._kept[text]


def _load(home: Home, ctr: models.Model) -> Any:
    from aigq import ctr as scorers

    return scorers.load(home, f"{ctr.name}@{ctr.version}")


def _read_pairs(con, ctr_version: str | None) -> tuple[int, int]:
    """What is not scored, into the temporary table ``missing``, with the relevance of pairs whose
    evidence has not changed; returns how many pairs there are, and how many more whose trigger has
    no text."""
    for table in ("serving.x2q_proposals", "items.item_texts"):
        if not warehouse.table_exists(con, table):
            raise UserError(f"the lake has no {table}: run `dbt build` first")
    con.execute(
        """
        CREATE TEMP TABLE pairs AS
        WITH proposals AS (
            SELECT * FROM lake.serving.x2q_proposals
        ),
        points AS (
            SELECT trigger, count(DISTINCT (session_id, point_index)) AS points
            FROM proposals
            GROUP BY trigger
        ),
        linked AS (
            SELECT
                trigger,
                query_text,
                count(*) AS linking,
                list_sort(list(DISTINCT rationale)) AS rationales
            FROM proposals
            GROUP BY trigger, query_text
        ),
        named AS (
            SELECT
                linked.*,
                points.points,
                CASE
                    WHEN starts_with(trigger, 'query:') THEN substr(trigger, 7)
                    ELSE texts.item_text
                END AS trigger_text
            FROM linked
            INNER JOIN points USING (trigger)
            LEFT JOIN lake.items.item_texts AS texts ON trigger = 'item:' || texts.item_id
        )
        SELECT
            * REPLACE (
                coalesce(list_filter(rationales, lambda r: r IS NOT NULL AND r <> ''), [])
                AS rationales
            ),
            md5({
                f: $formula, t: trigger_text, r: rationales, l: linking, p: points
            }::JSON::VARCHAR) AS evidence_key
        FROM named
        """,
        {"formula": _FORMULA},
    )
    con.execute(
        f"""
        CREATE TEMP TABLE missing AS
        SELECT
            pairs.*,
            CASE WHEN scores.evidence_key = pairs.evidence_key THEN scores.relevance END
                AS relevance
        FROM pairs
        LEFT JOIN ({_NEWEST_SCORES}) AS scores USING (trigger, query_text)
        WHERE trigger_text IS NOT NULL
            AND (
                scores.evidence_key IS DISTINCT FROM pairs.evidence_key
                OR scores.ctr_version IS DISTINCT FROM $ctr_version
            )
        """,
        {"ctr_version": ctr_version},
    )
    return con.execute(
        "SELECT count(*) FILTER (trigger_text IS NOT NULL), count(*) FILTER (trigger_text IS NULL)"
        " FROM pairs"
    ).fetchone()


def _chunks(con) -> Iterator[list[dict[str, Any]]]:
    cursor = con.execute("SELECT * FROM missing ORDER BY trigger, query_text")
    names = [column[0] for column in cursor.description]
    for rows in iter(lambda: cursor.fetchmany(_CHUNK), []):
        yield [dict(zip(names, row, strict=True)) for row in rows]


def _table(
    run: jobs.Run,
    rows: Sequence[dict[str, Any]],
    predicted: Sequence[float | None],
    ctr: models.Model | None,
) -> pa.Table:
    count = len(rows)
    return pa.table(
        {
            "trigger": [row["trigger"] for row in rows],
            "query_text": [row["query_text"] for row in rows],
            "relevance": pa.array([row["relevance"] for row in rows], "f8"),
            "predicted_ctr": pa.array(predicted, "f8"),
            "evidence_key": [row["evidence_key"] for row in rows],
            "ctr_version": pa.array([ctr.version if ctr else None] * count, "str"),
            "run_id": [run.run_id] * count,
        }
    )


def _add(con, rows: pa.Table) -> int:
    """Add what no other run has scored alike meanwhile."""
    con.register("new_rows", rows)
    return con.execute(
        f"""
        INSERT INTO lake.serving.x2q_scores BY NAME
        SELECT new_rows.* FROM new_rows
        LEFT JOIN ({_NEWEST_SCORES}) AS scores USING (trigger, query_text)
        WHERE scores.evidence_key IS DISTINCT FROM new_rows.evidence_key
            OR scores.ctr_version IS DISTINCT FROM new_rows.ctr_version
        """
    ).fetchone()[0]
