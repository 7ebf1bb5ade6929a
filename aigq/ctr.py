"""The production CTR model as others call it: click probabilities of any query for any context.

    scorer = ctr.load(home, "ctr")
    (probabilities,) = scorer.score([context], [["hiking boots", "tent"]])

Rewards, hints and the x2q index all ask here; ``aigq train ctr`` makes the models.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from aigq import models
from aigq.context import ACTIONS, Context
from aigq.ctr_network import (
    Behaviors,
    ContextState,
    CtrConfig,
    CtrNetwork,
    hash_texts,
    profile_indices,
)
from aigq.settings import Home, UserError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
_TEXTS_KEPT = 200_000
_CONTEXTS_KEPT = 4096
# Contexts scored at once: enough for matrix products, few enough for the caches of a core.
_CHUNK = 256

K = TypeVar("K", bound=Hashable)


def save(network: CtrNetwork, folder: Path) -> None:
    """Write weights and configuration into ``folder``."""
    save_file(network.state_dict(), folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(asdict(network.config), indent=2) + "\n")


def load_network(folder: Path, dropout: float = 0.0) -> CtrNetwork:
    """What :func:`save` wrote. Raises :class:`UserError` for a folder without it."""
    try:
        values = json.loads((folder / CONFIG).read_text())
        values["profile_values"] = tuple(tuple(names) for names in values["profile_values"])
        network = CtrNetwork(CtrConfig(**values), dropout)
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder} holds no CTR model of `aigq train ctr`: {error}") from None
    return network


def load(home: Home, reference: str) -> "CtrScorer":
    """The scorer of the model ``name`` or ``name@version``.

    Raises :class:`UserError` where there is none, or where it is no CTR model.
    """
    return CtrScorer(load_network(models.resolve(home, reference).path))


class CtrScorer:
    """Scores queries for contexts. Texts and contexts that come again are not encoded again.

    Scores of a pair do not depend on what else is scored with it (but for rounding, some 1e-6). Not
    for several threads at once.
    """

    def __init__(self, network: CtrNetwork):
        self._network = network.eval()
        self._config = network.config
        self.forget()

    def forget(self) -> None:
        """Drop what is kept: texts encoded in other company differ by rounding."""
        self._texts: _Kept[str] = _Kept(_TEXTS_KEPT)
        self._contexts: _Kept[Context] = _Kept(_CONTEXTS_KEPT)

    @torch.inference_mode()
    def score(
        self, contexts: Sequence[Context], queries: Sequence[Sequence[str]]
    ) -> list[np.ndarray]:
        """Predicted click probability of each query, were it displayed at position 1.

        ``queries[i]``: of ``contexts[i]``, any number. Returns one float32 array (len(queries[i]),)
        per context.
        """
        if len(contexts) != len(queries):
            raise ValueError(f"{len(contexts)} contexts, but {len(queries)} lists of queries")
        result: list[np.ndarray] = [np.zeros(0, np.float32)] * len(contexts)
        # Alike numbers of queries together, so that little is padding.
        order = sorted(range(len(contexts)), key=lambda i: len(queries[i]))
        order = [i for i in order if len(queries[i])]
        for start in range(0, len(order), _CHUNK):
            chunk = order[start : start + _CHUNK]
            scored = self._score([contexts[i] for i in chunk], [queries[i] for i in chunk])
            for i, row in zip(chunk, scored, strict=True):
                result[i] = row
        return result

    def _score(self, contexts: list[Context], queries: list[Sequence[str]]) -> Iterator[np.ndarray]:
        most = max(map(len, queries))
        flat = [text for row in queries for text in row]
        vectors = torch.zeros(len(queries), most, self._config.width)
        sizes = torch.tensor([len(row) for row in queries])
        is_query = torch.arange(most) < sizes[:, None]
        vectors[is_query] = self._vectors(flat)
        state = self._states(contexts)
        position = torch.ones(len(queries), most, dtype=torch.long)
        logits = self._network.judge_queries(state, vectors, position)
        for row, size in zip(logits.sigmoid().numpy(), sizes.tolist(), strict=True):
            yield row[:size].copy()

    def _vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """(len(texts), D)."""
        found = self._texts.get(texts, self._encode_texts)
        return torch.stack(found) if found else torch.zeros(0, self._config.width)

    def _encode_texts(self, texts: list[str]) -> list[torch.Tensor]:
        hashed = hash_texts(texts, self._config.buckets)
        # Copies: a row that is kept must not keep all the others.
        return [row.clone() for row in self._network.encode_texts(hashed)]

    def _states(self, contexts: Sequence[Context]) -> ContextState:
        """The states of ``contexts``, padded to the longest on the left."""
        found = self._contexts.get(contexts, self._encode_contexts)
        longest = max(state.bias.shape[1] for state in found)
        heads, depth = self._config.heads, self._config.width // self._config.heads
        keys = torch.zeros(len(found), heads, longest, depth)
        values = torch.zeros_like(keys)
        bias = torch.full((len(found), heads, longest), -torch.inf)
        for row, state in enumerate(found):
            size = state.bias.shape[1]
            keys[row, :, :size], values[row, :, :size] = state.keys, state.values
            bias[row, :, :size] = state.bias
        return ContextState(keys, values, bias, torch.stack([s.profile for s in found]))

    def _encode_contexts(self, contexts: list[Context]) -> list[ContextState]:
        """One state each, without padding."""
        kept = [context.newest(self._config.max_behaviors) for context in contexts]
        length = torch.tensor([len(context.behaviors) for context in kept])
        shape = len(kept), max(1, int(length.max()))
        is_behavior = torch.arange(shape[1]) < length[:, None]
        flat = [behavior for context in kept for behavior in context.behaviors]
        text, action, days_ago = (torch.zeros(shape, dtype=torch.long) for _ in range(3))
        text[is_behavior] = torch.arange(len(flat))
        action[is_behavior] = torch.tensor([ACTIONS.index(b.action) for b in flat]).long()
        days_ago[is_behavior] = torch.tensor([b.days_ago for b in flat]).long()
        profile = torch.tensor([profile_indices(c.profile, self._config) for c in kept])
        vectors = self._vectors([b.content_text for b in flat])
        if not flat:
            vectors = torch.zeros(1, self._config.width)
        states = self._network.encode_contexts(
            Behaviors(text, action, days_ago, length, profile), vectors
        )
        return [
            ContextState(
                states.keys[row, :, :size].clone(),
                states.values[row, :, :size].clone(),
                states.bias[row, :, :size].clone(),
                states.profile[row].clone(),
            )
            for row, size in enumerate(length.tolist())
        ]


class _Kept(Generic[K]):
    """What was made of the latest ``most`` keys."""

    def __init__(self, most: int):
        self._most = most
        self._values: OrderedDict[K, object] = OrderedDict()

    def get(self, keys: Sequence[K], make: Callable[[list[K]], list]) -> list:
        """The values of ``keys``; those that are missing are made, all at once."""
        missing = [key for key in dict.fromkeys(keys) if key not in self._values]
        fresh = dict(zip(missing, make(missing) if missing else [], strict=True))
        found = [fresh[key] if key in fresh else self._values[key] for key in keys]
        for key in dict.fromkeys(keys):
            self._values[key] = fresh.get(key, self._values.get(key))
            self._values.move_to_end(key)
        while len(self._values) > self._most:
            self._values.popitem(last=False)
        return found
