"""How demand for leaf categories moves: over weeks, and between weekdays and weekends."""

import numpy as np

from aigq.simulator.settings import ShopSettings


class Seasons:
    """Factors on the demand for L leaf categories by day; day 0 is a Monday.

    A share of the leaves has a season, a wave of ``season_days`` with a peak of its own; every leaf
    leans to weekends or to weekdays.
    """

    def __init__(self, settings: ShopSettings, leaves: int):
        rng = np.random.default_rng([settings.seed, 5])
        seasonal = rng.random(leaves) < settings.seasonal_share
        self._height = settings.season_strength * seasonal
        self._peak = rng.random(leaves)
        self._weekend = settings.weekend_leaning * rng.standard_normal(leaves)
        self._length = settings.season_days

    def factors(self, days: np.ndarray) -> np.ndarray:
        """(n, L) positive factors on ``days`` (n,), which may lie beyond the log."""
        days = np.asarray(days)[:, None]
        wave = self._height * np.cos(2 * np.pi * (days / self._length - self._peak))
        return np.exp(wave + self._weekend * is_weekend(days))


def is_weekend(day):
    """Whether a day (or each of an array) is a Saturday or Sunday."""
    return day % 7 >= 5
