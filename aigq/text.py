"""Query identity (two texts are the same query exactly when they normalise to the same text), and
what text must be to stand on a line of its own."""

import unicodedata

import pyarrow as pa
import regex

# One character is a word where words are written without blanks between. (The mark of a long vowel,
# U+30FC, is of no script.)
_ALONE = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\u30fc]"
_TOKEN = regex.compile(rf"{_ALONE}\p{{M}}*|(?:(?!{_ALONE})[\p{{L}}\p{{N}}][\p{{M}}\u200c\u200d]*)+")


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


def word_tokens(text: str) -> list[str]:
    """One token per Han, kana or Thai character with its marks, else per run of letters and digits
    with theirs, lower case.

    Of ASCII text the tokens of the package ``rouge_score``, without stemming.
    """
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).lower())


def flat(text: str) -> str:
    """``text`` on one line, without tabs: a line break inside it would forge a line of a prompt."""
    return " ".join(text.split())


def is_broken(text: str) -> bool:
    """Whether ``text`` holds what is no text: a control character, or U+FFFD, which is what half a
    character from a byte-level vocabulary decodes to.

    Format characters are text: emoji and Indic scripts are joined by them.
    """
    return "\ufffd" in text or any(unicodedata.category(c) in ("Cc", "Cs") for c in text)
