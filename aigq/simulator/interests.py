"""What users want: leaf categories with a taste, a strength and a half-life."""

from dataclasses import dataclass

import numpy as np

_FAINTEST = 1e-9


@dataclass
class Interests:
    """K interests of each of N users; arrays (N, K), ``taste`` (N, K, T)."""

    leaf: np.ndarray
    taste: np.ndarray  # the language's numbers
    strength: np.ndarray  # on day ``since``
    half_life: np.ndarray  # days
    since: np.ndarray  # day of ``strength``

    def of(self, users: np.ndarray) -> "Interests":
        """A copy of those of ``users``."""
        return Interests(*(part[users] for part in vars(self).values()))

    def strength_on(self, day) -> np.ndarray:
        """(N, K) strengths on ``day`` (a number, or (N, 1)): halved every half-life, and never
        quite gone: a share of nothing would be no number."""
        age = day - self.since
        return np.maximum(self.strength * 0.5 ** (age / self.half_life), _FAINTEST)

    def shares(self, day, season: np.ndarray) -> np.ndarray:
        """(N, K) strengths in season, scaled to sum to 1. ``season``: factors by leaf, (L,) or
        one row per user (N, L)."""
        factor = (
            season[self.leaf] if season.ndim == 1 else np.take_along_axis(season, self.leaf, axis=1)
        )
        strength = self.strength_on(day) * factor
        return strength / strength.sum(axis=1, keepdims=True)
