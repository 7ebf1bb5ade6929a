"""From candidates to hints: merge, dedupe, rank, cut; and the whole chain with its store and model.

chain = HintChain.open(home)          # once: the store, and the newest CTR model
hints = chain(Request("u1", clicked="i7"))
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aigq import features, models
from aigq.context import Context
from aigq.settings import Home
from aigq.text import normalize_query
from inference.serve.recall import SOURCES, Candidate, Recalled, Request, recall

LENGTH = 10
CTR_MODEL = "ctr"


@dataclass(frozen=True)
class Hints:
    """The answer to a request. ``ranked``: best first, the first few are displayed. ``distinct``:
    candidates there were to rank. ``step_ms``: how long each step took, by its name."""

    recalled: Recalled
    ranked: tuple[Candidate, ...]
    distinct: int
    ctr_version: str | None
    step_ms: Mapping[str, float]


class HintChain:
    """The steps of a request, with what they need loaded once.

    ``scorer``: of :mod:`aigq.ctr`, None to keep the order of sources.
    """

    def __init__(self, store: Any, *, scorer: Any = None, ctr_version: str | None = None):
        self._store = store
        self._scorer = scorer
        self.ctr_version = ctr_version

    @classmethod
    def open(cls, home: Home) -> "HintChain":
        """The chain of ``home``, with its newest CTR model where one is published."""
        store = features.open_store(home)
        published = models.versions(home, CTR_MODEL)
        if not published:
            return cls(store)
        from aigq import ctr

        version = published[-1].version
        return cls(store, scorer=ctr.load(home, f"{CTR_MODEL}@{version}"), ctr_version=version)

    def __call__(self, request: Request) -> Hints:
        """Hints for ``request``; none where the online store is empty."""
        timer = _Timer()
        recalled = timer("recall", recall, self._store, request)
        merged = timer("merge", merge, recalled.lists)
        distinct = timer("dedupe", dedupe, merged)
        ranked = distinct
        if self._scorer is not None and distinct:
            ranked = timer("rank", rank, distinct, recalled.context(), self._scorer)
        shown = timer("cut", cut, ranked, LENGTH)
        return Hints(recalled, tuple(shown), len(distinct), self.ctr_version, timer.milliseconds)


def merge(lists: Mapping[str, Sequence[Candidate]]) -> list[Candidate]:
    """All sources' candidates: u2q's, x2q's, then popular ones, each in its own order."""
    return [candidate for source in SOURCES for candidate in lists.get(source, ())]


def dedupe(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Each query once, by its normalised text: the first candidate, with every source that recalled
    it, and the first reason there is."""
    found: dict[str, Candidate] = {}
    for candidate in candidates:
        key = normalize_query(candidate.query)
        first = found.setdefault(key, candidate)
        sources = {*first.sources, candidate.source}
        found[key] = replace(
            first,
            sources=tuple(s for s in SOURCES if s in sources),
            why=first.why or candidate.why,
        )
    return list(found.values())


def rank(candidates: Sequence[Candidate], context: Context, scorer: Any) -> list[Candidate]:
    """By predicted click probability at position 1; of equals the earlier candidate first."""
    (predicted,) = scorer.score([context], [[c.query for c in candidates]])
    scored = [replace(c, p_click=float(p)) for c, p in zip(candidates, predicted, strict=True)]
    return sorted(scored, key=lambda c: -c.p_click)


def cut(candidates: Sequence[Candidate], length: int) -> list[Candidate]:
    """The first ``length`` candidates; the last give way so that each source's highest is in.

    Without a CTR model a full u2q list would otherwise hide all that x2q knows.
    """
    bests: dict[str, int] = {}
    for place, candidate in enumerate(candidates):
        for source in candidate.sources:
            bests.setdefault(source, place)
    kept = sorted(set(bests.values()))[:length]
    others = [place for place in range(len(candidates)) if place not in kept]
    return [candidates[place] for place in sorted(kept + others[: length - len(kept)])]


class _Timer:
    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    def __call__(self, name: str, step: Any, *arguments: Any) -> Any:
        start = time.perf_counter()
        try:
            return step(*arguments)
        finally:
            self.milliseconds[name] = 1000 * (time.perf_counter() - start)
