"""What a figure is about: which true queries count, and which test instances.

Slices of true queries (a metric then looks at these alone; an instance without any is left out):

- ``all``
- ``novel``: not searched in the user's context; no look-up of the user's past can find them
- ``searched``: searched more often that day than clicked as a hint
- ``hint_clicks``: clicked as a hint that day; they favour the ranker that showed them
- ``head``, ``torso``, ``tail``, ``unseen_query``: a partition by how often the query was searched
  on training days (``eval.training_queries``): the most searched that make up the first 20% of all
  searches, what lies between, those of the last 20%, and never

Slices of instances (all true queries of some instances):

- ``without_context``, ``context_1_3``, ``context_4_plus``: a partition by behaviours in the context
- ``with_context``: the latter two together
- ``unseen_item``: the context holds an item that nobody clicked, carted or ordered in training
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class TrueQuery:
    """What a user searched or clicked as a hint on a test day (``eval.test_true_queries``)."""

    text: str
    is_searched: bool = True
    is_hint_click: bool = False
    is_novel: bool = True
    band: str = "unseen"


@dataclass(frozen=True)
class Instance:
    """One test user-day (``eval.test_instances``). ``behaviors``: how many its context holds."""

    instance_id: str
    user_id: str
    true_queries: tuple[TrueQuery, ...]
    behaviors: int = 0
    has_unseen_item: bool = False


QUERY_SLICES: dict[str, Callable[[TrueQuery], bool]] = {
    "all": lambda q: True,
    "novel": lambda q: q.is_novel,
    "searched": lambda q: q.is_searched,
    "hint_clicks": lambda q: q.is_hint_click,
    "head": lambda q: q.band == "head",
    "torso": lambda q: q.band == "torso",
    "tail": lambda q: q.band == "tail",
    "unseen_query": lambda q: q.band == "unseen",
}

INSTANCE_SLICES: dict[str, Callable[[Instance], bool]] = {
    "with_context": lambda i: i.behaviors > 0,
    "without_context": lambda i: i.behaviors == 0,
    "context_1_3": lambda i: 1 <= i.behaviors <= 3,
    "context_4_plus": lambda i: i.behaviors >= 4,
    "unseen_item": lambda i: i.has_unseen_item,
}
