"""How near two contents of a shop are: what they say, and what people searched beside them."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from scipy import sparse

from aigq import embeddings
from aigq.lists import is_listable
from aigq.settings import Home

# The contents and queries of the sessions that are asked about.
_CONTENTS = """
SELECT DISTINCT b.content_key, b.content_text
FROM (SELECT unnest(behaviors) AS b FROM pending)
UNION
SELECT DISTINCT 'query:' || query, query
FROM (SELECT unnest(queries || acts) AS query FROM pending)
ORDER BY ALL
"""
# What met a single time says nothing: two people once, or one on two days. The fifty likeliest, as
# in eval.co_click_weights.
_COMPANY = """
WITH met AS (
    SELECT content_key, query_text, sum(users)::DOUBLE AS times
    FROM lake.behavior.co_searches, lake.meta.shop
    WHERE shop_date <= train_end_date AND content_key IN (SELECT content_key FROM contents)
    GROUP BY content_key, query_text
    HAVING sum(users) >= 2
    QUALIFY row_number() OVER (PARTITION BY content_key ORDER BY times DESC, query_text) <= 50
)

SELECT
    content_key,
    query_text,
    times / sum(times) OVER (PARTITION BY content_key) AS weight
FROM met
ORDER BY content_key, query_text
"""
_SEARCHED = """
SELECT query_text
FROM lake.items.query_days, lake.meta.shop
WHERE stat_date <= train_end_date
GROUP BY query_text
HAVING sum(page_views) >= $least
ORDER BY query_text
"""

Content = tuple[str, str]


class Affinities:
    """Vectors of all contents (content key, text) that the pending sessions hold.

    Text: sentence embeddings. Company: an idf-weighted vector over the queries searched on the same
    days by the same people, training days only (``behavior.co_searches``); a query keeps itself
    company, as much as all others together. Nearness is the greater of the two cosines. Each
    distinct text is embedded once.
    """

    def __init__(self, con, home: Home):
        self._home = home
        contents = con.execute(_CONTENTS).fetchall()
        self._row: dict[Content, int] = {content: row for row, content in enumerate(contents)}
        keys = list(dict.fromkeys(key for key, _ in contents))
        con.register("contents", pa.table({"content_key": pa.array(keys, "str")}))
        weights = con.execute(_COMPANY).fetchnumpy()
        con.unregister("contents")
        texts = [text for _, text in contents]
        self._texts = embeddings.embed(texts, home=home, progress="embed contents")
        own = [key.removeprefix("query:") for key in keys if key.startswith("query:")]
        self.queries: list[str] = sorted({*weights["query_text"], *own})
        self._company = self._companions(contents, keys, weights)

    def _companions(self, contents, keys, weights) -> sparse.csr_array:
        column = {query: i for i, query in enumerate(self.queries)}
        key_row = {key: i for i, key in enumerate(keys)}
        rows = [key_row[key] for key in weights["content_key"]]
        columns = [column[query] for query in weights["query_text"]]
        own = [key for key in keys if key.startswith("query:")]
        rows += [key_row[key] for key in own]
        columns += [column[key.removeprefix("query:")] for key in own]
        values = np.concatenate([weights["weight"], np.ones(len(own))])
        of_keys = sparse.csr_array((values, (rows, columns)), (len(keys), len(self.queries)))
        holders = np.bincount(of_keys.indices, minlength=len(self.queries))
        idf = np.log1p(len(keys) / np.maximum(holders, 1))
        of_keys = of_keys @ sparse.diags_array(idf)
        norms = np.sqrt(of_keys.multiply(of_keys).sum(axis=1))
        unit = sparse.diags_array(1 / np.maximum(norms, 1e-12)) @ of_keys
        return sparse.csr_array(unit)[[key_row[key] for key, _ in contents]]

    def rows(self, contents: Sequence[Content]) -> np.ndarray:
        """Row numbers of ``contents`` for the other methods."""
        return np.array([self._row[content] for content in contents], dtype=np.int64)

    def between(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Nearness of every row in ``left`` to every one in ``right``: (L, R), at most 1."""
        by_text = self._texts[left] @ self._texts[right].T
        by_company = (self._company[left] @ self._company[right].T).toarray()
        return np.maximum(by_text, by_company)

    def proposals(self, con, *, least_searches: int, per_content: int, floor: float):
        """For each content, scores of queries: its company, and of its nearest ``per_content``
        queries by text the cosines of at least ``floor``.

        Only queries searched ``least_searches`` times on training days are proposed. Returns a
        sparse matrix (contents, queries) and the queries of its columns.
        """
        searched = con.execute(_SEARCHED, {"least": least_searches}).fetchall()
        known = [query for (query,) in searched if is_listable(query)]
        if not known:
            return sparse.csr_array((len(self._texts), 0)), known
        column = {query: i for i, query in enumerate(self.queries)}
        taken = [column.get(query, -1) for query in known]
        padded = sparse.hstack(
            [self._company, sparse.csr_array((self._company.shape[0], 1))], format="csr"
        )
        by_company = padded[:, taken]
        vectors = embeddings.embed(known, home=self._home, progress="embed queries")
        count = min(per_content, len(known))
        parts = []
        for start in range(0, len(self._texts), 1024):
            cosine = self._texts[start : start + 1024] @ vectors.T
            best = np.argpartition(-cosine, count - 1, axis=1)[:, :count]
            value = np.take_along_axis(cosine, best, axis=1)
            value[value < floor] = 0.0
            rows = np.repeat(np.arange(len(best)), count)
            parts.append(sparse.csr_array((value.ravel(), (rows, best.ravel())), cosine.shape))
        return by_company + sparse.vstack(parts, format="csr"), known
