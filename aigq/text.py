"""Query identity: two texts are the same query exactly when they normalise to the same text."""

import unicodedata

import pyarrow as pa


def normalize_query(text: str | None) -> str | None:
    """Unicode NFKC, lower case as ``str.lower``, runs of white space as one, ends trimmed.

    The result holds no white space but single inner blanks, hence no line break. ``None`` stays
    ``None``. Source: method, "Query identity = normalised text".
    """
    if text is None:
        return None
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def normalize_query_arrow(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """``normalize_query`` over a column of strings: the body of the SQL function of that name."""
    return pa.chunked_array([pa.array(map(normalize_query, column.to_pylist()), pa.string())])
