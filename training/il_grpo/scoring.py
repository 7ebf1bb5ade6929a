"""Completions to rewards: each rollout against its task's reference, term by term (AIGQ eq. 10)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from aigq import embeddings
from aigq.ctr import CtrScorer
from aigq.lists import list_spans
from aigq.spans import PADDING, Spans, TokenBytes
from aigq.think import think_spans
from training.il_grpo.rewards import (
    ctr_reward,
    duplicate_share,
    format_reward,
    length_reward,
    rouge_l,
    trigger_reward,
)
from training.il_grpo.settings import GrpoSettings
from training.il_grpo.tasks import Task

# The reward's parts as logged; their sum is what canonical GRPO maximises.
TERMS = ("ctr", "rouge", "length", "format", "duplicates", "triggers")
_VECTORS_KEPT = 200_000


class Scored(NamedTuple):
    """Of B rollouts with at most K slots and T tokens.

    ``query``: (B, K) R_q, NaN where a rollout has no such slot. ``sequence``: (B,) R_s.
    ``trigger``: (B,) R_trig, None for Direct. ``spans``: (B, T), see :mod:`aigq.spans`. ``terms``:
    (B, len(TERMS)), each weighted and summed over slots. ``by_slot``: (B, K, 3) the unweighted
    click, ROUGE-L and length rewards. ``errors``: why a rollout did not parse, else None.
    ``queries``: of each rollout, in output order.
    """

    query: torch.Tensor
    sequence: torch.Tensor
    trigger: torch.Tensor | None
    spans: torch.Tensor
    terms: torch.Tensor
    by_slot: torch.Tensor
    errors: list[str | None]
    queries: list[tuple[str, ...]]


class Scorer:
    """Scores rollouts. Embeddings and CTR states of texts that come again are kept."""

    def __init__(self, ctr: CtrScorer, tokens: TokenBytes, settings: GrpoSettings):
        self._ctr = ctr
        self._tokens = tokens
        self._settings = settings
        self._vectors: dict[str, np.ndarray] = {}

    def forget(self) -> None:
        """Encode everything anew from here on."""
        self._vectors.clear()
        self._ctr.forget()

    def query_rewards(
        self, tasks: Sequence[Task], completions: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """R_q alone, (B, K): without embeddings, which cost most of :meth:`score`."""
        return self._slots(tasks, self._read_all(tasks, completions))[1]

    def score(self, tasks: Sequence[Task], completions: Sequence[Sequence[int]]) -> Scored:
        """Rewards of ``completions`` (token ids, one for each of ``tasks``)."""
        read = self._read_all(tasks, completions)
        queries = [spans.queries for spans in read]
        by_slot, query, weighted = self._slots(tasks, read)
        vectors = self._embedded(queries)
        form = torch.tensor(
            [
                0.0
                if spans.error
                else format_reward(spans.fields, len(set(spans.queries)), len(task.queries))
                for task, spans in zip(tasks, read, strict=True)
            ]
        )
        repeats = torch.tensor(
            [
                duplicate_share(of, vectors_of, near=self._settings.near_duplicate)
                for of, vectors_of in zip(queries, vectors, strict=True)
            ]
        )
        trigger = _triggers(tasks, read)
        terms = [*weighted.nansum(1).unbind(1), form, -repeats]
        terms.append(torch.zeros(len(tasks)) if trigger is None else trigger)
        return Scored(
            query=query,
            sequence=self._clipped(form - repeats),
            trigger=None if trigger is None else self._clipped(trigger),
            spans=_padded([spans.spans for spans in read]),
            terms=torch.stack(terms, dim=1),
            by_slot=by_slot,
            errors=[spans.error for spans in read],
            queries=queries,
        )

    def _slots(
        self, tasks: Sequence[Task], read: Sequence[Spans]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Unweighted terms (B, K, 3), R_q (B, K), and the weighted terms."""
        how = self._settings
        longest = max(1, *(len(spans.queries) for spans in read))
        by_slot = torch.full((len(tasks), longest, 3), torch.nan)
        for row, values in enumerate(self._by_slot(tasks, read)):
            if values:
                by_slot[row, : len(values)] = torch.tensor(values)
        weighted = by_slot * torch.tensor([how.weight_ctr, how.weight_rouge, how.weight_length])
        return by_slot, self._clipped(weighted.sum(2)), weighted

    def _clipped(self, rewards: torch.Tensor) -> torch.Tensor:
        return rewards.clamp(-self._settings.reward_clip, self._settings.reward_clip)

    def _read_all(self, tasks: Sequence[Task], completions: Sequence[Sequence[int]]) -> list[Spans]:
        return [self._read(task, ids) for task, ids in zip(tasks, completions, strict=True)]

    def _read(self, task: Task, ids: Sequence[int]) -> Spans:
        if task.triggers is None:
            return list_spans(ids, self._tokens)
        return think_spans(ids, self._tokens, behaviors=task.kept)

    def _by_slot(
        self, tasks: Sequence[Task], read: Sequence[Spans]
    ) -> list[list[tuple[float, float, float]]]:
        """Click, ROUGE-L and length reward of each slot; the k-th query against the k-th reference,
        0 beyond the last of these.

        What repeats an earlier query of its list, of its interest point for Think, is dropped
        before anything is displayed, so its click probability is 0. Without this every slot moves
        to the one query that is best in any. Points may propose the same: x2q counts how many do.
        """
        how = self._settings
        queries = [spans.queries for spans in read]
        probabilities = self._ctr.score([task.context for task in tasks], queries)
        found = []
        for task, spans, clicked in zip(tasks, read, probabilities, strict=True):
            of = spans.queries
            references = [*task.queries, *[""] * len(of)]
            placed = list(zip(spans.lists, of, strict=True))
            shown = [
                float(p) if place not in placed[:k] else 0.0
                for k, (place, p) in enumerate(zip(placed, clicked, strict=True))
            ]
            found.append(
                [
                    (
                        ctr_reward(p, scale=how.ctr_scale, cap=how.ctr_cap),
                        rouge_l(query, reference),
                        length_reward(query, least=how.least_characters, most=how.most_characters),
                    )
                    for query, reference, p in zip(of, references, shown, strict=False)
                ]
            )
        return found

    def _embedded(self, queries: Sequence[tuple[str, ...]]) -> list[np.ndarray]:
        """Unit vectors of each rollout's queries."""
        wanted = {query for of in queries for query in of}
        if len(self._vectors) > _VECTORS_KEPT:
            self._vectors.clear()
        missing = sorted(wanted - self._vectors.keys())
        self._vectors.update(zip(missing, embeddings.embed(missing), strict=True))
        empty = np.zeros((0, embeddings.DIMENSIONS), dtype=np.float32)
        return [np.stack([self._vectors[q] for q in of]) if of else empty for of in queries]


def _triggers(tasks: Sequence[Task], read: Sequence[Spans]) -> torch.Tensor | None:
    """R_trig (eq. 16), 0 where a rollout does not parse; None for Direct."""
    if tasks[0].triggers is None:
        return None
    pairs = zip(tasks, read, strict=True)
    return torch.tensor([trigger_reward(spans.triggers, task.triggers) for task, spans in pairs])


def _padded(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[PADDING] * (width - len(row))] for row in rows])
