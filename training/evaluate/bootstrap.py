"""Intervals and paired comparisons by resampling users (a user's days are drawn together)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluate.metrics import Values


@dataclass(frozen=True)
class Estimate:
    """A mean over ``instances`` with its 95% bootstrap interval over users."""

    value: float
    low: float
    high: float
    instances: int


@dataclass(frozen=True)
class Comparison:
    """Mean difference of two models on the same ``instances`` with its 95% interval, and how often
    chance alone would make as large a one (two-sided ``p``)."""

    difference: float
    low: float
    high: float
    p: float
    instances: int


class UserBootstrap:
    """``resamples`` times as many users as there are, drawn with replacement: the same draws for
    every model and slice, so that comparisons are paired.

    ``users``: the user of each instance. Days of one user are not independent, hence users.
    """

    def __init__(self, users: Sequence[str], *, seed: int, resamples: int = 2000):
        _, self._user = np.unique(np.asarray(users), return_inverse=True)
        count = self._user.max() + 1
        rng = np.random.default_rng(seed)
        # How often each user is in each resample: (resamples, users).
        self.draws = rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)

    def estimate(self, values: Values) -> dict[tuple[str, int, str], Estimate]:
        """Mean and percentile interval of each column of ``values``; nan does not count."""
        keys = [key for key, column in values.items() if not np.isnan(column).all()]
        if not keys:
            return {}
        means, resampled, counts = self._means(np.stack([values[key] for key in keys], axis=1))
        low, high = _interval(resampled)
        return {
            key: Estimate(float(means[c]), float(low[c]), float(high[c]), int(counts[c]))
            for c, key in enumerate(keys)
        }

    def compare(self, one: Values, other: Values) -> dict[tuple[str, int, str], Comparison]:
        """``one`` minus ``other``, for the columns that both have, over instances that count in
        both.

        p = 2 min(#{d* <= 0} + 1, #{d* >= 0} + 1) / (resamples + 1), at most 1, where d* are the
        resampled mean differences.
        """
        differences = {key: one[key] - other[key] for key in one if key in other}
        keys = [key for key, column in differences.items() if not np.isnan(column).all()]
        if not keys:
            return {}
        columns = np.stack([differences[key] for key in keys], axis=1)
        means, resampled, counts = self._means(columns)
        # Sums that cancel out leave dust behind, which is neither above nor below 0.
        resampled = resampled.round(12)
        low, high = _interval(resampled)
        drawn = (~np.isnan(resampled)).sum(axis=0)
        tails = np.minimum((resampled <= 0).sum(axis=0), (resampled >= 0).sum(axis=0))
        p = np.minimum(2 * (tails + 1) / (drawn + 1), 1.0)
        return {
            key: Comparison(
                float(means[c]), float(low[c]), float(high[c]), float(p[c]), int(counts[c])
            )
            for c, key in enumerate(keys)
        }

    def _means(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each column (instances, columns): its mean, its resampled means (resamples, columns),
        and how many instances count."""
        counted = ~np.isnan(columns)
        shape = (self.draws.shape[1], columns.shape[1])
        sums, counts = np.zeros(shape), np.zeros(shape)
        np.add.at(sums, self._user, np.where(counted, columns, 0.0))
        np.add.at(counts, self._user, counted)
        with np.errstate(invalid="ignore"):
            resampled = (self.draws @ sums) / (self.draws @ counts)
        return sums.sum(axis=0) / counts.sum(axis=0), resampled, counted.sum(axis=0)


def _interval(resampled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 2.5th and 97.5th percentile of each column; a resample without a user of the slice (nan)
    says nothing."""
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    # Numpy looks past nan column by column, which takes its time.
    rare = np.isnan(low)
    if rare.any():
        low[rare], high[rare] = np.nanpercentile(resampled[:, rare], [2.5, 97.5], axis=0)
    return low, high
