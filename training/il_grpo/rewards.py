"""What a rollout is rewarded for, term by term (AIGQ eq. 10, 14, 16).

    R_q(i, k) = w_ctr * r_ctr + w_rouge * ROUGE-L(q_k, q*_k) + w_len * r_len
    R_s(i)    = r_format - r_dup

Generated query k is compared with reference query k, place by place. Each function is one term;
weights are the recipe's.
"""

import math
from collections.abc import Hashable, Sequence

import numpy as np

from aigq.text import flat, word_tokens

# What the recipes take for alpha and c of eq. 14, and the cosine of queries that say the same.
CTR_SCALE = 4.0
CTR_CAP = 1.0
NEAR_DUPLICATE = 0.95


def rouge_l(candidate: str, reference: str) -> float:
    """ROUGE-L as F1, from 0 to 1: the longest common subsequence of tokens. 0 without tokens."""
    return sequence_rouge_l(word_tokens(candidate), word_tokens(reference))


def sequence_rouge_l(candidate: Sequence[Hashable], reference: Sequence[Hashable]) -> float:
    """ROUGE-L (F1) of any two sequences; 0 where one is empty."""
    if not candidate or not reference:
        return 0.0
    row = [0] * (len(reference) + 1)
    for token in candidate:
        before = 0  # of the row above, one column to the left
        for place, other in enumerate(reference, start=1):
            above = row[place]
            row[place] = before + 1 if token == other else max(above, row[place - 1])
            before = above
    # Harmonic mean of common / len(candidate) and common / len(reference).
    return 2 * row[-1] / (len(candidate) + len(reference))


def trigger_reward(triggers: Sequence[Sequence[int]], reference: Sequence[Sequence[int]]) -> float:
    """R_trig (eq. 16): mean ROUGE-L of trigger sets as index sequences, point j with point j.

    The mean is over the points of the longer answer: a point too many or too few counts 0.
    """
    points = max(len(triggers), len(reference))
    if not points:
        return 0.0
    pairs = zip(triggers, reference, strict=False)
    return sum(sequence_rouge_l(given, wanted) for given, wanted in pairs) / points


def ctr_reward(predicted: float, *, scale: float, cap: float) -> float:
    """r_ctr = clip(scale * p_ctr(q | u), 0, cap) (eq. 14). ``predicted``: a probability.

    Raises :class:`ValueError` for what is no number: among rewards it would read as a missing slot.
    """
    if not math.isfinite(predicted):
        raise ValueError(f"a predicted click probability is {predicted}")
    return min(max(scale * predicted, 0.0), cap)


def format_reward(fields: Sequence[str], queries: int, wanted: int) -> float:
    """r_format of a completion that parses: the share of its ``fields`` (queries, rationales,
    trigger sets) that are written as specified (single blanks, none at the ends, not punctuation
    alone), times the share of the ``wanted`` slots, the reference's, that its distinct ``queries``
    fill.

    What does not parse has 0. Without the second factor a policy learns to write less: shorter
    answers parse more often and repeat less, and a slot that is absent has no reward to lose.
    """
    as_specified = [field == flat(field) and bool(word_tokens(field)) for field in fields]
    return sum(as_specified) / max(1, len(fields)) * min(1.0, queries / wanted)


def length_reward(query: str, *, least: int, most: int) -> float:
    """r_len: 1 where the normalised query has ``least`` to ``most`` characters, else 0."""
    return float(least <= len(query) <= most)


def duplicate_share(
    queries: Sequence[str], vectors: np.ndarray | None = None, *, near: float
) -> float:
    """r_dup: the share of a list's queries that repeat an earlier one, or come ``near`` one.

    ``queries``: normalised text, K of them. ``vectors``: (K, D) of length 1, of their embeddings;
    None compares the text alone. ``near``: cosine from which two queries say the same. 0 for an
    empty list.
    """
    if not queries:
        return 0.0
    redundant = np.array([query in queries[:place] for place, query in enumerate(queries)])
    if vectors is not None:
        alike = np.tril(vectors @ vectors.T >= near, k=-1)
        redundant |= alike.any(axis=1)
    return float(redundant.mean())
