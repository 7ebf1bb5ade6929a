"""Text as hashed features, for networks that must read any text, seen in training or not."""

import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import regex

from aigq.text import normalize_query

# Scripts written without blanks between words: every character is a word as well.
_UNSPACED = regex.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
# What carries marks (vowels of Indic scripts) or is joined by them stays one word.
_WORD = regex.compile(r"[\p{L}\p{N}_][\p{L}\p{N}\p{M}_\u200c\u200d]*")


def words(text: str) -> list[str]:
    """The words of a normalised text, in order."""
    return _WORD.findall(normalize_query(text) or "")


@lru_cache(maxsize=1 << 18)
def text_features(text: str, buckets: int) -> np.ndarray:
    """The hashed features of a text, int64 (n,), n > 0: the whole of it, its words, and the
    character trigrams of each word between its bounds. The same in every process."""
    text = normalize_query(text) or ""
    found = ["=" + text]
    for word in _WORD.findall(text):
        found.append(word)
        bounded = f"<{word}>"
        found += (bounded[i : i + 3] for i in range(len(bounded) - 2))
    found += _UNSPACED.findall(text)
    return np.fromiter((zlib.crc32(f.encode()) % buckets for f in found), np.int64, len(found))


def hash_texts(texts: Sequence[str], buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of several texts, one after the other, and where those of each begin: int64 each,
    as ``torch.nn.EmbeddingBag`` takes them."""
    parts = [text_features(text, buckets) for text in texts]
    sizes = np.fromiter(map(len, parts), np.int64, len(parts))
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]) if parts else sizes
    return np.concatenate(parts) if parts else np.zeros(0, np.int64), offsets
