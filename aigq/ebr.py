"""Embedding-based retrieval (EBR): two towers, and nearest queries by approximate search.

The user tower reads profile and behaviours, the query tower a query's text, so that a query nobody
has searched yet has a vector too. Their inner product is the score; it holds a bias of the query,
so that popularity needs no direction of its own. The index (faiss HNSW) holds the queries known
when the model was trained. ``aigq train ebr`` makes the models (after Huang et al., KDD 2020, and
Yi et al., RecSys 2019).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from aigq import models
from aigq.context import ACTIONS, PROFILE_FIELDS, Context
from aigq.ctr_network import EDGES
from aigq.hashing import hash_texts
from aigq.settings import UserError

_CONFIG, _WEIGHTS, _QUERIES, _INDEX = (
    "config.json",
    "model.safetensors",
    "queries.json",
    "ann.faiss",
)
_CHUNK = 1024
# HNSW: links of a node, and how widely the graph is searched when built and when asked.
_LINKS, _BUILD_WIDTH, _SEARCH_WIDTH = 32, 200, 256


@dataclass(frozen=True)
class EbrConfig:
    """What the weights' shapes depend on. ``max_behaviors``: the newest so many count."""

    width: int = 64
    heads: int = 4
    hidden: int = 128
    buckets: int = 1 << 16
    max_behaviors: int = 50


class Bags(NamedTuple):
    """Hashed features of T texts: ``features`` (sum of their numbers,), ``offsets`` (T,)."""

    features: torch.Tensor
    offsets: torch.Tensor

    @classmethod
    def of(cls, texts: Sequence[str], buckets: int) -> "Bags":
        """The features of ``texts``."""
        features, offsets = hash_texts(texts, buckets)
        return cls(torch.from_numpy(features), torch.from_numpy(offsets))


class Users(NamedTuple):
    """B contexts padded to N behaviours, oldest first: ``text``, ``action``, ``days_ago`` (B, N),
    ``length`` (B,); ``profile`` (B, 3). Texts are indices into the texts at hand."""

    text: torch.Tensor
    action: torch.Tensor
    days_ago: torch.Tensor
    length: torch.Tensor
    profile: torch.Tensor


class EbrNetwork(nn.Module):
    """Both towers. They share the reading of texts."""

    def __init__(self, config: EbrConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.features = nn.EmbeddingBag(config.buckets, width, mode="mean")
        self.read = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.action = nn.Embedding(len(ACTIONS), width)
        self.age = nn.Embedding(len(EDGES) + 1, width)
        self.place = nn.Embedding(len(EDGES) + 1, width)
        # Attention of learned questions over the behaviours: one pooled value per head.
        self.question = nn.Parameter(torch.randn(config.heads, width) * width**-0.5)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, config.heads * width)
        self.user = nn.Sequential(
            nn.Linear((config.heads + len(PROFILE_FIELDS)) * width, config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, width),
        )
        self.query = nn.Linear(width, width)
        self.popularity = nn.Linear(width, 1)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("edges", torch.tensor(EDGES), persistent=False)
        nn.init.normal_(self.features.weight, std=0.5)
        for embedding in (self.action, self.age, self.place):
            nn.init.normal_(embedding.weight, std=0.2)

    def texts(self, bags: Bags) -> torch.Tensor:
        """Texts as vectors (T, width)."""
        return self.read(self.features(*bags))

    def queries(self, read: torch.Tensor) -> torch.Tensor:
        """Query vectors (Q, width + 1) of texts that were read: direction, then bias."""
        return torch.cat([F.normalize(self.query(read), dim=-1), self.popularity(read)], dim=-1)

    def users(self, users: Users, read: torch.Tensor) -> torch.Tensor:
        """User vectors (B, width + 1): direction times a learned scale, then 1 for the bias."""
        batch, longest = users.text.shape
        places = torch.arange(longest, device=read.device)
        from_newest = users.length[:, None] - 1 - places
        behaviors = (
            read[users.text]
            + self.action(users.action)
            + self.age(torch.bucketize(users.days_ago, self.edges, right=True))
            + self.place(torch.bucketize(from_newest.clamp(min=0), self.edges, right=True))
        )
        scores = self.key(behaviors) @ self.question.T
        is_padding = places >= users.length[:, None]
        # Whoever did nothing yet attends to padding alone, the values of which are zero.
        weights = scores.masked_fill(is_padding[..., None], -1e4).softmax(dim=1)
        values = self.value(behaviors).view(batch, longest, self.config.heads, -1)
        values = values.masked_fill(is_padding[..., None, None], 0.0)
        pooled = torch.einsum("bnh,bnhw->bhw", weights, values).flatten(1)
        profile = read[users.profile].flatten(1)
        direction = F.normalize(self.user(torch.cat([pooled, profile], dim=-1)), dim=-1)
        return torch.cat([direction * self.scale.exp(), torch.ones_like(direction[:, :1])], dim=-1)


def pad(contexts: Sequence[Context], config: EbrConfig) -> tuple[Users, list[str]]:
    """``contexts`` as the user tower takes them, and the texts that they point at."""
    kept = [context.newest(config.max_behaviors) for context in contexts]
    number: dict[str, int] = {}
    length = torch.tensor([len(context.behaviors) for context in kept])
    shape = len(kept), max(1, int(length.max()))
    text, action, days_ago = (torch.zeros(shape, dtype=torch.long) for _ in range(3))
    profile = torch.tensor(
        [
            [number.setdefault(value, len(number)) for value in profile_texts(context.profile)]
            for context in kept
        ]
    )
    is_behavior = torch.arange(shape[1]) < length[:, None]
    flat = [behavior for context in kept for behavior in context.behaviors]
    text[is_behavior] = torch.tensor(
        [number.setdefault(b.content_text, len(number)) for b in flat], dtype=torch.long
    )
    action[is_behavior] = torch.tensor([ACTIONS.index(b.action) for b in flat], dtype=torch.long)
    days_ago[is_behavior] = torch.tensor([b.days_ago for b in flat], dtype=torch.long)
    return Users(text, action, days_ago, length, profile), list(number)


def profile_texts(profile: Sequence[str | None]) -> list[str]:
    """The profile as texts that no query or item is likely to be."""
    return [
        f"profile {name} {value or 'unknown'}"
        for name, value in zip(PROFILE_FIELDS, profile, strict=True)
    ]


class Retriever:
    """A trained EBR model with its index. Not for several threads at once."""

    def __init__(self, network: EbrNetwork, queries: Sequence[str], index):
        self._network = network.eval()
        self.queries = list(queries)
        self._index = index

    @torch.inference_mode()
    def user_vectors(self, contexts: Sequence[Context]) -> np.ndarray:
        """float32 (len(contexts), width + 1)."""
        config = self._network.config
        found = [np.zeros((0, config.width + 1), np.float32)]
        for start in range(0, len(contexts), _CHUNK):
            users, texts = pad(contexts[start : start + _CHUNK], config)
            read = self._network.texts(Bags.of(texts, config.buckets))
            found.append(self._network.users(users, read).numpy())
        return np.concatenate(found)

    def retrieve(self, contexts: Sequence[Context], k: int) -> list[list[str]]:
        """The ``k`` best queries for each context by approximate search, best first."""
        return self._named(self.search(self.user_vectors(contexts), k))

    def search(self, users: np.ndarray, k: int) -> np.ndarray:
        """Indices of the ``k`` best queries for each row of ``users``, -1 where fewer are found."""
        self._index.hnsw.efSearch = max(_SEARCH_WIDTH, 2 * k)
        users = np.pad(users, ((0, 0), (0, 1)))
        return self._index.search(users, min(k, len(self.queries)))[1]

    def _named(self, found: np.ndarray) -> list[list[str]]:
        return [[self.queries[i] for i in row if i >= 0] for row in found]


@torch.inference_mode()
def query_vectors(network: EbrNetwork, queries: Sequence[str]) -> np.ndarray:
    """float32 (len(queries), width + 1) of any queries, seen in training or not."""
    found = [np.zeros((0, network.config.width + 1), np.float32)]
    for start in range(0, len(queries), 16 * _CHUNK):
        bags = Bags.of(queries[start : start + 16 * _CHUNK], network.config.buckets)
        found.append(network.queries(network.texts(bags)).numpy())
    return np.concatenate(found)


def search_exactly(users: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Indices (len(users), k) of the largest inner products, best first: what an index is held
    against."""
    scores = users @ queries.T
    k = min(k, queries.shape[0])
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


def build_index(vectors: np.ndarray):
    """A faiss HNSW index over query vectors, for inner products.

    Vectors get one more dimension that makes them equally long, users a 0 there: nearest is then
    what the largest inner product is (Bachrach et al., RecSys 2014). A graph over inner products
    themselves has hubs, and found fewer of the best.
    """
    import faiss

    squares = (vectors.astype(np.float64) ** 2).sum(axis=1)
    more = np.sqrt(squares.max(initial=0.0) - squares)
    vectors = np.column_stack([vectors, more]).astype(np.float32)
    # One thread: the graph then depends on the vectors alone.
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        index = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS, faiss.METRIC_L2)
        index.hnsw.efConstruction = _BUILD_WIDTH
        index.add(vectors)
    finally:
        faiss.omp_set_num_threads(threads)
    return index


def save(network: EbrNetwork, queries: Sequence[str], index, folder: Path) -> None:
    """Write weights, configuration, vocabulary and index into ``folder``."""
    import faiss

    save_file(network.state_dict(), folder / _WEIGHTS)
    (folder / _CONFIG).write_text(json.dumps(asdict(network.config), indent=2) + "\n")
    (folder / _QUERIES).write_text(json.dumps(list(queries), ensure_ascii=False))
    faiss.write_index(index, str(folder / _INDEX))


def load(model: models.Model) -> Retriever:
    """What :func:`save` wrote. Raises :class:`UserError` where ``model`` is something else."""
    import faiss

    try:
        network = EbrNetwork(EbrConfig(**json.loads((model.path / _CONFIG).read_text())))
        network.load_state_dict(load_file(model.path / _WEIGHTS))
        queries = json.loads((model.path / _QUERIES).read_text())
        index = faiss.read_index(str(model.path / _INDEX))
    except (OSError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{model.path} holds no model of `aigq train ebr`: {error}") from None
    return Retriever(network, queries, index)
