"""The people of the made-up shop: profiles, activity, and interests that drift.

An interest is a leaf category with a taste, a strength and a half-life. Strengths halve by their
half-life and count more in season; now and then a new interest takes the place of the weakest.
"""

from typing import NamedTuple

import numpy as np

from aigq.simulator import relevance as truth
from aigq.simulator import words
from aigq.simulator.interests import Interests
from aigq.simulator.language import CASE_SHARES, Catalog, Language
from aigq.simulator.seasons import Seasons
from aigq.simulator.settings import FIRST_DAY, ShopSettings

DAY_MS = 86_400_000
FIRST_MS = int(FIRST_DAY.timestamp()) * 1000


class LeafDemand:
    """Draws leaf categories by how much each profile group looks for them.

    ``season`` (L,): factors on the demand for each leaf.
    """

    def __init__(self, catalog: Catalog, season: np.ndarray):
        tastes = (
            np.array(list(words.AGE_TASTES.values()))[:, None, None]
            * np.array(list(words.GENDER_TASTES.values()))[None, :, None]
            * np.array(list(words.REGION_TASTES.values()))[None, None, :]
        )
        groups = tastes.reshape(-1, len(words.DEPARTMENTS))
        demand = catalog.leaf_demand * season * groups[:, catalog.department]
        demand /= demand.sum(axis=1, keepdims=True)
        self.shares = demand  # (groups, L)
        # One sorted array for all groups: group g's cumulative shares lie in (g, g + 1].
        self._cumulative = (np.cumsum(demand, axis=1) + np.arange(len(demand))[:, None]).ravel()

    def draw(self, rng: np.random.Generator, groups: np.ndarray) -> np.ndarray:
        """One leaf for each entry of ``groups`` (any shape)."""
        found = np.searchsorted(self._cumulative, groups + rng.random(groups.shape))
        leaves = self.shares.shape[1]
        return np.minimum(found - groups * leaves, leaves - 1)


class Changes(NamedTuple):
    """Interests as they became at ``time`` (ms): n rows, each one slot of one user."""

    time: np.ndarray
    user: np.ndarray
    slot: np.ndarray
    interests: Interests  # of n rows, without the axis of slots


class Population:
    """N users and their state. Times are milliseconds since the epoch, UTC."""

    def __init__(self, settings: ShopSettings, language: Language):
        self.settings, self.language = settings, language
        self.catalog = language.catalog
        self._seasons = Seasons(settings, len(self.catalog.leaf_demand))
        self._begin(0)
        rng = np.random.default_rng([settings.seed, 2])
        n = settings.users
        self.age = rng.choice(len(words.AGE_BANDS), n, p=words.AGE_SHARES)
        self.gender = rng.integers(0, len(words.GENDERS), n)
        self.region = rng.integers(0, len(words.REGIONS), n)
        # (3, N): which of age, gender, region the shop does not know
        self.hidden = rng.random((3, n)) < settings.unknown_profile_share
        self.group = (self.age * len(words.GENDERS) + self.gender) * len(
            words.REGIONS
        ) + self.region
        self.case = rng.choice(len(CASE_SHARES), n, p=CASE_SHARES)
        self.registered = self._registrations(rng, n)
        mean = settings.sessions_per_day
        self.rate = rng.gamma(settings.activity_shape, mean / settings.activity_shape, n)
        everyone = np.repeat(np.arange(n), settings.interests)
        leaf = self.demand.draw(rng, self.group[everyone])
        drawn = vars(self._new_interests(rng, leaf)).values()
        self.interests = Interests(
            *(part.reshape(n, settings.interests, *part.shape[1:]) for part in drawn)
        )
        slots = np.tile(np.arange(settings.interests), n)
        self._changes: list[Changes] = []
        self._changed(np.full(len(everyone), FIRST_MS), everyone, slots)

    def _registrations(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Most registered in the two years before day 1, the others during the log."""
        new = rng.random(n) < self.settings.new_user_share
        days = np.where(new, rng.random(n) * self.settings.days, -1 - rng.random(n) * 730)
        return FIRST_MS + (days * DAY_MS).astype(np.int64)

    def _new_interests(self, rng, leaf: np.ndarray) -> Interests:
        """A fresh interest today in each of ``leaf`` (n,); arrays (n,)."""
        s, n = self.settings, len(leaf)
        taste = self.language.new_tastes(rng, leaf)
        passing = s.passing_half_life_days * rng.lognormal(0, 0.6, n)
        lasts = rng.random(n) < s.lasting_share
        half_life = np.where(lasts, s.lasting_half_life_days, passing)
        return Interests(leaf, taste, rng.lognormal(0, 0.7, n), half_life, np.full(n, self.day))

    def _begin(self, day: int) -> None:
        self.day = day
        self.season = self._seasons.factors([day])[0]
        self.demand = LeafDemand(self.catalog, self.season)

    def _changed(self, time: np.ndarray, users: np.ndarray, slots: np.ndarray) -> None:
        parts = (part[users, slots] for part in vars(self.interests).values())
        self._changes.append(Changes(time, users, slots, Interests(*parts)))

    def changes(self) -> Changes:
        """How interests became what they are since the last call, in the order it happened."""
        times, users, slots, interests = zip(*self._changes, strict=True)
        parts = zip(*(vars(i).values() for i in interests), strict=True)
        self._changes = []
        joined = (np.concatenate(part) for part in (times, users, slots, *parts))
        return Changes(next(joined), next(joined), next(joined), Interests(*joined))

    def drift(self, rng: np.random.Generator, day: int) -> None:
        """``day`` (0-based) begins: some users find a new interest."""
        self._begin(day)
        s, interests = self.settings, self.interests
        users = np.flatnonzero(rng.random(s.users) < s.new_interest_rate)
        weakest = interests.of(users).strength_on(day).argmin(axis=1)
        leaf = self.demand.draw(rng, self.group[users])
        near = rng.random(len(users)) < s.related_interest_share
        older = interests.leaf[users, self.choose(rng, users)]
        leaf = np.where(near, self.complement(rng, older), leaf)
        fresh = self._new_interests(rng, leaf)
        for part, values in zip(vars(interests).values(), vars(fresh).values(), strict=True):
            part[users, weakest] = values
        self._changed(np.full(len(users), FIRST_MS + day * DAY_MS), users, weakest)

    def choose(self, rng: np.random.Generator, users: np.ndarray) -> np.ndarray:
        """For each of ``users`` one of the user's interests (its column), by strength."""
        shares = self.interests.of(users).shares(self.day, self.season)
        drawn = (rng.random((len(users), 1)) > np.cumsum(shares, axis=1)).sum(axis=1)
        return np.minimum(drawn, shares.shape[1] - 1)

    def complement(self, rng: np.random.Generator, leaf: np.ndarray) -> np.ndarray:
        """A leaf that goes with each of ``leaf``."""
        others = self.catalog.complements
        return others[leaf, rng.integers(0, others.shape[1], len(leaf))]

    def bought(self, users: np.ndarray, leaf: np.ndarray, times: np.ndarray) -> None:
        """An order of each of the distinct ``users`` weakens passing interests in its leaf."""
        interests = self.interests
        same = interests.leaf[users] == leaf[:, None]
        same &= interests.half_life[users] < self.settings.lasting_half_life_days
        row, slot = np.nonzero(same)
        strength = interests.of(users).strength_on(self.day)[row, slot]
        interests.strength[users[row], slot] = strength * self.settings.bought_factor
        interests.since[users[row], slot] = self.day
        # What a session orders after midnight counts for the day it began on, before the night's
        # drift.
        last = FIRST_MS + (self.day + 1) * DAY_MS - 1
        self._changed(np.minimum(times, last)[row], users[row], slot)

    def relevance(self, users: np.ndarray, aim: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Ground truth today for queries (n, C), see :func:`aigq.simulator.relevance.relevance`."""
        wanted = self.interests.of(users)
        weight = truth.weights(wanted, self.day, self.season, aim)
        return truth.relevance(self.language, wanted, weight, codes)
