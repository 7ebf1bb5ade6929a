"""What the shop calls relevant, beside what people say: judged query-item pairs.

    python tests/bench/relevance.py JUDGEMENTS    # query_text, item_id, title, relevance

Three ways to score how well a query meets an item, against human grades: sentence embeddings (the
cosine of query and title, what `aigq/embeddings.py` gives every job), text alone (TF-IDF cosine
over words and over character n-grams, the baselines), and the simulated shop's relevance formula
on a catalog given by the judgements. The formula knows interests, not items: a shopper who wants an
item has as interest the query that the item is known to answer best. So that no score is of a
judgement that it was made from, a third of the pairs of items judged twice or more is held out of
the catalog, and all are compared on these; the ones that need no catalog on all pairs too.

Prints Markdown: Spearman's rho over all pairs and within queries (mean over queries with five pairs
or more and two grades), AUC of the pairs graded 2.5 or more, with 95% bootstrap intervals over
queries.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import duckdb
import numpy as np
from scipy.stats import rankdata
from sklearn.feature_extraction.text import TfidfVectorizer

from aigq import embeddings
from aigq.simulator import given, relevance
from aigq.simulator.interests import Interests
from aigq.simulator.language import TYPOS
from aigq.simulator.settings import ShopSettings
from training.ctr.metrics import auc

GOOD = 2.5
_FEWEST = 100  # queries that a mean over queries is taken of, at least

_JUDGED = """
create table judged as
select *, hash(query_text, item_id) % 3 = 0
    and count(*) over (partition by item_id) > 1 as is_held_out
from (
    select trim(query_text) as query_text, item_id, any_value(trim(title)) as title,
        avg(relevance::double) as relevance
    from read_csv(?, all_varchar = true)
    group by all
);
"""
# docs/simulator.md: the last of a query's words that eight queries or more use is its category.
_CATALOG = r"""
create table known as from judged where not is_held_out;
create table words as
select query_text, word, place, count(distinct query_text) over (partition by word) as queries
from (
    select query_text, unnest(said) as word, generate_subscripts(said, 1) as place
    from (
        select distinct query_text, list_transform(
            regexp_extract_all(lower(query_text), '[a-z]{3,}'),
            lambda w: regexp_replace(w, '([^s])s$', '\1')
        ) as said
        from known
    )
);
create table categories as
select query_text, arg_max(word, place) as category from words
where queries >= 8 and word not in ('and', 'for', 'inch', 'the', 'with')
group by query_text;
copy (
    select item_id, min(title) as title,
        arg_max(coalesce(category, 'other'), (relevance, query_text)) as leaf_category_id,
        leaf_category_id as leaf_category, null as category_path, null as brand,
        null as attributes, null as tags, null as price
    from known left join categories using (query_text) group by item_id order by item_id
) to '{folder}/items.parquet';
copy (select query_text, item_id, relevance from known order by all)
to '{folder}/query_items.parquet';
"""
# Pairs, and the query that the item is known to answer best, if there is one.
_PAIRS = """
select judged.query_text, judged.title, judged.relevance, judged.is_held_out, best.favourite
from judged
left join (
    select item_id, arg_max(query_text, (relevance, query_text)) as favourite
    from judged where not is_held_out group by item_id
) as best using (item_id)
order by judged.query_text, judged.item_id
"""


@click.command()
@click.argument("judgements", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
def main(judgements: Path, seed: int) -> None:
    """Compare scores of query and item with human grades."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as con:
        con.execute(_JUDGED, [str(judgements)])
        con.execute(_CATALOG.replace("{folder}", folder))
        pairs = con.execute(_PAIRS).to_arrow_table().to_pydict()
        language = given.load(ShopSettings(), Path(folder))
    queries, titles = pairs["query_text"], pairs["title"]
    grades = np.array(pairs["relevance"])
    # What is held out of an item leaves nothing known of it now and then.
    held = np.array(pairs["is_held_out"]) & np.array([f is not None for f in pairs["favourite"]])
    scores = {
        "TF-IDF, words": tf_idf(queries, titles),
        "TF-IDF, character n-grams": tf_idf(
            queries, titles, analyzer="char_wb", ngram_range=(3, 5)
        ),
        "sentence embeddings": by_embedding(queries, titles),
    }
    of_shop = np.full(len(grades), np.nan)
    of_shop[held] = by_shop(
        language,
        [q for q, h in zip(queries, held, strict=True) if h],
        [f for f, h in zip(pairs["favourite"], held, strict=True) if h],
    )
    _, query = np.unique(queries, return_inverse=True)
    held_scores = {**scores, "simulated shop's relevance": of_shop}
    for title, part, columns in (
        ("held-out pairs of known items", held, held_scores),
        ("all pairs", np.ones(len(held), bool), scores),
    ):
        size = f"{part.sum():,} pairs, {len(np.unique(query[part])):,} queries"
        click.echo(f"\n| {title} ({size}) | Spearman | within queries | AUC |\n|---|---|---|---|")
        for name, values in columns.items():
            cells = agreement(values[part], grades[part], query[part], seed)
            click.echo(f"| {name} | " + " | ".join(cells) + " |")


def tf_idf(queries: list[str], titles: list[str], **how) -> np.ndarray:
    """Cosine of query and title by TF-IDF fitted on the titles."""
    vectorizer = TfidfVectorizer(sublinear_tf=True, **how).fit(sorted(set(titles)))
    product = vectorizer.transform(queries).multiply(vectorizer.transform(titles))
    return np.asarray(product.sum(axis=1)).ravel()


def by_embedding(queries: list[str], titles: list[str]) -> np.ndarray:
    """Cosine of query and title by sentence embeddings."""
    texts = sorted({*queries, *titles})
    place = {text: number for number, text in enumerate(texts)}
    vectors = embeddings.embed(texts, progress="embed")
    one, other = ([place[text] for text in column] for column in (queries, titles))
    return np.einsum("nd,nd->n", vectors[one], vectors[other])


def by_shop(language, queries: list[str], favourites: list[str]) -> np.ndarray:
    """Relevance of each query to one whose only interest has the favourite's leaf and taste."""
    taste = np.array([language.read(text) for text in favourites])
    ones = np.ones((len(taste), 1))
    wants = Interests(
        language.leaf_of(taste)[:, None], (taste // TYPOS)[:, None, None], ones, ones, 0 * ones
    )
    codes = np.array([[language.read(text)] for text in queries])
    return relevance.relevance(language, wants, ones, codes)[:, 0]


def agreement(
    scores: np.ndarray, grades: np.ndarray, query: np.ndarray, seed: int, resamples: int = 300
) -> list[str]:
    """Spearman, Spearman within queries and AUC as cells with intervals."""
    _, query = np.unique(query, return_inverse=True)
    rows = np.split(np.argsort(query, kind="stable"), np.cumsum(np.bincount(query))[:-1])
    within = np.array([within_query(scores[own], grades[own]) for own in rows])
    metrics: list[Callable[[np.ndarray, np.ndarray], float]] = [
        lambda chosen, drawn: spearman(scores[chosen], grades[chosen]),
        lambda chosen, drawn: float(np.nanmean(within[drawn])),
        lambda chosen, drawn: auc(grades[chosen] >= GOOD, scores[chosen]),
    ]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(resamples):
        drawn = rng.integers(0, len(rows), len(rows))
        chosen = np.concatenate([rows[q] for q in drawn])
        found.append([metric(chosen, drawn) for metric in metrics])
    low, high = np.percentile(found, [2.5, 97.5], axis=0)
    every = np.arange(len(scores)), np.arange(len(rows))
    cells = [
        f"{metric(*every):.3f} [{a:.3f} {b:.3f}]"
        for metric, a, b in zip(metrics, low, high, strict=True)
    ]
    if (~np.isnan(within)).sum() < _FEWEST:
        cells[1] = "-"
    return cells


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of ranks, ties at their mean."""
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def within_query(scores: np.ndarray, grades: np.ndarray) -> float:
    """Spearman of one query's pairs; NaN with fewer than five or one grade, 0 where all scores are
    the same."""
    if len(grades) < 5 or np.ptp(grades) == 0:
        return float("nan")
    return 0.0 if np.ptp(scores) == 0 else spearman(scores, grades)


if __name__ == "__main__":
    main()
