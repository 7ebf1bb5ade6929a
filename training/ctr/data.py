"""Displayed hints as arrays: read at a pinned snapshot, cut into batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import torch

from aigq.context import ACTIONS, PROFILE_FIELDS
from aigq.ctr_network import Behaviors, CtrConfig, Texts, text_shape
from aigq.hashing import text_features
from aigq.settings import UserError
from training.workspace import Snapshot

if TYPE_CHECKING:
    from training.ctr.contrast import Contrast

_DAYS = """
select
    session_date,
    count(*) as requests,
    session_date <= (select train_end_date from lake.meta.shop) as is_training_day
from lake.samples.samples_ctr
group by session_date
order by session_date
"""
_REQUESTS = """
select
    user_id,
    age_band,
    gender,
    region,
    behaviors,
    exposures,
    searched_next,
    is_replayed
from lake.samples.samples_ctr
where session_date between ? and ?
order by session_date, session_start_at, session_id
"""


@dataclass(frozen=True)
class Exposures:
    """R requests of some days, in order of time, with all that they displayed.

    Behaviours lie request by request: those of request r are ``[behavior_start[r],
    behavior_start[r + 1])``, oldest first; displayed hints likewise by ``exposure_start``, and what
    was searched next by ``searched_start``.
    ``behavior_text``, ``query`` and ``searched`` index ``texts``. ``position``: 0 where the log has
    none. ``profile``: (R, 3) values.
    """

    texts: list[str]
    user: np.ndarray
    profile: np.ndarray
    behavior_start: np.ndarray
    behavior_text: np.ndarray
    action: np.ndarray
    days_ago: np.ndarray
    exposure_start: np.ndarray
    query: np.ndarray
    position: np.ndarray
    clicked: np.ndarray
    rank_score: np.ndarray
    searched_start: np.ndarray
    searched: np.ndarray
    is_replayed: np.ndarray

    def __len__(self) -> int:
        return len(self.user)

    @property
    def exposure_user(self) -> np.ndarray:
        """The user of each displayed hint."""
        return np.repeat(self.user, np.diff(self.exposure_start))


def logged_days(snapshot: Snapshot) -> dict[date, bool]:
    """The shop days with displayed hints, in order; whether each is a training day.

    Raises :class:`UserError` where there are none.
    """
    days = {row["session_date"]: row["is_training_day"] for row in snapshot.rows(_DAYS)}
    if not days:
        raise UserError("samples.samples_ctr is empty: the log holds no displayed hint")
    return days


class _Vocabulary:
    """Texts by number, in order of appearance."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._number: dict[str, int] = {}

    def numbers(self, column) -> np.ndarray:
        """Of each entry of an Arrow column of texts; a new text gets the next number."""
        encoded = column.dictionary_encode()
        own = []
        for text in encoded.dictionary.to_pylist():
            number = self._number.setdefault(text, len(self.texts))
            if number == len(self.texts):
                self.texts.append(text)
            own.append(number)
        return np.asarray(own, np.int32)[encoded.indices.to_numpy(zero_copy_only=False)]


def read_exposures(snapshot: Snapshot, first: date, last: date) -> Exposures:
    """What was displayed on the shop days ``first`` to ``last``, both included."""
    vocabulary = _Vocabulary()
    actions = {name: number for number, name in enumerate(ACTIONS)}
    parts: dict[str, list[np.ndarray]] = {}

    def add(**columns: np.ndarray) -> None:
        for name, column in columns.items():
            parts.setdefault(name, []).append(column)

    for batch in snapshot.batches(_REQUESTS, [first, last]):
        behaviors, shown, searched = (
            batch[name] for name in ("behaviors", "exposures", "searched_next")
        )
        done, hint = behaviors.flatten(), shown.flatten()
        done_actions = done.field("action").dictionary_encode()
        number = np.array([actions[a] for a in done_actions.dictionary.to_pylist()], np.int8)
        add(
            user=batch["user_id"].to_numpy(zero_copy_only=False),
            profile=np.stack(
                [batch[name].to_numpy(zero_copy_only=False) for name in PROFILE_FIELDS], axis=1
            ),
            behavior_count=behaviors.value_lengths().to_numpy(),
            behavior_text=vocabulary.numbers(done.field("content_text")),
            action=number[done_actions.indices.to_numpy()],
            days_ago=done.field("days_ago").to_numpy().astype(np.int16),
            exposure_count=shown.value_lengths().to_numpy(),
            query=vocabulary.numbers(hint.field("query_text")),
            position=hint.field("position").fill_null(0).to_numpy().astype(np.int32),
            clicked=hint.field("is_clicked").to_numpy(zero_copy_only=False),
            rank_score=hint.field("rank_score").to_numpy(zero_copy_only=False).astype(float),
            searched_count=searched.value_lengths().to_numpy(),
            searched=vocabulary.numbers(searched.flatten()),
            is_replayed=batch["is_replayed"].to_numpy(zero_copy_only=False),
        )
    if not parts:
        raise UserError(f"samples.samples_ctr has no row of the days {first} to {last}")
    joined = {name: np.concatenate(columns) for name, columns in parts.items()}
    for name in ("behavior", "exposure", "searched"):
        joined[f"{name}_start"] = np.concatenate([[0], np.cumsum(joined.pop(f"{name}_count"))])
    return Exposures(texts=vocabulary.texts, **joined)


class Batches:
    """Batches of :class:`Exposures` as the network takes them, without a loop over rows."""

    def __init__(self, data: Exposures, config: CtrConfig):
        self.data, self.config = data, config
        self.profile = np.zeros(data.profile.shape, np.int64)
        for field, names in enumerate(config.profile_values):
            for number, name in enumerate(names, start=1):
                self.profile[data.profile[:, field] == name, field] = number
        features = [text_features(text, config.buckets) for text in data.texts]
        self._features = np.concatenate(features)
        self._shape = np.array([text_shape(text) for text in data.texts])
        self._feature_start = np.cumsum([0, *map(len, features)])
        # Something to point at where nobody has done anything yet.
        columns = (data.behavior_text, data.action, data.days_ago)
        self._behaviors = columns if len(data.action) else tuple(np.zeros((3, 1), np.int64))

    def make(self, requests: np.ndarray, contrast: "Contrast | None" = None) -> "Batch":
        """The batch of these requests (indices), with what was drawn for them."""
        data = self.data
        end = data.behavior_start[requests + 1]
        start = np.maximum(data.behavior_start[requests], end - self.config.max_behaviors)
        at, is_behavior = _padded(start, end)
        first, last = data.exposure_start[requests], data.exposure_start[requests + 1]
        shown, is_shown = _padded(first, last)
        # Padding points at a text of the batch: at the first hint, which always exists.
        text, action, days_ago = (column[at] for column in self._behaviors)
        behavior_text = np.where(is_behavior, text, data.query[first][:, None])
        query = data.query[shown]
        asked = query if contrast is None else np.concatenate([query, contrast.query], axis=1)
        used, place = np.unique(
            np.concatenate([behavior_text.ravel(), asked.ravel()]), return_inverse=True
        )
        split = behavior_text.size
        asked_place = place[split:].reshape(asked.shape)
        return Batch(
            texts=self._texts(used, contrast.garbled if contrast else []),
            behaviors=Behaviors(
                torch.from_numpy(place[:split].reshape(behavior_text.shape)),
                torch.from_numpy(np.where(is_behavior, action, 0).astype(np.int64)),
                torch.from_numpy(np.where(is_behavior, days_ago, 0).astype(np.int64)),
                torch.from_numpy(end - start),
                torch.from_numpy(self.profile[requests]),
            ),
            queries=torch.from_numpy(asked_place[:, : query.shape[1]]),
            contrast=torch.from_numpy(asked_place[:, query.shape[1] :]),
            contrast_mask=torch.from_numpy(
                np.zeros((len(requests), 0), bool) if contrast is None else contrast.mask
            ),
            position=torch.from_numpy(data.position[shown].astype(np.int64)),
            clicked=torch.from_numpy(data.clicked[shown].astype(np.float32)),
            mask=torch.from_numpy(is_shown),
            exposures=shown[is_shown],
        )

    def _texts(self, numbers: np.ndarray, others: list[str]) -> Texts:
        """The features of these texts, in order; numbers behind those of the log are of
        ``others``."""
        beyond = numbers[numbers >= len(self.data.texts)] - len(self.data.texts)
        fresh = [text_features(others[i], self.config.buckets) for i in beyond]
        shape = [text_shape(others[i]) for i in beyond]
        numbers = numbers[: len(numbers) - len(fresh)]
        shape = np.concatenate([self._shape[numbers], shape]).astype(np.int64)
        start = self._feature_start[numbers]
        sizes = self._feature_start[numbers + 1] - start
        at = np.repeat(start - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
        features = np.concatenate([self._features[at], *fresh])
        sizes = np.concatenate([sizes, [len(f) for f in fresh]]).astype(np.int64)
        offsets = np.cumsum(sizes) - sizes
        return Texts(*map(torch.from_numpy, (features, offsets, shape)))


@dataclass(frozen=True)
class Batch:
    """One batch: what the network reads, ``clicked`` and ``mask`` (B, C), and which displayed
    hints (indices) the entries of ``mask`` are; ``contrast`` and ``contrast_mask`` (B, N), see
    :class:`training.ctr.contrast.Contrast`, N = 0 where nothing was drawn."""

    texts: Texts
    behaviors: Behaviors
    queries: torch.Tensor
    contrast: torch.Tensor
    contrast_mask: torch.Tensor
    position: torch.Tensor
    clicked: torch.Tensor
    mask: torch.Tensor
    exposures: np.ndarray


def _padded(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the ranges [start, end) as rows, and which entries are no padding (index 0)."""
    columns = np.arange(max(1, int((end - start).max(initial=0))))
    is_entry = columns < (end - start)[:, None]
    return np.where(is_entry, start[:, None] + columns, 0), is_entry


def plan_epochs(count: int, *, batch: int, epochs: int, seed: int) -> Sequence[np.ndarray]:
    """The requests of every step: each once an epoch, in an order of its own."""
    steps = []
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(count)
        steps += [order[i : i + batch] for i in range(0, count, batch)]
    return steps
