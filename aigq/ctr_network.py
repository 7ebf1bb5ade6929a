"""The CTR network: a user's behaviours attend to a candidate query (after DIN, Zhou et al., 2018).

Queries and behaviour contents are read as text (hashed words and character trigrams), so that any
query can be scored, seen in training or not. The position at which a hint was displayed enters as a
bias of the logit alone (a shallow tower, after PAL, Guo et al., 2019): scoring sets it to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from aigq import hashing
from aigq.context import ACTIONS, PROFILE_FIELDS

_MOST_WORDS = 9
# Days ago and places from the newest behaviour, by bucket: [0, 1), [1, 2), ... [61, inf).
EDGES = (1, 2, 3, 4, 5, 7, 10, 14, 21, 31, 61)


@dataclass(frozen=True)
class CtrConfig:
    """What the weights' shapes and the meaning of their rows depend on.

    ``profile_values``: the known values of each profile field; all others count as unknown.
    ``max_behaviors``: the newest so many of a context count. ``max_position``: later positions
    share its bias.
    """

    profile_values: tuple[tuple[str, ...], ...] = ((),) * len(PROFILE_FIELDS)
    width: int = 32
    heads: int = 4
    hidden: int = 64
    buckets: int = 1 << 16
    max_behaviors: int = 50
    max_position: int = 10


class Texts(NamedTuple):
    """Hashed features of T texts: ``features`` (sum of their numbers,), ``offsets`` (T,); and the
    ``shape`` (T,) of each, see :func:`text_shape`."""

    features: torch.Tensor
    offsets: torch.Tensor
    shape: torch.Tensor


class Behaviors(NamedTuple):
    """Of B contexts, padded to N: ``text`` (B, N) indices into the texts at hand, ``action`` and
    ``days_ago`` (B, N), ``length`` (B,), oldest first; ``profile`` (B, 3) indices, 0: unknown."""

    text: torch.Tensor
    action: torch.Tensor
    days_ago: torch.Tensor
    length: torch.Tensor
    profile: torch.Tensor


class ContextState(NamedTuple):
    """What B contexts come down to, whatever the query: ``keys`` and ``values`` (B, H, N, D / H),
    ``bias`` (B, H, N), minus infinity on padding, ``profile`` (B, D)."""

    keys: torch.Tensor
    values: torch.Tensor
    bias: torch.Tensor
    profile: torch.Tensor


def hash_texts(texts: Sequence[str], buckets: int) -> Texts:
    """Hashed features of ``texts`` (T > 0), as the network takes them."""
    features, offsets = hashing.hash_texts(texts, buckets)
    shape = torch.tensor([text_shape(text) for text in texts])
    return Texts(torch.from_numpy(features), torch.from_numpy(offsets), shape)


@lru_cache(maxsize=1 << 18)
def text_shape(text: str) -> int:
    """How many words a text has (0 to ``_MOST_WORDS``), and from there on the same for texts that
    say a word twice. A mean over features, which the network reads, tells neither."""
    words = hashing.words(text)
    is_repeated = len(set(words)) < len(words)
    return min(len(words), _MOST_WORDS) + is_repeated * (_MOST_WORDS + 1)


class CtrNetwork(nn.Module):
    """Logit of a click on query q by the user of a context, displayed at a position.

    Each head attends with the query over the behaviours (softmax with a learned alternative, "none
    of them"); its pooled value says what the user did about the like, the share that the
    alternative is left with says how much of it. Both, the query and the profile go through one
    hidden layer.
    """

    def __init__(self, config: CtrConfig, dropout: float = 0.0):
        super().__init__()
        self.config = config
        width, heads = config.width, config.heads
        self.features = nn.EmbeddingBag(config.buckets, width, mode="mean")
        self.shape = nn.Embedding(2 * (_MOST_WORDS + 1), width)
        self.read = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.profile = nn.ModuleList(
            nn.Embedding(1 + len(values), width) for values in config.profile_values
        )
        self.action = nn.Embedding(len(ACTIONS), width)
        self.age = nn.Embedding(len(EDGES) + 1, width)
        self.action_bias = nn.Embedding(len(ACTIONS), heads)
        self.age_bias = nn.Embedding(len(EDGES) + 1, heads)
        self.place_bias = nn.Embedding(len(EDGES) + 1, heads)
        self.ask = nn.Linear(width, width)
        self.answer = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.none = nn.Parameter(torch.zeros(heads))
        self.judge = nn.Sequential(
            nn.Linear(5 * width + heads, config.hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(config.hidden, 1),
        )
        self.position = nn.Embedding(config.max_position + 1, 1)
        self.register_buffer("edges", torch.tensor(EDGES), persistent=False)
        self._start()

    def _start(self) -> None:
        """A query attends to what reads like it from the first step on; no effect of position."""
        nn.init.normal_(self.features.weight, std=0.5)
        for table in (self.action, self.age, *self.profile):
            nn.init.normal_(table.weight, std=0.1)
        for table in (self.action_bias, self.age_bias, self.place_bias, self.position, self.shape):
            nn.init.zeros_(table.weight)
        nn.init.orthogonal_(self.read[1].weight)
        for layer in (self.ask, self.answer):
            nn.init.eye_(layer.weight)
            nn.init.zeros_(layer.bias)

    def encode_texts(self, texts: Texts) -> torch.Tensor:
        """(T, D): what the texts are about."""
        return self.read(self.features(texts.features, texts.offsets)) + self.shape(texts.shape)

    def encode_contexts(self, behaviors: Behaviors, vectors: torch.Tensor) -> ContextState:
        """``vectors`` (T, D): of the texts that ``behaviors.text`` points into."""
        text = vectors[behaviors.text]
        places = torch.arange(text.shape[1], device=text.device)
        from_newest = behaviors.length[:, None] - 1 - places
        age = torch.bucketize(behaviors.days_ago, self.edges, right=True)
        place = torch.bucketize(from_newest, self.edges, right=True)
        bias = self.action_bias(behaviors.action) + self.age_bias(age) + self.place_bias(place)
        bias = bias.masked_fill((from_newest < 0)[..., None], -torch.inf)
        told = text + self.action(behaviors.action) + self.age(age)
        tables = zip(self.profile, behaviors.profile.unbind(1), strict=True)
        return ContextState(
            self._by_head(self.answer(text)),
            self._by_head(self.value(told)),
            bias.transpose(1, 2),
            sum(table(index) for table, index in tables),
        )

    def judge_queries(
        self, state: ContextState, queries: torch.Tensor, position: torch.Tensor
    ) -> torch.Tensor:
        """(B, C) logits. ``queries`` (B, C, D) of the B contexts' candidates; ``position`` (B, C):
        1 for the first, 0 where unknown."""
        asked = self._by_head(self.ask(queries))  # (B, H, C, D / H)
        logits = asked @ state.keys.transpose(2, 3) / asked.shape[-1] ** 0.5
        logits = logits + state.bias[:, :, None, :]
        none = self.none[None, :, None, None].expand(*logits.shape[:3], 1)
        weights = torch.cat([none, logits], dim=3).log_softmax(dim=3)
        pooled = (weights[..., 1:].exp() @ state.values).transpose(1, 2).flatten(2)
        amount = -weights[..., 0].transpose(1, 2)
        profile = state.profile[:, None].expand_as(queries)
        facts = [queries, pooled, queries * pooled, profile, queries * profile, amount]
        found = self.judge(torch.cat(facts, dim=2)).squeeze(2)
        return found + self.position_logits(position)

    def position_logits(self, position: torch.Tensor) -> torch.Tensor:
        """The bias of each position; shape of ``position``."""
        return self.position(position.clamp(0, self.config.max_position)).squeeze(-1)

    def forward(
        self,
        texts: Texts,
        behaviors: Behaviors,
        queries: torch.Tensor,
        position: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, C) logits of ``queries`` (B, C), which like ``behaviors.text`` index ``texts``; and
        the vectors of the texts, (T, D)."""
        vectors = self.encode_texts(texts)
        state = self.encode_contexts(behaviors, vectors)
        return self.judge_queries(state, vectors[queries], position), vectors

    def following_loss(
        self, behaviors: Behaviors, vectors: torch.Tensor, pairs: int = 512
    ) -> torch.Tensor:
        """How badly what a user did next is told from what others did (InfoNCE, van den Oord et
        al., 2018): -log of the share of attention, mean over drawn ``pairs`` of behaviours with
        different texts that follow each other on one day. 0 where there are none.

        Clicks are few; what follows what teaches the same attention which words belong together.
        """
        text, day = behaviors.text, behaviors.days_ago
        follows = torch.arange(1, text.shape[1]) < behaviors.length[:, None]
        follows &= (day[:, 1:] == day[:, :-1]) & (text[:, 1:] != text[:, :-1])
        row, place = follows.nonzero(as_tuple=True)
        drawn = torch.randperm(len(row))[:pairs]
        row, place = row[drawn], place[drawn]
        before, after = text[row, place], text[row, place + 1]
        if not len(row):
            return vectors.new_zeros(())
        logits = self.ask(vectors[after]) @ self.answer(vectors[before]).T
        logits = logits / (vectors.shape[1] / self.config.heads) ** 0.5
        # The same text elsewhere in the batch is no wrong answer.
        right = torch.eye(len(row), dtype=torch.bool)
        to_before = logits.masked_fill((before == before[:, None]) & ~right, -torch.inf)
        to_after = logits.T.masked_fill((after == after[:, None]) & ~right, -torch.inf)
        target = torch.arange(len(row))
        return 0.5 * (F.cross_entropy(to_before, target) + F.cross_entropy(to_after, target))

    def _by_head(self, x: torch.Tensor) -> torch.Tensor:
        """(B, N, D) as (B, H, N, D / H)."""
        return x.unflatten(2, (self.config.heads, -1)).transpose(1, 2)


def profile_indices(values: Sequence[str | None], config: CtrConfig) -> list[int]:
    """The row of each profile field's value; 0 where it is unknown."""
    known = zip(values, config.profile_values, strict=True)
    return [1 + names.index(value) if value in names else 0 for value, names in known]


def click_loss(logits: torch.Tensor, clicked: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean log loss over the displayed hints; all (B, C)."""
    return F.binary_cross_entropy_with_logits(logits[mask], clicked[mask])


def contrast_loss(logits: torch.Tensor, mask: torch.Tensor, sharpness: float) -> torch.Tensor:
    """How badly what was searched next, the first of each row, is told from the rest (InfoNCE, van
    den Oord et al., 2018): mean of -log softmax(``sharpness`` * logits) over the rows that have it,
    0 where none has; both (B, 1 + N).

    What is added to all of a row's logits cancels out: how likely a user clicks at all, and the
    position, are left to :func:`click_loss`.
    """
    rows = mask[:, 0]
    if not rows.any():
        return logits.new_zeros(())
    kept = (sharpness * logits).masked_fill(~mask, -torch.inf)[rows]
    return F.cross_entropy(kept, torch.zeros(len(kept), dtype=torch.long))
