"""Who searched what after which behaviours: training examples from the log, without copies of it.

Contexts are slices of one array of behaviours, cut when a batch is made.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from aigq.context import ACTIONS, PROFILE_FIELDS
from aigq.ebr import Bags, EbrConfig, Users, profile_texts
from aigq.hashing import text_features
from aigq.settings import UserError
from training.workspace import Snapshot

_BEHAVIORS = """
select
    behaviors.user_id,
    behaviors.occurred_at,
    datediff('day', date '1970-01-01', behaviors.behavior_date) as day,
    behaviors.action,
    behaviors.content_text
from lake.behavior.behaviors as behaviors, lake.meta.shop as shop
where behaviors.behavior_date <= shop.train_end_date
order by behaviors.user_id, behaviors.behavior_order
"""
_PROFILES = "select user_id, {} from lake.raw.users".format(", ".join(PROFILE_FIELDS))


@dataclass(frozen=True)
class Log:
    """The behaviours of the training days, user by user, oldest first (E of them, U users).

    ``text``, ``action``, ``day``, ``moment`` (microseconds), ``user``: (E,); ``first``: where the
    events of each user begin, (U,); ``profile``: (U, 3) numbers of profile texts; ``texts``: what
    the numbers stand for.
    """

    text: np.ndarray
    action: np.ndarray
    day: np.ndarray
    moment: np.ndarray
    user: np.ndarray
    first: np.ndarray
    profile: np.ndarray
    texts: list[str]
    users: list[str]


@dataclass(frozen=True)
class Examples:
    """A search each, of a user's first that day of the query: ``event`` (N,) indexes the log.

    ``before``: where the context ends if it is what the user had done by then, ``day_start``: if it
    is what the user had done before the day; both exclude the event. ``query`` (N,): its number in
    ``queries``, the texts of which have numbers ``query_text`` in the log.
    """

    event: np.ndarray
    before: np.ndarray
    day_start: np.ndarray
    query: np.ndarray
    queries: list[str]
    query_text: np.ndarray


def read_log(snapshot: Snapshot) -> Log:
    """The behaviours of the training days at ``snapshot``. Raises :class:`UserError` for none."""
    rows = list(snapshot.batches(_BEHAVIORS))
    if not sum(map(len, rows)):
        raise UserError("behavior.behaviors holds nothing in the training days: run `dbt build`")
    table = pa.Table.from_batches(rows)
    text = table["content_text"].combine_chunks().dictionary_encode()
    user = table["user_id"].combine_chunks().dictionary_encode()
    users = user.dictionary.to_pylist()
    # Rows come user by user, so that users are numbered in that order.
    numbers = user.indices.to_numpy()
    texts = text.dictionary.to_pylist()
    known = {row["user_id"]: row for row in snapshot.rows(_PROFILES)}
    number = {value: n for n, value in enumerate(texts)}
    nobody = dict.fromkeys(PROFILE_FIELDS)
    profile = [
        [
            number.setdefault(value, len(number))
            for value in profile_texts([known.get(u, nobody)[f] for f in PROFILE_FIELDS])
        ]
        for u in users
    ]
    actions = {name: n for n, name in enumerate(ACTIONS)}
    action = table["action"].combine_chunks().dictionary_encode()
    order = np.array([actions[name] for name in action.dictionary.to_pylist()])
    return Log(
        text=text.indices.to_numpy().astype(np.int64),
        action=order[action.indices.to_numpy()],
        day=table["day"].to_numpy().astype(np.int64),
        moment=table["occurred_at"].cast(pa.int64()).to_numpy(),
        user=numbers.astype(np.int64),
        first=np.searchsorted(numbers, np.arange(len(users))),
        profile=np.array(profile, dtype=np.int64),
        texts=list(number),
        users=users,
    )


def make_examples(log: Log) -> Examples:
    """An example of each user, day and query searched, at the first of these searches.

    Searches that a clicked hint started are among them. Raises :class:`UserError` for none.
    """
    searches = np.flatnonzero(log.action == ACTIONS.index("search"))
    if not len(searches):
        raise UserError("behavior.behaviors holds no search in the training days: nothing to learn")
    seen = np.stack([log.user[searches], log.day[searches], log.text[searches]])
    _, firsts = np.unique(seen, axis=1, return_index=True)
    event = searches[np.sort(firsts)]
    queries, query = np.unique(log.text[event], return_inverse=True)
    return Examples(
        event=event,
        before=_begins(log.user, log.moment)[event],
        day_start=_begins(log.user, log.day)[event],
        query=query.reshape(-1),
        queries=[log.texts[n] for n in queries],
        query_text=queries,
    )


def _begins(user: np.ndarray, value: np.ndarray) -> np.ndarray:
    """For each event the first event of its user with the same ``value`` (values ascend)."""
    is_new = np.ones(len(user), dtype=bool)
    is_new[1:] = (user[1:] != user[:-1]) | (value[1:] != value[:-1])
    return np.maximum.accumulate(np.where(is_new, np.arange(len(user)), 0))


class Batches:
    """Makes what the network takes, out of slices of the log."""

    def __init__(self, log: Log, examples: Examples, config: EbrConfig):
        self._log, self._examples, self._config = log, examples, config
        parts = [text_features(text, config.buckets) for text in log.texts]
        self._features = np.concatenate(parts)
        self._bounds = np.concatenate([[0], np.cumsum([len(part) for part in parts])])

    def bags(self, texts: np.ndarray) -> Bags:
        """The features of the texts with these numbers."""
        begin, end = self._bounds[texts], self._bounds[texts + 1]
        sizes = end - begin
        offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        inside = np.arange(sizes.sum()) - np.repeat(offsets, sizes)
        flat = self._features[np.repeat(begin, sizes) + inside]
        return Bags(torch.from_numpy(flat), torch.from_numpy(offsets))

    def users(self, chosen: np.ndarray, at_day_start: np.ndarray) -> tuple[Users, np.ndarray]:
        """The contexts of the ``chosen`` examples, and the numbers of the texts they point at.

        ``at_day_start``: which of them end where the day begins.
        """
        log, examples = self._log, self._examples
        event = examples.event[chosen]
        user = log.user[event]
        end = np.where(at_day_start, examples.day_start[chosen], examples.before[chosen])
        begin = np.maximum(log.first[user], end - self._config.max_behaviors)
        length = end - begin
        longest = max(1, int(length.max()))
        place = np.arange(longest)
        inside = place < length[:, None]
        where = np.where(inside, begin[:, None] + place, 0)
        texts, flat = np.unique(
            np.concatenate([log.text[where][inside], log.profile[user].reshape(-1)]),
            return_inverse=True,
        )
        text = np.zeros(inside.shape, dtype=np.int64)
        behaviors = int(inside.sum())
        text[inside] = flat[:behaviors]
        days_ago = np.where(inside, log.day[event][:, None] - log.day[where], 0)
        users = Users(
            text=torch.from_numpy(text),
            action=torch.from_numpy(np.where(inside, log.action[where], 0)),
            days_ago=torch.from_numpy(days_ago),
            length=torch.from_numpy(length),
            profile=torch.from_numpy(flat[behaviors:].reshape(-1, log.profile.shape[1])),
        )
        return users, texts
